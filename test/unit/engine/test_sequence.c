/* test_sequence: stop strings over token borders. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sequence.h"

static struct sequence *with_stops(const struct slice *stops, size_t n) {
  static const int32_t prompt[] = {1, 2, 3};
  struct engine_request r = {.prompt = prompt, .n_prompt = 3, .stops = stops, .n_stops = n, .max_tokens = 10};
  return sequence_create(&r, 100, NULL, 0);
}

/* A token with this text was generated. */
static bool completes(struct sequence *s, struct slice bytes) {
  sequence_add_token(s, 1);
  return sequence_completes_stop(s, bytes);
}

static void a_stop_string_is_found_across_tokens(void **state) {
  (void)state;
  struct sequence *s = with_stops(&SLICE("STOP"), 1);
  assert_false(completes(s, SLICE("a S")));
  assert_false(completes(s, SLICE("T")));
  assert_false(completes(s, SLICE("")));
  assert_true(completes(s, SLICE("OP and more")));
  sequence_destroy(s);
}

static void a_stop_string_inside_one_token_is_found(void **state) {
  (void)state;
  struct sequence *s = with_stops(&SLICE("\n\n"), 1);
  assert_false(completes(s, SLICE("x\n")));
  assert_false(completes(s, SLICE("y")));
  assert_true(completes(s, SLICE("a\n\nb")));
  sequence_destroy(s);
}

static void each_of_several_stop_strings_counts(void **state) {
  (void)state;
  const struct slice stops[] = {SLICE("never"), SLICE("."), SLICE("abcabd")};
  struct sequence *s = with_stops(stops, 3);
  assert_false(completes(s, SLICE("abcabcab")));
  assert_true(completes(s, SLICE("d")));
  assert_true(completes(s, SLICE("x.y")));
  sequence_destroy(s);
}

static void what_ended_before_the_new_bytes_is_not_found_again(void **state) {
  (void)state;
  struct sequence *s = with_stops(&SLICE("ab"), 1);
  assert_true(completes(s, SLICE("ab")));
  assert_false(completes(s, SLICE("c")));
  sequence_destroy(s);
}

static void the_limit_is_the_context_or_max_tokens(void **state) {
  (void)state;
  static const int32_t prompt[] = {1, 2, 3, 4};
  struct engine_request r = {.prompt = prompt, .n_prompt = 4, .max_tokens = 5, .n_done = 1};
  struct sequence *s = sequence_create(&r, 100, NULL, 0);
  assert_int_equal(s->n_tokens_max, 8); /* 3 of the prompt, 5 generated, 1 of them before */
  sequence_destroy(s);
  r.max_tokens = 0;
  s = sequence_create(&r, 100, NULL, 0);
  assert_int_equal(s->n_tokens_max, 100);
  sequence_destroy(s);
}

static void the_first_tokens_end_nothing(void **state) {
  (void)state;
  static const int32_t prompt[] = {1, 2, 3, 4}, eos[] = {9, 10}, stop_ids[] = {77};
  struct engine_request r = {.prompt = prompt,
                             .n_prompt = 4,
                             .n_done = 1,
                             .min_tokens = 3,
                             .stop_ids = stop_ids,
                             .n_stop_ids = 1,
                             .stops = &SLICE("ab"),
                             .n_stops = 1};
  for (int ignored = 0; ignored < 2; ignored++) {
    r.ignore_eos = ignored;
    struct sequence *s = sequence_create(&r, 100, eos, 2);
    assert_int_equal(s->n_end_ids, ignored ? 1 : 3);
    assert_false(sequence_may_end(s)); /* the second of three is to come */
    assert_false(completes(s, SLICE("ab")));
    assert_false(sequence_ended_by(s, 77));
    assert_false(sequence_may_end(s));
    assert_false(completes(s, SLICE("a"))); /* the third: a stop string may begin here */
    assert_false(sequence_ended_by(s, 77));
    assert_true(sequence_may_end(s));
    assert_true(completes(s, SLICE("b")));
    assert_true(sequence_ended_by(s, 77));
    assert_int_equal(sequence_ended_by(s, 10), !ignored);
    assert_false(sequence_ended_by(s, 11));
    sequence_destroy(s);
  }
}

static void resumed_tokens_count_as_generated(void **state) {
  (void)state;
  static const int32_t prompt[] = {5, 6, 5, 6, 7};
  struct engine_request r = {.prompt = prompt, .n_prompt = 5, .n_done = 2, .sampling = {.repetition_penalty = 1.2f}};
  struct sequence *s = sequence_create(&r, 100, NULL, 0);
  assert_true(s->penalized && s->tally.n == 3);
  const uint32_t counts[] = {0, 1, 1};
  for (size_t i = 0; i < 3; i++)
    assert_true(s->tally.entries[i].id == prompt[i + 2 * (i == 2)] && s->tally.entries[i].n_generated == counts[i]);
  sequence_add_token(s, 5);
  assert_int_equal(s->tally.entries[0].n_generated, 1);
  sequence_destroy(s);
  r.sampling = (struct engine_sampling){.presence_penalty = 0.5f};
  s = sequence_create(&r, 100, NULL, 0);
  assert_true(s->penalized && s->tally.n == 2); /* of the prompt nothing */
  sequence_destroy(s);
  r.sampling = (struct engine_sampling){.repetition_penalty = 1};
  s = sequence_create(&r, 100, NULL, 0);
  sequence_add_token(s, 5);
  assert_true(!s->penalized && s->tally.n == 0);
  sequence_destroy(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stop_string_is_found_across_tokens),   cmocka_unit_test(a_stop_string_inside_one_token_is_found),
      cmocka_unit_test(each_of_several_stop_strings_counts),    cmocka_unit_test(what_ended_before_the_new_bytes_is_not_found_again),
      cmocka_unit_test(the_limit_is_the_context_or_max_tokens), cmocka_unit_test(the_first_tokens_end_nothing),
      cmocka_unit_test(resumed_tokens_count_as_generated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
