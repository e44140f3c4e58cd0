/* weight_view: packed weights that lie in a file; see tensor.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "tensor/kernels.h"

struct weight_form weight_form(const struct weight *w) {
  return (struct weight_form){.pack = w->pack, .wide = w->wide, .n_out = w->n_out, .n_in = w->n_in};
}

struct slice weight_packed(const struct weight *w) { return slice_make(w->data, w->n_panels * w->panel_bytes); }

struct weight *weight_view(struct weight_form form, struct slice packed) {
  struct weight w = {.pack = form.pack, .wide = form.wide, .n_out = form.n_out, .n_in = form.n_in, .borrowed = true};
  size_t bytes;
  if (form.pack >= PACK_COUNT || !form.n_out || !form.n_in || form.n_in > SIZE_MAX / 1024 || (uintptr_t)packed.data % 64) return NULL;
  if (form.wide && pack_is_float(w.pack)) return NULL;
  w.n_panels = form.n_out / PANEL_ROWS + (form.n_out % PANEL_ROWS != 0);
  w.n_blocks = form.n_in / BLOCK + (form.n_in % BLOCK != 0);
  w.panel_bytes = pack_panel_bytes(w.pack, form.n_in);
  if (__builtin_mul_overflow(w.n_panels, w.panel_bytes, &bytes) || bytes != packed.len) return NULL;
  w.data = (unsigned char *)packed.data;
  return mem_dup(&w, sizeof w);
}
