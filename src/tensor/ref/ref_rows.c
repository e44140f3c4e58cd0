/* ref_rows: operations on single rows in plain C: the truth. SPDX-License-Identifier: Apache-2.0
 *
 * Sums over a row go by 16 lanes: lane j adds elements j, j+16, … in ascending order; then lane i takes i+8, then i+4, i+2, i+1. */
#include <math.h>
#include <string.h>

#include "tensor/ref/ref.h"

static float tree(float lane[16]) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}

void ref_rmsnorm(float *y, const float *x, const float *gain, float eps, size_t n) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
  float r = 1.0f / sqrtf(tree(lane) / (float)n + eps);
  for (size_t i = 0; i < n; i++) y[i] = x[i] * r * gain[i];
}

void ref_layernorm(float *y, const float *x, const float *add, const float *gain, const float *bias, float eps, size_t n) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) {
    y[i] = add ? x[i] + add[i] : x[i];
    lane[i % 16] += y[i];
  }
  float mean = tree(lane) / (float)n;
  memset(lane, 0, sizeof lane);
  for (size_t i = 0; i < n; i++) {
    float c = y[i] - mean;
    lane[i % 16] = fmaf(c, c, lane[i % 16]);
  }
  float r = 1.0f / sqrtf(tree(lane) / (float)n + eps);
  for (size_t i = 0; i < n; i++) {
    float scaled = (y[i] - mean) * r * gain[i];
    y[i] = bias ? scaled + bias[i] : scaled;
  }
}

void ref_silu_mul(float *y, const float *gate, const float *up, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + tensor_exp(-gate[i])) * up[i];
}

void ref_gelu(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = x[i] * 0.5f * (1.0f + tensor_erf(x[i] * 0.70710678f));
}

void ref_rope(float *x, const float *cos, const float *sin, size_t n_heads, size_t head_dim) {
  size_t half = head_dim / 2;
  for (size_t h = 0; h < n_heads; h++, x += head_dim)
    for (size_t i = 0; i < half; i++) {
      float a = x[i], b = x[i + half];
      x[i] = fmaf(a, cos[i], -(b * sin[i]));
      x[i + half] = fmaf(b, cos[i], a * sin[i]);
    }
}

float ref_max(const float *x, size_t n) {
  float max = -INFINITY;
  for (size_t i = 0; i < n; i++)
    if (x[i] > max) max = x[i];
  return max + 0.0f; /* of zeros +0, whichever came first */
}

float ref_sum_exp(const float *x, float max, size_t n) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] += tensor_exp(x[i] - max);
  return tree(lane);
}

float ref_softmax_weights(float *y, const float *x, float scale, size_t n) {
  float lane[16] = {0}, max = ref_max(x, n);
  for (size_t i = 0; i < n; i++) {
    y[i] = tensor_exp((x[i] - max) * scale);
    lane[i % 16] += y[i];
  }
  return tree(lane);
}

/* ---- activations to blocks ---- */

static float largest(const float *x) {
  float max = 0;
  for (int i = 0; i < BLOCK; i++)
    if (fabsf(x[i]) > max) max = fabsf(x[i]);
  return max;
}

static void round_all(const float x[BLOCK], float inverse, float limit, int32_t q[BLOCK]) {
  for (int i = 0; i < BLOCK; i++) {
    float r = rintf(x[i] * inverse);
    q[i] = (int32_t)(r > limit ? limit : r > -limit ? r : -limit); /* NaN too */
  }
}

/* The values of one block as integers in ±limit; returns their scale. Elements beyond n count as 0. */
static float to_integers(const float *x, size_t n, float limit, int32_t q[BLOCK]) {
  float padded[BLOCK] = {0};
  memcpy(padded, x, n * sizeof *x);
  float max = largest(padded), inverse = max > 0 ? limit / max : 0;
  if (!isfinite(inverse)) inverse = 0; /* a block of subnormals is taken as 0 */
  round_all(padded, inverse, limit, q);
  return inverse > 0 ? max / limit : 0;
}

static struct act_terms terms_of(float d, const int32_t q[BLOCK]) {
  int32_t sum[2] = {0};
  for (int i = 0; i < BLOCK; i++) sum[i / 16] += q[i];
  int32_t both = sum[0] + sum[1];
  return (struct act_terms){.d = d, .ds = d * (float)both, .bias = -128 * both, .bias_8 = -8 * both};
}

void ref_quantize_i8(struct act8 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += BLOCK, to++) {
    int32_t q[BLOCK];
    float d = to_integers(x + begin, n - begin < BLOCK ? n - begin : BLOCK, 127, q);
    to->terms = terms_of(d, q);
    for (int i = 0; i < BLOCK; i++) to->q[i] = (int8_t)q[i];
  }
}

/* Eight blocks with one scale: d · steps stands for a block's own, steps the fewest eighths of the unit's that hold its largest. */
void ref_quantize_k8(struct act_k8 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += UNIT, to++) {
    float padded[UNIT] = {0}, max = 0;
    memcpy(padded, x + begin, (n - begin < UNIT ? n - begin : UNIT) * sizeof *x);
    for (size_t b = 0; b < UNIT_BLOCKS; b++) max = fmaxf(max, largest(padded + b * BLOCK));
    float inverse = max > 0 ? 127 * UNIT_STEPS / max : 0;
    if (!isfinite(inverse)) inverse = 0;
    to->d = inverse > 0 ? max / (127 * UNIT_STEPS) : 0;
    for (size_t b = 0; b < UNIT_BLOCKS; b++) {
      float steps = ceilf(largest(padded + b * BLOCK) * inverse * (1.0f / 127));
      int32_t q[BLOCK], sum[2] = {0};
      to->steps[b] = steps > UNIT_STEPS ? UNIT_STEPS : steps > 1 ? (int32_t)steps : 1;
      round_all(padded + b * BLOCK, inverse / (float)to->steps[b], 127, q);
      for (size_t i = 0; i < BLOCK; i++) to->q[b * BLOCK + i] = (int8_t)q[i], sum[i / 16] += q[i];
      for (size_t half = 0; half < 2; half++) {
        to->bias[2 * b + half] = -32 * sum[half];
        to->sum_half[2 * b + half] = (int16_t)(to->steps[b] * sum[half]);
      }
      to->sum[b] = (int16_t)(to->steps[b] * (sum[0] + sum[1]));
    }
  }
}

void ref_quantize_i16(struct act16 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += BLOCK, to++) {
    int32_t q[BLOCK];
    float d = to_integers(x + begin, n - begin < BLOCK ? n - begin : BLOCK, 32639, q);
    to->terms = terms_of(d, q);
    for (int i = 0; i < BLOCK; i++) {
      to->q[i] = (int16_t)q[i];
      to->low[i] = (int8_t)(uint8_t)(q[i] & 0xFF);
      to->high[i] = (int8_t)((q[i] - to->low[i]) / 256);
    }
    to->bias_half = 0;
    for (int i = 0; i < BLOCK / 2; i++) to->bias_half -= 8 * q[i];
  }
}

void ref_quantize_i14(struct act14 *to, const float *x, size_t n) {
  for (size_t begin = 0; begin < n; begin += BLOCK, to++) {
    int32_t q[BLOCK];
    to->d = to_integers(x + begin, n - begin < BLOCK ? n - begin : BLOCK, I14_LARGEST, q);
    for (int i = 0; i < BLOCK; i++) to->q[i] = (int16_t)q[i];
  }
}

/* ---- KV ---- */

static bool all_finite(const float *x) {
  for (int i = 0; i < BLOCK; i++)
    if (!isfinite(x[i])) return false;
  return true;
}

/* A block of K or V as integers; returns the fp16 scale. One that holds no number, or a number too large, is NaN as a whole. */
static uint16_t to_kv(const float *x, size_t n, int32_t q[BLOCK]) {
  float padded[BLOCK] = {0};
  memcpy(padded, x, n * sizeof *x);
  uint16_t d = dtype_f32_to_f16(largest(padded) / KV_LARGEST);
  float scale = dtype_f16_to_f32(d);
  if (!all_finite(padded) || !isfinite(scale)) d = KV_BROKEN, memset(padded, 0, sizeof padded);
  round_all(padded, scale > 0 && d != KV_BROKEN ? 1 / scale : 0, KV_LARGEST, q);
  return d;
}

/* One position of one head. */
static void store_bytes(const struct kv_layout *kv, const struct kv_head *to, size_t slot, const float *k, const float *v) {
  size_t d = kv->head_dim;
  for (size_t begin = 0; begin < d; begin += BLOCK) {
    int32_t q[BLOCK];
    size_t n = d - begin < BLOCK ? d - begin : BLOCK, at = begin / BLOCK * KV_PAGE_TOKENS + slot;
    to->k_scales[at] = to_kv(k + begin, n, q);
    for (size_t i = 0; i < n; i++) ((int8_t *)to->k)[(begin + i) * KV_PAGE_TOKENS + slot] = (int8_t)q[i];
    to->v_scales[at] = to_kv(v + begin, n, q);
    for (size_t i = 0; i < n; i++) ((int8_t *)to->v)[slot * d + begin + i] = (int8_t)q[i];
  }
}

static uint16_t two_bytes(enum dtype dtype, float x) { return dtype == DTYPE_F16 ? dtype_f32_to_f16(x) : dtype_f32_to_bf16(x); }

void ref_kv_store(const struct kv_layout *kv, unsigned char *page_layer, size_t slot, const float *k, const float *v) {
  size_t d = kv->head_dim;
  for (size_t h = 0; h < kv->n_kv_heads; h++, k += d, v += d) {
    struct kv_head to = kv_head_at(kv, page_layer, h);
    if (kv->dtype == DTYPE_Q8_0) store_bytes(kv, &to, slot, k, v);
    for (size_t i = 0; i < d && kv->dtype == DTYPE_F32; i++) {
      ((float *)to.k)[i * KV_PAGE_TOKENS + slot] = k[i];
      ((float *)to.v)[slot * d + i] = v[i];
    }
    for (size_t i = 0; i < d && (kv->dtype == DTYPE_F16 || kv->dtype == DTYPE_BF16); i++) {
      ((uint16_t *)to.k)[i * KV_PAGE_TOKENS + slot] = two_bytes(kv->dtype, k[i]);
      ((uint16_t *)to.v)[slot * d + i] = two_bytes(kv->dtype, v[i]);
    }
  }
}
