/* Tests of base/slice. SPDX-License-Identifier: Apache-2.0 */
#include "base/slice.h"
#include "check.h"

static void slices_compare_by_bytes(void **state) {
  (void)state;
  assert_true(slice_eq(SLICE("a\0b"), SLICE("a\0b")));
  assert_false(slice_eq(SLICE("a\0b"), SLICE("a\0c")));
  assert_false(slice_eq(SLICE("ab"), SLICE("abc")));
  assert_true(slice_eq(slice_make(NULL, 0), SLICE("")));
  assert_true(slice_starts(SLICE("abc"), SLICE("ab")) && slice_starts(SLICE("abc"), SLICE("")) &&
              slice_starts(slice_make(NULL, 0), SLICE("")));
  assert_false(slice_starts(SLICE("ab"), SLICE("abc")) || slice_starts(SLICE("abc"), SLICE("b")));
  assert_true(slice_ends(SLICE("abc"), SLICE("bc")) && slice_ends(SLICE("abc"), SLICE("")));
  assert_false(slice_ends(SLICE("bc"), SLICE("abc")) || slice_ends(SLICE("abc"), SLICE("b")));
}

static void parts_are_clamped(void **state) {
  (void)state;
  assert_true(slice_eq(slice_from(SLICE("abc"), 1), SLICE("bc")));
  assert_int_equal(slice_from(SLICE("abc"), 3).len, 0);
  assert_int_equal(slice_from(SLICE("abc"), 99).len, 0);
  assert_int_equal(slice_cstr(NULL).len, 0);
  assert_int_equal(slice_cstr("four").len, 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(slices_compare_by_bytes), cmocka_unit_test(parts_are_clamped)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
