/* test_pages: the KV memory. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/pages.h"

static void pages_are_distinct_until_none_is_left(void **state) {
  (void)state;
  struct error err;
  struct pages p;
  void *taken[8];
  assert_int_equal(pages_init(&p, 4096, 8, &err), 0);
  for (int i = 0; i < 8; i++) {
    assert_non_null(taken[i] = pages_take(&p));
    memset(taken[i], i, 4096);
  }
  assert_null(pages_take(&p));
  for (int i = 0; i < 8; i++) assert_int_equal(((unsigned char *)taken[i])[4095], i);
  pages_give(&p, taken[3]);
  assert_int_equal(p.n_free, 1);
  assert_ptr_equal(pages_take(&p), taken[3]);
  pages_deinit(&p);
}

static void a_size_that_cannot_be_is_an_error_with_advice(void **state) {
  (void)state;
  struct error err;
  struct pages p;
  assert_int_equal(pages_init(&p, (size_t)1 << 40, (size_t)1 << 40, &err), -1);
  assert_int_equal(err.code, ERROR_NO_MEMORY);
  assert_non_null(strstr(err.message, "--kv-mib"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pages_are_distinct_until_none_is_left),
      cmocka_unit_test(a_size_that_cannot_be_is_an_error_with_advice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
