/* ref_attention: attention over KV pages in plain C: the truth. SPDX-License-Identifier: Apache-2.0
 *
 * Per query: key blocks of 32 by absolute position, ascending. score = (fma chain over d) · scale. With the running maximum m, sum l and
 * output o:  m' = max(m, block's max);  c = exp(m − m');  p = exp(score − m');  l = l · c + Σ p;  o = o · c, then one fma per
 * visible key, ascending. Σ p by 16 lanes (key j and j + 16 to lane j), then the tree of ref_rows. In the end o / l.
 * Slots of a page that no key was written to are never read. */
#include <math.h>
#include <string.h>

#include "tensor/ref/ref.h"

static float element(const struct kv_layout *kv, const unsigned char *base, size_t i) {
  return kv->dtype == DTYPE_F32 ? ((const float *)base)[i] : dtype_f16_to_f32(((const uint16_t *)base)[i]);
}

static float block_sum(const float p[KV_PAGE_TOKENS]) {
  float lane[16];
  for (int i = 0; i < 16; i++) lane[i] = p[i] + p[i + 16];
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}

struct state {
  float m, l;
  float *o; /* [head_dim] */
};

/* The first n_visible keys of a page join the query's state. */
static void join_block(const struct attention *a, const unsigned char *k, const unsigned char *v, size_t n_visible, const float *q,
                       struct state *s) {
  size_t d = a->kv->head_dim;
  float p[KV_PAGE_TOKENS] = {0}, m = s->m;
  for (size_t j = 0; j < n_visible; j++) {
    float dot = 0;
    for (size_t i = 0; i < d; i++) dot = fmaf(q[i], element(a->kv, k, i * KV_PAGE_TOKENS + j), dot);
    p[j] = dot * a->scale;
    if (p[j] > m) m = p[j];
  }
  float c = tensor_exp(s->m - m);
  for (size_t j = 0; j < n_visible; j++) p[j] = tensor_exp(p[j] - m);
  s->l = s->l * c + block_sum(p);
  for (size_t i = 0; i < d; i++) s->o[i] *= c;
  for (size_t j = 0; j < n_visible; j++)
    for (size_t i = 0; i < d; i++) s->o[i] = fmaf(p[j], element(a->kv, v, j * d + i), s->o[i]);
  s->m = m;
}

static void attend(const struct attention_tile *t, size_t row, size_t head) {
  const struct attention *a = t->a;
  const struct kv_segment *segment = t->segment;
  size_t d = a->kv->head_dim, size = a->kv->dtype == DTYPE_F32 ? 4 : 2;
  size_t n_keys = a->causal ? segment->pos_begin + row + 1 : segment->pos_begin + segment->n_rows;
  const float *q = a->q + (segment->row_begin + row) * a->ldq + head * d;
  struct state s = {.m = -INFINITY, .l = 0, .o = a->out + (segment->row_begin + row) * a->ldo + head * d};
  memset(s.o, 0, d * sizeof *s.o);
  for (size_t begin = 0; begin < n_keys; begin += KV_PAGE_TOKENS) {
    const unsigned char *k = (const unsigned char *)segment->pages[begin / KV_PAGE_TOKENS] + a->layer * a->kv->layer_bytes +
                             t->kv_head * 2 * d * KV_PAGE_TOKENS * size;
    size_t n_visible = n_keys - begin < KV_PAGE_TOKENS ? n_keys - begin : KV_PAGE_TOKENS;
    join_block(a, k, k + d * KV_PAGE_TOKENS * size, n_visible, q, &s);
  }
  for (size_t i = 0; i < d; i++) s.o[i] /= s.l;
}

void ref_attention(const struct attention_tile *t) {
  size_t heads_per_kv = t->a->n_heads / t->a->kv->n_kv_heads;
  for (size_t row = t->row_begin; row < t->row_begin + t->n_rows; row++)
    for (size_t h = 0; h < heads_per_kv; h++) attend(t, row, t->kv_head * heads_per_kv + h);
}
