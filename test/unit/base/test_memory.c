/* Tests of base/buf, base/arena and base/error: what everything else builds on. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/utf8.h"

static void a_buffer_grows_and_always_ends_in_nul(void **state) {
  (void)state;
  struct buf b = {0};
  for (int i = 0; i < 100000; i++) {
    buf_add_byte(&b, (unsigned char)('a' + i % 26));
    assert_int_equal(b.data[b.len], 0);
  }
  assert_int_equal(b.len, 100000);
  for (int i = 0; i < 100000; i++) assert_int_equal(b.data[i], 'a' + i % 26);
  buf_drop_front(&b, 99998);
  assert_int_equal(b.len, 2);
  assert_int_equal(b.data[2], 0);
  buf_printf(&b, "%d-%s", 42, "x");
  assert_string_equal(b.data + 2, "42-x");
  buf_free(&b);
  assert_null(b.data);
  buf_free(&b);
}

static void a_long_printf_is_not_cut(void **state) {
  (void)state;
  struct buf b = {0};
  buf_printf(&b, "%05000d|%s", 7, "end");
  assert_int_equal(b.len, 5004);
  assert_string_equal(b.data + 5000, "|end");
  buf_free(&b);
}

static void arena_memory_is_zeroed_aligned_and_apart(void **state) {
  (void)state;
  struct arena a = {0};
  unsigned char *blocks[500];
  for (size_t i = 0; i < 500; i++) {
    size_t size = i * i % 9000 + 1;
    blocks[i] = arena_alloc(&a, size);
    assert_int_equal((uintptr_t)blocks[i] % 16, 0);
    for (size_t j = 0; j < size; j++) assert_int_equal(blocks[i][j], 0);
    memset(blocks[i], (int)(i & 0xFF), size);
  }
  for (size_t i = 0; i < 500; i++)
    for (size_t j = 0; j < i * i % 9000 + 1; j++) assert_int_equal(blocks[i][j], i & 0xFF);
  assert_string_equal(arena_cstr(&a, slice_make("abcdef", 3)), "abc");
  arena_free(&a);
  assert_null(a.head);
  arena_free(&a);
}

static void a_message_that_is_too_long_is_cut_at_the_edge_of_a_character(void **state) {
  (void)state;
  struct buf text = {0};
  for (int i = 0; i < 400; i++) buf_add_utf8(&text, 0x20AC);
  struct error err;
  assert_int_equal(error_set(&err, ERROR_IO, "%s", text.data), -1);
  assert_true(strlen(err.message) < sizeof err.message);
  assert_true(strlen(err.message) > sizeof err.message - 8);
  assert_true(utf8_valid(slice_cstr(err.message)));
  error_prefix(&err, "file %d", 7);
  assert_true(slice_starts(slice_cstr(err.message), SLICE("file 7: ")));
  assert_true(utf8_valid(slice_cstr(err.message)));
  assert_int_equal(err.code, ERROR_IO);
  buf_free(&text);
}

static void a_caller_without_an_error_struct_is_fine(void **state) {
  (void)state;
  assert_int_equal(error_set(NULL, ERROR_INVALID, "%s", "x"), -1);
  assert_int_equal(error_prefix(NULL, "y"), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_buffer_grows_and_always_ends_in_nul),
      cmocka_unit_test(a_long_printf_is_not_cut),
      cmocka_unit_test(arena_memory_is_zeroed_aligned_and_apart),
      cmocka_unit_test(a_message_that_is_too_long_is_cut_at_the_edge_of_a_character),
      cmocka_unit_test(a_caller_without_an_error_struct_is_fine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
