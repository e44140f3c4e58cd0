/* Tests of base/pool: every tile once, whoever takes it. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "base/pool.h"

enum { TILES = 4000 };

struct job {
  atomic_int taken[TILES];
  atomic_int wrong_worker;
  int threads;
};

static void take(void *arg, int tile, int worker) {
  struct job *j = arg;
  atomic_fetch_add(&j->taken[tile], 1);
  if (worker < 0 || worker >= j->threads) atomic_fetch_add(&j->wrong_worker, 1);
}

static void every_tile_is_done_exactly_once_before_the_run_returns(void **state) {
  (void)state;
  static struct job j;
  for (int threads = 1; threads <= 5; threads++) {
    struct pool *p = pool_create(threads, NULL);
    assert_non_null(p);
    assert_int_equal(pool_threads(p), threads);
    for (int round = 0; round < 300; round++) {
      memset(&j, 0, sizeof j);
      j.threads = threads;
      int tiles = round * 37 % TILES + 1;
      pool_run(p, take, &j, tiles);
      for (int i = 0; i < TILES; i++) assert_int_equal(atomic_load(&j.taken[i]), i < tiles);
      assert_int_equal(atomic_load(&j.wrong_worker), 0);
    }
    pool_destroy(p);
  }
  pool_destroy(NULL);
}

static void no_tiles_and_usable_cores_are_fine(void **state) {
  (void)state;
  static struct job j;
  j.threads = pool_cores_usable();
  assert_true(j.threads >= 1);
  struct pool *p = pool_create(0, NULL);
  assert_non_null(p);
  assert_int_equal(pool_threads(p), j.threads);
  pool_run(p, take, &j, 0);
  pool_destroy(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_tile_is_done_exactly_once_before_the_run_returns),
      cmocka_unit_test(no_tiles_and_usable_cores_are_fine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
