/* Tests of base/jsonw. SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>

#include "base/jsonw.h"
#include "base/utf8.h"
#include "check.h"

static void commas_are_placed_by_the_writer(void **state) {
  (void)state;
  struct buf b = {0};
  struct jsonw w = {.out = &b};
  jsonw_object_begin(&w);
  jsonw_key_int(&w, "a", -1);
  jsonw_key(&w, "b");
  jsonw_array_begin(&w);
  jsonw_array_begin(&w);
  jsonw_array_end(&w);
  jsonw_object_begin(&w);
  jsonw_object_end(&w);
  jsonw_null(&w);
  jsonw_bool(&w, true);
  jsonw_raw(&w, SLICE("[1,2]"));
  jsonw_array_end(&w);
  jsonw_key_cstr(&w, "c", NULL);
  jsonw_key_str(&w, "d", SLICE("x"));
  jsonw_key_bool(&w, "e", false);
  jsonw_key_null(&w, "f");
  jsonw_key_real(&w, "g", 0.5);
  jsonw_key_slice(&w, SLICE("h\""));
  jsonw_cstr(&w, "i");
  jsonw_object_end(&w);
  assert_string_equal(b.data,
                      "{\"a\":-1,\"b\":[[],{},null,true,[1,2]],\"c\":null,\"d\":\"x\",\"e\":false,\"f\":null,\"g\":0.5,\"h\\\"\":\"i\"}");
  buf_free(&b);
}

static void strings_are_escaped_and_always_valid(void **state) {
  (void)state;
  struct buf b = {0};
  struct jsonw w = {.out = &b};
  jsonw_str(&w, SLICE("a\"\\/\b\f\n\r\t\0\x1F\x7F\xE2\x82\xAC\xF0\x9F\x98\x80|\xFF|\xE2\x82|\xED\xA0\x80|"));
  assert_string_equal(b.data,
                      "\"a\\\"\\\\/"
                      "\\u0008\\u000c\\n\\r\\t\\u0000\\u001f\x7F\xE2\x82\xAC\xF0\x9F\x98\x80|\xEF\xBF\xBD|\xEF\xBF\xBD|"
                      "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD|\"");
  buf_free(&b);
}

static void every_string_reads_back(void **state) {
  (void)state;
  for (int c = 0; c < 0x400; c++) {
    char raw[1 + 4] = {'<'};
    size_t n = 1 + utf8_put(raw + 1, (uint32_t)c);
    struct buf b = {0};
    struct jsonw w = {.out = &b};
    struct slice back;
    jsonw_str(&w, slice_make(raw, n));
    struct js *v = js_parse(buf_view(&b), NULL);
    assert_true(js_str(v, &back) && slice_eq(back, slice_make(raw, n)));
    js_free(v);
    buf_free(&b);
  }
}

static const char *real_text(double v, bool as_float) {
  static char text[64];
  struct buf b = {0};
  struct jsonw w = {.out = &b};
  if (as_float) jsonw_float(&w, (float)v);
  else jsonw_real(&w, v);
  snprintf(text, sizeof text, "%s", b.data);
  buf_free(&b);
  return text;
}

static void numbers_are_written_short(void **state) {
  (void)state;
  assert_string_equal(real_text(0.1, false), "0.1");
  assert_string_equal(real_text(1, false), "1");
  assert_string_equal(real_text(-0.0, false), "-0");
  assert_string_equal(real_text(1e21, false), "1e+21");
  assert_string_equal(real_text(1.0 / 3, false), "0.3333333333333333");
  assert_string_equal(real_text(5e-324, false), "5e-324");
  assert_string_equal(real_text(0.1f, true), "0.1");
  assert_string_equal(real_text(-3.4028234e38f, true), "-3.4028235e+38");
  assert_string_equal(real_text(1e-45f, true), "1e-45");
  assert_string_equal(real_text(NAN, false), "null");
  assert_string_equal(real_text(-INFINITY, true), "null");
}

static void random_numbers_read_back_and_no_shorter_text_does(void **state) {
  (void)state;
  uint64_t x = 88172645463325252u;
  for (int i = 0; i < 30000; i++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    double d;
    float f;
    uint32_t half = (uint32_t)(x >> 16);
    memcpy(&d, &x, sizeof d);
    memcpy(&f, &half, sizeof f);
    char shorter[64];
    if (isfinite(d)) {
      const char *text = real_text(d, false);
      assert_true(strtod(text, NULL) == d);
      for (int digits = 1; digits < 17; digits++) {
        snprintf(shorter, sizeof shorter, "%.*g", digits, d);
        if (strtod(shorter, NULL) == d) {
          assert_true(strlen(text) <= strlen(shorter));
          break;
        }
      }
    }
    if (isfinite(f)) assert_true(strtof(real_text((double)f, true), NULL) == f);
  }
}

static void integers_reach_both_ends(void **state) {
  (void)state;
  struct buf b = {0};
  struct jsonw w = {.out = &b};
  jsonw_array_begin(&w);
  jsonw_int(&w, INT64_MIN);
  jsonw_int(&w, INT64_MAX);
  jsonw_array_end(&w);
  assert_string_equal(b.data, "[-9223372036854775808,9223372036854775807]");
  buf_free(&b);
}

static void a_parsed_value_is_written_as_it_was(void **state) {
  (void)state;
  static const char text[] = "{\"z\":[1,-2.5,true,false,null,\"\\u0000\xC3\xA9\"],\"a\":{\"\":{}},\"n\":[]}";
  struct js *v = js_parse(slice_cstr(text), NULL);
  struct buf b = {0};
  struct jsonw w = {.out = &b};
  jsonw_value(&w, v);
  assert_string_equal(b.data, text);
  js_free(v);
  buf_free(&b);
}

static void values_are_written_as_they_were_read(void **state) {
  (void)state;
  static const char text[] = "{\"a\":[1,1.0,-0.0,1e+300,0.1,18446744073709551615,-99999999999999999999,null,true],\"b\":\"\"}";
  struct js *v = js_parse(SLICE(text), NULL);
  struct buf b = {0};
  jsonw_value(&(struct jsonw){.out = &b}, v);
  assert_string_equal(b.data, text);
  js_free(v);
  buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_are_written_as_they_were_read),
      cmocka_unit_test(commas_are_placed_by_the_writer),
      cmocka_unit_test(strings_are_escaped_and_always_valid),
      cmocka_unit_test(every_string_reads_back),
      cmocka_unit_test(numbers_are_written_short),
      cmocka_unit_test(random_numbers_read_back_and_no_shorter_text_does),
      cmocka_unit_test(integers_reach_both_ends),
      cmocka_unit_test(a_parsed_value_is_written_as_it_was),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
