/* Normalizers. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/normalizer.h"
#include "text/normalizer_bert.h"
#include "text/uclass.h"

static void expect(enum normalizer_kind form, const char *text, const char *want) {
  struct buf out = {0};
  normalizer_unicode(form, slice_cstr(text), &out);
  assert_string_equal(out.data ? out.data : "", want);
  buf_free(&out);
}

static void unicode_forms_decompose_order_and_compose(void **state) {
  (void)state;
  expect(NORMALIZER_NFD, "\xC3\xA9t\xC3\xA9", "e\xCC\x81te\xCC\x81");
  expect(NORMALIZER_NFC, "e\xCC\x81te\xCC\x81", "\xC3\xA9t\xC3\xA9");
  expect(NORMALIZER_NFD, "a\xCC\x81\xCC\xA3", "a\xCC\xA3\xCC\x81"); /* the dot below goes first */
  expect(NORMALIZER_NFC, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81");
  expect(NORMALIZER_NFKC, "\xEF\xAC\x81\xC2\xBD",
         "fi1\xE2\x81\x84"
         "2");
  expect(NORMALIZER_NFD, "plain", "plain");
  expect(NORMALIZER_NFC, "", "");
}

static void characters_that_the_reference_does_not_know_stand_still(void **state) {
  (void)state;
  expect(NORMALIZER_NFD, "\xF0\x91\xA4\xB8", "\xF0\x91\xA4\xB8"); /* U+11938, of Unicode 13 */
}

/* utf8proc's own ordering takes quadratic time on this. Checked by reaching the end. */
static void a_long_run_of_marks_is_put_in_order(void **state) {
  (void)state;
  struct buf text = {0}, out = {0};
  buf_add_cstr(&text, "a");
  for (int i = 0; i < 200000; i++) buf_add_cstr(&text, "\xCC\x81\xCC\xA3"); /* above, below */
  normalizer_unicode(NORMALIZER_NFD, buf_view(&text), &out);
  assert_int_equal(out.len, text.len);
  assert_memory_equal(out.data + 1, "\xCC\xA3\xCC\xA3", 4);
  assert_memory_equal(out.data + out.len - 4, "\xCC\x81\xCC\x81", 4);
  buf_free(&text);
  buf_free(&out);
}

static void expect_bert(const char *text, const char *want) {
  struct normalizer_step step = {.kind = NORMALIZER_BERT, .clean_text = true, .cjk = true, .strip_accents = true, .lowercase = true};
  struct buf out = {0};
  normalizer_bert(&step, slice_cstr(text), &out);
  assert_string_equal(out.data ? out.data : "", want);
  buf_free(&out);
}

static void bert_text_is_cleaned_stripped_and_lowered(void **state) {
  (void)state;
  expect_bert("H\xC3\xA9llo\tW\x01orld", "hello world");
  expect_bert("\xE4\xBD\xA0\xE5\xA5\xBD", " \xE4\xBD\xA0  \xE5\xA5\xBD ");
  expect_bert("\xC4\xB0", "i");                        /* I with a dot: the dot is a mark after decomposition */
  expect_bert("\xE2\x84\xAB", "a");                    /* Angstrom sign */
  expect_bert("a\xEF\xBF\xBD\xE2\x80\x8B", "a");       /* U+FFFD and format characters are dropped */
  expect_bert("\xF0\xAB\xA0\xA0", "\xF0\xAB\xA0\xA0"); /* U+2B820: an ideograph that the reference overlooks */
}

static void lower_case_is_taken_character_by_character(void **state) {
  (void)state;
  uint32_t low[2];
  assert_int_equal(uclass_lower('Q', low), 1);
  assert_int_equal(low[0], 'q');
  assert_int_equal(uclass_lower(0x3A3, low), 1); /* no final sigma */
  assert_int_equal(low[0], 0x3C3);
  assert_int_equal(uclass_lower(0x130, low), 2);
  assert_int_equal(low[1], 0x307);
  assert_int_equal(uclass_lower(0x10FFFF, low), 1);
  assert_int_equal(low[0], 0x10FFFF);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unicode_forms_decompose_order_and_compose),
      cmocka_unit_test(characters_that_the_reference_does_not_know_stand_still),
      cmocka_unit_test(a_long_run_of_marks_is_put_in_order),
      cmocka_unit_test(bert_text_is_cleaned_stripped_and_lowered),
      cmocka_unit_test(lower_case_is_taken_character_by_character),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
