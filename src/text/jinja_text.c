/* jinja_text: filters on strings and numbers. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <stdio.h>

#include "text/jinja_call.h"

#define FILTER(name) static struct jval name(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest)
#define UNUSED (void)r, (void)self, (void)a, (void)rest

/* ---- strings ---- */

FILTER(do_upper) {
  UNUSED;
  return jv_str(jinja_char_convert(r, jinja_repr_str(r, self), JINJA_UPPER));
}
FILTER(do_lower) {
  UNUSED;
  return jv_str(jinja_char_convert(r, jinja_repr_str(r, self), JINJA_LOWER));
}
FILTER(do_capitalize) {
  UNUSED;
  return jv_str(jinja_char_capitalize(r, jinja_repr_str(r, self)));
}
FILTER(do_string) {
  UNUSED;
  return jv_str(jinja_repr_str(r, self));
}

static bool separates_words(uint32_t c) { return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || jinja_char_space(c); }

/* Words between white space, "-" and opening brackets: first letter up, the rest down. */
FILTER(do_title) {
  UNUSED;
  const struct jstr *s = jinja_repr_str(r, self);
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (size_t at = 0; at < s->len && jinja_run_step(r, 1) && !sb.over;) {
    size_t begin = at, end;
    uint32_t c = jinja_char_next(s, &at);
    bool separator = separates_words(c);
    jinja_char_put(&sb, c, separator ? JINJA_SAME : JINJA_UPPER, jinja_str_marked_at(s, begin));
    for (begin = end = at; at < s->len; end = at) {
      if (separates_words(jinja_char_next(s, &at)) != separator) break;
    }
    at = end;
    const struct jstr *tail = jinja_str_sub(r, s, begin, end);
    jinja_sb_str(&sb, separator ? tail : jinja_char_convert(r, tail, JINJA_LOWER));
  }
  return jv_str(jinja_sb_done(r, &sb));
}

FILTER(do_trim) { /* chars */
  UNUSED;
  const struct jstr *chars = jv_given(a[0]) && a[0].type != JV_NONE ? jinja_call_str(r, a[0]) : NULL;
  return jv_str(jinja_str_strip(r, jinja_repr_str(r, self), chars, true, true));
}

FILTER(do_replace) { /* old new count */
  UNUSED;
  const struct jstr *s = jinja_repr_str(r, self), *old = jinja_repr_str(r, a[0]), *new = jinja_repr_str(r, a[1]);
  int64_t count = jinja_call_int(r, a[2], -1, true);
  if (!r->autoescape) return jv_str(jinja_str_markup(r, jinja_str_replace(r, s, old, new, count), false));
  if (old->markup || new->markup) s = jinja_str_escape(r, s);
  if (s->markup) new = jinja_str_escape(r, new);
  return jv_str(jinja_str_markup(r, jinja_str_replace(r, s, old, new, count), s->markup));
}

FILTER(do_center) { /* width */
  UNUSED;
  return jv_str(jinja_strmethod_center(r, jinja_repr_str(r, self), jinja_call_int(r, a[0], 80, false), jinja_str_cstr(r, " ").str));
}

/* width: a count of blanks or the text itself. */
static const struct jstr *indentation(struct jinja_run *r, struct jval width) {
  return jv_is_str(width) ? width.str : jinja_str_repeat(r, jinja_str_cstr(r, " ").str, jinja_call_int(r, width, 4, false));
}

FILTER(do_indent) { /* width first blank */
  UNUSED;
  const struct jstr *s = jinja_call_str(r, self), *indent = indentation(r, a[0]);
  bool blank = jinja_val_true(a[2]);
  struct jlist *lines = jinja_strmethod_lines(r, jinja_str_concat(r, s, jinja_str_cstr(r, "\n").str), false);
  struct jinja_sb sb;
  if (s->markup) indent = jinja_str_escape(r, indent);
  jinja_sb_init(&sb, r);
  if (jinja_val_true(a[1])) jinja_sb_str(&sb, indent);
  for (size_t i = 0; i < lines->n && !sb.over && jinja_run_bytes(r, indent->len); i++) {
    if (i) jinja_sb_cstr(&sb, "\n");
    if (i && (blank || lines->items[i].str->len)) jinja_sb_str(&sb, indent);
    jinja_sb_str(&sb, lines->items[i].str);
  }
  return jv_str(jinja_str_markup(r, jinja_sb_done(r, &sb), s->markup));
}

FILTER(do_truncate) { /* length killwords end leeway */
  UNUSED;
  const struct jstr *end = jv_given(a[2]) ? jinja_call_str(r, a[2]) : jinja_str_cstr(r, "...").str;
  int64_t length = jinja_call_int(r, a[0], 255, false), leeway = jinja_call_int(r, a[3], 5, true);
  size_t n = 0;
  if (length < (int64_t)end->n_chars) jinja_run_fail(r, "expected length >= %zu, got %lld", end->n_chars, (long long)length);
  if (leeway < 0) jinja_run_fail(r, "expected leeway >= 0, got %lld", (long long)leeway);
  if (!jinja_val_len(r, self, &n)) jinja_run_fail(r, "object of type '%s' has no len()", jinja_val_type_name(self));
  if (r->failed || length > INT64_MAX - leeway || (int64_t)n <= length + leeway) return self;
  const struct jstr *s = jinja_call_str(r, self);
  size_t cut = jinja_str_offset(s, (size_t)length - end->n_chars);
  if (!jinja_val_true(a[1])) {
    size_t blank = jinja_str_rfind(s, 0, cut, SLICE(" "));
    if (blank != SIZE_MAX) cut = blank;
  }
  return jinja_ops_binary(r, TOK_ADD, jv_str(jinja_str_sub(r, s, 0, cut)), jv_str(end));
}

FILTER(do_wordwrap) { /* width break_long_words wrapstring break_on_hyphens */
  UNUSED;
  const struct jstr *s = jinja_call_str(r, self);
  const struct jstr *between = jv_given(a[2]) && a[2].type != JV_NONE ? jinja_call_str(r, a[2]) : jinja_str_cstr(r, "\n").str;
  int64_t width = jinja_call_int(r, a[0], 79, false);
  bool long_words = !jv_given(a[1]) || jinja_val_true(a[1]), hyphens = !jv_given(a[3]) || jinja_val_true(a[3]);
  struct jlist *lines = jinja_strmethod_lines(r, s, false);
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (size_t i = 0; i < lines->n && !r->failed; i++) {
    struct jlist *parts = jinja_wrap_line(r, lines->items[i].str, width, long_words, hyphens);
    if (i) jinja_sb_str(&sb, between);
    for (size_t k = 0; k < parts->n; k++) {
      if (k) jinja_sb_str(&sb, between);
      jinja_sb_str(&sb, parts->items[k].str);
    }
  }
  return jinja_sb_value(r, &sb);
}

FILTER(do_wordcount) {
  UNUSED;
  const struct jstr *s = jinja_repr_str(r, self);
  int64_t n = 0;
  bool inside = false;
  jinja_run_chars(r, s->len);
  for (size_t at = 0; at < s->len;) {
    uint32_t c = jinja_char_next(s, &at);
    bool word = c == '_' || jinja_char_alnum(c);
    n += word && !inside;
    inside = word;
  }
  return jv_int(n);
}

FILTER(do_format) {
  UNUSED;
  if (rest->n_pos && rest->n_kw) jinja_run_fail(r, "can't handle positional and keyword arguments at the same time");
  struct jval args = jv_tuple(jinja_val_list(r, 0));
  for (size_t i = 0; i < rest->n_pos; i++) jinja_val_push(r, args.list, rest->pos[i]);
  if (rest->n_kw) args = jv_dict(jinja_val_dict(r));
  for (size_t i = 0; i < rest->n_kw; i++) jinja_val_set(r, args.dict, rest->kw[i].key, rest->kw[i].value);
  return jinja_format_percent(r, jinja_repr_str(r, self), args);
}

FILTER(do_pprint) {
  UNUSED;
  return jinja_repr_pprint(r, self);
}

FILTER(do_tojson) { /* ensure_ascii indent separators sort_keys */
  UNUSED;
  return jinja_json_dump(r, self, a[1], a[2], jinja_val_true(a[0]), jinja_val_true(a[3]));
}

/* ---- numbers ---- */

/* float(v): false when v is no number and no text of one. An undefined value is a failure. */
static bool to_float(struct jinja_run *r, struct jval v, double *out) {
  int64_t i;
  if (v.type == JV_UNDEFINED) jinja_val_use_undefined(r, v);
  if (v.type == JV_FLOAT) *out = v.f;
  else if (jv_as_int(v, &i)) *out = (double)i;
  else if (v.type == JV_BIG) *out = jinja_run_bytes(r, 8 * v.str->len) ? strtod(v.str->data, NULL) : 0;
  else return jv_is_str(v) && jinja_run_chars(r, 4 * v.str->len) && jinja_number_float(v.str, out);
  return true;
}

/* int(f) for a float; false when it has no integer value. */
static bool truncate_float(struct jinja_run *r, double f, int64_t *out) {
  if (!isfinite(f)) return false;
  if (fabs(f) >= 9223372036854775808.0) {
    jinja_run_fail(r, "the integer does not fit into 64 bits");
    return false;
  }
  *out = (int64_t)f;
  return true;
}

FILTER(do_int) { /* default base */
  UNUSED;
  int64_t i = 0;
  double f;
  if (jv_as_int(self, &i)) return jv_int(i);
  if (self.type == JV_BIG) return self;
  if (self.type == JV_FLOAT && isinf(self.f)) jinja_run_fail(r, "cannot convert float infinity to integer");
  if (jv_is_str(self) && jinja_run_chars(r, self.str->len) && jinja_number_int(r, self.str, jinja_call_int(r, a[1], 10, false), &i))
    return jv_int(i);
  if (to_float(r, self, &f) && truncate_float(r, f, &i)) return jv_int(i);
  return jv_given(a[0]) ? a[0] : jv_int(0);
}

FILTER(do_float) { /* default */
  UNUSED;
  double f;
  if (to_float(r, self, &f)) return jv_float(f);
  return jv_given(a[0]) ? a[0] : jv_float(0);
}

FILTER(do_abs) {
  UNUSED;
  int64_t i;
  if (self.type == JV_FLOAT) return jv_float(fabs(self.f));
  if (jv_as_int(self, &i)) return i < 0 ? jinja_ops_unary(r, TOK_SUB, jv_int(i)) : jv_int(i);
  if (self.type == JV_BIG) return jinja_str_slice(self.str).data[0] == '-' ? jinja_ops_unary(r, TOK_SUB, self) : self;
  jinja_run_fail(r, "bad operand type for abs(): '%s'", jinja_val_type_name(self));
  return self;
}

FILTER(do_round) { /* precision method */
  UNUSED;
  int64_t precision = jinja_call_int(r, a[0], 0, false);
  bool ceiling = jinja_str_is(a[1], "ceil"), flooring = jinja_str_is(a[1], "floor");
  if (jv_given(a[1]) && !ceiling && !flooring && !jinja_str_is(a[1], "common")) jinja_run_fail(r, "method must be common, ceil or floor");
  if (r->failed || (!ceiling && !flooring)) return jinja_ops_round(r, self, precision);
  struct jval unit = jinja_ops_binary(r, TOK_POW, jv_int(10), jv_int(precision)), scaled = jinja_ops_binary(r, TOK_MUL, self, unit);
  int64_t whole = 0;
  if (!jv_as_int(scaled, &whole)) {
    double f = scaled.type == JV_FLOAT ? (ceiling ? ceil(scaled.f) : floor(scaled.f)) : NAN;
    if (!truncate_float(r, f, &whole)) jinja_run_fail(r, "the number cannot be rounded");
  }
  return jinja_ops_binary(r, TOK_DIV, jv_int(whole), unit);
}

FILTER(do_filesizeformat) { /* binary */
  UNUSED;
  static const char *const units[2][8] = {{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
                                          {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
  bool binary = jinja_val_true(a[0]);
  double bytes = 0, base = binary ? 1024 : 1000, unit = base;
  char text[400];
  if (!to_float(r, self, &bytes)) jinja_run_fail(r, "filesizeformat needs a number, not '%s'", jinja_val_type_name(self));
  int64_t whole = 0;
  if (bytes == 1) return jinja_str_cstr(r, "1 Byte");
  if (bytes < base) {
    if (!truncate_float(r, bytes, &whole)) jinja_run_fail(r, "the number is not finite");
    snprintf(text, sizeof text, "%lld Bytes", (long long)whole);
    return jinja_str_value(r, slice_cstr(text));
  }
  int i = 0;
  for (;; i++) {
    unit *= base;
    if (bytes < unit || i == 7) break;
  }
  snprintf(text, sizeof text, "%.1f %s", base * bytes / unit, units[binary][i]);
  return jinja_str_value(r, slice_cstr(text));
}

const struct jinja_builtin jinja_text_filters[] = {
    {"abs", "", do_abs},
    {"capitalize", "", do_capitalize},
    {"center", "width?", do_center},
    {"filesizeformat", "binary?", do_filesizeformat},
    {"float", "default?", do_float},
    {"format", "* **", do_format},
    {"indent", "width? first? blank?", do_indent},
    {"int", "default? base?", do_int},
    {"lower", "", do_lower},
    {"pprint", "", do_pprint},
    {"replace", "old new count?", do_replace},
    {"round", "precision? method?", do_round},
    {"string", "", do_string},
    {"title", "", do_title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", do_tojson},
    {"trim", "chars?", do_trim},
    {"truncate", "length? killwords? end? leeway?", do_truncate},
    {"upper", "", do_upper},
    {"wordcount", "", do_wordcount},
    {"wordwrap", "width? break_long_words? wrapstring? break_on_hyphens?", do_wordwrap},
    {NULL, NULL, NULL},
};
