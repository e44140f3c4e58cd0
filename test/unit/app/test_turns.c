/* test_turns: which of several busy models makes the next step. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/turns.h"

enum { N = 3 };

/* Steps of so many ns each, of those that are always busy; counts turns. */
static void run(struct turn *turns, const uint64_t *ns, int n_steps, int *ret_turns) {
  for (int i = 0; i < n_steps; i++) {
    for (size_t k = 0; k < N; k++) turns_tell(turns, N, k, ns[k] > 0);
    size_t next = turns_next(turns, N);
    assert_true(next < N && ns[next] > 0);
    ret_turns[next]++;
    turns_took(turns, N, next, ns[next], false);
  }
}

static void busy_models_get_equal_time_however_long_their_steps_last(void **state) {
  (void)state;
  struct turn turns[N] = {0};
  int made[N] = {0};
  const uint64_t ns[N] = {10, 40, 20};
  run(turns, ns, 7000, made);
  assert_in_range(made[0], 3999, 4001);
  assert_in_range(made[1], 999, 1001);
  assert_in_range(made[2], 1999, 2001);
}

static void one_that_is_alone_gets_every_turn_and_saves_up_no_debt(void **state) {
  (void)state;
  struct turn turns[N] = {0};
  int made[N] = {0};
  run(turns, (const uint64_t[N]){10, 0, 0}, 5000, made);
  assert_int_equal(made[0], 5000);
  made[0] = 0;
  run(turns, (const uint64_t[N]){10, 10, 0}, 100, made); /* the other was idle: it has no claim for that time */
  assert_in_range(made[0], 49, 51);
}

static void one_that_can_do_nothing_lets_all_others_go_first(void **state) {
  (void)state;
  struct turn turns[N] = {0};
  for (size_t k = 0; k < N; k++) turns_tell(turns, N, k, true);
  turns_took(turns, N, 1, 100, false);
  turns_took(turns, N, 2, 50, false);
  assert_int_equal(turns_next(turns, N), 0);
  turns_took(turns, N, 0, 1, true);
  assert_int_equal(turns_next(turns, N), 2);
  turns_took(turns, N, 2, 50, false);
  assert_int_equal(turns_next(turns, N), 1);
}

static void nobody_is_next_when_none_is_busy(void **state) {
  (void)state;
  struct turn turns[N] = {0};
  assert_int_equal(turns_next(turns, N), N);
  turns_tell(turns, N, 2, true);
  assert_int_equal(turns_next(turns, N), 2);
  turns_tell(turns, N, 2, false);
  assert_int_equal(turns_next(turns, N), N);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(busy_models_get_equal_time_however_long_their_steps_last),
      cmocka_unit_test(one_that_is_alone_gets_every_turn_and_saves_up_no_debt),
      cmocka_unit_test(one_that_can_do_nothing_lets_all_others_go_first),
      cmocka_unit_test(nobody_is_next_when_none_is_busy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
