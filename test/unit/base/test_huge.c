/* Tests of base/huge. SPDX-License-Identifier: Apache-2.0 */
#include "base/huge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/mem.h"

enum { HUGE_BYTES = 2 << 20, LARGE_BYTES = 100 << 20, N_PIECES = 50 };

static size_t page;

/* What the system says of the mapping that holds the address: its flags, " rd wr ... hg"; how far it reaches. */
static void mapping_of(const void *at, char flags[256], uintptr_t *begin, uintptr_t *end) {
  FILE *f = fopen("/proc/self/smaps", "r");
  char line[256];
  unsigned long b = 0, e = 0;
  bool inside = false;
  assert_non_null(f);
  flags[0] = '\0';
  while (fgets(line, sizeof line, f) && !(inside && strncmp(line, "VmFlags:", 8) == 0))
    if (sscanf(line, "%lx-%lx ", &b, &e) == 2) {
      inside = b <= (uintptr_t)at && (uintptr_t)at < e;
      *begin = b;
      *end = e;
    }
  if (inside) snprintf(flags, 256, "%s", line);
  fclose(f);
}

/* Whether the system says of a mapping that it asked for huge pages (an emulated one may not). */
static bool tells_of_huge_pages(void) {
  char flags[256];
  uintptr_t begin, end;
  void *at = mmap(NULL, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(at != MAP_FAILED);
  madvise(at, 2 * HUGE_BYTES, MADV_HUGEPAGE);
  mapping_of(at, flags, &begin, &end);
  munmap(at, 2 * HUGE_BYTES);
  return strstr(flags, " hg") != NULL;
}

static void pieces_are_zero_and_follow_each_other(void **state) {
  (void)state;
  struct huge h = {0};
  unsigned char *before = NULL;
  for (size_t i = 0; i < N_PIECES; i++) {
    size_t bytes = 1 + i * 7001;
    unsigned char *piece = huge_take(&h, bytes);
    assert_non_null(piece);
    assert_int_equal((uintptr_t)piece % page, 0);
    for (size_t k = 0; k < bytes; k++) assert_int_equal(piece[k], 0);
    memset(piece, 255, bytes);
    if (before) assert_ptr_equal(piece, before + ((i - 1) * 7001 + page) / page * page);
    before = piece;
  }
  huge_close(&h);
  assert_null(h.next);
}

static void all_addresses_are_asked_for_before_the_first_piece_is_touched(void **state) {
  (void)state;
  struct huge h = {0};
  char flags[256];
  uintptr_t begin, end;
  unsigned char *piece = huge_take(&h, page);
  assert_int_equal((uintptr_t)piece % HUGE_BYTES, 0);
  mapping_of(piece, flags, &begin, &end);
  assert_true(begin <= (uintptr_t)piece && end - (uintptr_t)piece >= HUGE_BYTES);
  if (tells_of_huge_pages()) assert_non_null(strstr(flags, " hg"));
  huge_give(piece, page);
  huge_close(&h);
}

static void a_piece_stays_when_its_neighbours_and_the_rest_go(void **state) {
  (void)state;
  struct huge h = {0};
  unsigned char *first = huge_take(&h, 3 * page), *second = huge_take(&h, page + 1), *third = huge_take(&h, page);
  char flags[256];
  uintptr_t begin, end;
  memset(second, 7, page + 1);
  huge_give(first, 3 * page);
  huge_give(third, page);
  huge_close(&h);
  for (size_t i = 0; i <= page; i++) assert_int_equal(second[i], 7);
  mapping_of(second, flags, &begin, &end);
  assert_int_equal(begin, (uintptr_t)second);
  assert_int_equal(end - begin, 2 * page);
  huge_give(second, page + 1);
  mapping_of(second, flags, &begin, &end);
  assert_string_equal(flags, "");
}

static void a_piece_larger_than_a_chunk_is_given(void **state) {
  (void)state;
  struct huge h = {0};
  unsigned char *small = huge_take(&h, 1), *large = huge_take(&h, LARGE_BYTES), *after = huge_take(&h, 1);
  assert_true(small && large && after);
  small[0] = large[0] = large[LARGE_BYTES - 1] = after[0] = 1;
  huge_give(large, LARGE_BYTES);
  huge_close(&h);
  assert_true(small[0] == 1 && after[0] == 1);
  huge_give(small, 1);
  huge_give(after, 1);
}

static void more_than_there_is_gets_nothing(void **state) {
  (void)state;
  struct huge h = {0};
  assert_null(huge_take(&h, SIZE_MAX));
  assert_null(huge_take(&h, SIZE_MAX / 2));
  unsigned char *piece = huge_take(&h, 1);
  assert_non_null(piece);
  huge_give(piece, 1);
  huge_close(&h);
}

int main(void) {
  page = mem_page_bytes();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pieces_are_zero_and_follow_each_other),
      cmocka_unit_test(all_addresses_are_asked_for_before_the_first_piece_is_touched),
      cmocka_unit_test(a_piece_stays_when_its_neighbours_and_the_rest_go),
      cmocka_unit_test(a_piece_larger_than_a_chunk_is_given),
      cmocka_unit_test(more_than_there_is_gets_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
