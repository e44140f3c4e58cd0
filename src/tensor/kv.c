/* kv: KV pages: layout, stores and attention over them. SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/compute.h"

static const char *const type_names[] = {[KV_F16] = "f16", [KV_BF16] = "bf16", [KV_Q8] = "q8"};

int kv_type_parse(const char *name) {
  for (int i = 0; i < KV_TYPES; i++)
    if (strcmp(name, type_names[i]) == 0) return i;
  return -1;
}

const char *kv_type_name(enum kv_type type) { return type_names[type]; }

enum dtype kv_type_dtype(enum kv_type type, enum compute_mode mode) {
  if (type != KV_F16) return type == KV_Q8 ? DTYPE_Q8_0 : DTYPE_BF16;
  return mode == COMPUTE_F32 ? DTYPE_F32 : DTYPE_F16;
}

size_t kv_row_bytes(enum dtype dtype, size_t n) {
  assert(dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_Q8_0);
  return dtype == DTYPE_Q8_0 ? n + kv_scales(n) * sizeof(uint16_t) : n * (dtype == DTYPE_F32 ? 4 : 2);
}

struct kv_layout kv_layout_make(size_t n_layers, size_t n_kv_heads, size_t head_dim, enum dtype dtype) {
  struct kv_layout kv = {.n_layers = n_layers, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .dtype = dtype};
  kv.head_bytes = 2 * kv_row_bytes(dtype, head_dim) * KV_PAGE_TOKENS;
  kv.layer_bytes = n_kv_heads * kv.head_bytes;
  kv.page_bytes = (n_layers * kv.layer_bytes + 63) / 64 * 64;
  return kv;
}

struct store_run {
  struct compute *c;
  const struct kv_layout *kv;
  size_t layer;
  const struct kv_segment *segments;
  size_t n_segments, n_heads, ld;
  float *q; /* NULL: nothing is rotated */
  float *k;
  const float *v, *cos, *sin;
};

static void store_row(const struct store_run *run, const struct kv_segment *segment, size_t i) {
  const struct kv_layout *kv = run->kv;
  size_t pos = segment->pos_begin + i, row = segment->row_begin + i;
  float *k = run->k + row * run->ld;
  if (run->q) {
    const float *cos = run->cos + row * (kv->head_dim / 2), *sin = run->sin + row * (kv->head_dim / 2);
    run->c->kernels->rope(run->q + row * run->ld, cos, sin, run->n_heads, kv->head_dim);
    run->c->kernels->rope(k, cos, sin, kv->n_kv_heads, kv->head_dim);
  }
  unsigned char *page = segment->pages[pos / KV_PAGE_TOKENS];
  run->c->kernels->kv_store(kv, page + run->layer * kv->layer_bytes, pos % KV_PAGE_TOKENS, k, run->v + row * run->ld);
}

/* Pages that rows of the segment lie in. A tile is one of them: slots of a page share cache lines. */
static size_t pages_written(const struct kv_segment *s) {
  if (s->n_rows == 0) return 0;
  return (s->pos_begin + s->n_rows - 1) / KV_PAGE_TOKENS - s->pos_begin / KV_PAGE_TOKENS + 1;
}

static void store_tile(void *job, int tile, int worker) {
  (void)worker;
  const struct store_run *run = job;
  size_t left = (size_t)tile, s = 0;
  while (left >= pages_written(&run->segments[s])) left -= pages_written(&run->segments[s++]);
  const struct kv_segment *segment = &run->segments[s];
  size_t page = segment->pos_begin / KV_PAGE_TOKENS + left, from = page * KV_PAGE_TOKENS, to = from + KV_PAGE_TOKENS;
  if (from < segment->pos_begin) from = segment->pos_begin;
  if (to > segment->pos_begin + segment->n_rows) to = segment->pos_begin + segment->n_rows;
  for (size_t pos = from; pos < to; pos++) store_row(run, segment, pos - segment->pos_begin);
}

enum { STORE_INLINE_VALUES = 4096 }; /* fewer stay on the calling thread */

static void store_all(struct store_run *run) {
  size_t n_tiles = 0, rows = 0;
  for (size_t s = 0; s < run->n_segments; s++) n_tiles += pages_written(&run->segments[s]), rows += run->segments[s].n_rows;
  size_t heads = run->kv->n_kv_heads * 2 + (run->q ? run->n_heads : 0);
  if (rows * heads * run->kv->head_dim >= STORE_INLINE_VALUES) pool_run(run->c->pool, store_tile, run, (int)n_tiles);
  else
    for (size_t i = 0; i < n_tiles; i++) store_tile(run, (int)i, 0);
}

void op_kv_store(struct compute *c, const struct kv_layout *kv, size_t layer, const struct kv_segment *segments, size_t n_segments,
                 const float *k, const float *v, size_t ld) {
  store_all(&(struct store_run){
      .c = c, .kv = kv, .layer = layer, .segments = segments, .n_segments = n_segments, .k = (float *)(uintptr_t)k, .v = v, .ld = ld});
}

void op_rope_store(struct compute *c, const struct kv_layout *kv, size_t layer, const struct kv_segment *segments, size_t n_segments,
                   float *qkv, size_t ld, size_t n_heads, const float *cos, const float *sin) {
  struct store_run run = {.c = c, .kv = kv, .layer = layer, .segments = segments, .n_segments = n_segments, .n_heads = n_heads, .ld = ld};
  if (cos) run.q = qkv;
  run.k = qkv + n_heads * kv->head_dim;
  run.v = run.k + kv->n_kv_heads * kv->head_dim;
  run.cos = cos, run.sin = sin;
  store_all(&run);
}

struct attention_run {
  struct compute *c;
  const struct attention *a;
  const struct kv_segment *segments;
  size_t n_segments, n_tiles;
};

static size_t row_tiles(const struct kv_segment *s) { return (s->n_rows + ATTENTION_ROWS - 1) / ATTENTION_ROWS; }

/* Tiles are ordered by segment, row tile, kv head, from the end: the last rows of a prompt see most keys, and should not be what is left when threads
 * have done their spans. */
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
