/* ref_attention: attention over KV pages in plain C: the truth. SPDX-License-Identifier: Apache-2.0
 *
 * Per query: key blocks of 32 by absolute position, ascending, from the first one that it sees. score = (fma chain over d) · scale, and
 * with ALiBi score = fma(slope, float(key − query), score). With the running maximum m, sum l and
 * output o:  m' = max(m, block's max);  c = exp(m − m');  p = exp(score − m');  l = l · c + Σ p;  o = o · c, then one fma per
 * visible key, ascending. With scales of 32 elements, the chain of a block has its own start, and the blocks are joined by one fma each with the
 * scale of k; p times the scale of v is rounded before its fma. Σ p by 16 lanes (key j and j + 16 to lane j), then the tree of ref_rows. In the end o / l.
 * Slots of a page that no key was written to are never read. */
#include <math.h>
#include <string.h>

#include "tensor/ref/ref.h"

static float element(const struct kv_layout *kv, const unsigned char *base, size_t i) {
  if (kv->dtype == DTYPE_Q8_0) return (float)((const int8_t *)base)[i];
  if (kv->dtype == DTYPE_F32) return ((const float *)base)[i];
  uint16_t bits = ((const uint16_t *)base)[i];
  return kv->dtype == DTYPE_F16 ? dtype_f16_to_f32(bits) : dtype_bf16_to_f32(bits);
}

/* Of the block that value i of slot j is in. */
static float scale_at(const uint16_t *scales, size_t i, size_t j) { return dtype_f16_to_f32(scales[i / BLOCK * KV_PAGE_TOKENS + j]); }

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

/* One query's view of one page. */
struct block {
  struct kv_head head;
  size_t from, to; /* the keys that it sees: slots from … to − 1 */
  float slope;     /* 0 without ALiBi */
  float distance;  /* position of slot 0 − position of the query */
};

static float dot_key(const struct kv_layout *kv, const struct kv_head *head, const float *q, size_t j) {
  float dot = 0, sum = 0;
  for (size_t i = 0; i < kv->head_dim; i++) {
    dot = fmaf(q[i], element(kv, head->k, i * KV_PAGE_TOKENS + j), dot);
    if (kv->dtype != DTYPE_Q8_0 || ((i + 1) % BLOCK && i + 1 < kv->head_dim)) continue;
    sum = fmaf(dot, scale_at(head->k_scales, i, j), sum);
    dot = 0;
  }
  return kv->dtype == DTYPE_Q8_0 ? sum : dot;
}

static void add_value(const struct kv_layout *kv, const struct kv_head *head, float p, size_t j, float *o) {
  for (size_t i = 0; i < kv->head_dim; i++) {
    float weight = kv->dtype == DTYPE_Q8_0 ? p * scale_at(head->v_scales, i, j) : p;
    o[i] = fmaf(weight, element(kv, head->v, j * kv->head_dim + i), o[i]);
  }
}

static void join_block(const struct attention *a, const struct block *b, const float *q, struct state *s) {
  size_t d = a->kv->head_dim;
  float p[KV_PAGE_TOKENS] = {0}, m = s->m;
  for (size_t j = b->from; j < b->to; j++) {
    p[j] = dot_key(a->kv, &b->head, q, j) * a->scale;
    if (a->slopes) p[j] = fmaf(b->slope, b->distance + (float)j, p[j]);
    if (p[j] > m) m = p[j];
  }
  float c = tensor_exp(s->m - m);
  for (size_t j = b->from; j < b->to; j++) p[j] = tensor_exp(p[j] - m);
  s->l = s->l * c + block_sum(p);
  for (size_t i = 0; i < d; i++) s->o[i] *= c;
  for (size_t j = b->from; j < b->to; j++) add_value(a->kv, &b->head, p[j], j, s->o);
  s->m = m;
}

static void attend(const struct attention_tile *t, size_t row, size_t head) {
  const struct attention *a = t->a;
  const struct kv_segment *segment = t->segment;
  size_t d = a->kv->head_dim, first, end;
  kernels_attention_range(a, segment, row, &first, &end);
  const float *q = a->q + (segment->row_begin + row) * a->ldq + head * d;
  struct state s = {.m = -INFINITY, .l = 0, .o = a->out + (segment->row_begin + row) * a->ldo + head * d};
  memset(s.o, 0, d * sizeof *s.o);
  for (size_t page = first / KV_PAGE_TOKENS; page * KV_PAGE_TOKENS < end; page++) {
    size_t begin = page * KV_PAGE_TOKENS;
    struct block b = {.from = first > begin ? first - begin : 0, .to = end - begin < KV_PAGE_TOKENS ? end - begin : KV_PAGE_TOKENS};
    b.head = kv_head_at(a->kv, (unsigned char *)segment->pages[page] + a->layer * a->kv->layer_bytes, t->kv_head);
    b.distance = (float)begin - (float)(segment->pos_begin + row);
    if (a->slopes) b.slope = a->slopes[head];
    join_block(a, &b, q, &s);
  }
  for (size_t i = 0; i < d; i++) s.o[i] /= s.l;
}

void ref_attention(const struct attention_tile *t) {
  size_t heads_per_kv = t->a->n_heads / t->a->kv->n_kv_heads;
  for (size_t row = t->row_begin; row < t->row_begin + t->n_rows; row++)
    for (size_t h = 0; h < heads_per_kv; h++) attend(t, row, t->kv_head * heads_per_kv + h);
}
