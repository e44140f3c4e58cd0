/* clock: see clock.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static struct timespec now(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return t;
}

static uint64_t ns(struct timespec t) { return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec; }

uint64_t clock_ns(void) { return ns(now(CLOCK_MONOTONIC)); }

uint64_t clock_thread_ns(void) { return ns(now(CLOCK_THREAD_CPUTIME_ID)); }

int64_t clock_wall_s(void) { return now(CLOCK_REALTIME).tv_sec; }

int64_t clock_wall_ms(void) {
  struct timespec t = now(CLOCK_REALTIME);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
