/* test_pages: the KV memory. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "engine/memory.h"
#include "engine/pages.h"

enum { PAGE_BYTES = 8192, PAGES = 8 };

static struct engine_memory *memory;

static int setup(void **state) {
  (void)state;
  memory = engine_memory_create(PAGES * PAGE_BYTES);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  engine_memory_destroy(memory);
  return 0;
}

static void take_all(struct pages *p, void **taken, int n) {
  for (int i = 0; i < n; i++) {
    assert_non_null(taken[i] = pages_take(p));
    memset(taken[i], i + 1, PAGE_BYTES);
  }
}

/* Whether the system has memory for the first byte of a page. */
static bool is_resident(const void *page) {
  unsigned char in_memory = 0;
  assert_int_equal(mincore((void *)page, 4096, &in_memory), 0);
  return in_memory & 1;
}

static void pages_are_distinct_until_none_is_left(void **state) {
  (void)state;
  struct error err;
  struct pages p;
  void *taken[PAGES];
  assert_int_equal(pages_init(&p, memory, PAGE_BYTES, PAGES, &err), 0);
  take_all(&p, taken, PAGES);
  assert_null(pages_take(&p));
  for (int i = 0; i < PAGES; i++) assert_int_equal(((unsigned char *)taken[i])[PAGE_BYTES - 1], i + 1);
  pages_give(&p, taken[3]);
  assert_int_equal(p.n_free, 1);
  assert_ptr_equal(pages_take(&p), taken[3]);
  pages_deinit(&p);
}

static void released_pages_hold_no_memory_and_others_keep_theirs(void **state) {
  (void)state;
  struct error err;
  struct pages p;
  void *taken[PAGES];
  assert_int_equal(pages_init(&p, memory, PAGE_BYTES, PAGES, &err), 0);
  take_all(&p, taken, PAGES);
  for (int i = 0; i < 5; i++) pages_give(&p, taken[i]);
  assert_int_equal(memory->bytes_held, PAGES * PAGE_BYTES);
  pages_release(&p, 3);
  assert_int_equal(memory->bytes_held, 5 * PAGE_BYTES);
  for (int i = 0; i < 3; i++) assert_false(is_resident(taken[i]));
  for (int i = 3; i < PAGES; i++) assert_int_equal(*(unsigned char *)taken[i], i + 1);
  assert_ptr_equal(pages_take(&p), taken[4]); /* what has memory is handed out first */
  assert_ptr_equal(pages_take(&p), taken[3]);
  assert_int_equal(memory->bytes_held, 5 * PAGE_BYTES);
  assert_non_null(pages_take(&p));
  assert_int_equal(memory->bytes_held, 6 * PAGE_BYTES);
  pages_deinit(&p);
  assert_int_equal(memory->bytes_held, 0);
}

static void two_models_never_hold_more_than_the_shared_memory(void **state) {
  (void)state;
  struct error err;
  struct pages small, big;
  void *taken[PAGES];
  assert_int_equal(pages_init(&small, memory, PAGE_BYTES, PAGES, &err), 0);
  assert_int_equal(pages_init(&big, memory, 2 * PAGE_BYTES, PAGES / 2, &err), 0);
  take_all(&small, taken, 5);
  assert_non_null(pages_take(&big));
  assert_null(pages_take(&big)); /* one small page is left */
  pages_give(&small, taken[0]);
  assert_null(pages_take(&big)); /* a spare page still holds its memory … */
  pages_release(&small, 1);
  assert_non_null(pages_take(&big)); /* … until it is released */
  assert_int_equal(memory->bytes_held, PAGES * PAGE_BYTES);
  pages_deinit(&small);
  pages_deinit(&big);
}

static void a_size_that_cannot_be_is_an_error_with_advice(void **state) {
  (void)state;
  struct error err;
  struct pages p;
  assert_int_equal(pages_init(&p, memory, (size_t)1 << 40, (size_t)1 << 40, &err), -1);
  assert_int_equal(err.code, ERROR_NO_MEMORY);
  assert_non_null(strstr(err.message, "--kv-mib"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(pages_are_distinct_until_none_is_left, setup, teardown),
      cmocka_unit_test_setup_teardown(released_pages_hold_no_memory_and_others_keep_theirs, setup, teardown),
      cmocka_unit_test_setup_teardown(two_models_never_hold_more_than_the_shared_memory, setup, teardown),
      cmocka_unit_test_setup_teardown(a_size_that_cannot_be_is_an_error_with_advice, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
