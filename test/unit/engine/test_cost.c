/* test_cost: what a step costs, learnt from steps. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/cost.h"

static void near(double value, double expected) { assert_true(value > expected * 0.95 && value < expected * 1.05); }

static uint64_t step_ns(size_t decode_rows, size_t prompt_rows) { return 8000000 + 500000 * decode_rows + 700000 * prompt_rows; }

static void nothing_is_known_before_a_step_was_made(void **state) {
  (void)state;
  struct cost c = {0};
  assert_true(cost_decode_ns(&c, 4) <= 0 && cost_prompt_rows(&c, 4, 2) == 0 && cost_row_ns(&c) <= 0);
}

static void base_slope_and_prompt_rows_are_told_apart(void **state) {
  (void)state;
  struct cost c = {0};
  for (size_t i = 0; i < 100; i++) {
    size_t d = 1 + i % 7;
    cost_observe(&c, d, 0, step_ns(d, 0));
    cost_observe(&c, d, 40, step_ns(d, 40));
  }
  near(cost_decode_ns(&c, 4), 10000000);
  near(cost_decode_ns(&c, 20), 18000000);
  near(cost_row_ns(&c), 500000);
  near((double)cost_prompt_rows(&c, 4, 2), 10000000 / 700000);
}

static void a_machine_that_slows_down_is_followed(void **state) {
  (void)state;
  struct cost c = {0};
  for (int i = 0; i < 100; i++) cost_observe(&c, 1, 0, 10000000);
  for (int i = 0; i < 300; i++) cost_observe(&c, 1, 0, 50000000);
  near(cost_decode_ns(&c, 1), 50000000);
}

static void a_step_that_was_held_up_hardly_counts(void **state) {
  (void)state;
  struct cost c = {0};
  for (int i = 0; i < 100; i++) cost_observe(&c, 2, 0, 10000000);
  cost_observe(&c, 2, 10, 15000000);
  size_t rows = cost_prompt_rows(&c, 2, 2);
  cost_observe(&c, 2, 0, 10000000000);
  cost_observe(&c, 2, 10, 10000000000);
  assert_true(cost_decode_ns(&c, 2) < 10500000);
  assert_true(cost_prompt_rows(&c, 2, 2) * 10 > rows * 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_is_known_before_a_step_was_made),
      cmocka_unit_test(base_slope_and_prompt_rows_are_told_apart),
      cmocka_unit_test(a_machine_that_slows_down_is_followed),
      cmocka_unit_test(a_step_that_was_held_up_hardly_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
