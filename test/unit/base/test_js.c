/* Tests of base/js and base/jsonw: strict reading, writing that always is valid JSON. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "base/js.h"
#include "base/jsonw.h"

static void refuse(struct slice text) {
  struct error err = {0};
  assert_null(js_parse(text, &err));
  assert_int_equal(err.code, ERROR_INVALID);
  assert_true(strlen(err.message) > 10);
}

static void what_is_not_strict_json_is_refused_with_a_sentence(void **state) {
  (void)state;
  static const char *const texts[] = {"",        "{",        "[1,]", "{\"a\":1,}",        "{a:1}", "'a'",         "01",       "1 2", "nul",
                                      "\"\\x\"", "\"a\nb\"", "[1}",  "{\"a\":1,\"a\":2}", "NaN",   "\"\\ud800\"", "\"\xFF\"", "+1",  ".5",
                                      "// x\n1"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) refuse(slice_cstr(texts[i]));
  refuse(slice_make(NULL, 0));
}

static void nesting_deeper_than_the_limit_is_refused_before_it_is_parsed(void **state) {
  (void)state;
  struct buf deep = {0};
  for (int i = 0; i < JS_DEPTH_MAX; i++) buf_add_byte(&deep, '[');
  for (int i = 0; i < JS_DEPTH_MAX; i++) buf_add_byte(&deep, ']');
  struct js *at_limit = js_parse(buf_view(&deep), NULL);
  assert_non_null(at_limit);
  js_free(at_limit);
  buf_clear(&deep);
  for (int i = 0; i < 1000000; i++) buf_add_byte(&deep, '[');
  refuse(buf_view(&deep));
  buf_free(&deep);
}

static void values_have_their_types_and_nothing_is_converted(void **state) {
  (void)state;
  struct js *v = js_parse(SLICE("{\"i\":-7,\"r\":2.5,\"s\":\"a\\u0000b\",\"t\":true,\"n\":null,\"l\":[1,2],\"o\":{}}"), NULL);
  assert_non_null(v);
  int64_t i = 0;
  double r = 0;
  struct slice s;
  bool b = false;
  assert_true(js_int(js_get(v, "i"), &i));
  assert_int_equal(i, -7);
  assert_false(js_int(js_get(v, "r"), &i));
  assert_true(js_real(js_get(v, "r"), &r) && r == 2.5);
  assert_true(js_real(js_get(v, "i"), &r) && r == -7);
  assert_true(js_str(js_get(v, "s"), &s) && slice_eq(s, slice_make("a\0b", 3)));
  assert_true(js_bool(js_get(v, "t"), &b) && b);
  assert_false(js_bool(js_get(v, "i"), &b));
  assert_int_equal(js_type(js_get(v, "n")), JS_NULL);
  assert_int_equal(js_type(js_get(v, "absent")), JS_NONE);
  assert_int_equal(js_len(js_get(v, "l")), 2);
  assert_null(js_at(js_get(v, "l"), 2));
  assert_null(js_get(js_get(v, "l"), "i"));
  js_free(v);
}

static void members_are_walked_in_the_order_of_the_text(void **state) {
  (void)state;
  struct js *v = js_parse(SLICE("{\"z\":1,\"a\":2,\"m\":3}"), NULL);
  struct buf keys = {0};
  for (void *it = js_iter(v); it; it = js_iter_next(v, it)) {
    struct slice key;
    const struct js *value;
    js_iter_get(it, &key, &value);
    buf_add_slice(&keys, key);
  }
  assert_string_equal(keys.data, "zam");
  buf_free(&keys);
  js_free(v);
}

static void a_written_document_is_read_back_with_the_same_values(void **state) {
  (void)state;
  struct buf out = {0};
  struct jsonw w = {.out = &out};
  jsonw_object_begin(&w);
  jsonw_key_str(&w, "text", SLICE("quote \" slash \\ line \n tab \t nul \0 bell \a \xE2\x82\xAC"));
  jsonw_key_int(&w, "low", INT64_MIN);
  jsonw_key_real(&w, "nan", NAN);
  jsonw_key_bool(&w, "no", false);
  jsonw_key(&w, "list");
  jsonw_array_begin(&w);
  jsonw_null(&w);
  jsonw_array_begin(&w);
  jsonw_array_end(&w);
  jsonw_int(&w, 1);
  jsonw_array_end(&w);
  jsonw_key_str(&w, "broken", SLICE("a\xFFz"));
  jsonw_object_end(&w);
  struct error err = {0};
  struct js *v = js_parse(buf_view(&out), &err);
  if (!v) fail_msg("%s: %s", err.message, out.data);
  struct slice s;
  int64_t low;
  assert_true(js_str(js_get(v, "text"), &s));
  assert_true(slice_eq(s, SLICE("quote \" slash \\ line \n tab \t nul \0 bell \a \xE2\x82\xAC")));
  assert_true(js_int(js_get(v, "low"), &low) && low == INT64_MIN);
  assert_int_equal(js_type(js_get(v, "nan")), JS_NULL);
  assert_true(js_str(js_get(v, "broken"), &s) && slice_eq(s, SLICE("a\xEF\xBF\xBDz")));
  struct buf again = {0};
  struct jsonw w2 = {.out = &again};
  jsonw_value(&w2, v);
  assert_string_equal(again.data, out.data);
  js_free(v);
  buf_free(&out);
  buf_free(&again);
}

static void numbers_are_written_short_and_read_back_exactly(void **state) {
  (void)state;
  static const double values[] = {0.0, -0.0, 1.0, 0.1, 1.0 / 3, 1e21, 1e-7, DBL_MIN, DBL_MAX, DBL_EPSILON, 5e-324, 123456789012345680.0};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    struct buf out = {0};
    struct jsonw w = {.out = &out};
    jsonw_real(&w, values[i]);
    assert_true(strtod(out.data, NULL) == values[i]);
    struct js *v = js_parse(buf_view(&out), NULL);
    assert_non_null(v);
    js_free(v);
    buf_free(&out);
  }
  uint32_t bits = 1;
  for (int i = 0; i < 20000; i++) {
    bits = bits * 1664525u + 1013904223u;
    float f;
    memcpy(&f, &bits, 4);
    if (!isfinite(f)) continue;
    struct buf out = {0};
    struct jsonw w = {.out = &out};
    jsonw_float(&w, f);
    assert_true(strtof(out.data, NULL) == f);
    assert_true(out.len <= 16);
    buf_free(&out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_not_strict_json_is_refused_with_a_sentence),
      cmocka_unit_test(nesting_deeper_than_the_limit_is_refused_before_it_is_parsed),
      cmocka_unit_test(values_have_their_types_and_nothing_is_converted),
      cmocka_unit_test(members_are_walked_in_the_order_of_the_text),
      cmocka_unit_test(a_written_document_is_read_back_with_the_same_values),
      cmocka_unit_test(numbers_are_written_short_and_read_back_exactly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
