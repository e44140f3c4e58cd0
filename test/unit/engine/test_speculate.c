/* test_speculate: guesses from the text so far, and what they are worth. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/speculate.h"

static const double ALL = -1; /* row_cost */

static void what_followed_the_last_occurrence_is_guessed(void **state) {
  (void)state;
  struct speculation s = {0};
  const int32_t text[] = {1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 7, 1, 2, 3};
  assert_int_equal(speculate_draft(&s, text, 14, 3, ALL), 3);
  assert_true(s.guess[0] == 5 && s.guess[1] == 6 && s.guess[2] == 7); /* of the later one, and not 4, 9, 1 */
  speculate_deinit(&s);
}

static void a_longer_match_goes_before_a_later_one(void **state) {
  (void)state;
  struct speculation s = {0};
  const int32_t text[] = {1, 2, 3, 4, 50, 7, 3, 4, 60, 8, 1, 2, 3, 4};
  assert_int_equal(speculate_draft(&s, text, 14, 1, ALL), 1);
  assert_int_equal(s.guess[0], 50);
  speculate_deinit(&s);
}

static void a_text_that_goes_round_is_guessed_on_and_on(void **state) {
  (void)state;
  struct speculation s = {0};
  const int32_t text[] = {1, 2, 3, 1, 2, 3};
  assert_int_equal(speculate_draft(&s, text, 6, SPECULATE_ROWS_MAX, ALL), SPECULATE_ROWS_MAX);
  for (int i = 0; i < SPECULATE_ROWS_MAX; i++) assert_int_equal(s.guess[i], i % 3 + 1);
  speculate_deinit(&s);
}

static void what_never_occurred_is_not_guessed(void **state) {
  (void)state;
  struct speculation s = {0};
  int32_t text[3000];
  for (int i = 0; i < 3000; i++) {
    text[i] = i;
    assert_int_equal(speculate_draft(&s, text, (size_t)i + 1, 4, ALL), 0);
    assert_int_equal(s.n_guess, 0);
  }
  speculate_deinit(&s);
}

/* The text grows token by token, over the growth of the index: each guess is what a search would find. */
static void the_index_keeps_up_with_the_text(void **state) {
  (void)state;
  enum { N = 4000 };
  struct speculation s = {0};
  int32_t *text = malloc(N * sizeof *text);
  uint64_t random = 7, found = 0;
  for (size_t n = 1; n <= N; n++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    text[n - 1] = (int32_t)((random >> 33) % 20);
    if (speculate_draft(&s, text, n, 1, ALL) == 0) continue;
    size_t end = n - 1;
    while (end && !(text[end - 1] == text[n - 1] && text[end - 2] == text[n - 2] && text[end] == s.guess[0])) end--;
    assert_true(end > 0 && s.n_match >= 2);
    found++;
  }
  assert_true(found > N / 2);
  speculate_deinit(&s);
  free(text);
}

static void drafts_are_made_only_where_they_pay_and_that_is_learnt_without_making_them(void **state) {
  (void)state;
  struct speculation s = {0};
  int32_t text[400];
  for (int i = 0; i < 400; i++) text[i] = i % 3;             /* begins to repeat at once */
  assert_int_equal(speculate_draft(&s, text, 5, 8, 0.3), 0); /* two tokens match: 0.2 at first */
  const int32_t wrong[] = {99};
  size_t n = 60;
  for (int i = 0; i < 60; i++) {
    speculate_draft(&s, text, n, 8, 1);
    speculate_learn(&s, wrong, 1);
  }
  assert_int_equal(speculate_draft(&s, text, n, 8, 0.1), 0);
  for (; n < 130; n++) {
    assert_int_equal(speculate_draft(&s, text, n, 8, 1), 0); /* a row costs as much as a token: never */
    speculate_learn(&s, text + n, 1);
  }
  assert_int_equal(speculate_draft(&s, text, n, 8, 0.1), 8);
  speculate_deinit(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_followed_the_last_occurrence_is_guessed),
      cmocka_unit_test(a_longer_match_goes_before_a_later_one),
      cmocka_unit_test(a_text_that_goes_round_is_guessed_on_and_on),
      cmocka_unit_test(what_never_occurred_is_not_guessed),
      cmocka_unit_test(the_index_keeps_up_with_the_text),
      cmocka_unit_test(drafts_are_made_only_where_they_pay_and_that_is_learnt_without_making_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
