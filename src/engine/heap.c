/* heap: see heap.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/heap.h"

#include <stdlib.h>

#include "base/mem.h"

static void put(struct heap *h, size_t at, struct heap_item *item) {
  h->items[at] = item;
  item->place = at + 1;
}

static void sift_up(struct heap *h, size_t at) {
  struct heap_item *item = h->items[at];
  for (size_t parent; at > 0 && h->before(item, h->items[parent = (at - 1) / 2]); at = parent) put(h, at, h->items[parent]);
  put(h, at, item);
}

static void sift_down(struct heap *h, size_t at) {
  struct heap_item *item = h->items[at];
  for (size_t child; (child = 2 * at + 1) < h->n; at = child) {
    if (child + 1 < h->n && h->before(h->items[child + 1], h->items[child])) child++;
    if (!h->before(h->items[child], item)) break;
    put(h, at, h->items[child]);
  }
  put(h, at, item);
}

void heap_deinit(struct heap *h) {
  free(h->items);
  *h = (struct heap){0};
}

void heap_push(struct heap *h, struct heap_item *item) {
  if (h->n == h->cap) {
    h->cap = h->cap * 2 + 16;
    h->items = mem_realloc(h->items, h->cap, sizeof(struct heap_item *));
  }
  put(h, h->n++, item);
  sift_up(h, h->n - 1);
}

void heap_remove(struct heap *h, struct heap_item *item) {
  if (item->place == 0) return;
  size_t at = item->place - 1;
  struct heap_item *last = h->items[--h->n];
  item->place = 0;
  if (last == item) return;
  put(h, at, last);
  heap_moved(h, last);
}

void heap_moved(struct heap *h, struct heap_item *item) {
  if (item->place == 0) return;
  sift_up(h, item->place - 1);
  sift_down(h, item->place - 1);
}

struct heap_item *heap_first(const struct heap *h) { return h->n ? h->items[0] : NULL; }
