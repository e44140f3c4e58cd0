/* Tests of base/utf8: strictness and the rule of one U+FFFD for each maximal invalid part. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

#define BYTES(literal) slice_make(literal, sizeof(literal) - 1)

static void every_code_point_reads_back_as_it_was_written(void **state) {
  (void)state;
  for (uint32_t c = 0; c <= 0x10FFFF; c++) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    char bytes[4];
    size_t n = utf8_put(bytes, c);
    uint32_t back = ~c;
    assert_int_equal(utf8_get(slice_make(bytes, n), &back), n);
    assert_int_equal(back, c);
    for (size_t cut = 1; cut < n; cut++) {
      assert_int_equal(utf8_get(slice_make(bytes, cut), &back), 0);
      assert_int_equal(utf8_incomplete_tail(slice_make(bytes, cut)), cut);
    }
    assert_int_equal(utf8_incomplete_tail(slice_make(bytes, n)), 0);
  }
}

static void overlong_forms_surrogates_and_stray_bytes_are_invalid(void **state) {
  (void)state;
  assert_false(utf8_valid(BYTES("\xC0\x80")));
  assert_false(utf8_valid(BYTES("\xE0\x9F\xBF")));
  assert_false(utf8_valid(BYTES("\xF0\x8F\xBF\xBF")));
  assert_false(utf8_valid(BYTES("\xED\xA0\x80")));
  assert_false(utf8_valid(BYTES("\xF4\x90\x80\x80")));
  assert_false(utf8_valid(BYTES("a\x80")));
  assert_false(utf8_valid(BYTES("\xFF")));
  assert_true(utf8_valid(BYTES("")));
  assert_true(utf8_valid(BYTES("a\0b")));
  assert_true(utf8_valid(BYTES("h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8C\x8A")));
}

static void an_invalid_value_is_written_as_the_replacement_character(void **state) {
  (void)state;
  char bytes[4];
  assert_int_equal(utf8_put(bytes, 0xD800), 3);
  assert_memory_equal(bytes, "\xEF\xBF\xBD", 3);
  assert_int_equal(utf8_put(bytes, 0x110000), 3);
  assert_memory_equal(bytes, "\xEF\xBF\xBD", 3);
}

/* The example of Unicode 3.9, table 3-8. */
static void one_replacement_stands_for_each_maximal_invalid_part(void **state) {
  (void)state;
  struct slice s = BYTES("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64");
  static const size_t expected[] = {1, 3, 2, 1, 1, 1, 1, 1, 1, 1};
  size_t at = 0;
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
    uint32_t c;
    size_t n = utf8_get(slice_from(s, at), &c);
    if (!n) n = utf8_invalid_len(slice_from(s, at));
    assert_int_equal(n, expected[i]);
    at += n;
  }
  assert_int_equal(at, s.len);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_code_point_reads_back_as_it_was_written),
      cmocka_unit_test(overlong_forms_surrogates_and_stray_bytes_are_invalid),
      cmocka_unit_test(an_invalid_value_is_written_as_the_replacement_character),
      cmocka_unit_test(one_replacement_stands_for_each_maximal_invalid_part),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
