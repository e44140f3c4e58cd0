/* SentencePiece's table of characters, written here. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/base64.h"
#include "text/charsmap.h"

enum { N_UNITS = 512 };

static void put_u32(struct buf *b, uint32_t v) {
  for (int i = 0; i < 4; i++) buf_add_byte(b, (unsigned char)(v >> (8 * i)));
}

/* A double array that replaces "a" alone by what begins at byte `at` of replacements. The root's children stand at 256 + byte, the leaf
 * of "a" beside them at 1. */
static void write_table(struct buf *table, uint32_t at, struct slice replacements) {
  uint32_t units[N_UNITS] = {0};
  units[0] = 256u << 10;
  units[256 ^ 'a'] = ((256u ^ 'a') ^ 1) << 10 | 1 << 8 | 'a';
  units[1] = at | 1u << 31;
  buf_clear(table);
  put_u32(table, sizeof units);
  for (size_t i = 0; i < N_UNITS; i++) put_u32(table, units[i]);
  buf_add_slice(table, replacements);
}

static void expect(const struct buf *table, const char *text, const char *want) {
  struct error err = {0};
  struct buf out = {0};
  struct charsmap *m = charsmap_open(buf_view(table), &err);
  if (!m) fail_msg("%s", err.message);
  charsmap_apply(m, slice_cstr(text), &out);
  assert_string_equal(out.data, want);
  buf_free(&out);
  charsmap_free(m);
}

static void characters_are_replaced_and_others_stay(void **state) {
  (void)state;
  struct buf table = {0};
  write_table(&table, 4, SLICE("xyz\0\xC3\xA9!\0"));
  expect(&table, "banana \xE4\xBD\xA0", "b\xC3\xA9!n\xC3\xA9!n\xC3\xA9! \xE4\xBD\xA0");
  /* A letter with a mark is looked up as a whole; what it begins with counts, and the mark goes. */
  expect(&table, "a\xCC\x81", "\xC3\xA9!");
  /* Six bytes are not looked up as a whole. */
  expect(&table, "a\xCC\x81\xCC\x81\xCC\x81", "\xC3\xA9!\xCC\x81\xCC\x81\xCC\x81");
  buf_free(&table);
}

static void marks_newer_than_the_unicode_library_join_the_letter_too(void **state) {
  (void)state;
  struct buf table = {0};
  write_table(&table, 4, SLICE("xyz\0\xC3\xA9!\0"));
  expect(&table, "a\xE1\xAB\xA2z", "\xC3\xA9!z");           /* U+1AE2, of Unicode 17 */
  expect(&table, "a\xF0\x96\x84\xAF", "\xC3\xA9!");         /* U+1612F, of Unicode 16 */
  expect(&table, "a\xE1\xAB\xB1", "\xC3\xA9!\xE1\xAB\xB1"); /* U+1AF1, not assigned */
  buf_free(&table);
}

static void a_leaf_that_points_outside_or_into_a_character_replaces_nothing(void **state) {
  (void)state;
  struct buf table = {0};
  write_table(&table, 1000, SLICE("x\0"));
  expect(&table, "a", "a");
  buf_free(&table);
}

static void expect_refusal(struct slice table) {
  struct error err = {0};
  assert_null(charsmap_open(table, &err));
  assert_non_null(strstr(err.message, "is broken"));
}

static void broken_tables_are_refused(void **state) {
  (void)state;
  struct buf table = {0};
  expect_refusal(SLICE(""));
  expect_refusal(SLICE("\x04\x00\x00"));
  expect_refusal(SLICE("\x00\x00\x00\x00"));
  expect_refusal(
      SLICE("\x08\x00\x00\x00"
            "1234"));
  expect_refusal(
      SLICE("\x03\x00\x00\x00"
            "1234"));
  write_table(&table, 0, SLICE("\xFF\0"));
  expect_refusal(buf_view(&table));
  buf_free(&table);
}

static void base64_takes_whole_text_only(void **state) {
  (void)state;
  static const char *const good[][2] = {{"", ""}, {"YQ==", "a"}, {"YWI=", "ab"}, {"YWJj", "abc"}, {"+/+/", "\xFB\xFF\xBF"}};
  static const char *const bad[] = {"Y", "YQ", "YQ=", "YQ= ", "Y===", "====", "YR==", "YQ==YQ==", "Y_-=", "YQ\n="};
  struct buf out = {0};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    buf_clear(&out);
    assert_true(base64_decode(slice_cstr(good[i][0]), &out));
    assert_string_equal(out.data ? out.data : "", good[i][1]);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    buf_clear(&out);
    if (base64_decode(slice_cstr(bad[i]), &out) || out.len) fail_msg("'%s' was taken", bad[i]);
  }
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(characters_are_replaced_and_others_stay),
      cmocka_unit_test(marks_newer_than_the_unicode_library_join_the_letter_too),
      cmocka_unit_test(a_leaf_that_points_outside_or_into_a_character_replaces_nothing),
      cmocka_unit_test(broken_tables_are_refused),
      cmocka_unit_test(base64_takes_whole_text_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
