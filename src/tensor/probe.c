/* probe: what this machine can do at most: read bandwidth and dot products a second. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tensor/compute.h"

/* A region is read again only when the others have pushed it out of every cache. */
enum { PROBE_BYTES = 192 << 20, REGIONS = 12, TILES = 32 };

/* A page that was never written may be the one page of zeros. */
enum { PAGE_BYTES = 4096 };

struct touch_job {
  unsigned char *memory;
};

static void touch_tile(void *job, int tile, int worker) {
  (void)worker;
  struct touch_job *j = job;
  size_t bytes = PROBE_BYTES / TILES, begin = (size_t)tile * bytes;
  for (size_t at = begin; at < begin + bytes; at += PAGE_BYTES) j->memory[at] = 1;
}

struct read_job {
  const struct kernels *kernels;
  struct slice memory;
  size_t tile_bytes;
  uint64_t sums[TILES];
};

static void read_tile(void *job, int tile, int worker) {
  (void)worker;
  struct read_job *j = job;
  size_t begin = (size_t)tile * j->tile_bytes, left = begin < j->memory.len ? j->memory.len - begin : 0;
  j->sums[tile % TILES] ^= j->kernels->read_all(j->memory.data + begin, left < j->tile_bytes ? left : j->tile_bytes);
}

void tensor_read(struct pool *p, struct slice memory) {
  struct read_job j = {.kernels = kernels_best(COMPUTE_ISA_ALL), .memory = memory};
  j.tile_bytes = (memory.len / TILES + 4095) / 4096 * 4096;
  pool_run(p, read_tile, &j, j.tile_bytes ? TILES : 0);
}

double tensor_read_bandwidth(struct pool *p, double seconds) {
  unsigned char *memory = mem_aligned(2 << 20, PROBE_BYTES);
  madvise(memory, PROBE_BYTES, MADV_HUGEPAGE); /* as weights are kept */
  pool_run(p, touch_tile, &(struct touch_job){.memory = memory}, TILES);
  size_t region = 0;
  double passed;
  uint64_t begin = clock_ns();
  do {
    tensor_read(p, slice_make(memory + region++ % REGIONS * (PROBE_BYTES / REGIONS), PROBE_BYTES / REGIONS));
    passed = (double)(clock_ns() - begin) * 1e-9;
  } while (passed < seconds);
  free(memory);
  return (double)region * (PROBE_BYTES / REGIONS) / passed;
}

struct dot_job {
  const struct kernels *kernels;
  double operations[TILES];
};

enum { DOT_ROUNDS = 4000 };

static void dot_tile(void *job, int tile, int worker) {
  (void)worker;
  struct dot_job *j = job;
  j->operations[tile] = j->kernels->dot_rounds(DOT_ROUNDS);
}

double tensor_dot_peak(struct compute *c, double seconds_max) {
  struct dot_job j = {.kernels = c->kernels};
  double best = 0;
  uint64_t begin = clock_ns();
  do {
    uint64_t start = clock_ns();
    pool_run(c->pool, dot_tile, &j, TILES);
    double rate = TILES * j.operations[0] / ((double)(clock_ns() - start) * 1e-9);
    if (rate > best) best = rate;
  } while ((double)(clock_ns() - begin) * 1e-9 < seconds_max);
  return best;
}
