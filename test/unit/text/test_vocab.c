/* The vocabulary. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/vocab.h"

static void strings_and_ids_are_found_both_ways(void **state) {
  (void)state;
  struct vocab v = {0};
  char name[32];
  assert_int_equal(vocab_find(&v, SLICE("x")), -1);
  for (uint32_t i = 0; i < 20000; i++) {
    int n = snprintf(name, sizeof name, "token%u", i * 7);
    assert_int_equal(vocab_put(&v, slice_make(name, (size_t)n), i, NULL), 0);
  }
  for (uint32_t i = 0; i < 20000; i++) {
    int n = snprintf(name, sizeof name, "token%u", i * 7);
    assert_int_equal(vocab_find(&v, slice_make(name, (size_t)n)), i);
    assert_true(slice_eq(vocab_string(&v, (int32_t)i), slice_make(name, (size_t)n)));
  }
  assert_int_equal(vocab_find(&v, SLICE("token")), -1);
  assert_int_equal(vocab_find(&v, SLICE("")), -1);
  assert_false(vocab_has(&v, 20000));
  assert_false(vocab_has(&v, -1));
  vocab_deinit(&v);
}

static void ids_may_have_holes_and_no_second_string(void **state) {
  (void)state;
  struct vocab v;
  struct error err = {0};
  vocab_init(&v, 4, 16);
  assert_int_equal(vocab_put(&v, SLICE("b"), 9, &err), 0);
  assert_int_equal(vocab_put(&v, SLICE("a"), 3, &err), 0);
  assert_false(vocab_has(&v, 5));
  assert_int_equal(v.n_ids, 10);
  assert_int_equal(vocab_put(&v, SLICE("c"), 3, &err), -1);
  assert_int_equal(err.code, ERROR_CORRUPT);
  vocab_deinit(&v);
}

static void an_id_far_beyond_the_vocabulary_is_refused(void **state) {
  (void)state;
  struct vocab v;
  struct error err = {0};
  vocab_init(&v, 4, 16);
  assert_int_equal(vocab_put(&v, SLICE("a"), 10000000, &err), -1);
  assert_int_equal(err.code, ERROR_CORRUPT);
  vocab_deinit(&v);
}

static void a_string_given_twice_gets_the_later_id(void **state) {
  (void)state;
  struct vocab v = {0};
  assert_int_equal(vocab_put(&v, SLICE("x"), 0, NULL), 0);
  assert_int_equal(vocab_put(&v, SLICE("x"), 1, NULL), 0);
  assert_int_equal(vocab_find(&v, SLICE("x")), 1);
  assert_true(slice_eq(vocab_string(&v, 0), SLICE("x")));
  vocab_deinit(&v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(strings_and_ids_are_found_both_ways),
      cmocka_unit_test(ids_may_have_holes_and_no_second_string),
      cmocka_unit_test(an_id_far_beyond_the_vocabulary_is_refused),
      cmocka_unit_test(a_string_given_twice_gets_the_later_id),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
