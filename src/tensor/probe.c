/* probe: what this machine can do at most: read bandwidth and dot products a second. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tensor/compute.h"

enum { PROBE_BYTES = 256 << 20, TILES = 64 };

struct read_job {
  const uint64_t *memory;
  size_t words_per_tile;
  uint64_t sums[TILES];
};

static void read_tile(void *job, int tile, int worker) {
  (void)worker;
  struct read_job *j = job;
  const uint64_t *p = j->memory + (size_t)tile * j->words_per_tile;
  uint64_t lanes[32] = {0};
  for (size_t i = 0; i + 32 <= j->words_per_tile; i += 32)
    for (size_t k = 0; k < 32; k++) lanes[k] ^= p[i + k];
  for (size_t k = 0; k < 32; k++) j->sums[tile] ^= lanes[k];
}

double tensor_read_bandwidth(struct pool *p, double seconds_max) {
  uint64_t *memory = mem_aligned(1 << 21, PROBE_BYTES);
  memset(memory, 1, PROBE_BYTES);
  struct read_job j = {.memory = memory, .words_per_tile = PROBE_BYTES / sizeof *memory / TILES};
  double best = 0;
  uint64_t begin = clock_ns();
  do {
    uint64_t start = clock_ns();
    pool_run(p, read_tile, &j, TILES);
    double rate = PROBE_BYTES / ((double)(clock_ns() - start) * 1e-9);
    if (rate > best) best = rate;
  } while ((double)(clock_ns() - begin) * 1e-9 < seconds_max);
  free(memory);
  return best;
}

struct dot_job {
  const struct kernels *kernels;
  struct weight w;
  struct act act;
  float *y; /* [tiles][rows · 16] */
};

enum { DOT_ROWS = 8, DOT_IN = 1024, DOT_REPEATS = 200 };

/* A product whose operands stay in the first cache: what remains is the kernel itself. */
static void dot_tile(void *job, int tile, int worker) {
  (void)worker;
  struct dot_job *j = job;
  struct linear linear = {.w = &j->w, .y = j->y + (size_t)tile * DOT_ROWS * PANEL_ROWS, .ldy = PANEL_ROWS};
  struct product p = {.job = &linear, .act = &j->act, .n_rows = DOT_ROWS};
  for (int i = 0; i < DOT_REPEATS; i++) j->kernels->linear_i8(&p, 0, 1);
}

double tensor_dot_peak(struct compute *c, double seconds_max) {
  size_t blocks = DOT_ROWS * DOT_IN / BLOCK;
  int threads = pool_threads(c->pool);
  struct dot_job j = {.kernels = c->kernels};
  j.w = (struct weight){.pack = PACK_Q8, .n_out = PANEL_ROWS, .n_in = DOT_IN, .n_panels = 1, .n_blocks = DOT_IN / BLOCK};
  j.w.panel_bytes = j.w.n_blocks * kernels_block_bytes(PACK_Q8);
  j.w.data = mem_zalloc(j.w.panel_bytes, 1);
  j.act = (struct act){.rows = DOT_ROWS, .n = DOT_IN, .ld = DOT_IN, .forms = ACT_I8};
  j.act.i8 = (struct act_blocks){.q8 = mem_zalloc(DOT_ROWS, DOT_IN), .d = mem_zalloc(blocks, 4), .ds = mem_zalloc(blocks, 4), .sum = mem_zalloc(blocks, 4)};
  j.y = mem_zalloc((size_t)threads * DOT_ROWS * PANEL_ROWS, sizeof *j.y);
  double best = 0, operations = 2.0 * threads * DOT_REPEATS * DOT_ROWS * DOT_IN * PANEL_ROWS;
  uint64_t begin = clock_ns();
  do {
    uint64_t start = clock_ns();
    pool_run(c->pool, dot_tile, &j, threads);
    double rate = operations / ((double)(clock_ns() - start) * 1e-9);
    if (rate > best) best = rate;
  } while ((double)(clock_ns() - begin) * 1e-9 < seconds_max);
  void *memory[] = {j.w.data, j.act.i8.q8, j.act.i8.d, j.act.i8.ds, j.act.i8.sum, j.y};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  return best;
}
