/* jinja_format: "%5.2f" % x and "{:>5}".format(x), as Python formats. SPDX-License-Identifier: Apache-2.0
 *
 * Both notations become one struct spec. Padding goes through the string builder, so that a width of a million costs memory that
 * is counted, and an impossible one is an error. */
#include "text/jinja_format.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

enum { PRECISION_MAX = 1000 };

/* ---- padding ---- */

static void pad(struct jinja_sb *sb, const struct jstr *fill, int64_t n) { jinja_sb_fill(sb, fill, n); }

/* text between what fills it up to the width; sign_len: leading bytes that stay in front of zeros (align '='). */
static void put_padded(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, const struct jstr *text, size_t sign_len,
                       char deflt) {
  int64_t missing = s->width - (int64_t)text->n_chars;
  char align = s->align ? s->align : deflt;
  const struct jstr *fill = s->fill ? s->fill : jinja_str_cstr(r, s->zero ? "0" : " ").str;
  if (missing > (int64_t)sb->max) sb->over = true;
  if (missing <= 0 || sb->over) {
    jinja_sb_str(sb, text);
    return;
  }
  jinja_run_bytes(r, (size_t)missing);
  int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  if (align == '=') jinja_sb_sub(sb, text, 0, sign_len);
  pad(sb, fill, left);
  jinja_sb_sub(sb, text, align == '=' ? sign_len : 0, text->len);
  pad(sb, fill, missing - left);
}

void jinja_format_str(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, const struct jstr *text) {
  if (s->precision >= 0 && (size_t)s->precision < text->n_chars)
    text = jinja_str_sub(r, text, 0, jinja_str_offset(text, (size_t)s->precision));
  put_padded(r, sb, s, text, 0, '<');
}

/* Inserts the separator between groups of digits [from, to) of text. */
static void put_grouped(struct buf *out, const char *digits, size_t n, char separator, size_t group) {
  for (size_t i = 0; i < n; i++) {
    if (i && (n - i) % group == 0) buf_add_byte(out, (unsigned char)separator);
    buf_add_byte(out, (unsigned char)digits[i]);
  }
}

/* sign, prefix, digits (grouped), tail; padded. With zero padding the zeros are grouped too. */
static void put_number(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, bool negative, const char *prefix,
                       struct slice digits, const char *tail) {
  struct buf text = {0}, zeros = {0};
  size_t group = s->grouping == '_' && s->type && strchr("boxX", s->type) ? 4 : 3;
  if (negative || s->sign == '+' || s->sign == ' ') buf_add_byte(&text, negative ? '-' : (unsigned char)s->sign);
  buf_add_cstr(&text, prefix);
  size_t sign_len = text.len;
  bool zero_pad = s->grouping && s->zero && !s->fill && (!s->align || s->align == '=') && s->width < PRECISION_MAX;
  int64_t room = s->width - (int64_t)(sign_len + strlen(tail));
  for (size_t n = digits.len; zero_pad && (int64_t)(n + (n - 1) / group) < room; n++) buf_add_byte(&zeros, '0');
  buf_add_slice(&zeros, digits);
  if (s->grouping) put_grouped(&text, zeros.data, zeros.len, s->grouping, group);
  else buf_add_slice(&text, digits);
  buf_add_cstr(&text, tail);
  put_padded(r, sb, s, jinja_str_value(r, buf_view(&text)).str, sign_len, s->zero ? '=' : '>');
  buf_free(&text);
  buf_free(&zeros);
}

/* ---- numbers ---- */

static struct slice digits_of(uint64_t value, unsigned base, bool upper, char room[72]) {
  size_t at = 72;
  do room[--at] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
  while (value /= base);
  return slice_make(room + at, 72 - at);
}

void jinja_format_int(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, int64_t value) {
  char room[72 + PRECISION_MAX];
  char type = s->type ? s->type : 'd';
  unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  struct slice digits = digits_of(size, base, type == 'X', room + PRECISION_MAX);
  size_t least = s->precision > 0 ? (size_t)s->precision : 0; /* "%.3d" */
  if (digits.len < least && least < PRECISION_MAX) {
    char *start = room + PRECISION_MAX + 72 - least;
    memset(start, '0', least - digits.len);
    digits = slice_make(start, least);
  }
  const char *prefix = !s->alternate || base == 10 ? "" : base == 2 ? "0b" : base == 8 ? "0o" : type == 'X' ? "0X" : "0x";
  put_number(r, sb, s, value < 0, prefix, digits, "");
}

/* The digits of |value| in the format's type, without width and sign. */
static void float_digits(const struct jinja_spec *s, double value, struct buf *out) {
  char format[8], type = s->type ? s->type : 'g';
  int precision = s->precision < 0 ? 6 : s->precision;
  if (type == '%') {
    value *= 100;
    type = 'f';
  }
  snprintf(format, sizeof format, s->alternate ? "%%#.*%c" : "%%.*%c", type == 'n' ? 'g' : type);
  char *at = buf_reserve(out, 400 + (size_t)precision);
  buf_advance(out, (size_t)snprintf(at, 400 + (size_t)precision, format, precision, value));
}

/* Python's format of a float without a type: repr, or "g" that keeps a ".0". */
static void float_plain(struct jinja_run *r, const struct jinja_spec *s, double value, struct buf *out) {
  if (s->precision < 0) {
    struct jinja_sb sb;
    jinja_sb_init(&sb, r);
    jinja_repr_float(&sb, value);
    buf_add_slice(out, buf_view(&sb.buf));
    jinja_sb_free(&sb);
    return;
  }
  struct jinja_spec g = *s;
  if (g.precision == 0) g.precision = 1;
  float_digits(&g, value, out);
  if (out->data && !strpbrk(out->data, ".einf")) buf_add_cstr(out, ".0");
  int exponent = value == 0 ? 0 : (int)floor(log10(value));
  if (!strchr(out->data, 'e') && exponent == g.precision - 1 && g.precision > 0) { /* no room for ".0": Python uses an exponent */
    char text[64];
    buf_clear(out);
    snprintf(text, sizeof text, "%.*e", g.precision - 1, value);
    buf_add_cstr(out, text);
    char *e = strchr(out->data, 'e'), *dot = strchr(out->data, '.');
    if (dot && e) { /* without zeros at its end */
      char *end = e;
      while (end > dot && (end[-1] == '0' || end[-1] == '.')) {
        end--;
        if (end == dot) break;
      }
      memmove(end, e, strlen(e) + 1);
      out->len = strlen(out->data);
    }
  }
}

/* Whether a number in digits is 0, whatever its exponent. */
static bool is_zero(const char *digits) {
  char first = digits[strspn(digits, "0.")];
  return first < '1' || first > '9';
}

void jinja_format_float(struct jinja_run *r, struct jinja_sb *sb, const struct jinja_spec *s, double value) {
  struct buf text = {0};
  bool negative = signbit(value) && !isnan(value), finite = isfinite(value);
  bool upper = s->type == 'E' || s->type == 'F' || s->type == 'G';
  if (!finite) buf_add_cstr(&text, isnan(value) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
  else if (s->type) float_digits(s, fabs(value), &text);
  else float_plain(r, s, fabs(value), &text);
  if (s->no_negative_zero && finite && is_zero(text.data)) negative = false;
  size_t whole = strspn(text.data, "0123456789");
  if (s->type == '%') buf_add_cstr(&text, "%");
  struct slice digits = slice_make(text.data, finite ? whole : 0);
  if (finite) {
    put_number(r, sb, s, negative, "", digits, text.data + whole);
  } else {
    struct jinja_spec plain = *s;
    plain.grouping = 0;
    put_number(r, sb, &plain, negative, "", slice_make("", 0), text.data);
  }
  buf_free(&text);
}

/* ---- "%" ---- */

struct percent {
  struct jinja_run *r;
  struct jinja_sb sb;
  const struct jstr *format;
  size_t at;
  struct jval args;
  size_t next_arg, n_args;
  bool is_tuple, used_names, markup;
};

static int peek(const struct percent *p) { return p->at < p->format->len ? (unsigned char)p->format->data[p->at] : -1; }

static struct jval next_arg(struct percent *p) {
  if (p->next_arg >= p->n_args) {
    jinja_run_fail(p->r, "not enough arguments for format string");
    return jv_undefined();
  }
  size_t i = p->next_arg++;
  return p->is_tuple ? p->args.list->items[i] : p->args;
}

/* "*" or digits. */
static int64_t percent_number(struct percent *p) {
  int64_t n = 0;
  if (peek(p) == '*') {
    p->at++;
    return jinja_call_int(p->r, next_arg(p), 0, false);
  }
  for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
    if (n < INT_MAX) n = 10 * n + (peek(p) - '0');
  return n;
}

/* %(name)s: the value; JV_MISSING: there is no name. */
static struct jval percent_name(struct percent *p) {
  if (peek(p) != '(') return jv_missing();
  size_t begin = ++p->at;
  int depth = 1;
  for (; p->at < p->format->len; p->at++) {
    depth += peek(p) == '(' ? 1 : peek(p) == ')' ? -1 : 0;
    if (depth == 0) break;
  }
  if (depth) jinja_run_fail(p->r, "incomplete format key");
  struct jval key = jv_str(jinja_str_sub(p->r, p->format, begin, p->at++)), *found = NULL;
  if (p->args.type != JV_DICT) jinja_run_fail(p->r, "format requires a mapping");
  else found = jinja_val_get(p->r, p->args.dict, key);
  p->used_names = true;
  if (!found) jinja_run_fail(p->r, "the format's key '%.*s' is missing", (int)(key.str->len < 80 ? key.str->len : 80), key.str->data);
  return found ? *found : jv_undefined();
}

static void percent_flags(struct percent *p, struct jinja_spec *s) {
  for (;; p->at++) {
    int c = peek(p);
    if (c == '-') s->align = '<';
    else if (c == '+') s->sign = '+';
    else if (c == ' ') s->sign = s->sign ? s->sign : ' ';
    else if (c == '#') s->alternate = true;
    else if (c == '0') s->zero = true;
    else return;
  }
}

static void percent_int(struct percent *p, struct jinja_spec *s, struct jval v) {
  int64_t i;
  if (v.type == JV_FLOAT && s->type == 'd') {
    if (!(fabs(v.f) < 9.2e18)) jinja_run_fail(p->r, "the number does not fit into an integer");
    else v = jv_int((int64_t)v.f);
  }
  if (v.type == JV_UNDEFINED) jinja_val_use_undefined(p->r, v);
  if (!jv_as_int(v, &i)) jinja_run_fail(p->r, "%%%c format: a number is required, not %s", s->type, jinja_val_type_name(v));
  else jinja_format_int(p->r, &p->sb, s, i);
}

static void percent_float(struct percent *p, struct jinja_spec *s, struct jval v) {
  int64_t i;
  if (jv_as_int(v, &i)) v = jv_float((double)i);
  if (v.type == JV_UNDEFINED) jinja_val_use_undefined(p->r, v);
  if (v.type != JV_FLOAT) jinja_run_fail(p->r, "must be real number, not %s", jinja_val_type_name(v));
  else jinja_format_float(p->r, &p->sb, s, v.f);
}

static void percent_char(struct percent *p, struct jinja_spec *s, struct jval v) {
  int64_t i;
  struct jinja_sb one;
  if (jv_as_int(v, &i) && i >= 0 && i <= 0x10FFFF && !(i >= 0xD800 && i <= 0xDFFF)) {
    jinja_sb_init(&one, p->r);
    jinja_sb_char(&one, (uint32_t)i, false);
    v = jinja_sb_value(p->r, &one);
  }
  s->precision = -1;
  if (!jv_is_str(v) || v.str->n_chars != 1) jinja_run_fail(p->r, "%%c requires int or char");
  else jinja_format_str(p->r, &p->sb, s, v.str);
}

static void percent_text(struct percent *p, struct jinja_spec *s, char type, struct jval v) {
  const struct jstr *text = type == 's' ? jinja_repr_str(p->r, v) : jinja_repr_repr(p->r, v).str;
  if (!s->align) s->align = '>';
  s->zero = false;
  jinja_format_str(p->r, &p->sb, s, p->markup ? jinja_str_escape(p->r, text) : text);
}

/* One directive; at stands behind its "%". */
static void percent_directive(struct percent *p) {
  struct jinja_spec s = {.precision = -1};
  struct jval v = percent_name(p);
  percent_flags(p, &s);
  s.width = percent_number(p);
  if (s.width < 0) {
    s.align = '<';
    s.width = s.width == INT64_MIN ? INT64_MAX : -s.width;
  }
  if (peek(p) == '.') {
    p->at++;
    int64_t precision = percent_number(p);
    s.precision = precision < 0 ? 0 : precision > PRECISION_MAX ? PRECISION_MAX : (int)precision;
    if (precision > PRECISION_MAX && !strchr("sra", p->at < p->format->len ? p->format->data[p->at] : 0))
      jinja_run_fail(p->r, "a precision over %d is not supported", PRECISION_MAX);
  }
  while (peek(p) == 'h' || peek(p) == 'l' || peek(p) == 'L') p->at++;
  int type = peek(p);
  p->at++;
  if (type == '%') {
    jinja_sb_cstr(&p->sb, "%");
    return;
  }
  if (type <= 0 || !strchr("sradiuoxXeEfFgGc", type)) {
    jinja_run_fail(p->r, type < 0 ? "incomplete format" : "unsupported format character");
    return;
  }
  if (!jv_given(v)) v = next_arg(p);
  s.type = type == 'i' || type == 'u' ? 'd' : (char)type;
  if (s.align == '<') s.zero = false;
  if (strchr("sra", type)) percent_text(p, &s, (char)type, v);
  else if (strchr("doxX", s.type)) percent_int(p, &s, v);
  else if (type == 'c') percent_char(p, &s, v);
  else percent_float(p, &s, v);
}

struct jval jinja_format_percent(struct jinja_run *r, const struct jstr *format, struct jval args) {
  struct percent p = {.r = r, .format = format, .args = args, .is_tuple = args.type == JV_TUPLE, .markup = format->markup};
  p.n_args = p.is_tuple ? args.list->n : 1;
  jinja_sb_init(&p.sb, r);
  while (p.at < format->len && !p.sb.over && jinja_run_step(r, 1)) {
    const char *percent = memchr(format->data + p.at, '%', format->len - p.at);
    size_t end = percent ? (size_t)(percent - format->data) : format->len;
    jinja_sb_sub(&p.sb, format, p.at, end);
    p.at = end + 1;
    if (percent) percent_directive(&p);
  }
  bool mapping = args.type == JV_DICT || args.type == JV_LIST || args.type == JV_UNDEFINED || args.type == JV_RANGE;
  if (p.next_arg < p.n_args && !mapping && !p.used_names) jinja_run_fail(r, "not all arguments converted during string formatting");
  return jv_str(jinja_str_markup(r, jinja_sb_done(r, &p.sb), format->markup));
}
