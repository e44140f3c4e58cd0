/* pool: see pool.h. SPDX-License-Identifier: Apache-2.0
 *
 * A run is open while the caller takes tiles; threads enter it by counting themselves into `state`, take tiles from `next` until none
 * is left, and count themselves out. Invariants: 1. fn, job and n_tiles change only while state is 0 (closed, nobody inside);
 * 2. the caller closes the run when no tile is left and waits for those inside only: a thread that the system holds up before it
 * entered holds up nothing. */
#include "base/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

enum { THREADS_MAX = 1024, SPIN_ROUNDS = 2000 /* some ten microseconds */, LINE = 64 };
#define RUN_OPEN 0x80000000u

struct pool {
  int n_threads;
  pthread_t *threads; /* [n_threads - 1] */
  pool_fn *fn;
  void *job;
  int n_tiles;
  _Alignas(LINE) atomic_uint epoch; /* futex: threads sleep on it between runs */
  _Alignas(LINE) atomic_int next;   /* the next tile */
  _Alignas(LINE) atomic_uint state; /* RUN_OPEN, and how many threads are inside; futex: the caller sleeps on it */
  _Alignas(LINE) atomic_int asleep; /* threads in futex wait on epoch */
  atomic_bool ending;
};

struct worker {
  struct pool *pool;
  int index;
};

static void futex_wait(atomic_uint *at, unsigned value) { syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void futex_wake(atomic_uint *at, int n) { syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

static void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void take_tiles(struct pool *p, int worker) {
  for (;;) {
    int tile = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
    if (tile >= p->n_tiles) return;
    p->fn(p->job, tile, worker);
  }
}

/* Waits until the epoch is not `seen`: spins shortly, then sleeps. */
static unsigned wait_for_run(struct pool *p, unsigned seen) {
  for (int i = 0; i < SPIN_ROUNDS; i++) {
    unsigned now = atomic_load_explicit(&p->epoch, memory_order_acquire);
    if (now != seen) return now;
    pause_cpu();
  }
  atomic_fetch_add(&p->asleep, 1);
  unsigned now;
  while ((now = atomic_load(&p->epoch)) == seen) futex_wait(&p->epoch, seen);
  atomic_fetch_sub(&p->asleep, 1);
  return now;
}

static bool enter_run(struct pool *p) {
  unsigned state = atomic_load_explicit(&p->state, memory_order_acquire);
  while (state & RUN_OPEN)
    if (atomic_compare_exchange_weak_explicit(&p->state, &state, state + 1, memory_order_acquire, memory_order_acquire)) return true;
  return false;
}

static void leave_run(struct pool *p) {
  if (atomic_fetch_sub_explicit(&p->state, 1, memory_order_acq_rel) == 1) futex_wake(&p->state, 1);
}

static void *work(void *arg) {
  struct worker w = *(struct worker *)arg;
  free(arg);
  struct pool *p = w.pool;
  unsigned seen = 0;
  for (;;) {
    seen = wait_for_run(p, seen);
    if (atomic_load(&p->ending)) return NULL;
    if (!enter_run(p)) continue;
    take_tiles(p, w.index);
    leave_run(p);
  }
}

/* Starts all threads, or as many as the system gives; at least the caller is there. */
static void start_threads(struct pool *p) {
  int wanted = p->n_threads - 1;
  p->threads = mem_zalloc((size_t)wanted + 1, sizeof *p->threads);
  p->n_threads = 1;
  for (int i = 0; i < wanted; i++) {
    struct worker *w = mem_alloc(sizeof *w);
    *w = (struct worker){p, i + 1};
    if (pthread_create(&p->threads[i], NULL, work, w) != 0) {
      free(w);
      return;
    }
    p->n_threads++;
  }
}

struct pool *pool_create(int n_threads, struct error *err) {
  if (n_threads < 0 || n_threads > THREADS_MAX) {
    error_set(err, ERROR_INVALID, "The number of compute threads is %d; it must be between 0 (all cores) and %d.", n_threads, THREADS_MAX);
    return NULL;
  }
  struct pool *p = mem_aligned(LINE, (sizeof *p + LINE - 1) / LINE * LINE);
  memset(p, 0, sizeof *p);
  p->n_threads = n_threads ? n_threads : pool_cores_usable();
  start_threads(p);
  return p;
}

void pool_destroy(struct pool *p) {
  if (!p) return;
  atomic_store(&p->ending, true);
  atomic_fetch_add(&p->epoch, 1);
  futex_wake(&p->epoch, INT_MAX);
  for (int i = 0; i < p->n_threads - 1; i++) pthread_join(p->threads[i], NULL);
  free(p->threads);
  free(p);
}

int pool_threads(const struct pool *p) { return p->n_threads; }

static void close_run(struct pool *p) {
  atomic_fetch_and_explicit(&p->state, ~RUN_OPEN, memory_order_acq_rel);
  for (int i = 0; i < SPIN_ROUNDS; i++) {
    if (atomic_load_explicit(&p->state, memory_order_acquire) == 0) return;
    pause_cpu();
  }
  unsigned left;
  while ((left = atomic_load_explicit(&p->state, memory_order_acquire)) != 0) futex_wait(&p->state, left);
}

void pool_run(struct pool *p, pool_fn *fn, void *job, int n_tiles) {
  if (n_tiles <= 1 || p->n_threads == 1) {
    for (int tile = 0; tile < n_tiles; tile++) fn(job, tile, 0);
    return;
  }
  p->fn = fn;
  p->job = job;
  p->n_tiles = n_tiles;
  atomic_store_explicit(&p->next, 0, memory_order_relaxed);
  atomic_store_explicit(&p->state, RUN_OPEN, memory_order_release);
  atomic_fetch_add(&p->epoch, 1);
  if (atomic_load(&p->asleep) > 0) futex_wake(&p->epoch, INT_MAX);
  take_tiles(p, 0);
  close_run(p);
}

/* ---- how many cores there are for us ---- */

/* Cores by a cgroup's quota, rounded up; INT_MAX without one. */
static int quota_cores(void) {
  long long quota = -1, period = 0;
  FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
  if (f) {
    if (fscanf(f, "%lld %lld", &quota, &period) != 2) quota = -1;
    fclose(f);
  } else if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r"))) {
    if (fscanf(f, "%lld", &quota) != 1) quota = -1;
    fclose(f);
    f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r");
    if (!f || fscanf(f, "%lld", &period) != 1) quota = -1;
    if (f) fclose(f);
  }
  if (quota <= 0 || period <= 0) return INT_MAX;
  return (int)((quota + period - 1) / period);
}

int pool_cores_usable(void) {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  int quota = quota_cores();
  if (quota < cores) cores = quota;
  return cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : cores;
}
