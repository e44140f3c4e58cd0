/* dtype: see dtype.h. SPDX-License-Identifier: Apache-2.0
 *
 * Plain C, written to be read: the truth that packing and kernels are held to. Layouts and formulas: doc/format/blocks.md.
 *
 * 1. All bytes are read little-endian and one by one, so that src needs no alignment and the host's order does not matter.
 * 2. A product of two scales is rounded to fp32 before it meets a quant; a minimum is subtracted last; nothing is contracted
 *    (the build sets -ffp-contract=off). So the results equal those of the published conversions bit for bit. */
#include "base/dtype.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- scalars ---- */

static float f32_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t bits_of_f32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }
static uint64_t u64_at(const uint8_t *p) { return u32_at(p) | (uint64_t)u32_at(p + 4) << 32; }
static float f16_at(const uint8_t *p) { return dtype_f16_to_f32(u16_at(p)); }

/* A float of 1 sign bit, exponent_bits and mantissa_bits, with infinities and NaN as IEEE 754 has them (a signalling NaN
 * becomes quiet, as the conversion instructions do it). */
static float small_float(uint32_t bits, unsigned exponent_bits, unsigned mantissa_bits) {
  uint32_t sign = bits >> (exponent_bits + mantissa_bits) << 31;
  uint32_t exponent = bits >> mantissa_bits & ((1u << exponent_bits) - 1);
  uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  uint32_t exponent_max = (1u << exponent_bits) - 1, bias = exponent_max >> 1;
  if (exponent == exponent_max) {
    uint32_t quiet = mantissa ? 0x400000u : 0;
    return f32_of_bits(sign | 0x7F800000u | quiet | mantissa << (23 - mantissa_bits));
  }
  if (exponent) return f32_of_bits(sign | (exponent + 127 - bias) << 23 | mantissa << (23 - mantissa_bits));
  /* Subnormal: the mantissa is a count of the smallest step, 2^(1 - bias - mantissa_bits); the product is exact. */
  float value = (float)mantissa * f32_of_bits((128 - bias - mantissa_bits) << 23);
  return f32_of_bits(sign | bits_of_f32(value));
}

float dtype_f16_to_f32(uint16_t half) { return small_float(half, 5, 10); }

float dtype_f8_e5m2_to_f32(uint8_t bits) { return small_float(bits, 5, 2); }

float dtype_f8_e4m3_to_f32(uint8_t bits) {
  if ((bits & 0x7F) == 0x7F) return f32_of_bits((uint32_t)(bits & 0x80) << 24 | 0x7FC00000u);
  if ((bits & 0x78) == 0x78) return f32_of_bits((uint32_t)(bits & 0x80) << 24 | 135u << 23 | (uint32_t)(bits & 7) << 20);
  return small_float(bits, 4, 3);
}

uint16_t dtype_f32_to_f16(float value) {
  uint32_t bits = bits_of_f32(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7FFFFFFFu;
  if (rest > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (rest >> 13 & 0x3FFu));
  if (rest >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* rounds to 65,536 or is more */
  if (rest < 0x33000001u) return (uint16_t)sign;              /* at most half of the smallest step: to zero */
  uint32_t mantissa = rest, drop = 13;
  if (rest < 0x38800000u) { /* subnormal as half: shift the whole significand down to steps of 2^-24 */
    mantissa = (rest & 0x7FFFFFu) | 0x800000u;
    drop = 126 - (rest >> 23);
  } else {
    mantissa = rest - (112u << 23);
  }
  uint32_t kept = mantissa >> drop, lost = mantissa & ((1u << drop) - 1), halfway = 1u << (drop - 1);
  if (lost > halfway || (lost == halfway && (kept & 1))) kept++;
  return (uint16_t)(sign | kept);
}

float dtype_bf16_to_f32(uint16_t bits) { return f32_of_bits((uint32_t)bits << 16); }

uint16_t dtype_f32_to_bf16(float value) {
  uint32_t bits = bits_of_f32(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
  return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

/* ---- plain types, one element a call ---- */

static void read_f32(const uint8_t *b, float *y) { *y = f32_of_bits(u32_at(b)); }
static void read_f16(const uint8_t *b, float *y) { *y = f16_at(b); }
static void read_bf16(const uint8_t *b, float *y) { *y = dtype_bf16_to_f32(u16_at(b)); }
static void read_f64(const uint8_t *b, float *y) {
  uint64_t bits = u64_at(b);
  double value;
  memcpy(&value, &bits, sizeof value);
  *y = (float)value;
}
static void read_i8(const uint8_t *b, float *y) { *y = (int8_t)*b; }
static void read_u8(const uint8_t *b, float *y) { *y = *b; }
static void read_i16(const uint8_t *b, float *y) { *y = (int16_t)u16_at(b); }
static void read_u16(const uint8_t *b, float *y) { *y = u16_at(b); }
static void read_i32(const uint8_t *b, float *y) { *y = (float)(int32_t)u32_at(b); }
static void read_u32(const uint8_t *b, float *y) { *y = (float)u32_at(b); }
static void read_i64(const uint8_t *b, float *y) { *y = (float)(int64_t)u64_at(b); }
static void read_u64(const uint8_t *b, float *y) { *y = (float)u64_at(b); }
static void read_bool(const uint8_t *b, float *y) { *y = *b ? 1.0f : 0.0f; }
static void read_f8_e4m3(const uint8_t *b, float *y) { *y = dtype_f8_e4m3_to_f32(*b); }
static void read_f8_e5m2(const uint8_t *b, float *y) { *y = dtype_f8_e5m2_to_f32(*b); }

/* ---- blocks of 32: low nibbles are elements 0 to 15, high nibbles 16 to 31 ---- */

static void read_q4_0(const uint8_t *b, float *y) {
  float d = f16_at(b);
  for (int j = 0; j < 16; j++) {
    y[j] = d * (float)((b[2 + j] & 15) - 8);
    y[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
  }
}

static void read_q4_1(const uint8_t *b, float *y) {
  float d = f16_at(b), m = f16_at(b + 2);
  for (int j = 0; j < 16; j++) {
    y[j] = d * (float)(b[4 + j] & 15) + m;
    y[j + 16] = d * (float)(b[4 + j] >> 4) + m;
  }
}

/* The fifth bit of element j is bit j of the mask. */
static int fifth_bit(uint32_t mask, int j) { return (int)(mask >> j & 1) << 4; }

static void read_q5_0(const uint8_t *b, float *y) {
  float d = f16_at(b);
  uint32_t high = u32_at(b + 2);
  for (int j = 0; j < 16; j++) {
    y[j] = d * (float)(((b[6 + j] & 15) | fifth_bit(high, j)) - 16);
    y[j + 16] = d * (float)((b[6 + j] >> 4 | fifth_bit(high, j + 16)) - 16);
  }
}

static void read_q5_1(const uint8_t *b, float *y) {
  float d = f16_at(b), m = f16_at(b + 2);
  uint32_t high = u32_at(b + 4);
  for (int j = 0; j < 16; j++) {
    y[j] = d * (float)((b[8 + j] & 15) | fifth_bit(high, j)) + m;
    y[j + 16] = d * (float)(b[8 + j] >> 4 | fifth_bit(high, j + 16)) + m;
  }
}

static void read_q8_0(const uint8_t *b, float *y) {
  float d = f16_at(b);
  for (int j = 0; j < 32; j++) y[j] = d * (float)(int8_t)b[2 + j];
}

static void read_q8_1(const uint8_t *b, float *y) { /* bytes 2 and 3 hold d times the sum of the quants */
  float d = f16_at(b);
  for (int j = 0; j < 32; j++) y[j] = d * (float)(int8_t)b[4 + j];
}

/* The values that the nibbles of IQ4_NL and IQ4_XS stand for. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void read_iq4_nl(const uint8_t *b, float *y) {
  float d = f16_at(b);
  for (int j = 0; j < 16; j++) {
    y[j] = d * (float)iq4_values[b[2 + j] & 15];
    y[j + 16] = d * (float)iq4_values[b[2 + j] >> 4];
  }
}

static void read_mxfp4(const uint8_t *b, float *y) {
  static const int8_t doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  /* 2^(e - 128): one less than the shared exponent says, because the values are doubled; subnormal for e below 2 */
  float d = f32_of_bits(b[0] < 2 ? 0x00200000u << b[0] : (uint32_t)(b[0] - 1) << 23);
  for (int j = 0; j < 16; j++) {
    y[j] = d * (float)doubled_e2m1[b[1 + j] & 15];
    y[j + 16] = d * (float)doubled_e2m1[b[1 + j] >> 4];
  }
}

/* ---- blocks of 256: element e = 128n + 32j + 16g + l ---- */

static void read_q2_k(const uint8_t *b, float *y) {
  const uint8_t *scales = b, *qs = b + 16;
  float d = f16_at(b + 80), dmin = f16_at(b + 82);
  for (int e = 0; e < 256; e++) {
    int n = e >> 7, j = e >> 5 & 3;
    int scale = scales[e >> 4];
    float step = d * (float)(scale & 15), low = dmin * (float)(scale >> 4);
    y[e] = step * (float)(qs[32 * n + (e & 31)] >> 2 * j & 3) - low;
  }
}

static void read_q3_k(const uint8_t *b, float *y) {
  const uint8_t *hmask = b, *qs = b + 32, *s = b + 96;
  float d = f16_at(b + 108);
  for (int k = 0; k < 16; k++) { /* 16 elements share the 6-bit scale k */
    int low4 = k < 8 ? s[k] & 15 : s[k - 8] >> 4, high2 = s[8 + (k & 3)] >> 2 * (k >> 2) & 3;
    float step = d * (float)((low4 | high2 << 4) - 32);
    for (int l = 0; l < 16; l++) {
      int e = 16 * k + l, n = e >> 7, j = e >> 5 & 3, column = e & 31;
      int q = (qs[32 * n + column] >> 2 * j & 3) - (hmask[column] >> (4 * n + j) & 1 ? 0 : 4);
      y[e] = step * (float)q;
    }
  }
}

/* Scale and minimum of sub-block s (0 to 7), 6 bits each, out of the 12 packed bytes of Q4_K and Q5_K. */
static void k_scale_min(const uint8_t *b, int s, int *scale, int *min) {
  if (s < 4) {
    *scale = b[s] & 63;
    *min = b[s + 4] & 63;
  } else {
    *scale = (b[s + 4] & 15) | b[s - 4] >> 6 << 4;
    *min = b[s + 4] >> 4 | b[s] >> 6 << 4;
  }
}

/* Q4_K, and Q5_K when high (its plane of fifth bits) is there. */
static void read_k45(const uint8_t *b, const uint8_t *high, const uint8_t *qs, float *y) {
  float d = f16_at(b), dmin = f16_at(b + 2);
  for (int s = 0; s < 8; s++) {
    int scale, min;
    k_scale_min(b + 4, s, &scale, &min);
    float step = d * (float)scale, low = dmin * (float)min;
    for (int l = 0; l < 32; l++) {
      int q = qs[32 * (s >> 1) + l] >> 4 * (s & 1) & 15;
      if (high) q |= (high[l] >> s & 1) << 4;
      y[32 * s + l] = step * (float)q - low;
    }
  }
}

static void read_q4_k(const uint8_t *b, float *y) { read_k45(b, NULL, b + 16, y); }
static void read_q5_k(const uint8_t *b, float *y) { read_k45(b, b + 16, b + 48, y); }

static void read_q6_k(const uint8_t *b, float *y) {
  const uint8_t *ql = b, *qh = b + 128, *scales = b + 192;
  float d = f16_at(b + 208);
  for (int e = 0; e < 256; e++) {
    int n = e >> 7, quarter = e >> 5 & 3, l = e & 31; /* quarters 0 and 1 are low nibbles, 2 and 3 high ones */
    int low4 = ql[64 * n + 32 * (quarter & 1) + l] >> 4 * (quarter >> 1) & 15;
    int high2 = qh[32 * n + l] >> 2 * quarter & 3;
    float step = d * (float)(int8_t)scales[e >> 4];
    y[e] = step * (float)((low4 | high2 << 4) - 32);
  }
}

static void read_q8_k(const uint8_t *b, float *y) { /* the last 32 bytes are sums of 16 quants each */
  float d = f32_of_bits(u32_at(b));
  for (int e = 0; e < 256; e++) y[e] = d * (float)(int8_t)b[4 + e];
}

static void read_q8_f32(const uint8_t *b, float *y) {
  float d = f32_of_bits(u32_at(b));
  for (int j = 0; j < 32; j++) y[j] = d * (float)(int8_t)b[4 + j];
}

static void read_iq4_xs(const uint8_t *b, float *y) {
  const uint8_t *scales_low = b + 4, *qs = b + 8;
  float d = f16_at(b);
  unsigned scales_high = u16_at(b + 2);
  for (int s = 0; s < 8; s++) {
    int scale = (scales_low[s >> 1] >> 4 * (s & 1) & 15) | (int)(scales_high >> 2 * s & 3) << 4;
    float step = d * (float)(scale - 32);
    for (int j = 0; j < 16; j++) {
      y[32 * s + j] = step * (float)iq4_values[qs[16 * s + j] & 15];
      y[32 * s + 16 + j] = step * (float)iq4_values[qs[16 * s + j] >> 4];
    }
  }
}

static void read_tq2_0(const uint8_t *b, float *y) {
  float d = f16_at(b + 64);
  for (int e = 0; e < 256; e++) y[e] = d * (float)((b[32 * (e >> 7) + (e & 31)] >> 2 * (e >> 5 & 3) & 3) - 1);
}

/* ---- the table ---- */

/* X(type, name, elements of a block, bytes of a block, conversion of one block) */
#define TYPES(X)                                   \
  X(DTYPE_F32, "F32", 1, 4, read_f32)              \
  X(DTYPE_F16, "F16", 1, 2, read_f16)              \
  X(DTYPE_BF16, "BF16", 1, 2, read_bf16)           \
  X(DTYPE_F64, "F64", 1, 8, read_f64)              \
  X(DTYPE_Q4_0, "Q4_0", 32, 18, read_q4_0)         \
  X(DTYPE_Q4_1, "Q4_1", 32, 20, read_q4_1)         \
  X(DTYPE_Q5_0, "Q5_0", 32, 22, read_q5_0)         \
  X(DTYPE_Q5_1, "Q5_1", 32, 24, read_q5_1)         \
  X(DTYPE_Q8_0, "Q8_0", 32, 34, read_q8_0)         \
  X(DTYPE_Q8_1, "Q8_1", 32, 36, read_q8_1)         \
  X(DTYPE_Q2_K, "Q2_K", 256, 84, read_q2_k)        \
  X(DTYPE_Q3_K, "Q3_K", 256, 110, read_q3_k)       \
  X(DTYPE_Q4_K, "Q4_K", 256, 144, read_q4_k)       \
  X(DTYPE_Q5_K, "Q5_K", 256, 176, read_q5_k)       \
  X(DTYPE_Q6_K, "Q6_K", 256, 210, read_q6_k)       \
  X(DTYPE_Q8_K, "Q8_K", 256, 292, read_q8_k)       \
  X(DTYPE_IQ4_NL, "IQ4_NL", 32, 18, read_iq4_nl)   \
  X(DTYPE_IQ4_XS, "IQ4_XS", 256, 136, read_iq4_xs) \
  X(DTYPE_MXFP4, "MXFP4", 32, 17, read_mxfp4)      \
  X(DTYPE_TQ2_0, "TQ2_0", 256, 66, read_tq2_0)     \
  X(DTYPE_I8, "I8", 1, 1, read_i8)                 \
  X(DTYPE_U8, "U8", 1, 1, read_u8)                 \
  X(DTYPE_I16, "I16", 1, 2, read_i16)              \
  X(DTYPE_U16, "U16", 1, 2, read_u16)              \
  X(DTYPE_I32, "I32", 1, 4, read_i32)              \
  X(DTYPE_U32, "U32", 1, 4, read_u32)              \
  X(DTYPE_I64, "I64", 1, 8, read_i64)              \
  X(DTYPE_U64, "U64", 1, 8, read_u64)              \
  X(DTYPE_BOOL, "BOOL", 1, 1, read_bool)           \
  X(DTYPE_F8_E4M3, "F8_E4M3", 1, 1, read_f8_e4m3)  \
  X(DTYPE_F8_E5M2, "F8_E5M2", 1, 1, read_f8_e5m2)  \
  X(DTYPE_Q8_F32, "Q8_F32", 32, 36, read_q8_f32)

/* The loop over blocks stands beside the conversion, where the compiler can join them: plain types are blocks of one element. */
#define DEFINE_RUN(type, name, elements, bytes, read_block)                                \
  static void read_block##_run(const uint8_t *b, float *y, size_t n_blocks) {              \
    for (size_t i = 0; i < n_blocks; i++) read_block(b + i * (bytes), y + i * (elements)); \
  }
TYPES(DEFINE_RUN)

struct type_row {
  struct dtype_info info;
  void (*run)(const uint8_t *blocks, float *y, size_t n_blocks);
};

#define TYPE_ROW(type, name, elements, bytes, read_block) [type] = {{name, elements, bytes}, read_block##_run},
static const struct type_row types[DTYPE_COUNT] = {TYPES(TYPE_ROW)};

const struct dtype_info *dtype_info(enum dtype type) {
  assert((unsigned)type < DTYPE_COUNT);
  return &types[type].info;
}

bool dtype_bytes(enum dtype type, uint64_t n_elements, uint64_t *ret_bytes) {
  const struct dtype_info *info = dtype_info(type);
  if (n_elements % info->block_elements) return false;
  uint64_t bytes;
  if (__builtin_mul_overflow(n_elements / info->block_elements, (uint64_t)info->block_bytes, &bytes)) return false;
  *ret_bytes = bytes;
  return true;
}

bool dtype_to_f32(enum dtype type, const void *src, float *dst, size_t n) {
  const struct dtype_info *info = dtype_info(type);
  assert(n % info->block_elements == 0);
  if (!types[type].run) return false;
  types[type].run(src, dst, n / info->block_elements);
  return true;
}
