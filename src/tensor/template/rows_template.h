/* rows_template: operations on single rows over a v16 type; included once per instruction set. SPDX-License-Identifier: Apache-2.0
 * The same roundings in the same order as ref_rows.c; its sums by 16 lanes are the lanes of a v16. */
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/polynomials.h"

static inline v16 rows_exp(v16 x) {
  v16 n = v16_rint(v16_mul(x, v16_set1(EXP_LOG2E)));
  n = v16_if_gt(v16_set1(EXP_LOWEST), x, v16_zero(), n); /* lanes decided below must still make a legal power */
  n = v16_if_gt(x, v16_set1(EXP_HIGHEST), v16_zero(), n);
  v16 r = v16_fma(v16_neg(n), v16_set1(EXP_LN2_HIGH), x);
  r = v16_fma(v16_neg(n), v16_set1(EXP_LN2_LOW), r);
  v16 p = v16_set1(EXP_P5);
  p = v16_fma(p, r, v16_set1(EXP_P4));
  p = v16_fma(p, r, v16_set1(EXP_P3));
  p = v16_fma(p, r, v16_set1(EXP_P2));
  p = v16_fma(p, r, v16_set1(EXP_P1));
  p = v16_fma(p, r, v16_set1(EXP_P0));
  v16 y = v16_add(v16_fma(p, v16_mul(r, r), r), v16_set1(1.0f));
  y = v16_mul(y, v16_pow2(n));
  y = v16_if_gt(v16_set1(EXP_LOWEST), x, v16_zero(), y);
  return v16_if_gt(x, v16_set1(EXP_HIGHEST), v16_set1(INFINITY), y);
}

static inline v16 rows_erf(v16 x) {
  v16 t = v16_abs(x), s = v16_mul(x, x), p = v16_set1(ERF_S6);
  p = v16_fma(p, s, v16_set1(ERF_S5));
  p = v16_fma(p, s, v16_set1(ERF_S4));
  p = v16_fma(p, s, v16_set1(ERF_S3));
  p = v16_fma(p, s, v16_set1(ERF_S2));
  p = v16_fma(p, s, v16_set1(ERF_S1));
  p = v16_fma(p, s, v16_set1(ERF_S0));
  v16 small = v16_fma(p, x, x), u = v16_if_gt(t, v16_set1(ERF_END), v16_set1(ERF_END), t);
  v16 b = v16_set1(ERF_B8);
  b = v16_fma(b, u, v16_set1(ERF_B7));
  b = v16_fma(b, u, v16_set1(ERF_B6));
  b = v16_fma(b, u, v16_set1(ERF_B5));
  b = v16_fma(b, u, v16_set1(ERF_B4));
  b = v16_fma(b, u, v16_set1(ERF_B3));
  b = v16_fma(b, u, v16_set1(ERF_B2));
  b = v16_fma(b, u, v16_set1(ERF_B1));
  b = v16_fma(b, u, v16_set1(ERF_B0));
  v16 big = v16_copysign(v16_sub(v16_set1(1.0f), rows_exp(b)), x);
  return v16_if_gt(t, v16_set1(1.0f), big, small);
}

static float rows_sum_squares(const float *x, float minus, size_t n) {
  v16 sum = v16_zero(), m = v16_set1(minus);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    v16 c = v16_sub(v16_load(x + i), m);
    sum = v16_fma(c, c, sum);
  }
  if (i < n) {
    v16 c = v16_keep_n(v16_sub(v16_load_n(x + i, n - i), m), n - i, v16_zero());
    sum = v16_fma(c, c, sum);
  }
  return v16_tree(sum);
}

static void rows_rmsnorm(float *y, const float *x, const float *gain, float eps, size_t n) {
  v16 r = v16_set1(1.0f / sqrtf(rows_sum_squares(x, 0, n) / (float)n + eps));
  size_t i = 0;
  for (; i + 16 <= n; i += 16) v16_store(y + i, v16_mul(v16_mul(v16_load(x + i), r), v16_load(gain + i)));
  if (i < n) v16_store_n(y + i, v16_mul(v16_mul(v16_load_n(x + i, n - i), r), v16_load_n(gain + i, n - i)), n - i);
}

static float rows_mean_of_sum(float *y, const float *x, const float *add, size_t n) {
  v16 sum = v16_zero();
  for (size_t i = 0; i < n; i += 16) {
    size_t left = n - i < 16 ? n - i : 16;
    v16 v = v16_load_n(x + i, left);
    if (add) v = v16_add(v, v16_load_n(add + i, left));
    v16_store_n(y + i, v, left);
    sum = v16_add(sum, v16_keep_n(v, left, v16_zero()));
  }
  return v16_tree(sum) / (float)n;
}

static void rows_layernorm(float *y, const float *x, const float *add, const float *gain, const float *bias, float eps, size_t n) {
  float mean = rows_mean_of_sum(y, x, add, n);
  v16 m = v16_set1(mean), r = v16_set1(1.0f / sqrtf(rows_sum_squares(y, mean, n) / (float)n + eps));
  for (size_t i = 0; i < n; i += 16) {
    size_t left = n - i < 16 ? n - i : 16;
    v16 v = v16_mul(v16_mul(v16_sub(v16_load_n(y + i, left), m), r), v16_load_n(gain + i, left));
    if (bias) v = v16_add(v, v16_load_n(bias + i, left));
    v16_store_n(y + i, v, left);
  }
}

static void rows_silu_mul(float *y, const float *gate, const float *up, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    size_t left = n - i < 16 ? n - i : 16;
    v16 g = v16_load_n(gate + i, left);
    v16 silu = v16_div(g, v16_add(v16_set1(1.0f), rows_exp(v16_neg(g))));
    v16_store_n(y + i, v16_mul(silu, v16_load_n(up + i, left)), left);
  }
}

static void rows_gelu(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    size_t left = n - i < 16 ? n - i : 16;
    v16 v = v16_load_n(x + i, left);
    v16 phi = v16_add(v16_set1(1.0f), rows_erf(v16_mul(v, v16_set1(0.70710678f))));
    v16_store_n(y + i, v16_mul(v16_mul(v, v16_set1(0.5f)), phi), left);
  }
}

static void rows_rope(float *x, const float *cos, const float *sin, size_t n_heads, size_t head_dim) {
  size_t half = head_dim / 2;
  for (size_t h = 0; h < n_heads; h++, x += head_dim)
    for (size_t i = 0; i < half; i += 16) {
      size_t left = half - i < 16 ? half - i : 16;
      v16 a = v16_load_n(x + i, left), b = v16_load_n(x + half + i, left);
      v16 c = v16_load_n(cos + i, left), s = v16_load_n(sin + i, left);
      v16_store_n(x + i, v16_fma(a, c, v16_neg(v16_mul(b, s))), left);
      v16_store_n(x + half + i, v16_fma(b, c, v16_mul(a, s)), left);
    }
}

/* ---- reductions over logits ---- */

static float rows_max(const float *x, size_t n) {
  v16 max = v16_set1(-INFINITY);
  for (size_t i = 0; i < n; i += 16) {
    size_t left = n - i < 16 ? n - i : 16;
    v16 v = v16_keep_n(v16_load_n(x + i, left), left, v16_set1(-INFINITY));
    max = v16_if_gt(v, max, v, max);
  }
  return v16_largest(max) + 0.0f;
}

static float rows_sum_exp(const float *x, float max, size_t n) {
  v16 sum = v16_zero(), m = v16_set1(max);
  for (size_t i = 0; i < n; i += 16) {
    size_t left = n - i < 16 ? n - i : 16;
    sum = v16_add(sum, v16_keep_n(rows_exp(v16_sub(v16_load_n(x + i, left), m)), left, v16_zero()));
  }
  return v16_tree(sum);
}

static float rows_softmax_weights(float *y, const float *x, float scale, size_t n) {
  v16 sum = v16_zero(), m = v16_set1(rows_max(x, n)), s = v16_set1(scale);
  for (size_t i = 0; i < n; i += 16) {
    size_t left = n - i < 16 ? n - i : 16;
    v16 e = rows_exp(v16_mul(v16_sub(v16_load_n(x + i, left), m), s));
    v16_store_n(y + i, e, left);
    sum = v16_add(sum, v16_keep_n(e, left, v16_zero()));
  }
  return v16_tree(sum);
}

/* ---- activations to blocks ---- */

/* NaN is passed over. */
static inline float rows_largest(v16 a, v16 b) {
  v16 most = v16_if_gt(v16_abs(a), v16_zero(), v16_abs(a), v16_zero());
  return v16_largest(v16_if_gt(v16_abs(b), most, v16_abs(b), most));
}

static inline v16 rows_round(v16 x, float inverse, float limit) {
  v16 top = v16_set1(limit), bottom = v16_set1(-limit), r = v16_rint(v16_mul(x, v16_set1(inverse)));
  r = v16_if_gt(r, top, top, r);
  return v16_if_gt(r, bottom, r, bottom); /* NaN becomes the lowest */
}

/* The block's two halves as whole numbers in ±limit; returns the scale. */
static inline float rows_to_integers(const float *x, size_t n, float limit, v16 q[2]) {
  v16 a = v16_load_n(x, n < 16 ? n : 16), b = v16_load_n(x + 16, n > 16 ? n - 16 : 0);
  float max = rows_largest(a, b), inverse = max > 0 ? limit / max : 0;
  if (!(inverse < INFINITY)) inverse = 0;
  q[0] = rows_round(a, inverse, limit);
  q[1] = rows_round(b, inverse, limit);
  return inverse > 0 ? max / limit : 0;
}

static inline struct act_terms rows_terms(float d, int32_t sum) {
  return (struct act_terms){.d = d, .ds = d * (float)sum, .bias = -128 * sum, .bias_8 = -8 * sum};
}

static void rows_quantize_i8(struct act8 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += BLOCK, to++) {
    v16 q[2];
    float d = rows_to_integers(x + begin, n - begin < BLOCK ? n - begin : BLOCK, 127, q);
    v16s a = v16_to_i16(q[0]), b = v16_to_i16(q[1]);
    v16s_store_i8(to->q, a, b);
    to->terms = rows_terms(d, v16s_sum(a) + v16s_sum(b));
  }
}

/* The largest magnitudes of a unit's blocks, of which n values are there; returns the largest of all. */
static inline float rows_unit_largest(const float *x, size_t n, float largest[UNIT_BLOCKS]) {
  float max = 0;
  for (size_t b = 0; b < UNIT_BLOCKS; b++) {
    size_t left = n > b * BLOCK ? n - b * BLOCK : 0;
    largest[b] = left ? rows_largest(v16_load_n(x + b * BLOCK, left), v16_load_n(x + b * BLOCK + 16, left > 16 ? left - 16 : 0)) : 0;
    max = largest[b] > max ? largest[b] : max;
  }
  return max;
}

/* Block b of a unit. */
static inline void rows_unit_block(struct act_k8 *to, size_t b, const float *x, size_t n, float largest, float inverse) {
  float steps = ceilf(largest * inverse * (1.0f / 127));
  int32_t whole = steps > UNIT_STEPS ? UNIT_STEPS : steps > 1 ? (int32_t)steps : 1;
  v16s a = v16_to_i16(rows_round(v16_load_n(x, n), inverse / (float)whole, 127));
  v16s c = v16_to_i16(rows_round(v16_load_n(x + 16, n > 16 ? n - 16 : 0), inverse / (float)whole, 127));
  int32_t first = v16s_sum(a), second = v16s_sum(c);
  v16s_store_i8(to->q + b * BLOCK, a, c);
  to->steps[b] = whole;
  to->bias[2 * b] = -32 * first, to->bias[2 * b + 1] = -32 * second;
  to->sum_half[2 * b] = (int16_t)(whole * first), to->sum_half[2 * b + 1] = (int16_t)(whole * second);
  to->sum[b] = (int16_t)(whole * (first + second));
}

static void rows_quantize_k8(struct act_k8 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += UNIT, to++) {
    float largest[UNIT_BLOCKS], max = rows_unit_largest(x + begin, n - begin, largest), inverse = max > 0 ? 127 * UNIT_STEPS / max : 0;
    if (!(inverse < INFINITY)) inverse = 0;
    to->d = inverse > 0 ? max / (127 * UNIT_STEPS) : 0;
    for (size_t b = 0; b < UNIT_BLOCKS; b++) {
      size_t at = begin + b * BLOCK;
      rows_unit_block(to, b, x + (at < n ? at : 0), at < n ? n - at : 0, largest[b], inverse);
    }
  }
}

static void rows_quantize_i16(struct act16 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += BLOCK, to++) {
    v16 q[2];
    float d = rows_to_integers(x + begin, n - begin < BLOCK ? n - begin : BLOCK, 32639, q);
    v16s a = v16_to_i16(q[0]), b = v16_to_i16(q[1]);
    v16s_store(to->q, a);
    v16s_store(to->q + 16, b);
    v16s_store_i8(to->low, v16s_low(a), v16s_low(b));
    v16s_store_i8(to->high, v16s_high(a), v16s_high(b));
    int32_t first = v16s_sum(a);
    to->terms = rows_terms(d, first + v16s_sum(b));
    to->bias_half = -8 * first;
  }
}

static void rows_quantize_i14(struct act14 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += BLOCK, to++) {
    v16 q[2];
    to->d = rows_to_integers(x + begin, n - begin < BLOCK ? n - begin : BLOCK, I14_LARGEST, q);
    v16s_store(to->q, v16_to_i16(q[0]));
    v16s_store(to->q + 16, v16_to_i16(q[1]));
  }
}

/* ---- KV ---- */

static inline __attribute__((always_inline)) void rows_kv_store_two_bytes(size_t head_dim, const struct kv_head *to, size_t slot,
                                                                          const float *k, const float *v, void (*store)(uint16_t *, v16)) {
  uint16_t halves[16], *to_k = (uint16_t *)(void *)to->k, *to_v = (uint16_t *)(void *)to->v;
  for (size_t i = 0; i < head_dim; i += 16) {
    size_t left = head_dim - i < 16 ? head_dim - i : 16;
    store(halves, v16_load_n(k + i, left));
    for (size_t j = 0; j < left; j++) to_k[(i + j) * KV_PAGE_TOKENS + slot] = halves[j];
    store(halves, v16_load_n(v + i, left));
    memcpy(to_v + slot * head_dim + i, halves, left * sizeof *halves);
  }
}

/* A block as bytes; returns the fp16 scale. One that holds no number, or a number too large, is NaN as a whole. */
static uint16_t rows_to_kv(const float *x, size_t n, int8_t q[BLOCK]) {
  v16 a = v16_load_n(x, n < 16 ? n : 16), b = v16_load_n(x + 16, n > 16 ? n - 16 : 0);
  uint16_t d = dtype_f32_to_f16(rows_largest(a, b) / KV_LARGEST);
  float scale = dtype_f16_to_f32(d);
  bool finite = v16_tree(v16_add(v16_sub(a, a), v16_sub(b, b))) == 0 && scale < INFINITY;
  if (!finite || scale == 0) {
    memset(q, 0, BLOCK);
    return finite ? 0 : KV_BROKEN;
  }
  float inverse = 1 / scale;
  v16s_store_i8(q, v16_to_i16(rows_round(a, inverse, KV_LARGEST)), v16_to_i16(rows_round(b, inverse, KV_LARGEST)));
  return d;
}

static void rows_kv_store_bytes(size_t head_dim, const struct kv_head *to, size_t slot, const float *k, const float *v) {
  int8_t q[BLOCK];
  for (size_t i = 0; i < head_dim; i += BLOCK) {
    size_t left = head_dim - i < BLOCK ? head_dim - i : BLOCK, at = i / BLOCK * KV_PAGE_TOKENS + slot;
    to->k_scales[at] = rows_to_kv(k + i, left, q);
    for (size_t j = 0; j < left; j++) to->k[(i + j) * KV_PAGE_TOKENS + slot] = (unsigned char)q[j];
    to->v_scales[at] = rows_to_kv(v + i, left, q);
    memcpy(to->v + slot * head_dim + i, q, left);
  }
}

static void rows_kv_store(const struct kv_layout *kv, unsigned char *page_layer, size_t slot, const float *k, const float *v) {
  size_t d = kv->head_dim;
  for (size_t h = 0; h < kv->n_kv_heads; h++, k += d, v += d) {
    struct kv_head to = kv_head_at(kv, page_layer, h);
    if (kv->dtype == DTYPE_Q8_0) rows_kv_store_bytes(d, &to, slot, k, v);
    if (kv->dtype == DTYPE_F16) rows_kv_store_two_bytes(d, &to, slot, k, v, v16_store_half);
    if (kv->dtype == DTYPE_BF16) rows_kv_store_two_bytes(d, &to, slot, k, v, v16_store_bf16);
    if (kv->dtype != DTYPE_F32) continue;
    float *to_k = (float *)(void *)to.k, *to_v = (float *)(void *)to.v;
    for (size_t i = 0; i < d; i++) to_k[i * KV_PAGE_TOKENS + slot] = k[i];
    memcpy(to_v + slot * d, v, d * sizeof *v);
  }
}

static void rows_fill(struct kernels *k) {
  k->rmsnorm = rows_rmsnorm;
  k->layernorm = rows_layernorm;
  k->silu_mul = rows_silu_mul;
  k->gelu = rows_gelu;
  k->rope = rows_rope;
  k->kv_store = rows_kv_store;
  k->max = rows_max;
  k->sum_exp = rows_sum_exp;
  k->softmax_weights = rows_softmax_weights;
  k->quantize_i8 = rows_quantize_i8;
  k->quantize_k8 = rows_quantize_k8;
  k->quantize_i16 = rows_quantize_i16;
  k->quantize_i14 = rows_quantize_i14;
}
