/* arena: see arena.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"

enum { BLOCK_BYTES_MIN = 8 * 1024, ALIGNMENT = 16 };

struct arena_block {
  struct arena_block *older;
  size_t used, size;
  _Alignas(ALIGNMENT) char data[];
};

void *arena_alloc(struct arena *a, size_t size) {
  assert(size < SIZE_MAX / 2);
  size_t padded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
  if (!a->head || a->head->size - a->head->used < padded) {
    size_t room = padded > BLOCK_BYTES_MIN ? padded : BLOCK_BYTES_MIN;
    struct arena_block *block = mem_alloc(sizeof *block + room);
    *block = (struct arena_block){.older = a->head, .size = room};
    a->head = block;
  }
  void *p = a->head->data + a->head->used;
  a->head->used += padded;
  a->used_bytes += padded;
  return memset(p, 0, padded);
}

void *arena_array(struct arena *a, size_t count, size_t size) {
  size_t bytes;
  bool overflow = __builtin_mul_overflow(count, size, &bytes);
  assert(!overflow);
  (void)overflow;
  return arena_alloc(a, bytes);
}

struct slice arena_copy(struct arena *a, struct slice s) { return slice_make(arena_cstr(a, s), s.len); }

char *arena_cstr(struct arena *a, struct slice s) {
  char *copy = arena_alloc(a, s.len + 1);
  if (s.len) memcpy(copy, s.data, s.len);
  return copy;
}

void arena_free(struct arena *a) {
  while (a->head) {
    struct arena_block *older = a->head->older;
    free(a->head);
    a->head = older;
  }
  a->used_bytes = 0;
}
