/* heap: a binary heap of things that know their place in it. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * A thing embeds a heap_item; heap_of finds the thing from its item. Any item can be taken out or moved in O(log n). */
#ifndef ENGINE_HEAP_H
#define ENGINE_HEAP_H
#include <stdbool.h>
#include <stddef.h>

struct heap_item {
  size_t place; /* index + 1; 0: in no heap */
};

typedef bool heap_before(const struct heap_item *a, const struct heap_item *b);

struct heap {
  heap_before *before; /* a strict order */
  struct heap_item **items;
  size_t n, cap;
};

#define heap_of(item, type, member) ((type *)((char *)(item) - offsetof(type, member)))

void heap_deinit(struct heap *h); /* frees the array, not the things; fine on {0} */
void heap_push(struct heap *h, struct heap_item *item);
void heap_remove(struct heap *h, struct heap_item *item); /* nothing when it is in no heap */
void heap_moved(struct heap *h, struct heap_item *item);  /* its key changed */
struct heap_item *heap_first(const struct heap *h);       /* NULL when empty */

#endif
