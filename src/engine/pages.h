/* pages: the KV pages of one model. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * The address range is reserved at once; the system gives memory when a page is first written, and the memory that models share (memory.h)
 * says how much of it all ranges together may hold. A page is
 *
 *   taken   with a sequence or in the tree;
 *   spare   free, and holds memory: handed out again first;
 *   clean   free, without memory. */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct engine_memory;

struct pages {
  struct engine_memory *shared; /* borrowed */
  unsigned char *memory;
  size_t page_bytes, n_pages;
  size_t n_free;       /* clean and spare */
  size_t n_spare;      /* of these */
  size_t n_spare_low;  /* the fewest spare ones since memory was tidied */
  uint32_t *free_list; /* a stack: the clean, on them the spare; the top is handed out next */
};

int pages_init(struct pages *p, struct engine_memory *shared, size_t page_bytes, size_t n_pages, struct error *err);
void pages_deinit(struct pages *p); /* fine on {0} */
/* NULL when none is free, or when only clean ones are and the shared memory is used up. */
void *pages_take(struct pages *p);
void pages_give(struct pages *p, void *page);
/* Up to n spare pages become clean, those first that were given longest ago. */
void pages_release(struct pages *p, size_t n);

#endif
