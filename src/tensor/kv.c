/* kv: KV pages: layout, stores and attention over them. SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tensor/compute.h"

struct kv_layout kv_layout_make(size_t n_layers, size_t n_kv_heads, size_t head_dim, enum dtype dtype) {
  assert(dtype == DTYPE_F32 || dtype == DTYPE_F16);
  struct kv_layout kv = {.n_layers = n_layers, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .dtype = dtype};
  kv.layer_bytes = 2 * n_kv_heads * head_dim * KV_PAGE_TOKENS * (dtype == DTYPE_F32 ? 4 : 2);
  kv.page_bytes = (n_layers * kv.layer_bytes + 63) / 64 * 64;
  return kv;
}

void op_kv_store(struct compute *c, const struct kv_layout *kv, size_t layer, const struct kv_segment *segments, size_t n_segments,
                 const float *k, const float *v, size_t ld) {
  for (size_t s = 0; s < n_segments; s++)
    for (size_t i = 0; i < segments[s].n_rows; i++) {
      size_t pos = segments[s].pos_begin + i, row = segments[s].row_begin + i;
      unsigned char *page = segments[s].pages[pos / KV_PAGE_TOKENS];
      c->kernels->kv_store(kv, page + layer * kv->layer_bytes, pos % KV_PAGE_TOKENS, k + row * ld, v + row * ld);
    }
}

struct attention_run {
  struct compute *c;
  const struct attention *a;
  const struct kv_segment *segments;
  size_t n_segments, n_tiles;
};

static size_t row_tiles(const struct kv_segment *s) { return (s->n_rows + ATTENTION_ROWS - 1) / ATTENTION_ROWS; }

/* Tiles are ordered by segment, row tile, kv head, and taken from the end: the last rows of a prompt see most keys, and no thread should get
 * such a tile when the others are done. */
static void attention_tile(void *job, int tile, int worker) {
  const struct attention_run *run = job;
  size_t n_kv = run->a->kv->n_kv_heads, left = run->n_tiles - 1 - (size_t)tile, s = 0;
  while (left >= row_tiles(&run->segments[s]) * n_kv) left -= row_tiles(&run->segments[s++]) * n_kv;
  const struct kv_segment *segment = &run->segments[s];
  size_t begin = left / n_kv * ATTENTION_ROWS;
  struct attention_tile t = {.a = run->a,
                             .segment = segment,
                             .kv_head = left % n_kv,
                             .row_begin = begin,
                             .n_rows = segment->n_rows - begin,
                             .scratch = run->c->attention_scratch[worker]};
  if (t.n_rows > ATTENTION_ROWS) t.n_rows = ATTENTION_ROWS;
  run->c->kernels->attention(&t);
}

static void grow_scratch(struct compute *c, const struct attention *a) {
  size_t need = kernels_attention_floats(a->n_heads / a->kv->n_kv_heads, a->kv->head_dim);
  if (need <= c->attention_floats) return;
  for (int i = 0; i < pool_threads(c->pool); i++) {
    free(c->attention_scratch[i]);
    c->attention_scratch[i] = mem_aligned(64, need * sizeof(float));
  }
  c->attention_floats = need;
}

void op_attention(struct compute *c, const struct attention *a, const struct kv_segment *segments, size_t n_segments) {
  assert(a->n_heads % a->kv->n_kv_heads == 0 && (a->causal || !a->window));
  grow_scratch(c, a);
  struct attention_run run = {.c = c, .a = a, .segments = segments, .n_segments = n_segments};
  size_t work = 0;
  for (size_t s = 0; s < n_segments; s++) {
    run.n_tiles += row_tiles(&segments[s]) * a->kv->n_kv_heads;
    work += segments[s].n_rows * (segments[s].pos_begin + segments[s].n_rows) * a->n_heads * a->kv->head_dim;
  }
  if (work < 64 * 1024)
    for (size_t i = 0; i < run.n_tiles; i++) attention_tile(&run, (int)i, 0);
  else pool_run(c->pool, attention_tile, &run, (int)run.n_tiles);
}
