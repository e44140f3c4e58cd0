/* Tests of base/arena and base/mem. SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/mem.h"
#include "check.h"

static void allocations_are_aligned_zeroed_and_apart(void **state) {
  (void)state;
  struct arena a = {0};
  char *before = NULL;
  size_t before_size = 0;
  for (size_t i = 0; i < 2000; i++) {
    size_t size = i * 37 % 3000;
    char *p = arena_alloc(&a, size);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t j = 0; j < size; j++) assert_int_equal(p[j], 0);
    memset(p, 0xAB, size);
    for (size_t j = 0; j < before_size; j++) assert_int_equal((unsigned char)before[j], 0xAB);
    before = p;
    before_size = size;
  }
  assert_true(a.used_bytes > 1000);
  arena_free(&a);
  assert_null(a.head);
  assert_int_equal(a.used_bytes, 0);
  arena_free(&a);
}

static void copies_end_in_nul(void **state) {
  (void)state;
  struct arena a = {0};
  struct slice s = arena_copy(&a, SLICE("a\0b"));
  assert_true(slice_eq(s, SLICE("a\0b")));
  assert_int_equal(s.data[3], '\0');
  assert_string_equal(arena_cstr(&a, slice_make(NULL, 0)), "");
  int *numbers = arena_array(&a, 5, sizeof *numbers);
  for (int i = 0; i < 5; i++) assert_int_equal(numbers[i], 0);
  char *large = arena_alloc(&a, 1 << 20);
  large[(1 << 20) - 1] = 1;
  arena_free(&a);
}

static void plain_memory_helpers(void **state) {
  (void)state;
  char *copy = mem_dup("a\0b", 3), *text = mem_strdup("text"), *grown = mem_realloc(NULL, 3, 4);
  assert_memory_equal(copy, "a\0b", 4);
  assert_string_equal(text, "text");
  grown = mem_realloc(grown, 0, 4);
  assert_non_null(grown);
  void *aligned = mem_aligned(64, 100);
  assert_int_equal((uintptr_t)aligned % 64, 0);
  int *zeros = mem_zalloc(3, sizeof *zeros);
  assert_int_equal(zeros[2], 0);
  void *none = mem_alloc(0);
  assert_non_null(none);
  free(copy), free(text), free(grown), free(aligned), free(zeros), free(none);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(allocations_are_aligned_zeroed_and_apart),
      cmocka_unit_test(copies_end_in_nul),
      cmocka_unit_test(plain_memory_helpers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
