/* quantize: see quantize.h. SPDX-License-Identifier: Apache-2.0
 *
 * The error that is made small is Σ w·(x − x')² with w = |x| + the block's root mean square, so that large weights count more. A grid of
 * first scales is tried; for the integers that each one gives the best scale (and minimum) follows by least squares. Scales are
 * rounded to what the block stores before the final integers are chosen. */
#include "base/quantize.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { PART_MAX = 32 };

static int nearest(float x, int low, int high) {
  float r = rintf(x); /* ties to even: the mode that every thread has */
  if (!(r > (float)low)) return low;
  return r < (float)high ? (int)r : high;
}

static float put_half(uint8_t *to, float value) {
  uint16_t half = dtype_f32_to_f16(fabsf(value) > 65504.0f ? copysignf(65504.0f, value) : value);
  to[0] = (uint8_t)half;
  to[1] = (uint8_t)(half >> 8);
  return dtype_f16_to_f32(half);
}

static void weigh(const float *x, size_t n, float *w) {
  float squares = 0;
  for (size_t i = 0; i < n; i++) squares += x[i] * x[i];
  float rms = sqrtf(squares / (float)n);
  for (size_t i = 0; i < n; i++) w[i] = fabsf(x[i]) + rms;
}

static float inverse(float d) { return d != 0 ? 1.0f / d : 0; }

/* ---- scale alone: x ≈ d · q, q in [−half, half − 1] ---- */

static float error_of(const float *x, const float *w, size_t n, float d, int low, int high) {
  float id = inverse(d), sum = 0;
  for (size_t i = 0; i < n; i++) {
    float e = x[i] - d * (float)nearest(x[i] * id, low, high);
    sum += w[i] * e * e;
  }
  return sum;
}

static float best_scale(const float *x, size_t n, int half) {
  float w[PART_MAX], largest = 0;
  for (size_t i = 0; i < n; i++)
    if (fabsf(x[i]) > fabsf(largest)) largest = x[i];
  if (largest == 0) return 0;
  weigh(x, n, w);
  float best = largest / (float)-half, least = error_of(x, w, n, best, -half, half - 1);
  for (int step = -9; step <= 9; step++) {
    float id = -((float)half + 0.1f * (float)step) / largest, xq = 0, qq = 0;
    for (size_t i = 0; i < n; i++) {
      float q = (float)nearest(x[i] * id, -half, half - 1);
      xq += w[i] * x[i] * q;
      qq += w[i] * q * q;
    }
    if (qq <= 0) continue;
    float d = xq / qq, error = error_of(x, w, n, d, -half, half - 1);
    if (error < least) least = error, best = d;
  }
  return best;
}

/* ---- scale and minimum: x ≈ d · q + m, q in [0, top] ---- */

struct line {
  float d, m;
};

static float line_error(const float *x, const float *w, size_t n, struct line l, int top) {
  float id = inverse(l.d), sum = 0;
  for (size_t i = 0; i < n; i++) {
    float e = x[i] - (l.d * (float)nearest((x[i] - l.m) * id, 0, top) + l.m);
    sum += w[i] * e * e;
  }
  return sum;
}

/* Least squares for the integers that the line l gives; m is kept at most 0 when asked. */
static struct line refit(const float *x, const float *w, size_t n, struct line l, int top, bool below_zero) {
  float id = inverse(l.d), sw = 0, sq = 0, sqq = 0, sx = 0, sxq = 0;
  for (size_t i = 0; i < n; i++) {
    float q = (float)nearest((x[i] - l.m) * id, 0, top);
    sw += w[i], sq += w[i] * q, sqq += w[i] * q * q, sx += w[i] * x[i], sxq += w[i] * x[i] * q;
  }
  float det = sw * sqq - sq * sq;
  if (!(det > 0)) return l;
  struct line fit = {(sw * sxq - sq * sx) / det, (sqq * sx - sq * sxq) / det};
  if (below_zero && fit.m > 0) fit = (struct line){sqq > 0 ? sxq / sqq : 0, 0};
  return fit.d > 0 ? fit : l;
}

static struct line best_line(const float *x, size_t n, int top, bool below_zero) {
  float w[PART_MAX], low = x[0], high = x[0];
  for (size_t i = 1; i < n; i++) {
    low = fminf(low, x[i]);
    high = fmaxf(high, x[i]);
  }
  if (below_zero && low > 0) low = 0;
  if (!(high > low)) return (struct line){0, low};
  weigh(x, n, w);
  struct line best = {(high - low) / (float)top, low};
  float least = line_error(x, w, n, best, top);
  for (int step = -10; step <= 10; step++) {
    struct line tried = {(high - low) / ((float)top + 0.1f * (float)step), low};
    tried = refit(x, w, n, tried, top, below_zero);
    float error = line_error(x, w, n, tried, top);
    if (error < least) least = error, best = tried;
  }
  return best;
}

/* ---- blocks of 32 ---- */

static void put_nibbles(uint8_t *to, const uint8_t q[32]) {
  for (int j = 0; j < 16; j++) to[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static void put_fifth_bits(uint8_t *to, const uint8_t q[32]) {
  uint32_t mask = 0;
  for (int j = 0; j < 32; j++) mask |= (uint32_t)(q[j] >> 4 & 1) << j;
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(mask >> 8 * i);
}

static void put_q45_0(const float *x, uint8_t *b, int half) {
  uint8_t q[32];
  float id = inverse(put_half(b, best_scale(x, 32, half)));
  for (int j = 0; j < 32; j++) q[j] = (uint8_t)(nearest(x[j] * id, -half, half - 1) + half);
  if (half == 16) put_fifth_bits(b + 2, q);
  put_nibbles(b + (half == 16 ? 6 : 2), q);
}

static void put_q45_1(const float *x, uint8_t *b, int top) {
  uint8_t q[32];
  struct line l = best_line(x, 32, top, false);
  float id = inverse(put_half(b, l.d)), m = put_half(b + 2, l.m);
  for (int j = 0; j < 32; j++) q[j] = (uint8_t)nearest((x[j] - m) * id, 0, top);
  if (top == 31) put_fifth_bits(b + 4, q);
  put_nibbles(b + (top == 31 ? 8 : 4), q);
}

static void put_q8_0(const float *x, uint8_t *b) {
  float largest = 0;
  for (int j = 0; j < 32; j++) largest = fmaxf(largest, fabsf(x[j]));
  float id = inverse(put_half(b, largest / 127.0f));
  for (int j = 0; j < 32; j++) b[2 + j] = (uint8_t)(int8_t)nearest(x[j] * id, -127, 127);
}

/* ---- blocks of 256 ---- */

/* Eight pairs of six bits in twelve bytes. */
static void put_scales_mins(uint8_t *b, const uint8_t scale[8], const uint8_t min[8]) {
  for (int s = 0; s < 4; s++) {
    b[s] = (uint8_t)(scale[s] | (scale[s + 4] >> 4) << 6);
    b[s + 4] = (uint8_t)(min[s] | (min[s + 4] >> 4) << 6);
    b[s + 8] = (uint8_t)((scale[s + 4] & 15) | (min[s + 4] & 15) << 4);
  }
}

/* The scale and minimum that a sub-block stores, in steps of d and dmin: of the nearest to l and their neighbours the pair with which the error
 * is least. The steps are coarse enough that the nearest pair often is not. */
static void choose_steps(const float *x, struct line l, float d, float dmin, int top, uint8_t *scale, uint8_t *min) {
  float w[PART_MAX], least = INFINITY;
  weigh(x, 32, w);
  int near_scale = nearest(l.d * inverse(d), 0, 63), near_min = nearest(-l.m * inverse(dmin), 0, 63);
  for (int i = 0; i < 9; i++) {
    static const int8_t order[9][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
    int s = near_scale + order[i][0], m = near_min + order[i][1];
    if (s < 0 || s > 63 || m < 0 || m > 63) continue;
    float error = line_error(x, w, 32, (struct line){d * (float)s, -(dmin * (float)m)}, top);
    if (error < least) least = error, *scale = (uint8_t)s, *min = (uint8_t)m;
  }
}

static void put_k45(const float *x, uint8_t *b, int top) {
  struct line lines[8];
  uint8_t scale[8] = {0}, min[8] = {0}, q[256], *high = b + 16, *low = b + (top == 31 ? 48 : 16);
  float d = 0, dmin = 0;
  for (int s = 0; s < 8; s++) {
    lines[s] = best_line(x + 32 * s, 32, top, true);
    d = fmaxf(d, lines[s].d);
    dmin = fmaxf(dmin, -lines[s].m);
  }
  d = put_half(b, d / 63.0f);
  dmin = put_half(b + 2, dmin / 63.0f);
  for (int s = 0; s < 8; s++) {
    choose_steps(x + 32 * s, lines[s], d, dmin, top, &scale[s], &min[s]);
    float id = inverse(d * (float)scale[s]), m = dmin * (float)min[s];
    for (int l = 0; l < 32; l++) q[32 * s + l] = (uint8_t)nearest((x[32 * s + l] + m) * id, 0, top);
  }
  put_scales_mins(b + 4, scale, min);
  for (int i = 0; i < 128; i++) {
    int at = i / 32 * 64 + i % 32;
    low[i] = (uint8_t)((q[at] & 15) | (q[at + 32] & 15) << 4);
  }
  for (int l = 0; top == 31 && l < 32; l++) {
    high[l] = 0;
    for (int s = 0; s < 8; s++) high[l] |= (uint8_t)((q[32 * s + l] >> 4) << s);
  }
}

static void put_q6_k(const float *x, uint8_t *b) {
  float scales[16], largest = 0;
  uint8_t q[256];
  for (int k = 0; k < 16; k++) {
    scales[k] = best_scale(x + 16 * k, 16, 32);
    if (fabsf(scales[k]) > fabsf(largest)) largest = scales[k];
  }
  float d = put_half(b + 208, largest / -128.0f);
  for (int k = 0; k < 16; k++) {
    int scale = nearest(scales[k] * inverse(d), -128, 127);
    b[192 + k] = (uint8_t)(int8_t)scale;
    float id = inverse(d * (float)scale);
    for (int l = 0; l < 16; l++) q[16 * k + l] = (uint8_t)(nearest(x[16 * k + l] * id, -32, 31) + 32);
  }
  memset(b, 0, 192);
  for (int e = 0; e < 256; e++) {
    int n = e >> 7, quarter = e >> 5 & 3, l = e & 31;
    b[64 * n + 32 * (quarter & 1) + l] |= (uint8_t)((q[e] & 15) << 4 * (quarter >> 1));
    b[128 + 32 * n + l] |= (uint8_t)((q[e] >> 4) << 2 * quarter);
  }
}

/* ---- the door ---- */

static void put_block(enum dtype type, const float *x, uint8_t *b) {
  uint16_t half;
  switch (type) {
    case DTYPE_F32: memcpy(b, x, 4); break;
    case DTYPE_F16: half = dtype_f32_to_f16(*x), memcpy(b, &half, 2); break;
    case DTYPE_BF16: half = dtype_f32_to_bf16(*x), memcpy(b, &half, 2); break;
    case DTYPE_Q4_0: put_q45_0(x, b, 8); break;
    case DTYPE_Q5_0: put_q45_0(x, b, 16); break;
    case DTYPE_Q4_1: put_q45_1(x, b, 15); break;
    case DTYPE_Q5_1: put_q45_1(x, b, 31); break;
    case DTYPE_Q8_0: put_q8_0(x, b); break;
    case DTYPE_Q4_K: put_k45(x, b, 15); break;
    case DTYPE_Q5_K: put_k45(x, b, 31); break;
    default: assert(type == DTYPE_Q6_K); put_q6_k(x, b);
  }
}

bool quantize_knows(enum dtype type) {
  switch (type) {
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16:
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q8_0:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
    case DTYPE_Q6_K: return true;
    default: return false;
  }
}

void quantize_row(enum dtype type, const float *x, size_t n, void *out) {
  const struct dtype_info *info = dtype_info(type);
  assert(quantize_knows(type) && n % info->block_elements == 0);
  uint8_t *b = out;
  for (size_t i = 0; i < n; i += info->block_elements, b += info->block_bytes) put_block(type, x + i, b);
}
