/* Tests of base/utf8. SPDX-License-Identifier: Apache-2.0
 * The tables are those of RFC 3629, section 4, and of the Unicode standard, tables 3-7 to 3-11. */
#include "base/utf8.h"
#include "check.h"

static void every_codepoint_goes_out_and_comes_back(void **state) {
  (void)state;
  for (uint32_t c = 0; c < 0x110000; c++) {
    char bytes[4];
    uint32_t back = 0;
    size_t n = utf8_put(bytes, c);
    if (c >= 0xD800 && c < 0xE000) {
      assert_memory_equal(bytes, "\xEF\xBF\xBD", 3);
      continue;
    }
    size_t want = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n != want || utf8_get(slice_make(bytes, n), &back) != n || back != c) fail_msg("U+%04X", c);
    for (size_t cut = 0; cut < n; cut++)
      if (utf8_get(slice_make(bytes, cut), &back) != 0) fail_msg("U+%04X cut to %zu", c, cut);
  }
  char bytes[4];
  assert_int_equal(utf8_put(bytes, 0x110000), 3);
  assert_int_equal(utf8_put(bytes, UINT32_MAX), 3);
}

/* The grammar of RFC 3629, section 4, as ranges. */
static bool rfc_3629(const unsigned char *p, size_t n) {
#define IN(i, low, high) (p[i] >= (low) && p[i] <= (high))
#define TAIL(i) IN(i, 0x80, 0xBF)
  switch (n) {
    case 1: return IN(0, 0x00, 0x7F);
    case 2: return IN(0, 0xC2, 0xDF) && TAIL(1);
    case 3:
      return ((p[0] == 0xE0 && IN(1, 0xA0, 0xBF)) || (IN(0, 0xE1, 0xEC) && TAIL(1)) || (p[0] == 0xED && IN(1, 0x80, 0x9F)) ||
              (IN(0, 0xEE, 0xEF) && TAIL(1))) &&
             TAIL(2);
    case 4:
      return ((p[0] == 0xF0 && IN(1, 0x90, 0xBF)) || (IN(0, 0xF1, 0xF3) && TAIL(1)) || (p[0] == 0xF4 && IN(1, 0x80, 0x8F))) && TAIL(2) &&
             TAIL(3);
  }
  return false;
#undef IN
#undef TAIL
}

/* All sequences of up to three bytes, and of four with every kind of byte at each place. */
static void acceptance_equals_the_grammar_of_the_rfc(void **state) {
  (void)state;
  static const unsigned char kinds[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
                                        0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFC, 0xFE, 0xFF};
  unsigned char p[4];
  uint32_t c;
  for (unsigned v = 0; v < 1u << 24; v++) {
    p[0] = (unsigned char)(v >> 16), p[1] = (unsigned char)(v >> 8), p[2] = (unsigned char)v;
    size_t want = rfc_3629(p, 1) ? 1 : rfc_3629(p, 2) ? 2 : rfc_3629(p, 3) ? 3 : 0;
    if (utf8_get(slice_make(p, 3), &c) != want) fail_msg("%02X %02X %02X", p[0], p[1], p[2]);
  }
  size_t n = sizeof kinds;
  for (size_t i = 0; i < n * n * n * n; i++) {
    p[0] = kinds[i / (n * n * n)], p[1] = kinds[i / (n * n) % n], p[2] = kinds[i / n % n], p[3] = kinds[i % n];
    size_t want = 0;
    for (size_t len = 1; len <= 4 && !want; len++)
      if (rfc_3629(p, len)) want = len;
    if (utf8_get(slice_make(p, 4), &c) != want) fail_msg("%02X %02X %02X %02X", p[0], p[1], p[2], p[3]);
  }
}

/* How a run of bytes is split: each digit is the length of a character or, after '-', of an invalid part. */
static void expect_split(struct slice s, const char *want) {
  char got[64];
  size_t n = 0;
  while (s.len) {
    uint32_t c;
    size_t len = utf8_get(s, &c);
    if (!len) got[n++] = '-';
    if (!len) len = utf8_invalid_len(s);
    got[n++] = (char)('0' + len);
    s = slice_from(s, len);
  }
  got[n] = '\0';
  assert_string_equal(got, want);
}

static void invalid_runs_are_split_into_maximal_subparts(void **state) {
  (void)state;
  expect_split(SLICE("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "-1-1-1-1-1-1-1-11"); /* table 3-8: not short forms */
  expect_split(SLICE("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "-1-1-1-1-1-1-1-11"); /* table 3-9: surrogates */
  expect_split(SLICE("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "-1-1-1-1-11-1-11");  /* table 3-10: others */
  expect_split(SLICE("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "-2-1-3-21");         /* table 3-11: cut ones */
  expect_split(SLICE("a\xE2\x82\xAC\xF0\x9F\x98\x80\xC3"), "134-1");
  assert_int_equal(utf8_invalid_len(SLICE("")), 0);
}

static void validity_of_whole_texts(void **state) {
  (void)state;
  assert_true(utf8_valid(SLICE("")));
  assert_true(utf8_valid(SLICE("a\0b")));
  assert_true(utf8_valid(SLICE("\xF4\x8F\xBF\xBF")));
  assert_false(utf8_valid(SLICE("abc\xE2\x82")));
  assert_false(utf8_valid(SLICE("\xFF")));
}

static void an_incomplete_tail_is_measured(void **state) {
  (void)state;
  assert_int_equal(utf8_incomplete_tail(SLICE("")), 0);
  assert_int_equal(utf8_incomplete_tail(SLICE("abc")), 0);
  assert_int_equal(utf8_incomplete_tail(SLICE("a\xC3")), 1);
  assert_int_equal(utf8_incomplete_tail(SLICE("a\xC3\xA9")), 0);
  assert_int_equal(utf8_incomplete_tail(SLICE("\xE2\x82")), 2);
  assert_int_equal(utf8_incomplete_tail(SLICE("\xF0\x9F\x98")), 3);
  assert_int_equal(utf8_incomplete_tail(SLICE("\xF0\x9F\x98\x80")), 0);
  assert_int_equal(utf8_incomplete_tail(SLICE("\xE0\x80")), 0); /* can never be completed */
  assert_int_equal(utf8_incomplete_tail(SLICE("\xED\xA0")), 0);
  assert_int_equal(utf8_incomplete_tail(SLICE("\xC0")), 0);
  assert_int_equal(utf8_incomplete_tail(SLICE("\x80\x80\x80\x80")), 0);
  assert_int_equal(utf8_incomplete_tail(SLICE("\xE2\x82\xAC\x80")), 0);
}

static void expect_line(const char *text, const char *wanted) {
  char line[64];
  size_t len = strlen(text);
  memcpy(line, text, len);
  len = utf8_make_line(line, len);
  assert_int_equal(len, strlen(wanted));
  assert_memory_equal(line, wanted, len);
}

static void what_could_play_with_a_terminal_becomes_a_question_mark(void **state) {
  (void)state;
  expect_line("", "");
  expect_line("plain \xC3\xA4 \xF0\x9F\x8C\x8A\xC2\xA0", "plain \xC3\xA4 \xF0\x9F\x8C\x8A\xC2\xA0");
  expect_line("a\x1B[2J\r\n\tb\x7F", "a?[2J???b?");
  expect_line(
      "c1 \xC2\x9B"
      "2J, bare \x9B, cut \xE2\x82",
      "c1 ?2J, bare ?, cut ?");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_codepoint_goes_out_and_comes_back),
      cmocka_unit_test(acceptance_equals_the_grammar_of_the_rfc),
      cmocka_unit_test(invalid_runs_are_split_into_maximal_subparts),
      cmocka_unit_test(validity_of_whole_texts),
      cmocka_unit_test(an_incomplete_tail_is_measured),
      cmocka_unit_test(what_could_play_with_a_terminal_becomes_a_question_mark),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
