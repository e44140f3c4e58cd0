/* Tests of base/error. SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "check.h"

static void a_message_is_formatted_and_the_value_says_failure(void **state) {
  (void)state;
  struct error err = {0};
  assert_int_equal(error_set(&err, ERROR_TOO_LARGE, "%d of %s", 3, "x"), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  assert_string_equal(err.message, "3 of x");
  assert_int_equal(error_set(NULL, ERROR_IO, "nobody asks"), -1);
  assert_int_equal(error_prefix(NULL, "nobody asks"), -1);
}

static void a_prefix_stands_in_front(void **state) {
  (void)state;
  struct error err = {0};
  error_set(&err, ERROR_IO, "inner %s", "cause");
  assert_int_equal(error_prefix(&err, "file %d", 7), -1);
  assert_string_equal(err.message, "file 7: inner cause");
  assert_int_equal(err.code, ERROR_IO);
}

/* The argument of an error may be a part of its own message. */
static void a_message_may_quote_itself(void **state) {
  (void)state;
  struct error err = {0};
  error_set(&err, ERROR_IO, "first");
  error_set(&err, ERROR_INVALID, "again: %s", err.message);
  assert_string_equal(err.message, "again: first");
}

static void a_long_message_is_cut_between_characters(void **state) {
  (void)state;
  struct error err = {0};
  char text[1200];
  for (int shift = 0; shift < 4; shift++) { /* characters of 3 bytes: the cut falls on each of their bytes */
    memset(text, 'x', (size_t)shift);
    for (int i = 0; i < 300; i++) memcpy(text + shift + 3 * i, "\xE2\x82\xAC", 3);
    text[shift + 900] = '\0';
    error_set(&err, ERROR_INVALID, "%s", text);
    size_t len = strlen(err.message);
    assert_in_range(len, 500, sizeof err.message - 1);
    assert_int_equal((len - (size_t)shift) % 3, 0);
    error_prefix(&err, "%s", "prefix");
    len = strlen(err.message);
    assert_in_range(len, 500, sizeof err.message - 1);
    assert_int_equal((len - 8 - (size_t)shift) % 3, 0);
  }
}

static void every_code_has_a_name(void **state) {
  (void)state;
  for (int code = ERROR_NONE; code <= ERROR_INTERNAL; code++) assert_string_not_equal(error_code_name((enum error_code)code), "unknown");
  assert_string_equal(error_code_name((enum error_code)99), "unknown");
  assert_string_equal(error_code_name(ERROR_CORRUPT), "corrupt");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_message_is_formatted_and_the_value_says_failure),
      cmocka_unit_test(a_prefix_stands_in_front),
      cmocka_unit_test(a_message_may_quote_itself),
      cmocka_unit_test(a_long_message_is_cut_between_characters),
      cmocka_unit_test(every_code_has_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
