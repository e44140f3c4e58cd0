/* weight_view: packed weights that lie in a file; see tensor.h. SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tensor/kernels.h"

struct weight_form weight_form(const struct weight *w) {
  return (struct weight_form){.pack = w->pack, .wide = w->wide, .n_out = w->n_out, .n_in = w->n_in};
}

struct slice weight_packed(const struct weight *w) { return slice_make(w->data, weight_bytes(w)); }

/* Every input once. */
static bool is_permutation(const uint32_t *order, size_t n) {
  unsigned char *seen = mem_zalloc(n, 1);
  bool whole = true;
  for (size_t i = 0; i < n && whole; i++) {
    whole = order[i] < n && !seen[order[i]];
    if (whole) seen[order[i]] = 1;
  }
  free(seen);
  return whole;
}

struct weight *weight_view(struct weight_form form, struct slice packed) {
  struct weight w = {.pack = form.pack, .wide = form.wide, .n_out = form.n_out, .n_in = form.n_in, .borrowed = true};
  size_t bytes;
  if (form.pack >= PACK_COUNT || !form.n_out || !form.n_in || form.n_in > SIZE_MAX / 1024 || (uintptr_t)packed.data % 64) return NULL;
  if (form.wide && (pack_is_float(w.pack) || w.pack == PACK_I14)) return NULL;
  w.n_panels = form.n_out / PANEL_ROWS + (form.n_out % PANEL_ROWS != 0);
  w.n_blocks = form.n_in / BLOCK + (form.n_in % BLOCK != 0);
  w.panel_bytes = pack_panel_bytes(w.pack, form.n_in);
  size_t order_bytes = form.n_in * sizeof *w.in_order;
  if (__builtin_mul_overflow(w.n_panels, w.panel_bytes, &bytes) || packed.len < bytes) return NULL;
  if (packed.len != bytes && packed.len - bytes != order_bytes) return NULL;
  w.data = (unsigned char *)packed.data;
  if (packed.len != bytes) w.in_order = (uint32_t *)(void *)(w.data + bytes);
  if (w.in_order && !is_permutation(w.in_order, w.n_in)) return NULL;
  return mem_dup(&w, sizeof w);
}

void weight_take(struct weight *view, void *data) {
  assert(view->borrowed);
  if (view->in_order) view->in_order = (uint32_t *)(void *)((unsigned char *)data + ((unsigned char *)view->in_order - view->data));
  view->data = data;
  view->borrowed = false;
}
