/* jinja_test: the tests behind `is`. SPDX-License-Identifier: Apache-2.0 */
#include "text/jinja_call.h"

#define TEST(name) static struct jval name(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest)
#define UNUSED (void)r, (void)self, (void)a, (void)rest

static struct jval modulo_is(struct jinja_run *r, struct jval v, struct jval by, int64_t wanted) {
  return jv_bool(jinja_val_equal(r, jinja_ops_binary(r, TOK_MOD, v, by), jv_int(wanted)));
}

TEST(is_odd) {
  UNUSED;
  return modulo_is(r, self, jv_int(2), 1);
}
TEST(is_even) {
  UNUSED;
  return modulo_is(r, self, jv_int(2), 0);
}
TEST(is_divisible) {
  UNUSED;
  return modulo_is(r, self, a[0], 0);
}
TEST(is_defined) {
  UNUSED;
  return jv_bool(self.type != JV_UNDEFINED);
}
TEST(is_undefined) {
  UNUSED;
  return jv_bool(self.type == JV_UNDEFINED);
}
TEST(is_none) {
  UNUSED;
  return jv_bool(self.type == JV_NONE);
}
TEST(is_boolean) {
  UNUSED;
  return jv_bool(self.type == JV_BOOL);
}
TEST(is_true) {
  UNUSED;
  return jv_bool(self.type == JV_BOOL && self.b);
}
TEST(is_false) {
  UNUSED;
  return jv_bool(self.type == JV_BOOL && !self.b);
}
TEST(is_integer) {
  UNUSED;
  return jv_bool(self.type == JV_INT || self.type == JV_BIG);
}
TEST(is_float) {
  UNUSED;
  return jv_bool(self.type == JV_FLOAT);
}
TEST(is_number) {
  UNUSED;
  return jv_bool(self.type == JV_INT || self.type == JV_BIG || self.type == JV_FLOAT || self.type == JV_BOOL);
}
TEST(is_string) {
  UNUSED;
  return jv_bool(jv_is_str(self));
}
TEST(is_mapping) {
  UNUSED;
  return jv_bool(self.type == JV_DICT);
}
TEST(is_sequence) {
  UNUSED;
  return jv_bool(jv_is_seq(self) || jv_is_str(self) || self.type == JV_DICT || self.type == JV_RANGE || self.type == JV_UNDEFINED);
}
TEST(is_iterable) {
  UNUSED;
  return jv_bool(jinja_iter_try(r, self) != NULL);
}
TEST(is_callable) {
  UNUSED;
  return jv_bool(jinja_call_callable(self));
}
TEST(is_escaped) {
  UNUSED;
  return jv_bool(jv_is_str(self) && self.str->markup);
}
TEST(is_lower) {
  UNUSED;
  const struct jstr *s = jinja_repr_str(r, self);
  return jv_bool(jinja_run_chars(r, s->len) && jinja_strmethod_is_case(s, false));
}
TEST(is_upper) {
  UNUSED;
  const struct jstr *s = jinja_repr_str(r, self);
  return jv_bool(jinja_run_chars(r, s->len) && jinja_strmethod_is_case(s, true));
}
TEST(is_same) {
  UNUSED;
  return jv_bool(jinja_val_same(self, a[0]));
}
/* Python looks a name up in a dictionary, which a list cannot be. */
static struct jval named(struct jinja_run *r, struct jval self, const struct jinja_builtin *(*find)(struct slice name)) {
  if (!jinja_val_hashable(self)) jinja_run_fail(r, "unhashable type: '%s'", jinja_val_type_name(self));
  return jv_bool(jv_is_str(self) && find(jinja_str_slice(self.str)));
}

TEST(is_filter) {
  UNUSED;
  return named(r, self, jinja_filter_find);
}
TEST(is_test) {
  UNUSED;
  return named(r, self, jinja_test_find);
}
TEST(is_in) {
  UNUSED;
  return jv_bool(jinja_ops_contains(r, a[0], self));
}

#define COMPARISON(name, op)                              \
  TEST(name) {                                            \
    UNUSED;                                               \
    return jv_bool(jinja_ops_compare(r, op, self, a[0])); \
  }
COMPARISON(is_eq, CMP_EQ)
COMPARISON(is_ne, CMP_NE)
COMPARISON(is_lt, CMP_LT)
COMPARISON(is_le, CMP_LE)
COMPARISON(is_gt, CMP_GT)
COMPARISON(is_ge, CMP_GE)

static const struct jinja_builtin tests[] = {
    {"defined", "", is_defined},
    {"none", "", is_none},
    {"string", "", is_string},
    {"mapping", "", is_mapping},
    {"iterable", "", is_iterable},
    {"sequence", "", is_sequence},
    {"undefined", "", is_undefined},
    {"true", "", is_true},
    {"false", "", is_false},
    {"boolean", "", is_boolean},
    {"integer", "", is_integer},
    {"float", "", is_float},
    {"number", "", is_number},
    {"odd", "", is_odd},
    {"even", "", is_even},
    {"divisibleby", "num", is_divisible},
    {"callable", "", is_callable},
    {"escaped", "", is_escaped},
    {"lower", "", is_lower},
    {"upper", "", is_upper},
    {"sameas", "other", is_same},
    {"filter", "", is_filter},
    {"test", "", is_test},
    {"in", "seq", is_in},
    {"==", "_b", is_eq},
    {"eq", "_b", is_eq},
    {"equalto", "_b", is_eq},
    {"!=", "_b", is_ne},
    {"ne", "_b", is_ne},
    {">", "_b", is_gt},
    {"gt", "_b", is_gt},
    {"greaterthan", "_b", is_gt},
    {">=", "_b", is_ge},
    {"ge", "_b", is_ge},
    {"<", "_b", is_lt},
    {"lt", "_b", is_lt},
    {"lessthan", "_b", is_lt},
    {"<=", "_b", is_le},
    {"le", "_b", is_le},
    {NULL, NULL, NULL},
};

const struct jinja_builtin *jinja_test_find(struct slice name) { return jinja_call_lookup(tests, name); }
