/* Tests of base/buf. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "check.h"

static void bytes_grow_and_a_nul_follows(void **state) {
  (void)state;
  struct buf b = {0};
  assert_int_equal(buf_view(&b).len, 0);
  for (int i = 0; i < 10000; i++) {
    buf_add_byte(&b, (unsigned char)i);
    assert_int_equal(b.data[b.len], '\0');
  }
  assert_int_equal(b.len, 10000);
  for (int i = 0; i < 10000; i++) assert_int_equal((unsigned char)b.data[i], i & 255);
  buf_clear(&b);
  assert_int_equal(b.len, 0);
  assert_string_equal(b.data, "");
  buf_free(&b);
  assert_null(b.data);
  buf_free(&b);
}

static void parts_are_appended_in_order(void **state) {
  (void)state;
  struct buf b = {0};
  buf_add(&b, NULL, 0);
  assert_string_equal(b.data, "");
  buf_add(&b, "a\0b", 3);
  buf_add_slice(&b, SLICE("c"));
  buf_add_cstr(&b, "d");
  buf_printf(&b, "%s-%03d", "e", 7);
  assert_true(slice_eq(buf_view(&b), SLICE("a\0bcde-007")));
  buf_free(&b);
}

static void a_long_printf_fits(void **state) {
  (void)state;
  struct buf b = {0};
  char text[5000];
  memset(text, 'y', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  buf_printf(&b, "<%s>", text);
  assert_int_equal(b.len, sizeof text + 1);
  assert_int_equal(b.data[b.len - 1], '>');
  buf_free(&b);
}

static void the_front_can_be_dropped(void **state) {
  (void)state;
  struct buf b = {0};
  buf_drop_front(&b, 0);
  buf_add_cstr(&b, "abcdef");
  buf_drop_front(&b, 2);
  assert_string_equal(b.data, "cdef");
  buf_drop_front(&b, 4);
  assert_string_equal(b.data, "");
  buf_free(&b);
}

static void codepoints_are_written_as_utf8(void **state) {
  (void)state;
  struct buf b = {0};
  buf_add_utf8(&b, 0x24);
  buf_add_utf8(&b, 0x20AC);
  buf_add_utf8(&b, 0xD800);
  buf_add_utf8(&b, 0x110000);
  assert_string_equal(b.data, "$\xE2\x82\xAC\xEF\xBF\xBD\xEF\xBF\xBD");
  buf_free(&b);
}

static void reserved_room_is_written_in_place(void **state) {
  (void)state;
  struct buf b = {0};
  char *to = buf_reserve(&b, 1000);
  memset(to, 'z', 1000);
  buf_advance(&b, 10);
  assert_int_equal(b.len, 10);
  assert_string_equal(b.data, "zzzzzzzzzz");
  buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_grow_and_a_nul_follows),
      cmocka_unit_test(parts_are_appended_in_order),
      cmocka_unit_test(a_long_printf_fits),
      cmocka_unit_test(the_front_can_be_dropped),
      cmocka_unit_test(codepoints_are_written_as_utf8),
      cmocka_unit_test(reserved_room_is_written_in_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
