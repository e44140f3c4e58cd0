/* v16_neon: sixteen floats in four NEON registers, for the templates. Private to arm/. SPDX-License-Identifier: Apache-2.0
 * Every operation rounds as its scalar twin does, so a template gives the bits of ref/. */
#ifndef TENSOR_V16_NEON_H
#define TENSOR_V16_NEON_H
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  float32x4_t a, b, c, d; /* lanes 0 … 3, 4 … 7, 8 … 11, 12 … 15 */
} v16;

/* For a read that comes soon. Always inline: a function that does nothing else counts as one without effect, and calls of it are left out (GCC 12). */
static inline __attribute__((always_inline)) void v16_prefetch(const void *p) { __builtin_prefetch(p); }

static inline v16 v16_set1(float x) {
  float32x4_t v = vdupq_n_f32(x);
  return (v16){v, v, v, v};
}
static inline v16 v16_zero(void) { return v16_set1(0); }
static inline v16 v16_load(const float *p) { return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
static inline void v16_store(float *p, v16 v) {
  vst1q_f32(p, v.a);
  vst1q_f32(p + 4, v.b);
  vst1q_f32(p + 8, v.c);
  vst1q_f32(p + 12, v.d);
}
/* The first n lanes; the others are 0, or stay untouched in memory. */
static inline v16 v16_load_n(const float *p, size_t n) {
  if (n >= 16) return v16_load(p);
  float lanes[16] = {0};
  memcpy(lanes, p, n * sizeof *p);
  return v16_load(lanes);
}
static inline void v16_store_n(float *p, v16 v, size_t n) {
  if (n >= 16) {
    v16_store(p, v);
    return;
  }
  float lanes[16];
  v16_store(lanes, v);
  memcpy(p, lanes, n * sizeof *p);
}
/* Lanes from n on become fill. */
static inline v16 v16_keep_n(v16 v, size_t n, v16 fill) {
  if (n >= 16) return v;
  float lanes[16];
  v16_store(lanes, fill);
  v16_store_n(lanes, v, n);
  return v16_load(lanes);
}

#define V16_EACH1(f, x) ((v16){f((x).a), f((x).b), f((x).c), f((x).d)})
#define V16_EACH2(f, x, y) ((v16){f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)})
static inline v16 v16_add(v16 x, v16 y) { return V16_EACH2(vaddq_f32, x, y); }
static inline v16 v16_sub(v16 x, v16 y) { return V16_EACH2(vsubq_f32, x, y); }
static inline v16 v16_mul(v16 x, v16 y) { return V16_EACH2(vmulq_f32, x, y); }
static inline v16 v16_div(v16 x, v16 y) { return V16_EACH2(vdivq_f32, x, y); }
static inline v16 v16_fma(v16 x, v16 y, v16 z) {
  return (v16){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}
static inline v16 v16_neg(v16 x) { return V16_EACH1(vnegq_f32, x); }
static inline v16 v16_abs(v16 x) { return V16_EACH1(vabsq_f32, x); }
static inline float32x4_t v16_copysign4(float32x4_t x, float32x4_t sign) { return vbslq_f32(vdupq_n_u32(0x80000000), sign, x); }
static inline v16 v16_copysign(v16 x, v16 sign) { return V16_EACH2(v16_copysign4, x, sign); }
static inline v16 v16_rint(v16 x) { return V16_EACH1(vrndnq_f32, x); }
/* p > q ? x : y, lane by lane; false for NaN. */
static inline v16 v16_if_gt(v16 p, v16 q, v16 x, v16 y) {
  return (v16){vbslq_f32(vcgtq_f32(p.a, q.a), x.a, y.a), vbslq_f32(vcgtq_f32(p.b, q.b), x.b, y.b), vbslq_f32(vcgtq_f32(p.c, q.c), x.c, y.c),
               vbslq_f32(vcgtq_f32(p.d, q.d), x.d, y.d)};
}
/* 2^n for whole n in [-126, 127]. */
static inline float32x4_t v16_pow2_of4(float32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}
static inline v16 v16_pow2(v16 n) { return V16_EACH1(v16_pow2_of4, n); }
static inline float32x4_t v16_half4(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline v16 v16_load_half(const uint16_t *p) { return (v16){v16_half4(p), v16_half4(p + 4), v16_half4(p + 8), v16_half4(p + 12)}; }
static inline float32x4_t v16_bf16_4(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
static inline v16 v16_load_bf16(const uint16_t *p) {
  return (v16){v16_bf16_4(p), v16_bf16_4(p + 4), v16_bf16_4(p + 8), v16_bf16_4(p + 12)};
}
static inline v16 v16_load_i8(const int8_t *p) {
  int8x16_t bytes = vld1q_s8(p);
  int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return (v16){vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
               vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))};
}
static inline void v16_store_half4(uint16_t *p, float32x4_t v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
static inline void v16_store_half(uint16_t *p, v16 v) {
  v16_store_half4(p, v.a);
  v16_store_half4(p + 4, v.b);
  v16_store_half4(p + 8, v.c);
  v16_store_half4(p + 12, v.d);
}
/* To nearest even, as dtype_f32_to_bf16. */
static inline void v16_store_bf16_4(uint16_t *p, float32x4_t v) {
  uint32x4_t bits = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  uint32x4_t near = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF))), quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), near, quiet), 16));
}
static inline void v16_store_bf16(uint16_t *p, v16 v) {
  v16_store_bf16_4(p, v.a);
  v16_store_bf16_4(p + 4, v.b);
  v16_store_bf16_4(p + 8, v.c);
  v16_store_bf16_4(p + 12, v.d);
}
/* Lane i takes i+8, then i+4, i+2, i+1. */
static inline float v16_tree(v16 v) {
  float32x4_t four = vaddq_f32(vaddq_f32(v.a, v.c), vaddq_f32(v.b, v.d));
  float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
static inline float v16_first(v16 v) { return vgetq_lane_f32(v.a, 0); }
static inline float v16_largest(v16 v) { return vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(v.a, v.b), vmaxnmq_f32(v.c, v.d))); }

/* ---- sixteen 16-bit integers ---- */

typedef struct {
  int16x8_t a, b;
} v16s;

static inline int16x8_t v16_narrow(float32x4_t low, float32x4_t high) {
  return vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(low)), vqmovn_s32(vcvtnq_s32_f32(high)));
}
/* Whole numbers within int16. */
static inline v16s v16_to_i16(v16 v) { return (v16s){v16_narrow(v.a, v.b), v16_narrow(v.c, v.d)}; }
static inline void v16s_store(int16_t *to, v16s v) {
  vst1q_s16(to, v.a);
  vst1q_s16(to + 8, v.b);
}
/* Their sum, which fits. */
static inline int32_t v16s_sum(v16s v) { return vaddlvq_s16(v.a) + vaddlvq_s16(v.b); }
/* 32 values within int8 as bytes, in order. */
static inline void v16s_store_i8(int8_t *to, v16s a, v16s b) {
  vst1q_s8(to, vcombine_s8(vqmovn_s16(a.a), vqmovn_s16(a.b)));
  vst1q_s8(to + 16, vcombine_s8(vqmovn_s16(b.a), vqmovn_s16(b.b)));
}
/* v = 256 · high + low, low being the lower byte with its sign. */
static inline int16x8_t v16s_low8(int16x8_t v) { return vshrq_n_s16(vshlq_n_s16(v, 8), 8); }
static inline int16x8_t v16s_high8(int16x8_t v) { return vshrq_n_s16(vsubq_s16(v, v16s_low8(v)), 8); }
static inline v16s v16s_low(v16s v) { return (v16s){v16s_low8(v.a), v16s_low8(v.b)}; }
static inline v16s v16s_high(v16s v) { return (v16s){v16s_high8(v.a), v16s_high8(v.b)}; }

/* ---- sixteen pairs of 16-bit integers, and sums of their products: of each pair in two lanes, which are added at the end ---- */

typedef struct {
  int16x8_t a, b, c, d;
} v16i;
typedef struct {
  int32x4_t a, b, c, d, e, f, g, h;
} v16i_sum;

static inline v16i_sum v16i_zero(void) {
  int32x4_t z = vdupq_n_s32(0);
  return (v16i_sum){z, z, z, z, z, z, z, z};
}
static inline v16i v16i_set1(int32_t x) {
  int16x8_t v = vreinterpretq_s16_s32(vdupq_n_s32(x));
  return (v16i){v, v, v, v};
}
static inline v16i v16i_load(const void *memory) {
  const int16_t *p = memory;
  return (v16i){vld1q_s16(p), vld1q_s16(p + 8), vld1q_s16(p + 16), vld1q_s16(p + 24)};
}
/* sum + the products of the two 16-bit integers in each lane. */
static inline v16i_sum v16i_dot(v16i_sum s, v16i x, v16i y) {
  return (v16i_sum){vmlal_s16(s.a, vget_low_s16(x.a), vget_low_s16(y.a)), vmlal_high_s16(s.b, x.a, y.a),
                    vmlal_s16(s.c, vget_low_s16(x.b), vget_low_s16(y.b)), vmlal_high_s16(s.d, x.b, y.b),
                    vmlal_s16(s.e, vget_low_s16(x.c), vget_low_s16(y.c)), vmlal_high_s16(s.f, x.c, y.c),
                    vmlal_s16(s.g, vget_low_s16(x.d), vget_low_s16(y.d)), vmlal_high_s16(s.h, x.d, y.d)};
}
/* The same of the pair at `two` in every lane. */
static inline v16i_sum v16i_dot_at(v16i_sum sum, v16i a, const int16_t *two) {
  int32_t pair;
  memcpy(&pair, two, sizeof pair);
  return v16i_dot(sum, a, v16i_set1(pair));
}
static inline v16 v16i_to_f32(v16i_sum s) {
  return (v16){vcvtq_f32_s32(vpaddq_s32(s.a, s.b)), vcvtq_f32_s32(vpaddq_s32(s.c, s.d)), vcvtq_f32_s32(vpaddq_s32(s.e, s.f)),
               vcvtq_f32_s32(vpaddq_s32(s.g, s.h))};
}

#endif
