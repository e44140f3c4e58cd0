/* quants: see quants.h. The layouts are those of doc/format/blocks.md. SPDX-License-Identifier: Apache-2.0
 * Signed integers get the offset of the pack added, so that kernels see unsigned ones. */
#include "tensor/quants.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static float f16_at(const uint8_t *b) {
  uint16_t half;
  memcpy(&half, b, sizeof half);
  return dtype_f16_to_f32(half);
}

static uint32_t u32_at(const uint8_t *b) { return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24; }

static void set_scale(struct quants *out, float scale, float minimum) {
  out->scale[0] = out->scale[1] = scale;
  out->minimum[0] = out->minimum[1] = minimum;
}

/* As a super-block has it: a scale and a minimum times whole numbers for each half. */
static void set_sub(struct quants *out, const uint8_t *scale, const uint8_t *minimum, const int scales[2], const int minimums[2]) {
  memcpy(&out->super_scale, scale, 2);
  if (minimum) memcpy(&out->super_minimum, minimum, 2);
  for (int half = 0; half < 2; half++) {
    out->sub_scale[half] = (int8_t)scales[half];
    out->scale[half] = f16_at(scale) * (float)scales[half];
    if (!minimum) continue;
    out->sub_minimum[half] = (int8_t)minimums[half];
    out->minimum[half] = -(f16_at(minimum) * (float)minimums[half]);
  }
}

/* Low nibbles are elements 0 to 15, high ones 16 to 31. */
static void read_nibbles(const uint8_t *b, uint8_t q[BLOCK]) {
  for (int j = 0; j < 16; j++) {
    q[j] = b[j] & 15;
    q[j + 16] = b[j] >> 4;
  }
}

static void read_table(const uint8_t *b, const int8_t table[16], uint8_t q[BLOCK]) {
  read_nibbles(b, q);
  for (int j = 0; j < BLOCK; j++) q[j] = (uint8_t)(table[q[j]] + 128);
}

/* ---- blocks of 32 ---- */

static void read_q5(const uint8_t *nibbles, const uint8_t *high, uint8_t q[BLOCK]) {
  uint32_t mask = u32_at(high);
  read_nibbles(nibbles, q);
  for (int j = 0; j < BLOCK; j++) q[j] = (uint8_t)(q[j] | (mask >> j & 1) << 4);
}

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t mxfp4_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e − 128), subnormal for e below 2. */
static float mxfp4_scale(uint8_t e) {
  uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* ---- blocks of 256; s is the sub-block of 32 ---- */

static void read_q2_k(const uint8_t *b, int s, struct quants *out) {
  const uint8_t *qs = b + 16 + 32 * (s >> 2);
  const uint8_t *packed = b + 2 * s;
  set_sub(out, b + 80, b + 82, (int[]){packed[0] & 15, packed[1] & 15}, (int[]){packed[0] >> 4, packed[1] >> 4});
  for (int j = 0; j < BLOCK; j++) out->q[j] = qs[j] >> 2 * (s & 3) & 3;
}

static void read_q3_k(const uint8_t *b, int s, struct quants *out) {
  const uint8_t *qs = b + 32 + 32 * (s >> 2), *packed = b + 96;
  int scales[2];
  for (int half = 0; half < 2; half++) {
    int k = 2 * s + half, low4 = k < 8 ? packed[k] & 15 : packed[k - 8] >> 4, high2 = packed[8 + (k & 3)] >> 2 * (k >> 2) & 3;
    scales[half] = (low4 | high2 << 4) - 32;
  }
  set_sub(out, b + 108, NULL, scales, NULL);
  for (int j = 0; j < BLOCK; j++) out->q[j] = (uint8_t)((qs[j] >> 2 * (s & 3) & 3) | (b[j] >> s & 1) << 2);
}

static void read_q45_k(const uint8_t *b, const uint8_t *high, const uint8_t *qs, int s, struct quants *out) {
  const uint8_t *packed = b + 4;
  int scale = s < 4 ? packed[s] & 63 : (packed[s + 4] & 15) | packed[s - 4] >> 6 << 4;
  int minimum = s < 4 ? packed[s + 4] & 63 : packed[s + 4] >> 4 | packed[s] >> 6 << 4;
  set_sub(out, b, b + 2, (int[]){scale, scale}, (int[]){minimum, minimum});
  for (int j = 0; j < BLOCK; j++) {
    out->q[j] = qs[32 * (s >> 1) + j] >> 4 * (s & 1) & 15;
    if (high) out->q[j] |= (uint8_t)((high[j] >> s & 1) << 4);
  }
}

static void read_q6_k(const uint8_t *b, int s, struct quants *out) {
  int n = s >> 2, quarter = s & 3;
  const uint8_t *low = b + 64 * n + 32 * (quarter & 1), *high = b + 128 + 32 * n;
  const int8_t *scales = (const int8_t *)b + 192 + 2 * s;
  set_sub(out, b + 208, NULL, (int[]){scales[0], scales[1]}, NULL);
  for (int j = 0; j < BLOCK; j++) {
    int low4 = low[j] >> 4 * (quarter >> 1) & 15, high2 = high[j] >> 2 * quarter & 3;
    out->q[j] = (uint8_t)(low4 | high2 << 4);
  }
}

static void read_iq4_xs(const uint8_t *b, int s, struct quants *out) {
  int scale = (b[4 + (s >> 1)] >> 4 * (s & 1) & 15) | (b[2 + (s >> 2)] >> 2 * (s & 3) & 3) << 4;
  set_scale(out, f16_at(b) * (float)(scale - 32), 0);
  read_table(b + 8 + 16 * s, iq4_values, out->q);
}

static void read_tq2_0(const uint8_t *b, int s, struct quants *out) {
  set_scale(out, f16_at(b + 64), 0);
  for (int j = 0; j < BLOCK; j++) out->q[j] = (uint8_t)((b[32 * (s >> 2) + j] >> 2 * (s & 3) & 3) - 1 + 128);
}

/* ---- the door ---- */

enum pack quants_pack(enum dtype type) {
  switch (type) {
    case DTYPE_Q8_0:
    case DTYPE_IQ4_NL:
    case DTYPE_TQ2_0: return PACK_Q8;
    case DTYPE_Q4_0: return PACK_Q4;
    case DTYPE_Q4_1: return PACK_Q4M;
    case DTYPE_Q5_0: return PACK_Q5;
    case DTYPE_Q5_1: return PACK_Q5M;
    case DTYPE_IQ4_XS:
    case DTYPE_Q8_F32:
    case DTYPE_MXFP4: return PACK_S8;
    case DTYPE_Q2_K: return PACK_K2M;
    case DTYPE_Q3_K: return PACK_K3;
    case DTYPE_Q4_K: return PACK_K4M;
    case DTYPE_Q5_K: return PACK_K5M;
    case DTYPE_Q6_K: return PACK_K6;
    default: return PACK_I14;
  }
}

/* To the nearest whole number, ties to even, of |v| < 2^51. */
static double whole(double v) { return v + 0x1.8p52 - 0x1.8p52; }

uint16_t quants_round(const float x[BLOCK], int16_t q[BLOCK]) {
  enum { LOWEST = -133, FRACTION_BITS = 13 };
  float largest = 0;
  bool finite = true;
  for (int k = 0; k < BLOCK; k++) {
    if (fabsf(x[k]) > largest) largest = fabsf(x[k]);
    finite = finite && isfinite(x[k]);
  }
  memset(q, 0, BLOCK * sizeof *q);
  if (!finite) return dtype_f32_to_bf16(NAN);
  if (largest == 0) return 0;
  int exponent;
  frexp((double)largest, &exponent); /* largest < 2^exponent */
  exponent = exponent - FRACTION_BITS < LOWEST ? LOWEST : exponent - FRACTION_BITS;
  if (whole(ldexp((double)largest, -exponent)) > I14_LARGEST) exponent++;
  double inverse = ldexp(1, -exponent);
  for (int k = 0; k < BLOCK; k++) q[k] = (int16_t)whole((double)x[k] * inverse);
  return dtype_f32_to_bf16((float)ldexp(1, exponent));
}

static float f32_at(const uint8_t *b) {
  float f;
  memcpy(&f, b, sizeof f);
  return f;
}

static void read_small(enum dtype type, const uint8_t *b, struct quants *out) {
  if (type == DTYPE_Q8_F32) {
    set_scale(out, f32_at(b), 0);
    for (int j = 0; j < BLOCK; j++) out->q[j] = b[4 + j] ^ 0x80;
    return;
  }
  set_scale(out, type == DTYPE_MXFP4 ? mxfp4_scale(b[0]) : f16_at(b), type == DTYPE_Q4_1 || type == DTYPE_Q5_1 ? f16_at(b + 2) : 0);
  switch (type) {
    case DTYPE_Q4_0: read_nibbles(b + 2, out->q); break;
    case DTYPE_Q4_1: read_nibbles(b + 4, out->q); break;
    case DTYPE_Q5_0: read_q5(b + 6, b + 2, out->q); break;
    case DTYPE_Q5_1: read_q5(b + 8, b + 4, out->q); break;
    case DTYPE_IQ4_NL: read_table(b + 2, iq4_values, out->q); break;
    case DTYPE_MXFP4: read_table(b + 1, mxfp4_doubled, out->q); break;
    default:
      assert(type == DTYPE_Q8_0);
      for (int j = 0; j < BLOCK; j++) out->q[j] = b[2 + j] ^ 0x80;
  }
}

void quants_read(enum dtype type, const uint8_t *row, size_t b, struct quants *out) {
  const struct dtype_info *info = dtype_info(type);
  if (info->block_elements == BLOCK) {
    read_small(type, row + b * info->block_bytes, out);
    return;
  }
  const uint8_t *block = row + b / 8 * info->block_bytes;
  int s = (int)(b % 8);
  out->minimum[0] = out->minimum[1] = 0;
  switch (type) {
    case DTYPE_Q2_K: read_q2_k(block, s, out); break;
    case DTYPE_Q3_K: read_q3_k(block, s, out); break;
    case DTYPE_Q4_K: read_q45_k(block, NULL, block + 16, s, out); break;
    case DTYPE_Q5_K: read_q45_k(block, block + 16, block + 48, s, out); break;
    case DTYPE_Q6_K: read_q6_k(block, s, out); break;
    case DTYPE_IQ4_XS: read_iq4_xs(block, s, out); break;
    default: assert(type == DTYPE_TQ2_0); read_tq2_0(block, s, out);
  }
}
