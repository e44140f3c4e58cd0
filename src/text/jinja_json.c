/* jinja_json: the filter tojson as transformers defines it: json.dumps without HTML escapes. SPDX-License-Identifier: Apache-2.0
 * Keys keep their order; separators are ", " and ": ", with an indent "," and ": ". Floats print as Python's repr. */
#include <math.h>
#include <stdio.h>

#include "text/jinja_call.h"

struct dumper {
  struct jinja_run *r;
  struct jinja_sb sb;
  const struct jstr *indent; /* NULL: one line */
  const struct jstr *item_separator, *key_separator;
  bool ascii, sort_keys;
  int64_t level;
};

static void dump(struct dumper *d, struct jval v);

static void add_text(struct dumper *d, const char *text, bool marked) {
  for (; *text; text++) jinja_sb_char(&d->sb, (unsigned char)*text, marked);
}

static void dump_char(struct dumper *d, uint32_t c, bool marked) {
  static const char *const short_escapes[128] = {
      ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t", ['\f'] = "\\f", ['\b'] = "\\b"};
  char text[16];
  if (c < 0x80 && short_escapes[c]) {
    add_text(d, short_escapes[c], marked);
  } else if (c < 0x20 || (d->ascii && c >= 0x7F && c < 0x10000)) {
    snprintf(text, sizeof text, "\\u%04x", c);
    add_text(d, text, marked);
  } else if (d->ascii && c >= 0x10000) {
    snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
    add_text(d, text, marked);
  } else {
    jinja_sb_char(&d->sb, c, marked);
  }
}

static bool plain(unsigned char c) { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; }

static void dump_str(struct dumper *d, const struct jstr *s) {
  jinja_sb_add(&d->sb, "\"", 1);
  jinja_run_bytes(d->r, 4 * s->len);
  for (size_t at = 0; at < s->len && !d->sb.over;) {
    size_t end = at;
    while (end < s->len && plain((unsigned char)s->data[end])) end++;
    jinja_sb_sub(&d->sb, s, at, end);
    if ((at = end) >= s->len) break;
    bool marked = s->n_marks && jinja_str_marked_at(s, at);
    dump_char(d, jinja_char_next(s, &at), marked);
  }
  jinja_sb_add(&d->sb, "\"", 1);
}

static void dump_float(struct dumper *d, double f) {
  if (isnan(f)) jinja_sb_cstr(&d->sb, "NaN");
  else if (isinf(f)) jinja_sb_cstr(&d->sb, f < 0 ? "-Infinity" : "Infinity");
  else jinja_repr_float(&d->sb, f);
}

static void newline(struct dumper *d) {
  if (!d->indent) return;
  jinja_sb_add(&d->sb, "\n", 1);
  jinja_sb_fill(&d->sb, d->indent, d->level);
}

static void dump_list(struct dumper *d, const struct jlist *l) {
  jinja_sb_add(&d->sb, "[", 1);
  d->level++;
  for (size_t i = 0; i < l->n && jinja_run_step(d->r, 1); i++) {
    if (i) jinja_sb_str(&d->sb, d->item_separator);
    newline(d);
    dump(d, l->items[i]);
  }
  d->level--;
  if (l->n) newline(d);
  jinja_sb_add(&d->sb, "]", 1);
}

static void dump_key(struct dumper *d, struct jval key) {
  bool quotes = !jv_is_str(key);
  if (quotes && key.type != JV_INT && key.type != JV_BIG && key.type != JV_FLOAT && key.type != JV_BOOL && key.type != JV_NONE) {
    jinja_run_fail(d->r, "keys must be str, int, float, bool or None, not %s", jinja_val_type_name(key));
    return;
  }
  if (quotes) jinja_sb_add(&d->sb, "\"", 1);
  dump(d, key);
  if (quotes) jinja_sb_add(&d->sb, "\"", 1);
}

static void dump_dict(struct dumper *d, const struct jdict *dict) {
  struct jlist *keys = jinja_val_list(d->r, dict->n), *values = jinja_val_list(d->r, dict->n);
  for (size_t i = 0; i < keys->n && i < values->n; i++) {
    keys->items[i] = dict->entries[i].key;
    values->items[i] = dict->entries[i].value;
  }
  if (d->sort_keys) jinja_seq_sort(d->r, keys, values, false);
  jinja_sb_add(&d->sb, "{", 1);
  d->level++;
  for (size_t i = 0; i < values->n && jinja_run_step(d->r, 1); i++) {
    if (i) jinja_sb_str(&d->sb, d->item_separator);
    newline(d);
    dump_key(d, keys->items[i]);
    jinja_sb_str(&d->sb, d->key_separator);
    dump(d, values->items[i]);
  }
  d->level--;
  if (dict->n) newline(d);
  jinja_sb_add(&d->sb, "}", 1);
}

static void dump(struct dumper *d, struct jval v) {
  char text[24];
  if (d->sb.over || !jinja_run_enter(d->r)) return;
  switch (v.type) {
    case JV_NONE: jinja_sb_cstr(&d->sb, "null"); break;
    case JV_BOOL: jinja_sb_cstr(&d->sb, v.b ? "true" : "false"); break;
    case JV_INT: jinja_sb_add(&d->sb, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v.i)); break;
    case JV_BIG: jinja_sb_str(&d->sb, v.str); break;
    case JV_FLOAT: dump_float(d, v.f); break;
    case JV_STR: dump_str(d, v.str); break;
    case JV_LIST:
    case JV_TUPLE: dump_list(d, v.list); break;
    case JV_DICT: dump_dict(d, v.dict); break;
    default: jinja_run_fail(d->r, "Object of type %s is not JSON serializable", jinja_val_type_name(v)); break;
  }
  jinja_run_leave(d->r);
}

static void read_indent(struct dumper *d, struct jval indent) {
  int64_t n;
  if (!jv_given(indent) || indent.type == JV_NONE) return;
  if (jv_is_str(indent)) d->indent = indent.str;
  else if (jv_as_int(indent, &n)) d->indent = jinja_str_repeat(d->r, jinja_str_cstr(d->r, " ").str, n);
  else jinja_run_fail(d->r, "an indent is an integer or a string, not '%s'", jinja_val_type_name(indent));
}

static void read_separators(struct dumper *d, struct jval separators) {
  if (!jv_given(separators) || separators.type == JV_NONE) return;
  if (!jv_is_seq(separators) || separators.list->n != 2 || !jv_is_str(separators.list->items[0]) || !jv_is_str(separators.list->items[1])) {
    jinja_run_fail(d->r, "separators are a pair of strings");
    return;
  }
  d->item_separator = separators.list->items[0].str;
  d->key_separator = separators.list->items[1].str;
}

struct jval jinja_json_dump(struct jinja_run *r, struct jval v, struct jval indent, struct jval separators, bool ascii, bool sort_keys) {
  struct dumper d = {.r = r, .ascii = ascii, .sort_keys = sort_keys};
  jinja_sb_init(&d.sb, r);
  read_indent(&d, indent);
  d.item_separator = jinja_str_cstr(r, d.indent ? "," : ", ").str;
  d.key_separator = jinja_str_cstr(r, ": ").str;
  read_separators(&d, separators);
  dump(&d, v);
  return jinja_sb_value(r, &d.sb);
}
