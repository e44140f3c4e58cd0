/* pool: see pool.h. SPDX-License-Identifier: Apache-2.0
 *
 * The tiles of a job are spans of neighbours, one a thread. A thread takes those of its own span first, in order, and then what is left of the
 * others': weights are read as one long run, which the processor foresees, and no thread waits while there is work. Reading memory by two threads in
 * spans gave 64 GB/s where tiles in turn gave 52 (Zen 4, 192 KiB a tile).
 *
 * A job is published by its generation. A span's ticket holds (generation, next tile); a thread takes a tile by compare-and-swap of the whole
 * word, so a thread that was late for a finished job can never take a tile of the next one with the old job's function:
 *   1. the caller closes all tickets before it writes fn, job and n_tiles, and opens them afterwards: otherwise a late thread could hold a
 *      used-up ticket of the last job against the n_tiles of the next one, and take a tile of it that is then done twice;
 *   2. a thread reads them between loading the ticket and swapping it; when the swap succeeds, the generation did not change meanwhile.
 * Waiting has three stages: spin with pauses, spin with yields (so that a thread with work gets the core), sleep on a futex. */
#include "base/pool.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/mem.h"

enum { THREADS_MAX = 1024, PAUSES_PER_LOOK = 32, CACHE_LINE = 64 };

/* The first stage only pays while every thread has a core of its own; the second gives the core away at each look. */
enum { PAUSE_NS = 20000, YIELD_NS = 60000, CROWDED_NS = 2000 };

/* Which tiles of a thread's span are taken. */
struct span {
  _Alignas(CACHE_LINE) _Atomic uint64_t ticket; /* generation << 32 | next tile */
};

struct pool {
  int n_threads;    /* with the caller */
  uint64_t spin_ns; /* pauses only, before yields begin */
  uint64_t wait_ns; /* pauses and yields, before sleep */
  pthread_t *threads;
  struct span *spans; /* [n_threads] */

  _Alignas(CACHE_LINE) _Atomic uint32_t generation;
  _Atomic(pool_fn *) fn;
  _Atomic(void *) job;
  _Atomic int n_tiles;
  _Atomic bool stop;
  _Atomic bool busy; /* a job runs; for the assertion that there is one caller */
  _Atomic int sleepers;
  _Alignas(CACHE_LINE) _Atomic uint32_t done; /* finished tiles of this generation */
  _Atomic bool caller_sleeps;
};

struct worker {
  struct pool *pool;
  int index;
};

static void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }

static void futex_wake(_Atomic uint32_t *word, int n) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

/* Spins until *word is `value` (want_equal) or is not. False when it is time to sleep. */
static bool spin(const struct pool *p, _Atomic uint32_t *word, uint32_t value, bool want_equal) {
  uint64_t begin = 0;
  for (;;) {
    for (int i = 0; i < PAUSES_PER_LOOK; i++) {
      if ((atomic_load_explicit(word, memory_order_acquire) == value) == want_equal) return true;
      cpu_pause();
    }
    uint64_t now = clock_ns();
    if (begin == 0) begin = now;
    if (now - begin >= p->wait_ns) return false;
    if (now - begin >= p->spin_ns) sched_yield();
  }
}

/* The tile number of a ticket that no thread may swap. */
#define TILE_CLOSED UINT32_MAX

/* The first tile of span i; of span n_threads: the number of tiles. */
static uint32_t span_begin(const struct pool *p, int i, int n_tiles) { return (uint32_t)((int64_t)n_tiles * i / p->n_threads); }

/* Takes tiles of span i until there are none; returns how many. */
static uint32_t work_span(struct pool *p, int i, int worker) {
  _Atomic uint64_t *next = &p->spans[i].ticket;
  uint32_t n_done = 0;
  uint64_t ticket = atomic_load_explicit(next, memory_order_acquire);
  for (;;) {
    pool_fn *fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
    void *job = atomic_load_explicit(&p->job, memory_order_relaxed);
    int n_tiles = atomic_load_explicit(&p->n_tiles, memory_order_acquire); /* who sees the new one sees the ticket closed: the swap fails */
    uint32_t tile = (uint32_t)ticket;
    if (tile >= span_begin(p, i + 1, n_tiles)) return n_done;
    if (!atomic_compare_exchange_weak_explicit(next, &ticket, ticket + 1, memory_order_acq_rel, memory_order_acquire)) continue;
    fn(job, (int)tile, worker);
    n_done++;
    /* While this thread has tiles to report, the caller waits, so the generation stands still. */
    ticket = atomic_load_explicit(next, memory_order_acquire);
  }
}

/* Takes tiles of the job that is published until there are none; tells how many were done at the end. */
static void work(struct pool *p, int worker) {
  uint32_t n_done = 0;
  for (int i = 0; i < p->n_threads; i++) n_done += work_span(p, (worker + i) % p->n_threads, worker);
  if (n_done == 0) return;
  uint32_t n_tiles = (uint32_t)atomic_load_explicit(&p->n_tiles, memory_order_relaxed);
  uint32_t total = atomic_fetch_add(&p->done, n_done) + n_done;
  if (total == n_tiles && atomic_load(&p->caller_sleeps)) futex_wake(&p->done, 1);
}

static void *worker_main(void *arg) {
  struct worker self = *(struct worker *)arg;
  free(arg);
  struct pool *p = self.pool;
  uint32_t seen = 0;
  for (;;) {
    while (!spin(p, &p->generation, seen, false)) {
      atomic_fetch_add(&p->sleepers, 1);
      futex_wait(&p->generation, seen);
      atomic_fetch_sub(&p->sleepers, 1);
    }
    seen = atomic_load(&p->generation);
    if (atomic_load(&p->stop)) return NULL;
    work(p, self.index);
  }
}

static void publish(struct pool *p, int n_wake) {
  atomic_fetch_add(&p->generation, 1);
  if (atomic_load(&p->sleepers) > 0) futex_wake(&p->generation, n_wake);
}

void pool_run(struct pool *p, pool_fn *fn, void *job, int n_tiles) {
  assert(p && fn && n_tiles >= 0);
  if (n_tiles == 1 || p->n_threads == 1) {
    for (int tile = 0; tile < n_tiles; tile++) fn(job, tile, 0);
    return;
  }
  if (n_tiles == 0) return;
  bool was_busy = atomic_exchange_explicit(&p->busy, true, memory_order_acquire);
  assert(!was_busy);
  (void)was_busy;
  uint32_t next = atomic_load_explicit(&p->generation, memory_order_relaxed) + 1;
  for (int i = 0; i < p->n_threads; i++)
    atomic_store_explicit(&p->spans[i].ticket, (uint64_t)next << 32 | TILE_CLOSED, memory_order_relaxed);
  atomic_store_explicit(&p->n_tiles, n_tiles, memory_order_release);
  atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
  atomic_store_explicit(&p->job, job, memory_order_relaxed);
  atomic_store_explicit(&p->done, 0, memory_order_relaxed);
  for (int i = 0; i < p->n_threads; i++)
    atomic_store_explicit(&p->spans[i].ticket, (uint64_t)next << 32 | span_begin(p, i, n_tiles), memory_order_release);
  publish(p, n_tiles - 1);
  work(p, 0);
  uint32_t all = (uint32_t)n_tiles;
  if (!spin(p, &p->done, all, true)) {
    atomic_store(&p->caller_sleeps, true);
    for (uint32_t done; (done = atomic_load(&p->done)) != all;) futex_wait(&p->done, done);
    atomic_store(&p->caller_sleeps, false);
  }
  atomic_store_explicit(&p->busy, false, memory_order_release);
}

int pool_threads(const struct pool *p) { return p->n_threads; }

/* Starts the threads 1 … n_threads − 1 with all signals blocked: signals belong to the threads that know them. Returns how many run. */
static int start_threads(struct pool *p) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int n = 0;
  for (; n < p->n_threads - 1; n++) {
    struct worker *w = mem_alloc(sizeof *w);
    *w = (struct worker){.pool = p, .index = n + 1};
    if (pthread_create(&p->threads[n], NULL, worker_main, w) != 0) {
      free(w);
      break;
    }
    pthread_setname_np(p->threads[n], "compute");
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return n;
}

static void stop_threads(struct pool *p, int n) {
  atomic_store(&p->stop, true);
  publish(p, INT_MAX);
  for (int i = 0; i < n; i++) pthread_join(p->threads[i], NULL);
}

static void free_pool(struct pool *p) {
  free(p->threads);
  free(p->spans);
  free(p);
}

struct pool *pool_create(int n_threads, struct error *err) {
  if (n_threads < 0 || n_threads > THREADS_MAX) {
    error_set(err, ERROR_INVALID, "The number of compute threads must be between 1 and %d (or 0 for all cores), not %d.", THREADS_MAX,
              n_threads);
    return NULL;
  }
  int cores = cores_usable();
  if (n_threads == 0) n_threads = cores < THREADS_MAX ? cores : THREADS_MAX;
  struct pool *p = mem_aligned(CACHE_LINE, sizeof *p);
  memset(p, 0, sizeof *p);
  p->n_threads = n_threads;
  bool crowded = n_threads > cores;
  p->spin_ns = crowded ? 0 : PAUSE_NS;
  p->wait_ns = crowded ? CROWDED_NS : YIELD_NS;
  p->threads = mem_zalloc((size_t)n_threads, sizeof *p->threads);
  p->spans = mem_aligned(CACHE_LINE, (size_t)n_threads * sizeof *p->spans);
  memset(p->spans, 0, (size_t)n_threads * sizeof *p->spans);
  int started = start_threads(p);
  if (started == n_threads - 1) return p;
  stop_threads(p, started);
  free_pool(p);
  error_set(err, ERROR_NO_MEMORY,
            "Only %d of %d compute threads could be started; ask for fewer threads or raise the limit of processes (ulimit -u).",
            started + 1, n_threads);
  return NULL;
}

void pool_destroy(struct pool *p) {
  if (!p) return;
  stop_threads(p, p->n_threads - 1);
  free_pool(p);
}
