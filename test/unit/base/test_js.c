/* Tests of base/js. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/js.h"
#include "check.h"

static struct js *parse(const char *text) {
  struct error err;
  struct js *v = js_parse(slice_cstr(text), &err);
  if (!v) fail_msg("%s: %s", text, err.message);
  return v;
}

static void expect_refused(struct slice text, const char *part) {
  struct error err = {0};
  struct js *v = js_parse(text, &err);
  if (v) fail_msg("accepted: %.*s", SLICE_ARG(text));
  assert_int_equal(err.code, ERROR_INVALID);
  if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void every_type_is_told_apart(void **state) {
  (void)state;
  struct js *v = parse("[null, false, true, -7, 1.5, \"s\", [1], {\"k\": 2}]");
  static const enum js_type types[] = {JS_NULL, JS_FALSE, JS_TRUE, JS_INT, JS_REAL, JS_STRING, JS_ARRAY, JS_OBJECT};
  static const char *const names[] = {"null", "boolean", "boolean", "integer", "number", "string", "array", "object"};
  assert_int_equal(js_len(v), 8);
  for (size_t i = 0; i < 8; i++) {
    assert_int_equal(js_type(js_at(v, i)), types[i]);
    assert_string_equal(js_type_name(js_at(v, i)), names[i]);
    struct slice s = SLICE("old");
    int64_t n = 99;
    double d = 99;
    bool b = true;
    assert_int_equal(js_str(js_at(v, i), &s), i == 5);
    assert_int_equal(js_int(js_at(v, i), &n), i == 3);
    assert_int_equal(js_real(js_at(v, i), &d), i == 3 || i == 4);
    assert_int_equal(js_bool(js_at(v, i), &b), i == 1 || i == 2);
    if (i != 5) assert_true(slice_eq(s, SLICE("old")));
    if (i != 3) assert_int_equal(n, 99);
  }
  assert_null(js_at(v, 8));
  assert_int_equal(js_type(NULL), JS_NONE);
  assert_string_equal(js_type_name(NULL), "nothing");
  assert_int_equal(js_len(NULL), 0);
  assert_null(js_get(NULL, "k"));
  assert_null(js_get(v, "k"));
  assert_null(js_at(js_at(v, 7), 0));
  js_free(v);
  js_free(NULL);
}

static void members_keep_their_order_and_are_found(void **state) {
  (void)state;
  struct js *v = parse("{\"z\":1,\"a\":2,\"\":3,\"m\":4}");
  static const char *const keys[] = {"z", "a", "", "m"};
  int n = 0;
  for (void *it = js_iter(v); it; it = js_iter_next(v, it), n++) {
    struct slice key;
    const struct js *member;
    int64_t number;
    js_iter_get(it, &key, &member);
    assert_true(slice_eq(key, slice_cstr(keys[n])));
    assert_true(js_int(member, &number));
    assert_int_equal(number, n + 1);
    assert_ptr_equal(js_get(v, keys[n]), member);
    assert_ptr_equal(js_getn(v, key), member);
  }
  assert_int_equal(n, 4);
  assert_null(js_getn(v, SLICE("zz")));
  assert_null(js_iter(js_get(v, "z")));
  js_free(v);
}

static void duplicate_keys_are_refused(void **state) {
  (void)state;
  expect_refused(SLICE("{\"a\":1,\"a\":1}"), "duplicate");
  expect_refused(SLICE("[{\"b\":{\"\\u0061\":1,\"a\":2}}]"), "duplicate");
}

static void depth_is_bounded_before_the_parser_recurses(void **state) {
  (void)state;
  struct buf b = {0};
  for (int i = 0; i < JS_DEPTH_MAX; i++) buf_add_byte(&b, '[');
  for (int i = 0; i < JS_DEPTH_MAX; i++) buf_add_byte(&b, ']');
  struct js *v = parse(b.data);
  js_free(v);
  buf_clear(&b);
  for (int i = 0; i < JS_DEPTH_MAX + 1; i++) buf_add_byte(&b, '[');
  expect_refused(buf_view(&b), "nested more than 128 levels");
  buf_clear(&b);
  for (int i = 0; i < 1000000; i++) buf_add_cstr(&b, "{\"a\":[");
  expect_refused(buf_view(&b), "nested more than 128 levels");
  buf_clear(&b);
  buf_add_byte(&b, '"');
  for (int i = 0; i < 1000; i++) buf_add_cstr(&b, "[{\\\"");
  buf_add_byte(&b, '"');
  js_free(parse(b.data)); /* brackets within a string do not nest */
  buf_free(&b);
}

static void strings_may_hold_nul_and_escapes(void **state) {
  (void)state;
  struct js *v = parse("\"a\\u0000b\\ud83d\\ude00\\n\"");
  struct slice s;
  assert_true(js_str(v, &s));
  assert_true(slice_eq(s, SLICE("a\0b\xF0\x9F\x98\x80\n")));
  js_free(v);
  expect_refused(SLICE("{\"a\\u0000b\":1}"), "NUL");
  expect_refused(SLICE("\"a\0b\""), "not valid JSON");
  expect_refused(SLICE("\"\\ud83d\""), "not valid JSON");
  expect_refused(SLICE("\"\xFF\""), "not valid JSON");
  expect_refused(SLICE("\"\xED\xA0\x80\""), "not valid JSON");
  expect_refused(SLICE("\"a\nb\""), "not valid JSON");
}

static void numbers_follow_the_grammar_and_the_range(void **state) {
  (void)state;
  struct js *v = parse("[9223372036854775807,-9223372036854775808,0,-0.0,1e3,2.5E-1,1e-400]");
  int64_t n;
  double d;
  assert_true(js_int(js_at(v, 0), &n) && n == INT64_MAX);
  assert_true(js_int(js_at(v, 1), &n) && n == INT64_MIN);
  assert_true(js_real(js_at(v, 3), &d) && d == 0);
  assert_true(js_real(js_at(v, 4), &d) && d == 1000);
  assert_false(js_int(js_at(v, 4), &n));
  assert_true(js_real(js_at(v, 5), &d) && d == 0.25);
  js_free(v);
  static const char *const bad[] = {
      "01",    "+1",     ".5", "1.",       "1e",  "0x10",    "NaN",       "Infinity", "-",   "00000000000000000000001",
      "1e999", "",       " ",  "[1,]",     "{,}", "[1 2]",   "{\"a\"}",   "{a:1}",    "'a'", "[1]x",
      "nul",   "//x\n1", "[",  "{\"a\":1", "\"a", "\"\\x\"", "\"\\u12\"", "tru\0e"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) expect_refused(slice_cstr(bad[i]), "not valid JSON");
  expect_refused(slice_make(NULL, 0), "not valid JSON");
}

/* Files have them: tokenizer_config.json writes 10^30 where it means "no limit". */
static void an_integer_beyond_64_bits_is_a_real_that_keeps_its_digits(void **state) {
  (void)state;
  struct js *v = parse(
      "[9223372036854775808, -9223372036854775809, 1000000000000000019884624838656, -9223372036854775808, \"9\\\"9223372036854775808\"]");
  const double wants[] = {9223372036854775808.0, -9223372036854775808.0, 1e30};
  for (size_t i = 0; i < 3; i++) {
    double got = 0;
    assert_int_equal(js_type(js_at(v, i)), JS_REAL);
    assert_true(js_real(js_at(v, i), &got) && got == wants[i]);
  }
  int64_t n;
  struct slice s;
  assert_true(js_wide(js_at(v, 0), &s) && slice_eq(s, SLICE("9223372036854775808")));
  assert_true(js_wide(js_at(v, 1), &s) && slice_eq(s, SLICE("-9223372036854775809")));
  assert_true(js_wide(js_at(v, 2), &s) && slice_eq(s, SLICE("1000000000000000019884624838656")));
  assert_false(js_str(js_at(v, 0), &s));
  assert_false(js_int(js_at(v, 0), &n));
  assert_false(js_wide(js_at(v, 3), &s) || js_wide(js_at(v, 4), &s) || js_wide(NULL, &s));
  assert_true(js_int(js_at(v, 3), &n) && n == INT64_MIN);
  assert_true(js_str(js_at(v, 4), &s) && slice_eq(s, SLICE("9\"9223372036854775808")));
  js_free(v);
}

static void wide_integers_keep_their_place_among_other_values(void **state) {
  (void)state;
  static const char text[] =
      "{\"a\": [1, 99999999999999999999, {\"9\": -99999999999999999999}, 2.5], \"b\": \"99999999999999999999\", \"c\": "
      "18446744073709551615, \"d\": 7}";
  struct js *v = parse(text);
  struct slice s;
  int64_t n;
  double d;
  const struct js *a = js_get(v, "a");
  assert_true(js_int(js_at(a, 0), &n) && n == 1);
  assert_true(js_wide(js_at(a, 1), &s) && slice_eq(s, SLICE("99999999999999999999")));
  assert_true(js_wide(js_get(js_at(a, 2), "9"), &s) && slice_eq(s, SLICE("-99999999999999999999")));
  assert_true(js_real(js_at(a, 3), &d) && d == 2.5 && !js_wide(js_at(a, 3), &s));
  assert_true(js_str(js_get(v, "b"), &s) && slice_eq(s, SLICE("99999999999999999999")));
  assert_true(js_wide(js_get(v, "c"), &s) && slice_eq(s, SLICE("18446744073709551615")));
  assert_true(js_int(js_get(v, "d"), &n) && n == 7);
  js_free(v);
  v = parse("-123456789012345678901234567890");
  assert_true(js_wide(v, &s) && slice_eq(s, SLICE("-123456789012345678901234567890")));
  js_free(v);
  static const char *const bad[] = {"[99999999999999999999, 099999999999999999999]", "[99999999999999999999, -]",
                                    "[99999999999999999999, 1e999]", "[-099999999999999999999]", "[99999999999999999999 1]"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) expect_refused(slice_cstr(bad[i]), "not valid JSON");
}

static void errors_name_the_place(void **state) {
  (void)state;
  expect_refused(SLICE("{\n \"a\": x}"), "line 2, column 7");
}

static void white_space_around_is_fine(void **state) {
  (void)state;
  js_free(parse(" \t\r\n{ } \n"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_type_is_told_apart),
      cmocka_unit_test(members_keep_their_order_and_are_found),
      cmocka_unit_test(duplicate_keys_are_refused),
      cmocka_unit_test(depth_is_bounded_before_the_parser_recurses),
      cmocka_unit_test(strings_may_hold_nul_and_escapes),
      cmocka_unit_test(numbers_follow_the_grammar_and_the_range),
      cmocka_unit_test(wide_integers_keep_their_place_among_other_values),
      cmocka_unit_test(an_integer_beyond_64_bits_is_a_real_that_keeps_its_digits),
      cmocka_unit_test(errors_name_the_place),
      cmocka_unit_test(white_space_around_is_fine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
