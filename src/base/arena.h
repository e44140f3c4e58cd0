/* arena: many small allocations with one lifetime, released at once. SPDX-License-Identifier: Apache-2.0
 * Zero-initialize to start. One thread at a time. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H
#include <stddef.h>

#include "base/slice.h"

struct arena {
  struct arena_block *head; /* newest block */
  size_t used_bytes;        /* sum of what was handed out */
};

void *arena_alloc(struct arena *a, size_t size);               /* 16-byte aligned, zeroed; never NULL */
void *arena_array(struct arena *a, size_t count, size_t size); /* checks count * size; zeroed */
struct slice arena_copy(struct arena *a, struct slice s);      /* the copy is followed by a NUL */
char *arena_cstr(struct arena *a, struct slice s);
void arena_free(struct arena *a); /* leaves a as {0} */

#endif
