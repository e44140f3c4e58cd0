/* The hand-written scanners against the patterns that they stand for. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "text/regex.h"
#include "text/scanner.h"

static uint32_t next_random(uint32_t *x) { return (*x = *x * 1664525u + 1013904223u) >> 8; }

/* The last three came with Unicode 15 and 16: a letter, a digit, a mark. */
static void random_text(uint32_t *x, struct buf *out) {
  static const char *const parts[] = {"a",
                                      "B",
                                      "s",
                                      "re",
                                      "LL",
                                      "\xC5\xBF",
                                      "'",
                                      "'",
                                      " ",
                                      " ",
                                      "  ",
                                      "\t",
                                      "\n",
                                      "\r",
                                      "\r\n",
                                      "\xC2\xA0",
                                      "1",
                                      "2",
                                      "9",
                                      ".",
                                      "!",
                                      "-",
                                      "_",
                                      "(",
                                      "\"",
                                      "\xC3\xA9",
                                      "\xE4\xBD\xA0",
                                      "\xC2\xBD",
                                      "\xE2\x80\xA8",
                                      "\xF0\x9F\x98\x80",
                                      "\xCC\x81",
                                      "\xD9\xA3",
                                      "\xC2\x85",
                                      "\xE1\xA0\x8E",
                                      "d",
                                      "'T",
                                      "\U0001E4D0",
                                      "\U0001E4F0",
                                      "\U00011F5A"};
  size_t n = 1 + next_random(x) % 24;
  for (size_t i = 0; i < n; i++) buf_add_cstr(out, parts[next_random(x) % (sizeof parts / sizeof parts[0])]);
}

static void assert_same_pieces(const char *pattern, struct slice text) {
  struct error err = {0};
  struct regex *by_hand = regex_compile(slice_cstr(pattern), &err), *by_pcre2 = regex_compile_pcre2(slice_cstr(pattern), &err);
  struct regex_walk a, b;
  size_t a_begin, a_end, b_begin, b_end;
  assert_non_null(by_hand);
  if (!by_pcre2) fail_msg("%s", err.message);
  regex_begin(&a, by_hand, text, NULL);
  regex_begin(&b, by_pcre2, text, NULL);
  for (;;) {
    int more = regex_next(&a, &a_begin, &a_end, &err);
    assert_int_equal(regex_next(&b, &b_begin, &b_end, &err), more);
    if (!more) break;
    if (a_begin != b_begin || a_end != b_end)
      fail_msg("'%.*s': by hand %zu-%zu, by PCRE2 %zu-%zu", SLICE_ARG(text), a_begin, a_end, b_begin, b_end);
  }
  regex_finish(&a);
  regex_finish(&b);
  regex_free(by_hand);
  regex_free(by_pcre2);
}

static void check_random(const char *pattern) {
  uint32_t x = 7;
  struct buf text = {0};
  for (int i = 0; i < 3000; i++) {
    buf_clear(&text);
    random_text(&x, &text);
    assert_same_pieces(pattern, buf_view(&text));
  }
  buf_free(&text);
}

static void gpt2_pieces_are_those_of_its_pattern(void **state) { (void)state, check_random(regex_gpt2); }
static void llama3_pieces_are_those_of_its_pattern(void **state) { (void)state, check_random(regex_llama3); }

static void long_runs_are_one_piece(void **state) {
  (void)state;
  struct buf text = {0};
  for (int i = 0; i < 100000; i++) buf_add_cstr(&text, " ");
  assert_int_equal(scanner_gpt2(buf_view(&text)), 100000);
  assert_int_equal(scanner_llama3(buf_view(&text)), 100000);
  buf_add_cstr(&text, "x");
  assert_int_equal(scanner_gpt2(buf_view(&text)), 99999);
  assert_int_equal(scanner_llama3(buf_view(&text)), 99999);
  buf_free(&text);
}

/* The parts that a pattern matches, with | between them. */
static void expect_matches(const char *pattern, const char *text, const char *want) {
  struct error err = {0};
  struct regex *r = regex_compile(slice_cstr(pattern), &err);
  struct regex_walk w;
  struct buf got = {0};
  size_t begin, end;
  if (!r) fail_msg("%s", err.message);
  for (regex_begin(&w, r, slice_cstr(text), NULL); regex_next(&w, &begin, &end, &err) > 0;)
    buf_printf(&got, "%s%.*s", got.len ? "|" : "", (int)(end - begin), text + begin);
  regex_finish(&w);
  assert_string_equal(got.data ? got.data : "", want);
  buf_free(&got);
  regex_free(r);
}

/* As Oniguruma has them, whatever Unicode PCRE2 has: U+1E4D0 is a letter, U+1E4F0 a digit, U+11F03 a mark that spaces, U+2EBF0 Han. */
static void characters_newer_than_unicode_14_have_their_classes(void **state) {
  (void)state;
#define LETTER "\U0001E4D0"
#define DIGIT "\U0001E4F0"
#define MARK "\U00011F03"
#define HAN "\U0002EBF0"
  expect_matches("\\p{L}+", "a" LETTER "b" DIGIT LETTER, "a" LETTER "b|" LETTER);
  expect_matches("\\P{L}+", "a" LETTER " " DIGIT "b", " " DIGIT);
  expect_matches("[^\\s\\p{L}\\p{N}]+", LETTER "-" DIGIT MARK, "-|" MARK);
  expect_matches("\\d+", "1" DIGIT LETTER, "1" DIGIT);
  expect_matches("\\w+", "a" LETTER MARK DIGIT ".", "a" LETTER MARK DIGIT);
  expect_matches("\\W", LETTER "." MARK, ".");
  expect_matches("[\\p{Han}a]+", "a" HAN "b", "a" HAN);
  expect_matches("\\bx", LETTER "x x", "x");
  expect_matches("[\\p{M}]", "a" MARK, MARK);
#undef LETTER
#undef DIGIT
#undef MARK
#undef HAN
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gpt2_pieces_are_those_of_its_pattern),
      cmocka_unit_test(llama3_pieces_are_those_of_its_pattern),
      cmocka_unit_test(long_runs_are_one_piece),
      cmocka_unit_test(characters_newer_than_unicode_14_have_their_classes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
