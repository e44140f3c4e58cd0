/* The folder that an import is put together in. SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "intake/stage.h"

enum { N_THREADS = 6, ROUNDS = 1500 };

static struct {
  char dir[64];
  atomic_int inside, at_once, failed;
  struct error failure;
} shared;

static void *come_and_go(void *arg) {
  const char *key = arg;
  for (int i = 0; i < ROUNDS; i++) {
    struct stage s;
    struct error err = {0};
    if (stage_open(&s, shared.dir, key, &err) == 0) {
      if (atomic_fetch_add(&shared.inside, 1)) shared.at_once++;
      atomic_fetch_sub(&shared.inside, 1);
    } else if (err.code != ERROR_UNAVAILABLE) {
      if (!shared.failed++) shared.failure = err;
    }
    stage_close(&s, false);
  }
  return NULL;
}

/* The last one out removes the folder of all and the lock of its own: one that is just coming must not stumble over either. */
static void imports_that_come_and_go_never_share_a_folder_or_fail(void **state) {
  (void)state;
  pthread_t threads[N_THREADS];
  snprintf(shared.dir, sizeof shared.dir, "/tmp/plinth-test-XXXXXX");
  assert_non_null(mkdtemp(shared.dir));
  for (size_t i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, "model"), 0);
  for (size_t i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
  if (shared.failed) fail_msg("%s", shared.failure.message);
  assert_int_equal(shared.at_once, 0);
  assert_int_equal(rmdir(shared.dir), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(imports_that_come_and_go_never_share_a_folder_or_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
