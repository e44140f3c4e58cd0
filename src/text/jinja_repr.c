/* jinja_repr: values as text, as Python prints them. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_call.h"

/* The shortest digits that read back as f, laid out as Python does: exponent below 1e-4 and from 1e16 on. */
void jinja_repr_float(struct jinja_sb *sb, double f) {
  char text[40], digits[32];
  if (isnan(f) || isinf(f)) {
    jinja_sb_cstr(sb, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    return;
  }
  int precision = 0;
  do snprintf(text, sizeof text, "%.*e", precision, f);
  while (strtod(text, NULL) != f && ++precision < 17);
  const char *p = text;
  if (*p == '-') jinja_sb_add(sb, p++, 1);
  int n = 0, exponent = atoi(strchr(p, 'e') + 1);
  for (; *p != 'e'; p++)
    if (*p != '.') digits[n++] = *p;
  if (exponent < -4 || exponent >= 16) {
    jinja_sb_add(sb, digits, 1);
    if (n > 1) jinja_sb_add(sb, ".", 1);
    jinja_sb_add(sb, digits + 1, (size_t)n - 1);
    snprintf(text, sizeof text, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    jinja_sb_cstr(sb, text);
    return;
  }
  if (exponent < 0) jinja_sb_cstr(sb, "0.");
  for (int i = -1; i > exponent; i--) jinja_sb_add(sb, "0", 1);
  for (int i = 0; i < n || i <= exponent; i++) {
    if (i == exponent + 1 && exponent >= 0) jinja_sb_add(sb, ".", 1);
    jinja_sb_add(sb, i < n ? digits + i : "0", 1);
  }
  if (exponent >= 0 && n <= exponent + 1) jinja_sb_cstr(sb, ".0");
}

static void add_int(struct jinja_sb *sb, int64_t i) {
  char text[24];
  jinja_sb_add(sb, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)i));
}

/* One character of a quoted string. */
static void add_quoted_char(struct jinja_sb *sb, uint32_t c, char quote, bool marked) {
  char text[16];
  const char *known = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : c == '\\' ? "\\\\" : NULL;
  if (c == (unsigned char)quote) snprintf(text, sizeof text, "\\%c", quote);
  else if (known) snprintf(text, sizeof text, "%s", known);
  else if (jinja_char_printable(c)) text[0] = '\0';
  else snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
  if (!text[0]) jinja_sb_char(sb, c, marked);
  for (const char *p = text; *p; p++) jinja_sb_char(sb, (unsigned char)*p, marked);
}

static void add_quoted(struct jinja_run *r, struct jinja_sb *sb, const struct jstr *s) {
  bool single = s->len && memchr(s->data, '\'', s->len), twice = s->len && memchr(s->data, '"', s->len);
  char quote = single && !twice ? '"' : '\'';
  if (s->markup) jinja_sb_cstr(sb, "Markup(");
  jinja_sb_add(sb, &quote, 1);
  jinja_run_bytes(r, 8 * s->len);
  for (size_t at = 0; at < s->len && !sb->over;) {
    bool marked = s->n_marks && jinja_str_marked_at(s, at);
    add_quoted_char(sb, jinja_char_next(s, &at), quote, marked);
  }
  jinja_sb_add(sb, &quote, 1);
  if (s->markup) jinja_sb_cstr(sb, ")");
}

static void add_list(struct jinja_run *r, struct jinja_sb *sb, const struct jlist *l, const char *open, const char *close) {
  jinja_sb_cstr(sb, open);
  for (size_t i = 0; i < l->n && jinja_run_step(r, 1); i++) {
    if (i) jinja_sb_cstr(sb, ", ");
    jinja_repr_add(r, sb, l->items[i]);
  }
  jinja_sb_cstr(sb, close);
}

static void add_dict(struct jinja_run *r, struct jinja_sb *sb, const struct jdict *d) {
  jinja_sb_cstr(sb, "{");
  for (size_t i = 0; i < d->n && jinja_run_step(r, 1); i++) {
    if (i) jinja_sb_cstr(sb, ", ");
    jinja_repr_add(r, sb, d->entries[i].key);
    jinja_sb_cstr(sb, ": ");
    jinja_repr_add(r, sb, d->entries[i].value);
  }
  jinja_sb_cstr(sb, "}");
}

static void add_range(struct jinja_sb *sb, const struct jrange *range) {
  jinja_sb_cstr(sb, "range(");
  add_int(sb, range->start);
  jinja_sb_cstr(sb, ", ");
  add_int(sb, range->stop);
  if (range->step != 1) {
    jinja_sb_cstr(sb, ", ");
    add_int(sb, range->step);
  }
  jinja_sb_cstr(sb, ")");
}

static void add_loop(struct jinja_run *r, struct jinja_sb *sb, struct jloop *l) {
  jinja_sb_cstr(sb, "<LoopContext ");
  add_int(sb, l->index0 + 1);
  jinja_sb_cstr(sb, "/");
  add_int(sb, jinja_loop_attr(r, l, SLICE("length")).i);
  jinja_sb_cstr(sb, ">");
}

static void add_macro(struct jinja_run *r, struct jinja_sb *sb, const struct jmacro *m) {
  if (m->node->kind != N_MACRO) {
    jinja_sb_cstr(sb, m->node->kind == N_BLOCK ? "<BlockReference>" : "<Macro anonymous>");
    return;
  }
  jinja_sb_cstr(sb, "<Macro ");
  add_quoted(r, sb, jinja_str_borrow(&r->arena, m->node->macro.macro->name));
  jinja_sb_cstr(sb, ">");
}

/* Values whose Python text holds an address: ours holds none. */
static void add_object(struct jinja_sb *sb, struct jval v) {
  jinja_sb_cstr(sb, v.type == JV_ITER     ? "<generator object>"
                    : v.type == JV_FUNC   ? "<function "
                    : v.type == JV_CYCLER ? "<Cycler>"
                                          : "<Joiner>");
  if (v.type != JV_FUNC) return;
  jinja_sb_cstr(sb, v.func->builtin->name);
  jinja_sb_cstr(sb, ">");
}

void jinja_repr_add(struct jinja_run *r, struct jinja_sb *sb, struct jval v) {
  if (sb->over || !jinja_run_enter(r)) return;
  switch (v.type) {
    case JV_MISSING:
    case JV_UNDEFINED: jinja_sb_cstr(sb, "Undefined"); break;
    case JV_NONE: jinja_sb_cstr(sb, "None"); break;
    case JV_BOOL: jinja_sb_cstr(sb, v.b ? "True" : "False"); break;
    case JV_INT: add_int(sb, v.i); break;
    case JV_BIG: jinja_sb_str(sb, v.str); break;
    case JV_FLOAT: jinja_repr_float(sb, v.f); break;
    case JV_STR: add_quoted(r, sb, v.str); break;
    case JV_LIST: add_list(r, sb, v.list, "[", "]"); break;
    case JV_TUPLE: add_list(r, sb, v.list, "(", v.list->n == 1 ? ",)" : ")"); break;
    case JV_DICT: add_dict(r, sb, v.dict); break;
    case JV_RANGE: add_range(sb, v.range); break;
    case JV_VIEW:
      jinja_sb_cstr(sb, jinja_val_type_name(v));
      add_list(r, sb, jinja_iter_list(r, v), "([", "])");
      break;
    case JV_NAMESPACE:
      jinja_sb_cstr(sb, "<Namespace ");
      add_dict(r, sb, v.dict);
      jinja_sb_cstr(sb, ">");
      break;
    case JV_LOOP: add_loop(r, sb, v.loop); break;
    case JV_MACRO: add_macro(r, sb, v.macro); break;
    default: add_object(sb, v); break;
  }
  jinja_run_leave(r);
}

struct jval jinja_repr_repr(struct jinja_run *r, struct jval v) {
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  jinja_repr_add(r, &sb, v);
  return jinja_sb_value(r, &sb);
}

const struct jstr *jinja_repr_str(struct jinja_run *r, struct jval v) {
  if (v.type == JV_STR) return v.str;
  if (v.type == JV_UNDEFINED || v.type == JV_MISSING) return &jinja_str_empty;
  return jinja_repr_repr(r, v).str;
}

/* ---- pprint ---- */

enum { PPRINT_WIDTH = 80 };

/* What keys are sorted by: numbers with numbers, strings with strings, and the kinds by their names. */
static struct jval pprint_key(struct jinja_run *r, struct jval key) {
  bool number = key.type == JV_BOOL || key.type == JV_INT || key.type == JV_BIG || key.type == JV_FLOAT;
  return jinja_val_pair(r, jinja_str_cstr(r, number ? "float" : jinja_val_type_name(key)), key);
}

/* The value with every dictionary in the order of its keys. */
static struct jval sorted(struct jinja_run *r, struct jval v) {
  if ((v.type != JV_DICT && !jv_is_seq(v)) || !jinja_run_enter(r)) return v;
  if (jv_is_seq(v)) {
    struct jlist *copy = jinja_val_list(r, v.list->n);
    for (size_t i = 0; i < copy->n; i++) copy->items[i] = sorted(r, v.list->items[i]);
    v.list = copy;
  } else {
    struct jlist *keys = jinja_val_list(r, v.dict->n), *items = jinja_val_list(r, v.dict->n);
    for (size_t i = 0; i < items->n && i < keys->n; i++) {
      keys->items[i] = pprint_key(r, v.dict->entries[i].key);
      items->items[i] = jinja_val_pair(r, v.dict->entries[i].key, v.dict->entries[i].value);
    }
    jinja_seq_sort(r, keys, items, false);
    struct jdict *copy = jinja_val_dict(r);
    for (size_t i = 0; i < items->n && !r->failed; i++)
      jinja_val_set(r, copy, items->items[i].list->items[0], sorted(r, items->items[i].list->items[1]));
    v.dict = copy;
  }
  jinja_run_leave(r);
  return v;
}

static void pprint(struct jinja_run *r, struct jinja_sb *sb, struct jval v, size_t indent, size_t behind) {
  const struct jstr *flat = jinja_repr_repr(r, v).str;
  bool breaks = (jv_is_seq(v) && v.list->n) || (v.type == JV_DICT && v.dict->n);
  if (!breaks || indent + flat->n_chars + behind <= PPRINT_WIDTH || !jinja_run_enter(r)) {
    jinja_sb_str(sb, flat);
    return;
  }
  size_t n = v.type == JV_DICT ? v.dict->n : v.list->n;
  bool lone = v.type == JV_TUPLE && n == 1;
  jinja_sb_cstr(sb, v.type == JV_DICT ? "{" : v.type == JV_LIST ? "[" : "(");
  for (size_t i = 0; i < n && jinja_run_step(r, 1); i++) {
    size_t at = indent + 1, rest = i + 1 < n ? 1 : behind + 1 + lone;
    if (i) jinja_sb_cstr(sb, ",\n");
    for (size_t k = 0; i && k < at; k++) jinja_sb_add(sb, " ", 1);
    if (v.type == JV_DICT) {
      const struct jstr *key = jinja_repr_repr(r, v.dict->entries[i].key).str;
      jinja_sb_str(sb, key);
      jinja_sb_cstr(sb, ": ");
      at += key->n_chars + 2;
    }
    pprint(r, sb, v.type == JV_DICT ? v.dict->entries[i].value : v.list->items[i], at, rest);
  }
  jinja_sb_cstr(sb, lone ? ",)" : v.type == JV_DICT ? "}" : v.type == JV_LIST ? "]" : ")");
  jinja_run_leave(r);
}

struct jval jinja_repr_pprint(struct jinja_run *r, struct jval v) {
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  pprint(r, &sb, sorted(r, v), 0, 0);
  return jinja_sb_value(r, &sb);
}
