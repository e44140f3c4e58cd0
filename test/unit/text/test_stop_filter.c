/* The stop filter. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/text.h"

/* Feeds text in pieces of `step` bytes; what comes out goes to out. Returns whether it was stopped. */
static bool feed(const struct slice *stops, size_t n_stops, const char *text, size_t step, struct buf *out) {
  struct stop_filter f;
  struct slice rest = slice_cstr(text);
  stop_filter_init(&f, stops, n_stops);
  buf_clear(out);
  while (rest.len) {
    size_t n = step < rest.len ? step : rest.len;
    stop_filter_push(&f, slice_make(rest.data, n), out);
    rest = slice_from(rest, n);
  }
  stop_filter_finish(&f, out);
  bool stopped = f.stopped;
  stop_filter_free(&f);
  return stopped;
}

static void expect(const struct slice *stops, size_t n_stops, const char *text, const char *want, bool want_stopped) {
  struct buf out = {0};
  for (size_t step = 1; step <= 12; step++) {
    bool stopped = feed(stops, n_stops, text, step, &out);
    assert_string_equal(out.data ? out.data : "", want);
    assert_int_equal(stopped, want_stopped);
  }
  buf_free(&out);
}

static void text_is_cut_before_a_stop_string_however_it_arrives(void **state) {
  (void)state;
  struct slice stops[] = {SLICE("STOP"), SLICE("\n\n")};
  expect(stops, 2, "go on STOP here", "go on ", true);
  expect(stops, 2, "a\nb\n\nc", "a\nb", true);
  expect(stops, 2, "STOP", "", true);
  expect(stops, 2, "STO STOSTOP", "STO STO", true);
}

static void a_beginning_that_is_not_completed_is_emitted(void **state) {
  (void)state;
  struct slice stops[] = {SLICE("abcabd"), SLICE("xyz")};
  expect(stops, 2, "abcabcabc", "abcabcabc", false);
  expect(stops, 2, "abcabcabd!", "abc", true);
  expect(stops, 2, "xyxyxy", "xyxyxy", false);
  expect(stops, 2, "", "", false);
}

static void the_stop_string_that_is_complete_first_counts(void **state) {
  (void)state;
  struct slice stops[] = {SLICE("abcd"), SLICE("bc"), SLICE("xabc")};
  expect(stops, 3, "-abcd", "-a", true); /* "bc" ends first */
  expect(stops, 3, "-xabcd", "-", true); /* "xabc" and "bc" end together: the longer one */
}

static void what_may_become_a_stop_string_is_held_back(void **state) {
  (void)state;
  struct slice stop = SLICE("END");
  struct stop_filter f;
  struct buf out = {0};
  stop_filter_init(&f, &stop, 1);
  stop_filter_push(&f, SLICE("the E"), &out);
  assert_string_equal(out.data, "the ");
  stop_filter_push(&f, SLICE("N"), &out);
  assert_string_equal(out.data, "the ");
  stop_filter_push(&f, SLICE("T"), &out);
  assert_string_equal(out.data, "the ENT");
  stop_filter_push(&f, SLICE("END of"), &out);
  stop_filter_push(&f, SLICE(" it"), &out);
  assert_string_equal(out.data, "the ENT");
  assert_true(f.stopped);
  stop_filter_free(&f);
  buf_free(&out);
}

static void without_stop_strings_all_text_passes(void **state) {
  (void)state;
  expect(NULL, 0, "anything", "anything", false);
}

static void push(struct stop_filter *f, bool dormant, const char *text, struct buf *out) {
  f->dormant = dormant;
  stop_filter_push(f, slice_cstr(text), out);
}

static void what_came_while_dormant_completes_no_stop_string_but_may_begin_one(void **state) {
  (void)state;
  struct slice stops[] = {SLICE("abc"), SLICE("b"), SLICE("xyz")};
  struct stop_filter f;
  struct buf out = {0};
  stop_filter_init(&f, stops, 3);
  push(&f, true, "0abc1b", &out);
  assert_true(!f.stopped && slice_eq(buf_view(&out), SLICE("0abc1b")));
  push(&f, true, "ab", &out); /* is held, with a whole stop string in it */
  push(&f, false, "!xy", &out);
  assert_true(!f.stopped && slice_eq(buf_view(&out), SLICE("0abc1bab!")));
  push(&f, true, "z-xy", &out);
  assert_true(!f.stopped && slice_eq(buf_view(&out), SLICE("0abc1bab!xyz-")));
  push(&f, false, "z more", &out);
  assert_true(f.stopped && slice_eq(buf_view(&out), SLICE("0abc1bab!xyz-")));
  stop_filter_free(&f);
  buf_clear(&out);
  stop_filter_init(&f, stops, 2);
  push(&f, true, "ab", &out);
  push(&f, false, "c", &out);
  assert_true(f.stopped && out.len == 0);
  stop_filter_free(&f);
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(text_is_cut_before_a_stop_string_however_it_arrives),
      cmocka_unit_test(a_beginning_that_is_not_completed_is_emitted),
      cmocka_unit_test(the_stop_string_that_is_complete_first_counts),
      cmocka_unit_test(what_may_become_a_stop_string_is_held_back),
      cmocka_unit_test(without_stop_strings_all_text_passes),
      cmocka_unit_test(what_came_while_dormant_completes_no_stop_string_but_may_begin_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
