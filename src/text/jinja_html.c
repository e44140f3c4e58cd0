/* jinja_html: filters about HTML and URLs. SPDX-License-Identifier: Apache-2.0
 * Chat templates hardly use them; urlize, which makes links, is left out. */
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_call.h"

#define FILTER(name) static struct jval name(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest)
#define UNUSED (void)r, (void)self, (void)a, (void)rest

FILTER(do_escape) {
  UNUSED;
  return jv_str(jinja_str_escape(r, jinja_repr_str(r, self)));
}

FILTER(do_forceescape) {
  UNUSED;
  return jv_str(jinja_str_escape(r, jinja_str_markup(r, jinja_repr_str(r, self), false)));
}

FILTER(do_safe) {
  UNUSED;
  return jv_str(jinja_str_markup(r, jinja_repr_str(r, self), true));
}

/* ---- urlencode ---- */

static void add_quoted(struct jinja_run *r, struct jinja_sb *sb, const struct jstr *s, bool query) {
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < s->len && !sb->over && jinja_run_step(r, i % 4 == 0); i++) {
    unsigned char c = (unsigned char)s->data[i];
    bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr("_.-~", c)) || (c == '/' && !query);
    bool marked = s->n_marks && jinja_str_marked_at(s, i);
    if (plain || (c == ' ' && query)) {
      jinja_sb_char(sb, plain ? c : '+', marked);
      continue;
    }
    jinja_sb_char(sb, '%', marked);
    jinja_sb_char(sb, (unsigned char)digits[c >> 4], marked);
    jinja_sb_char(sb, (unsigned char)digits[c & 15], marked);
  }
}

static void add_pair(struct jinja_run *r, struct jinja_sb *sb, struct jval key, struct jval value) {
  if (sb->buf.len) jinja_sb_cstr(sb, "&");
  add_quoted(r, sb, jinja_repr_str(r, key), true);
  jinja_sb_cstr(sb, "=");
  add_quoted(r, sb, jinja_repr_str(r, value), true);
}

FILTER(do_urlencode) {
  UNUSED;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  struct jiter *it = jv_is_str(self) ? NULL : jinja_iter_try(r, self);
  struct jval item;
  if (!it) add_quoted(r, &sb, jinja_repr_str(r, self), false);
  if (self.type == JV_DICT) {
    for (size_t i = 0; i < self.dict->n && jinja_run_step(r, 1); i++)
      add_pair(r, &sb, self.dict->entries[i].key, self.dict->entries[i].value);
    it = NULL;
  }
  while (it && jinja_iter_next(r, it, &item)) {
    struct jlist *pair = jinja_iter_list(r, item);
    if (pair->n != 2) jinja_run_fail(r, "urlencode takes pairs, but an element has %zu items", pair->n);
    else add_pair(r, &sb, pair->items[0], pair->items[1]);
  }
  return jinja_sb_value(r, &sb);
}

/* ---- xmlattr ---- */

static bool fits_attribute(const struct jstr *name) {
  for (size_t i = 0; i < name->len; i++)
    if (name->data[i] && strchr(" \t\n\r\f\v/>=", name->data[i])) return false;
  return true;
}

FILTER(do_xmlattr) { /* autospace */
  UNUSED;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  bool space = !jv_given(a[0]) || jinja_val_true(a[0]);
  if (self.type != JV_DICT) {
    if (self.type == JV_UNDEFINED) jinja_val_use_undefined(r, self);
    jinja_run_fail(r, "xmlattr needs a dictionary, not '%s'", jinja_val_type_name(self));
  }
  for (size_t i = 0; self.type == JV_DICT && i < self.dict->n && jinja_run_step(r, 1); i++) {
    const struct jentry *e = &self.dict->entries[i];
    if (e->value.type == JV_NONE || e->value.type == JV_UNDEFINED) continue;
    const struct jstr *name = jinja_call_str(r, e->key);
    if (!fits_attribute(name)) jinja_run_fail(r, "Invalid character in attribute name");
    if (sb.buf.len || space) jinja_sb_cstr(&sb, " ");
    jinja_sb_str(&sb, jinja_str_escape(r, name));
    jinja_sb_cstr(&sb, "=\"");
    jinja_sb_str(&sb, jinja_str_escape(r, jinja_repr_str(r, e->value)));
    jinja_sb_cstr(&sb, "\"");
  }
  return jv_str(jinja_str_markup(r, jinja_sb_done(r, &sb), r->autoescape));
}

/* ---- striptags ---- */

/* The text without tags and comments. */
static const struct jstr *without_tags(struct jinja_run *r, const struct jstr *s) {
  struct jinja_sb sb;
  size_t pos = 0;
  jinja_sb_init(&sb, r);
  for (;;) {
    size_t open = jinja_str_find(s, pos, s->len, SLICE("<")), close;
    if (open == SIZE_MAX || r->failed) break;
    bool comment = slice_starts(slice_from(jinja_str_slice(s), open), SLICE("<!--"));
    close = comment ? jinja_str_find(s, open + 4, s->len, SLICE("-->")) : jinja_str_find(s, open, s->len, SLICE(">"));
    if (close == SIZE_MAX) break;
    jinja_sb_sub(&sb, s, pos, open);
    pos = close + (comment ? 3 : 1);
    jinja_run_step(r, 1);
  }
  jinja_sb_sub(&sb, s, pos, s->len);
  return jinja_sb_done(r, &sb);
}

/* A character reference at byte `at` ("&lt;", "&#60;", "&#x3c;"): its character and *end behind it; 0 when it is none that we know. */
static uint32_t reference(const struct jstr *s, size_t at, size_t *end) {
  static const struct {
    const char *name;
    uint32_t c;
  } named[] = {{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}, {"nbsp;", 0xA0}};
  struct slice rest = slice_from(jinja_str_slice(s), at + 1);
  for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
    if (slice_starts(rest, slice_cstr(named[i].name))) {
      *end = at + 1 + strlen(named[i].name);
      return named[i].c;
    }
  char digits[12] = {0};
  if (!slice_starts(rest, SLICE("#"))) return 0;
  bool hex = rest.len > 1 && (rest.data[1] | 0x20) == 'x';
  size_t from = hex ? 2 : 1, n = 0;
  while (from + n < rest.len && n < 9 && rest.data[from + n] &&
         strchr(hex ? "0123456789abcdefABCDEF" : "0123456789", rest.data[from + n])) {
    digits[n] = rest.data[from + n];
    n++;
  }
  unsigned long c = n ? strtoul(digits, NULL, hex ? 16 : 10) : 0;
  *end = at + 1 + from + n + (from + n < rest.len && rest.data[from + n] == ';');
  return c > 0x10FFFF ? 0xFFFD : (uint32_t)c;
}

FILTER(do_striptags) {
  UNUSED;
  const struct jstr *s = without_tags(r, jinja_repr_str(r, self));
  struct jlist *words = jinja_strmethod_split(r, s, NULL, -1, false).list;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (size_t i = 0; i < words->n && jinja_run_step(r, 1); i++) {
    if (i) jinja_sb_cstr(&sb, " ");
    jinja_sb_str(&sb, words->items[i].str);
  }
  s = jinja_sb_done(r, &sb);
  jinja_run_chars(r, s->len);
  jinja_sb_init(&sb, r);
  size_t from = 0;
  for (size_t at = 0; at < s->len; at++) {
    size_t end;
    uint32_t c = s->data[at] == '&' ? reference(s, at, &end) : 0;
    if (!c) continue;
    jinja_sb_sub(&sb, s, from, at);
    jinja_sb_char(&sb, c, jinja_str_marked_at(s, at));
    from = end;
    at = end - 1;
  }
  jinja_sb_sub(&sb, s, from, s->len);
  return jinja_sb_value(r, &sb);
}

const struct jinja_builtin jinja_html_filters[] = {
    {"e", "", do_escape},
    {"escape", "", do_escape},
    {"forceescape", "", do_forceescape},
    {"safe", "", do_safe},
    {"striptags", "", do_striptags},
    {"urlencode", "", do_urlencode},
    {"xmlattr", "autospace?", do_xmlattr},
    {NULL, NULL, NULL},
};
