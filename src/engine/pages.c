/* pages: see pages.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "engine/memory.h"

int pages_init(struct pages *p, struct engine_memory *shared, size_t page_bytes, size_t n_pages, struct error *err) {
  *p = (struct pages){.shared = shared, .page_bytes = page_bytes, .n_pages = n_pages, .n_free = n_pages};
  size_t bytes;
  void *memory = MAP_FAILED;
  if (!__builtin_mul_overflow(page_bytes, n_pages, &bytes))
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    *p = (struct pages){0};
    return error_set(err, ERROR_NO_MEMORY, "There is no memory for %zu KV pages of %zu bytes; lower --kv-mib.", n_pages, page_bytes);
  }
  p->memory = memory;
  p->free_list = mem_alloc(n_pages * sizeof *p->free_list);
  for (size_t i = 0; i < n_pages; i++) p->free_list[i] = (uint32_t)(n_pages - 1 - i);
  return 0;
}

void pages_deinit(struct pages *p) {
  if (p->memory) {
    munmap(p->memory, p->page_bytes * p->n_pages);
    p->shared->bytes_held -= (p->n_pages - p->n_free + p->n_spare) * p->page_bytes;
  }
  free(p->free_list);
  *p = (struct pages){0};
}

void *pages_take(struct pages *p) {
  if (p->n_free == 0) return NULL;
  if (p->n_spare == 0) {
    if (p->shared->bytes_held + p->page_bytes > p->shared->bytes_max) return NULL;
    p->shared->bytes_held += p->page_bytes;
  } else if (--p->n_spare < p->n_spare_low) {
    p->n_spare_low = p->n_spare;
  }
  return p->memory + (size_t)p->free_list[--p->n_free] * p->page_bytes;
}

void pages_give(struct pages *p, void *page) {
  size_t offset = (size_t)((unsigned char *)page - p->memory);
  assert(offset % p->page_bytes == 0 && offset / p->page_bytes < p->n_pages && p->n_free < p->n_pages);
  p->free_list[p->n_free++] = (uint32_t)(offset / p->page_bytes);
  p->n_spare++;
}

/* ---- back to the system ---- */

static int by_number(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Pages first … first + n - 1. A page of the system's that one beside them lies in stays. */
static void release_run(const struct pages *p, size_t first, size_t n) {
  size_t system_bytes = mem_page_bytes(), begin = first * p->page_bytes, end = (first + n) * p->page_bytes;
  begin = (begin + system_bytes - 1) / system_bytes * system_bytes;
  end = end / system_bytes * system_bytes;
  if (begin < end) madvise(p->memory + begin, end - begin, MADV_DONTNEED);
}

void pages_release(struct pages *p, size_t n) {
  if (n > p->n_spare) n = p->n_spare;
  uint32_t *first = p->free_list + (p->n_free - p->n_spare);
  qsort(first, n, sizeof *first, by_number);
  for (size_t i = 0, run; i < n; i += run) {
    for (run = 1; i + run < n && first[i + run] == first[i] + run;) run++;
    release_run(p, first[i], run);
  }
  p->n_spare -= n;
  if (p->n_spare < p->n_spare_low) p->n_spare_low = p->n_spare;
  p->shared->bytes_held -= n * p->page_bytes;
}
