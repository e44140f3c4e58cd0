/* v16_avx512: sixteen floats in one AVX-512 register, for the templates. Private to x86/. SPDX-License-Identifier: Apache-2.0
 * Every operation rounds as its scalar twin does, so a template gives the bits of ref/. */
#ifndef TENSOR_V16_AVX512_H
#define TENSOR_V16_AVX512_H
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/x86/v16s_x86.h"

typedef __m512 v16;

/* Four bytes of anything, for the operands of assembly. */
typedef int32_t __attribute__((may_alias)) v16_any4;

/* Before a loop over registers of at most 16 rounds, so that they are registers. */
#define V16_UNROLL _Pragma("GCC unroll 16")

static inline __mmask16 v16_lanes(size_t n) { return n >= 16 ? 0xFFFF : (__mmask16)((1u << n) - 1); }
static inline v16 v16_zero(void) { return _mm512_setzero_ps(); }
static inline v16 v16_set1(float x) { return _mm512_set1_ps(x); }
static inline v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v16_store(float *p, v16 v) { _mm512_storeu_ps(p, v); }
/* The first n lanes; the others are 0, or stay untouched in memory. */
static inline v16 v16_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(v16_lanes(n), p); }
static inline void v16_store_n(float *p, v16 v, size_t n) { _mm512_mask_storeu_ps(p, v16_lanes(n), v); }
/* Lanes from n on become fill. */
static inline v16 v16_keep_n(v16 v, size_t n, v16 fill) { return _mm512_mask_blend_ps(v16_lanes(n), fill, v); }
static inline v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
static inline v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
static inline v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
static inline v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
static inline v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
static inline v16 v16_neg(v16 a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
static inline v16 v16_abs(v16 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
static inline v16 v16_copysign(v16 a, v16 sign) { return _mm512_or_ps(v16_abs(a), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f))); }
static inline v16 v16_rint(v16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a > b ? x : y, lane by lane; false for NaN. */
static inline v16 v16_if_gt(v16 a, v16 b, v16 x, v16 y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x); }
/* 2^n for whole n in [-126, 127]. */
static inline v16 v16_pow2(v16 n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
static inline v16 v16_load_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
static inline v16 v16_load_bf16(const uint16_t *p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p)), 16));
}
static inline v16 v16_load_i8(const int8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
static inline void v16_store_half(uint16_t *p, v16 v) {
  _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* To nearest even, as dtype_f32_to_bf16: the instruction for it takes what is below 2^-126 as 0. */
static inline void v16_store_bf16(uint16_t *p, v16 v) {
  __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i near = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  near = _mm512_mask_or_epi32(near, nan, bits, _mm512_set1_epi32(0x400000));
  _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(near, 16)));
}
/* Lane i takes i+8, then i+4, i+2, i+1. */
static inline float v16_tree(v16 v) {
  __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}
static inline float v16_first(v16 v) { return _mm512_cvtss_f32(v); }
static inline float v16_largest(v16 v) { return _mm512_reduce_max_ps(v); }
/* Whole numbers within int16 as 16 int16 values. */
static inline v16s v16_to_i16(v16 v) { return _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v)); }

/* ---- sixteen 32-bit integers ---- */

typedef __m512i v16i, v16i_sum;

static inline v16i_sum v16i_zero(void) { return _mm512_setzero_si512(); }
static inline v16i v16i_set1(int32_t x) { return _mm512_set1_epi32(x); }
static inline v16i v16i_load(const void *p) { return _mm512_loadu_si512(p); }
/* sum + the products of the two 16-bit integers in each lane. */
static inline v16i_sum v16i_dot(v16i_sum sum, v16i a, v16i b) { return _mm512_dpwssd_epi32(sum, a, b); }
/* The same of the pair at `two` in every lane. In assembly: the compiler makes two instructions of it, and the processor looks ahead by their number. */
static inline v16i_sum v16i_dot_at(v16i_sum sum, v16i a, const int16_t *two) {
  __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(a), "m"(*(const v16_any4 *)(const void *)two));
  return sum;
}
static inline v16 v16i_to_f32(v16i_sum v) { return _mm512_cvtepi32_ps(v); }

#endif
