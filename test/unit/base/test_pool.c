/* Tests of base/pool. SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/pool.h"
#include "check.h"

enum { TILES_MAX = 1000 };

struct job {
  atomic_int runs[TILES_MAX];
  atomic_int in_use[64]; /* by worker: no index is used by two threads at once */
  int n_tiles, n_workers;
  atomic_int wrong;
};

static void count_tile(void *arg, int tile, int worker) {
  struct job *j = arg;
  if (tile < 0 || tile >= j->n_tiles || worker < 0 || worker >= j->n_workers) {
    atomic_fetch_add(&j->wrong, 1);
    return;
  }
  if (atomic_fetch_add(&j->in_use[worker], 1) != 0) atomic_fetch_add(&j->wrong, 1);
  atomic_fetch_add(&j->runs[tile], 1);
  atomic_fetch_sub(&j->in_use[worker], 1);
}

static void run_and_check(struct pool *p, int n_tiles) {
  static struct job j;
  memset(&j, 0, sizeof j);
  j.n_tiles = n_tiles;
  j.n_workers = pool_threads(p);
  pool_run(p, count_tile, &j, n_tiles);
  assert_int_equal(atomic_load(&j.wrong), 0);
  for (int i = 0; i < TILES_MAX; i++) assert_int_equal(atomic_load(&j.runs[i]), i < n_tiles);
}

static void every_tile_runs_once_for_any_number_of_threads(void **state) {
  (void)state;
  static const int tiles[] = {0, 1, 2, 3, 7, 64, TILES_MAX};
  for (int threads = 1; threads <= 9; threads += 2) {
    struct error err = {0};
    struct pool *p = pool_create(threads, &err);
    if (!p) fail_msg("%s", err.message);
    assert_int_equal(pool_threads(p), threads);
    for (int round = 0; round < 20; round++)
      for (size_t i = 0; i < sizeof tiles / sizeof tiles[0]; i++) run_and_check(p, tiles[i]);
    pool_destroy(p);
  }
}

/* Jobs in quick turn and with pauses in which the threads fall asleep: none may be lost, none run for an old job. */
static void jobs_follow_each_other_awake_and_asleep(void **state) {
  (void)state;
  struct pool *p = pool_create(4, NULL);
  assert_non_null(p);
  for (int i = 0; i < 5000; i++) {
    run_and_check(p, 1 + i % 17);
    if (i % 500 == 0) usleep(2000);
  }
  pool_destroy(p);
}

struct held_job {
  atomic_int n_done;
  int n_tiles, held;
};

/* The held tile ends after all others. */
static void hold_tile(void *arg, int tile, int worker) {
  (void)worker;
  struct held_job *j = arg;
  while (tile == j->held && atomic_load(&j->n_done) < j->n_tiles - 1) sched_yield();
  atomic_fetch_add(&j->n_done, 1);
}

/* Whichever thread it is: its share is taken over, or this test does not end. */
static void a_thread_that_is_held_up_holds_up_no_other_tile(void **state) {
  (void)state;
  for (int threads = 2; threads <= 5; threads++) {
    struct pool *p = pool_create(threads, NULL);
    assert_non_null(p);
    for (int held = 0; held < 40; held++) {
      struct held_job j = {.n_tiles = 40, .held = held};
      pool_run(p, hold_tile, &j, j.n_tiles);
      assert_int_equal(atomic_load(&j.n_done), j.n_tiles);
    }
    pool_destroy(p);
  }
}

static void the_default_is_what_the_process_may_use(void **state) {
  (void)state;
  assert_true(cores_usable() >= 1);
  struct pool *p = pool_create(0, NULL);
  assert_non_null(p);
  assert_int_equal(pool_threads(p), cores_usable());
  pool_destroy(p);
  pool_destroy(NULL);
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* After work, and with more threads than cores too. */
static void an_idle_pool_uses_no_cpu(void **state) {
  (void)state;
  struct pool *all = pool_create(0, NULL), *crowded = pool_create(8, NULL);
  assert_true(all && crowded);
  for (int i = 0; i < 100; i++) run_and_check(all, 64), run_and_check(crowded, 64);
  usleep(100000); /* the threads that still spin fall asleep */
  double before = cpu_seconds();
  usleep(1000000);
  double used = cpu_seconds() - before;
  if (used > 0.01) fail_msg("ten milliseconds at most were expected; an idle second took %.3f s of CPU", used);
  pool_destroy(all), pool_destroy(crowded);
}

static void pools_come_and_go(void **state) {
  (void)state;
  for (int i = 0; i < 50; i++) {
    struct pool *p = pool_create(3, NULL);
    assert_non_null(p);
    if (i % 2) run_and_check(p, 5);
    pool_destroy(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_tile_runs_once_for_any_number_of_threads),
      cmocka_unit_test(jobs_follow_each_other_awake_and_asleep),
      cmocka_unit_test(a_thread_that_is_held_up_holds_up_no_other_tile),
      cmocka_unit_test(the_default_is_what_the_process_may_use),
      cmocka_unit_test(an_idle_pool_uses_no_cpu),
      cmocka_unit_test(pools_come_and_go),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
