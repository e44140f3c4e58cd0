/* jinja_number: text to numbers as Python's int() and float() read it: blanks around it, underscores between digits, decimal digits of
 * every script. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "text/jinja_call.h"

/* The text without blanks around it and with ASCII digits; false when another character beyond ASCII is in it. */
static bool simplify(const struct jstr *s, struct buf *out) {
  for (size_t at = 0; at < s->len;) {
    int digit;
    uint32_t c = jinja_char_next(s, &at);
    if (jinja_char_space(c)) c = ' ';
    if (c >= 0x80 && !jinja_char_decimal(c, &digit)) return false;
    buf_add_byte(out, c < 0x80 ? (unsigned char)c : (unsigned char)('0' + digit));
  }
  while (out->len && out->data[out->len - 1] == ' ') out->data[--out->len] = '\0';
  size_t blanks = out->len ? strspn(out->data, " ") : 0;
  if (blanks) buf_drop_front(out, blanks);
  return out->len && strlen(out->data) == out->len;
}

static int digit_value(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
}

/* Skips "0x" and its kin where the base has it, and settles base 0. */
static const char *skip_prefix(const char *p, int64_t *base) {
  int kind = p[0] == '0' ? p[1] | 0x20 : 0;
  int64_t prefixed = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
  if (prefixed && (*base == 0 || *base == prefixed)) {
    *base = prefixed;
    p += 2;
    return *p == '_' ? p + 1 : p;
  }
  if (*base == 0) *base = 10;
  return p;
}

bool jinja_number_int(struct jinja_run *r, const struct jstr *s, int64_t base, int64_t *out) {
  struct buf text = {0};
  bool fine = simplify(s, &text) && (base == 0 || (base >= 2 && base <= 36)), over = false;
  const char *p = fine ? text.data : "";
  bool negative = *p == '-', any = false, auto_base = base == 0;
  if (*p == '-' || *p == '+') p++;
  bool leading_zero = *p == '0';
  const char *begin = p;
  p = skip_prefix(p, &base);
  int64_t value = 0;
  bool nonzero = false;
  for (; *p && fine; p++) {
    if (*p == '_' && any && digit_value(p[1]) < base) continue;
    int d = digit_value(*p);
    fine = d < base;
    any = true;
    nonzero = nonzero || d != 0;
    over = over || __builtin_mul_overflow(value, base, &value) || __builtin_sub_overflow(value, d, &value); /* negated: reaches further */
  }
  if (auto_base && leading_zero && base == 10 && nonzero && begin[0] == '0') fine = false; /* "012" with base 0 */
  if (fine && any && !over && !negative) over = __builtin_sub_overflow(0, value, &value);
  if (fine && any && over) jinja_run_fail(r, "the integer does not fit into 64 bits");
  buf_free(&text);
  *out = value;
  return fine && any;
}

/* [digits][.digits][e[+-]digits] with single underscores between digits, which are dropped. */
static bool check_float(struct buf *text) {
  char *to = text->data;
  bool digits = false, exponent = false, point = false, after_exponent = false;
  for (char *p = text->data; *p; p++) {
    bool after_digit = p > text->data && p[-1] >= '0' && p[-1] <= '9';
    if (*p >= '0' && *p <= '9') {
      digits = true;
      after_exponent = after_exponent || exponent;
    } else if (*p == '_') {
      if (!after_digit || p[1] < '0' || p[1] > '9') return false;
      continue;
    } else if (*p == '.') {
      if (point || exponent) return false;
      point = true;
    } else if (*p == 'e' || *p == 'E') {
      if (!digits || exponent) return false;
      exponent = true;
    } else if (*p == '+' || *p == '-') {
      if (p != text->data && (p[-1] | 0x20) != 'e') return false;
    } else {
      return false;
    }
    *to++ = *p;
  }
  *to = '\0';
  return digits && (!exponent || after_exponent);
}

bool jinja_number_float(const struct jstr *s, double *out) {
  static const char *const named[] = {"inf", "infinity", "nan"};
  struct buf text = {0};
  bool fine = simplify(s, &text);
  if (fine) {
    size_t sign = text.data[0] == '+' || text.data[0] == '-';
    bool is_named = false;
    for (int i = 0; i < 3; i++) is_named = is_named || strcasecmp(text.data + sign, named[i]) == 0;
    fine = is_named || check_float(&text);
    if (fine) *out = strtod(text.data, NULL);
  }
  buf_free(&text);
  return fine;
}
