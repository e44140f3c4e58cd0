/* test_sequence: stop strings over token borders. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sequence.h"

static struct sequence *with_stops(const struct slice *stops, size_t n) {
  static const int32_t prompt[] = {1, 2, 3};
  return sequence_create(&(struct engine_request){.prompt = prompt, .n_prompt = 3, .stops = stops, .n_stops = n, .max_tokens = 10}, 100);
}

static void a_stop_string_is_found_across_tokens(void **state) {
  (void)state;
  struct sequence *s = with_stops(&SLICE("STOP"), 1);
  assert_false(sequence_completes_stop(s, SLICE("a S")));
  assert_false(sequence_completes_stop(s, SLICE("T")));
  assert_false(sequence_completes_stop(s, SLICE("")));
  assert_true(sequence_completes_stop(s, SLICE("OP and more")));
  sequence_destroy(s);
}

static void a_stop_string_inside_one_token_is_found(void **state) {
  (void)state;
  struct sequence *s = with_stops(&SLICE("\n\n"), 1);
  assert_false(sequence_completes_stop(s, SLICE("x\n")));
  assert_false(sequence_completes_stop(s, SLICE("y")));
  assert_true(sequence_completes_stop(s, SLICE("a\n\nb")));
  sequence_destroy(s);
}

static void each_of_several_stop_strings_counts(void **state) {
  (void)state;
  const struct slice stops[] = {SLICE("never"), SLICE("."), SLICE("abcabd")};
  struct sequence *s = with_stops(stops, 3);
  assert_false(sequence_completes_stop(s, SLICE("abcabcab")));
  assert_true(sequence_completes_stop(s, SLICE("d")));
  assert_true(sequence_completes_stop(s, SLICE("x.y")));
  sequence_destroy(s);
}

static void what_ended_before_the_new_bytes_is_not_found_again(void **state) {
  (void)state;
  struct sequence *s = with_stops(&SLICE("ab"), 1);
  assert_true(sequence_completes_stop(s, SLICE("ab")));
  assert_false(sequence_completes_stop(s, SLICE("c")));
  sequence_destroy(s);
}

static void the_limit_is_the_context_or_max_tokens(void **state) {
  (void)state;
  static const int32_t prompt[] = {1, 2, 3, 4};
  struct engine_request r = {.prompt = prompt, .n_prompt = 4, .max_tokens = 5, .n_done = 1};
  struct sequence *s = sequence_create(&r, 100);
  assert_int_equal(s->n_tokens_max, 8); /* 3 of the prompt, 5 generated, 1 of them before */
  sequence_destroy(s);
  r.max_tokens = 0;
  s = sequence_create(&r, 100);
  assert_int_equal(s->n_tokens_max, 100);
  sequence_destroy(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stop_string_is_found_across_tokens),   cmocka_unit_test(a_stop_string_inside_one_token_is_found),
      cmocka_unit_test(each_of_several_stop_strings_counts),    cmocka_unit_test(what_ended_before_the_new_bytes_is_not_found_again),
      cmocka_unit_test(the_limit_is_the_context_or_max_tokens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
