/* pages: see pages.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

int pages_init(struct pages *p, size_t page_bytes, size_t n_pages, struct error *err) {
  *p = (struct pages){.page_bytes = page_bytes, .n_pages = n_pages, .n_free = n_pages};
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
  if (p->memory) munmap(p->memory, p->page_bytes * p->n_pages);
  free(p->free_list);
  *p = (struct pages){0};
}

void *pages_take(struct pages *p) {
  if (p->n_free == 0) return NULL;
  return p->memory + (size_t)p->free_list[--p->n_free] * p->page_bytes;
}

void pages_give(struct pages *p, void *page) {
  size_t offset = (size_t)((unsigned char *)page - p->memory);
  assert(offset % p->page_bytes == 0 && offset / p->page_bytes < p->n_pages && p->n_free < p->n_pages);
  p->free_list[p->n_free++] = (uint32_t)(offset / p->page_bytes);
}
