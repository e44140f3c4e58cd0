/* jinja_ops: operators, as Python computes them. SPDX-License-Identifier: Apache-2.0
 * Integers have 64 bits; a result that does not fit is an error, never a wrong number. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_call.h"

static bool as_float(struct jval v, double *out) {
  int64_t i;
  if (v.type == JV_FLOAT) *out = v.f;
  else if (jv_as_int(v, &i)) *out = (double)i;
  else return false;
  return true;
}

static struct jval overflow(struct jinja_run *r) {
  jinja_run_fail(r, "the integer does not fit into 64 bits");
  return jv_int(0);
}

static struct jval no_operator(struct jinja_run *r, enum jinja_tok op, struct jval a, struct jval b) {
  if (a.type == JV_BIG || b.type == JV_BIG) return overflow(r);
  if (a.type == JV_UNDEFINED || b.type == JV_UNDEFINED) jinja_val_use_undefined(r, a.type == JV_UNDEFINED ? a : b);
  jinja_run_fail(r, "unsupported operand types for %s: '%s' and '%s'", jinja_lex_name(op), jinja_val_type_name(a), jinja_val_type_name(b));
  return jv_undefined();
}

/* ---- numbers ---- */

static struct jval divide_by_zero(struct jinja_run *r) {
  jinja_run_fail(r, "division by zero");
  return jv_int(0);
}

/* 2 ** 63 as a bound of what powers reach. */
static struct jval int_power(struct jinja_run *r, int64_t base, int64_t exponent) {
  int64_t result = 1;
  if (exponent < 0) {
    if (base == 0) return divide_by_zero(r);
    return jv_float(pow((double)base, (double)exponent));
  }
  while (exponent) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return overflow(r);
    exponent >>= 1;
    if (exponent && __builtin_mul_overflow(base, base, &base)) return overflow(r);
  }
  return jv_int(result);
}

/* The double nearest to a / b, also where a or b is none itself: 55 bits of the quotient and one for what is left, rounded once. */
static double int_quotient(int64_t a, int64_t b) {
  uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b;
  if (x == 0) return 0;
  int shift = 55 + __builtin_clzll(x) - __builtin_clzll(y);
  if (shift < 0) shift = 0;
  unsigned __int128 scaled = (unsigned __int128)x << shift;
  uint64_t quotient = (uint64_t)(scaled / y) | (scaled % y != 0);
  double magnitude = ldexp((double)quotient, -shift);
  return (a < 0) != (b < 0) ? -magnitude : magnitude;
}

static struct jval int_op(struct jinja_run *r, enum jinja_tok op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool over = false;
  switch (op) {
    case TOK_ADD: over = __builtin_add_overflow(a, b, &out); break;
    case TOK_SUB: over = __builtin_sub_overflow(a, b, &out); break;
    case TOK_MUL: over = __builtin_mul_overflow(a, b, &out); break;
    case TOK_DIV: return b ? jv_float(int_quotient(a, b)) : divide_by_zero(r);
    case TOK_POW: return int_power(r, a, b);
    default:
      if (b == 0) return divide_by_zero(r);
      if (b == -1) { /* INT64_MIN / -1 does not fit */
        over = op == TOK_FLOORDIV && __builtin_sub_overflow(0, a, &out);
        break;
      }
      out = op == TOK_FLOORDIV ? a / b - (a % b != 0 && (a < 0) != (b < 0)) : a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
      break;
  }
  return over ? overflow(r) : jv_int(out);
}

static double float_mod(double a, double b) {
  double mod = fmod(a, b);
  if (mod == 0) return copysign(0, b);
  return (b < 0) != (mod < 0) ? mod + b : mod;
}

static double float_floor_div(double a, double b) {
  double mod = fmod(a, b), div = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) div -= 1;
  if (div == 0) return copysign(0, a / b);
  double whole = floor(div);
  return div - whole > 0.5 ? whole + 1 : whole;
}

static struct jval float_power(struct jinja_run *r, double a, double b) {
  if (a == 0 && b < 0) return divide_by_zero(r);
  double p = pow(a, b);
  if (isnan(p) && !isnan(a) && !isnan(b)) jinja_run_fail(r, "the result is a complex number, which is not supported");
  if (isinf(p) && !isinf(a) && !isinf(b)) jinja_run_fail(r, "numerical result out of range");
  return jv_float(p);
}

static struct jval float_op(struct jinja_run *r, enum jinja_tok op, double a, double b) {
  switch (op) {
    case TOK_ADD: return jv_float(a + b);
    case TOK_SUB: return jv_float(a - b);
    case TOK_MUL: return jv_float(a * b);
    case TOK_POW: return float_power(r, a, b);
    default: break;
  }
  if (b == 0) return divide_by_zero(r);
  return jv_float(op == TOK_DIV ? a / b : op == TOK_MOD ? float_mod(a, b) : float_floor_div(a, b));
}

static struct jval round_float(double f, int64_t digits) {
  char text[400];
  if (!isfinite(f) || digits > 320) return jv_float(f);
  if (digits >= 0) {
    snprintf(text, sizeof text, "%.*f", (int)digits, f); /* exact, ties to even */
    return jv_float(strtod(text, NULL));
  }
  int exponent = f == 0 ? 0 : (int)floor(log10(fabs(f)));
  if (digits < -320 || exponent + digits < -1) return jv_float(copysign(0, f));
  if (exponent + digits < 0) { /* the leading digit itself decides */
    double unit = pow(10, (double)-digits);
    return jv_float(copysign(fabs(f) > unit / 2 ? unit : 0, f));
  }
  snprintf(text, sizeof text, "%.*e", (int)(exponent + digits), f);
  return jv_float(strtod(text, NULL));
}

struct jval jinja_ops_round(struct jinja_run *r, struct jval v, int64_t digits) {
  int64_t i;
  if (v.type == JV_FLOAT) return round_float(v.f, digits);
  if (v.type == JV_BIG) return digits >= 0 ? v : overflow(r);
  if (!jv_as_int(v, &i)) {
    if (v.type == JV_UNDEFINED) jinja_val_use_undefined(r, v);
    jinja_run_fail(r, "type %s doesn't define __round__ method", jinja_val_type_name(v));
    return jv_int(0);
  }
  if (digits >= 0) return jv_int(i);
  if (digits < -18) return jv_int(0);
  int64_t unit = 1;
  while (digits++ < 0) unit *= 10;
  int64_t low = int_op(r, TOK_MOD, i, unit).i, base = i - low, half = unit / 2;
  bool up = low > half || (low == half && base / unit % 2 != 0);
  return up ? int_op(r, TOK_ADD, base, unit) : jv_int(base);
}

/* ---- strings and lists ---- */

static struct jval add_strings(struct jinja_run *r, const struct jstr *a, const struct jstr *b) {
  if (!a->markup && !b->markup) return jv_str(jinja_str_concat(r, a, b));
  return jv_str(jinja_str_markup(r, jinja_str_concat(r, jinja_str_escape(r, a), jinja_str_escape(r, b)), true));
}

static struct jval add_lists(struct jinja_run *r, struct jval a, struct jval b) {
  struct jlist *sum = jinja_val_list(r, a.list->n + b.list->n);
  if (sum->n) {
    for (size_t i = 0; i < a.list->n; i++) sum->items[i] = a.list->items[i];
    for (size_t i = 0; i < b.list->n; i++) sum->items[a.list->n + i] = b.list->items[i];
  }
  return (struct jval){.type = a.type, .list = sum};
}

static struct jval repeat(struct jinja_run *r, struct jval v, int64_t count) {
  if (v.type == JV_STR) return jv_str(jinja_str_repeat(r, v.str, count));
  size_t n = 0;
  if (count > 0 && __builtin_mul_overflow(v.list->n, (size_t)count, &n)) n = SIZE_MAX / sizeof(struct jval);
  struct jlist *out = jinja_val_list(r, n);
  for (size_t i = 0; i < out->n; i++) out->items[i] = v.list->items[i % v.list->n];
  return (struct jval){.type = v.type, .list = out};
}

struct jval jinja_ops_binary(struct jinja_run *r, enum jinja_tok op, struct jval a, struct jval b) {
  int64_t ai = 0, bi = 0;
  double af, bf;
  if (jv_as_int(a, &ai) && jv_as_int(b, &bi)) return int_op(r, op, ai, bi);
  if (as_float(a, &af) && as_float(b, &bf)) return float_op(r, op, af, bf);
  if (op == TOK_ADD && jv_is_str(a) && jv_is_str(b)) return add_strings(r, a.str, b.str);
  if (op == TOK_ADD && a.type == b.type && jv_is_seq(a)) return add_lists(r, a, b);
  if (op == TOK_MOD && jv_is_str(a)) return jinja_format_percent(r, a.str, b);
  if (op == TOK_MUL && (jv_is_str(a) || jv_is_seq(a)) && jv_as_int(b, &bi)) return repeat(r, a, bi);
  if (op == TOK_MUL && (jv_is_str(b) || jv_is_seq(b)) && jv_as_int(a, &ai)) return repeat(r, b, ai);
  return no_operator(r, op, a, b);
}

struct jval jinja_ops_unary(struct jinja_run *r, enum jinja_tok op, struct jval a) {
  int64_t i;
  if (jv_as_int(a, &i)) return op == TOK_SUB ? int_op(r, TOK_SUB, 0, i) : jv_int(i);
  if (a.type == JV_FLOAT) return jv_float(op == TOK_SUB ? -a.f : a.f);
  if (a.type == JV_BIG) return op == TOK_SUB ? overflow(r) : a;
  if (a.type == JV_UNDEFINED) jinja_val_use_undefined(r, a);
  jinja_run_fail(r, "bad operand type for unary %s: '%s'", jinja_lex_name(op), jinja_val_type_name(a));
  return jv_undefined();
}

/* ---- comparison ---- */

static bool in_range(const struct jrange *range, int64_t i) {
  if (range->n == 0) return false;
  bool up = range->step > 0;
  int64_t last = jv_range_at(range, range->n - 1), low = up ? range->start : last, high = up ? last : range->start;
  uint64_t distance = up ? (uint64_t)i - (uint64_t)range->start : (uint64_t)range->start - (uint64_t)i;
  uint64_t step = up ? (uint64_t)range->step : 0 - (uint64_t)range->step;
  return i >= low && i <= high && distance % step == 0;
}

static bool in_string(struct jinja_run *r, const struct jstr *s, struct jval item) {
  if (!jv_is_str(item)) {
    jinja_run_fail(r, "'in <string>' requires string as left operand, not %s", jinja_val_type_name(item));
    return false;
  }
  jinja_run_bytes(r, s->len);
  return jinja_str_find(s, 0, s->len, jinja_str_slice(item.str)) != SIZE_MAX;
}

bool jinja_ops_contains(struct jinja_run *r, struct jval container, struct jval item) {
  int64_t i;
  if (jv_is_str(container)) return in_string(r, container.str, item);
  bool keys = container.type == JV_VIEW && container.view->kind == JVIEW_KEYS;
  if (container.type == JV_DICT || keys) {
    if (!jinja_val_hashable(item)) jinja_run_fail(r, "unhashable type: '%s'", jinja_val_type_name(item));
    return !r->failed && jinja_val_get(r, keys ? container.view->dict : container.dict, item);
  }
  if (container.type == JV_RANGE && jv_as_int(item, &i)) return in_range(container.range, i);
  struct jiter *it = jinja_iter_try(r, container);
  if (!it) jinja_run_fail(r, "argument of type '%s' is not iterable", jinja_val_type_name(container));
  struct jval each;
  while (it && jinja_iter_next(r, it, &each))
    if (jinja_val_same(each, item) || jinja_val_equal(r, each, item)) return true;
  return false;
}

bool jinja_ops_compare(struct jinja_run *r, enum jinja_compare op, struct jval a, struct jval b) {
  switch (op) {
    case CMP_EQ: return jinja_val_equal(r, a, b);
    case CMP_NE: return !jinja_val_equal(r, a, b);
    case CMP_LT: return jinja_val_less(r, a, b);
    case CMP_GT: return jinja_val_less(r, b, a);
    case CMP_LE: return jinja_val_less(r, a, b) || jinja_val_equal(r, a, b);
    case CMP_GE: return jinja_val_less(r, b, a) || jinja_val_equal(r, a, b);
    case CMP_IN: return jinja_ops_contains(r, b, a);
    case CMP_NOT_IN: return !jinja_ops_contains(r, b, a);
  }
  return false;
}
