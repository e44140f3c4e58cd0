/* pages: the KV memory of one engine, handed out in pages. Private to the room. SPDX-License-Identifier: Apache-2.0
 * The address range is reserved at once; memory is taken by the system when a page is first written. Freed pages are
 * handed out again first, so what a quiet engine touched stays small. */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct pages {
  unsigned char *memory;
  size_t page_bytes, n_pages, n_free;
  uint32_t *free_list; /* a stack; the top is handed out next */
};

int pages_init(struct pages *p, size_t page_bytes, size_t n_pages, struct error *err);
void pages_deinit(struct pages *p); /* fine on {0} */
/* NULL when none is free. */
void *pages_take(struct pages *p);
void pages_give(struct pages *p, void *page);

#endif
