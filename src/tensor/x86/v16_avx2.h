/* v16_avx2: sixteen floats in two AVX registers, for the templates. Private to x86/. SPDX-License-Identifier: Apache-2.0
 * Every operation rounds as its scalar twin does, so a template gives the bits of ref/. */
#ifndef TENSOR_V16_AVX2_H
#define TENSOR_V16_AVX2_H
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tensor/x86/v16s_x86.h"

typedef struct {
  __m256 a, b; /* lanes 0 … 7, lanes 8 … 15 */
} v16;

static inline v16 v16_of(__m256 a, __m256 b) { return (v16){a, b}; }
static inline __m256i v16_lanes8(size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : (int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline __m256i v16_lanes_high(size_t n) { return v16_lanes8(n > 8 ? n - 8 : 0); }
static inline v16 v16_zero(void) { return v16_of(_mm256_setzero_ps(), _mm256_setzero_ps()); }
static inline v16 v16_set1(float x) { return v16_of(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
static inline v16 v16_load(const float *p) { return v16_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
static inline void v16_store(float *p, v16 v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
static inline v16 v16_load_n(const float *p, size_t n) {
  if (n >= 16) return v16_load(p); /* masked access is slow, and rare */
  return v16_of(_mm256_maskload_ps(p, v16_lanes8(n)), _mm256_maskload_ps(p + 8, v16_lanes_high(n)));
}
static inline void v16_store_n(float *p, v16 v, size_t n) {
  if (n >= 16) {
    v16_store(p, v);
    return;
  }
  _mm256_maskstore_ps(p, v16_lanes8(n), v.a);
  _mm256_maskstore_ps(p + 8, v16_lanes_high(n), v.b);
}
static inline v16 v16_keep_n(v16 v, size_t n, v16 fill) {
  if (n >= 16) return v;
  return v16_of(_mm256_blendv_ps(fill.a, v.a, _mm256_castsi256_ps(v16_lanes8(n))),
                _mm256_blendv_ps(fill.b, v.b, _mm256_castsi256_ps(v16_lanes_high(n))));
}
static inline v16 v16_add(v16 x, v16 y) { return v16_of(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
static inline v16 v16_sub(v16 x, v16 y) { return v16_of(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
static inline v16 v16_mul(v16 x, v16 y) { return v16_of(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
static inline v16 v16_div(v16 x, v16 y) { return v16_of(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
static inline v16 v16_fma(v16 x, v16 y, v16 z) { return v16_of(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)); }
static inline v16 v16_neg(v16 x) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return v16_of(_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign));
}
static inline v16 v16_abs(v16 x) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return v16_of(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
static inline v16 v16_copysign(v16 x, v16 s) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  v16 m = v16_abs(x);
  return v16_of(_mm256_or_ps(m.a, _mm256_and_ps(s.a, sign)), _mm256_or_ps(m.b, _mm256_and_ps(s.b, sign)));
}
static inline v16 v16_rint(v16 x) {
  return v16_of(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline v16 v16_if_gt(v16 p, v16 q, v16 x, v16 y) {
  return v16_of(_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_GT_OQ)),
                _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_GT_OQ)));
}
static inline __m256 v16_pow2_half(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline v16 v16_pow2(v16 n) { return v16_of(v16_pow2_half(n.a), v16_pow2_half(n.b)); }
static inline v16 v16_load_half(const uint16_t *p) {
  return v16_of(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8))));
}
static inline __m256 v16_bf16_half(const uint16_t *p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)), 16));
}
static inline v16 v16_load_bf16(const uint16_t *p) { return v16_of(v16_bf16_half(p), v16_bf16_half(p + 8)); }
static inline v16 v16_load_i8(const int8_t *p) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
  return v16_of(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))));
}
static inline void v16_store_half(uint16_t *p, v16 v) {
  _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* To nearest even, as dtype_f32_to_bf16. */
static inline __m256i v16_bf16_bits(__m256 v) {
  __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)), quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  return _mm256_srli_epi32(_mm256_blendv_epi8(near, quiet, nan), 16);
}
static inline void v16_store_bf16(uint16_t *p, v16 v) {
  __m256i both = _mm256_packus_epi32(v16_bf16_bits(v.a), v16_bf16_bits(v.b)); /* a0..3 b0..3 a4..7 b4..7 */
  _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(both, 0xD8));
}
static inline float v16_tree(v16 v) {
  __m256 s = _mm256_add_ps(v.a, v.b);
  __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_add_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));
}
static inline float v16_first(v16 v) { return _mm256_cvtss_f32(v.a); }
static inline float v16_largest(v16 v) {
  __m256 s = _mm256_max_ps(v.a, v.b);
  __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_max_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_max_ss(t, _mm_shuffle_ps(t, t, 1)));
}
static inline v16s v16_to_i16(v16 v) {
  __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)); /* lanes 0-3, 8-11, 4-7, 12-15 */
  return _mm256_permute4x64_epi64(packed, 0xD8);
}

/* ---- sixteen 32-bit integers ---- */

typedef struct {
  __m256i a, b;
} v16i, v16i_sum;

static inline v16i_sum v16i_zero(void) { return (v16i){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline v16i v16i_set1(int32_t x) { return (v16i){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static inline v16i v16i_load(const void *p) {
  return (v16i){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
/* sum + the products of the two 16-bit integers in each lane. */
static inline v16i_sum v16i_dot(v16i_sum sum, v16i a, v16i b) {
  return (v16i){_mm256_add_epi32(sum.a, _mm256_madd_epi16(a.a, b.a)), _mm256_add_epi32(sum.b, _mm256_madd_epi16(a.b, b.b))};
}
/* The same of the pair at `two` in every lane. */
static inline v16i_sum v16i_dot_at(v16i_sum sum, v16i a, const int16_t *two) {
  int32_t pair;
  memcpy(&pair, two, sizeof pair);
  return v16i_dot(sum, a, v16i_set1(pair));
}
static inline v16 v16i_to_f32(v16i_sum v) { return v16_of(_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)); }

#endif
