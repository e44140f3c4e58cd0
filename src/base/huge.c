/* huge: see huge.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/huge.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/numa.h"

/* Of addresses; a larger piece gets a chunk of its own size, and so does one where there is no room for more. A huge page at the end may be left half
 * empty. */
enum { HUGE_BYTES = 2 << 20, CHUNK_BYTES = 64 << 20 };

static size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

void huge_close(struct huge *h) {
  if (h->next < h->end) munmap(h->next, (size_t)(h->end - h->next));
  *h = (struct huge){0};
}

/* A chunk from the start of a huge page on. */
static int open_chunk(struct huge *h, size_t chunk) {
  unsigned char *all = mmap(NULL, chunk + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return -1;
  huge_close(h);
  size_t before = round_up((uintptr_t)all, HUGE_BYTES) - (uintptr_t)all;
  if (before) munmap(all, before);
  h->next = all + before;
  h->end = h->next + chunk;
  if (before < HUGE_BYTES) munmap(h->end, HUGE_BYTES - before);
  numa_spread(h->next, chunk);
  madvise(h->next, chunk, MADV_HUGEPAGE); /* where the system has none, pages are small */
  return 0;
}

void *huge_take(struct huge *h, size_t bytes) {
  if (bytes > SIZE_MAX - 2 * (size_t)HUGE_BYTES) return NULL;
  bytes = round_up(bytes, mem_page_bytes());
  size_t alone = round_up(bytes, HUGE_BYTES);
  bool fits = (size_t)(h->end - h->next) >= bytes || (alone < CHUNK_BYTES && open_chunk(h, CHUNK_BYTES) == 0) || open_chunk(h, alone) == 0;
  if (!fits) return NULL;
  void *piece = h->next;
  h->next += bytes;
  return piece;
}

void huge_give(void *piece, size_t bytes) { munmap(piece, round_up(bytes, mem_page_bytes())); }
