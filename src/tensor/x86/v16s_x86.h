/* v16s_x86: sixteen 16-bit integers in an AVX register, for the templates. Private to x86/. SPDX-License-Identifier: Apache-2.0 */
#ifndef TENSOR_V16S_X86_H
#define TENSOR_V16S_X86_H
#include <immintrin.h>
#include <stdint.h>

typedef __m256i v16s;

static inline void v16s_store(int16_t *to, v16s v) { _mm256_storeu_si256((__m256i *)(void *)to, v); }
/* Their sum, which fits. */
static inline int32_t v16s_sum(v16s v) {
  __m256i s = _mm256_madd_epi16(v, _mm256_set1_epi16(1));
  __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4E));
  t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0xB1));
  return _mm_cvtsi128_si32(t);
}
/* 32 values within int8 as bytes, in order. */
static inline void v16s_store_i8(int8_t *to, v16s a, v16s b) {
  _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xD8));
}
/* v = 256 · high + low, low being the lower byte with its sign. */
static inline v16s v16s_low(v16s v) { return _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8); }
static inline v16s v16s_high(v16s v) { return _mm256_srai_epi16(_mm256_sub_epi16(v, v16s_low(v)), 8); }

/* For a read that comes soon, into the second cache: requests to the first one wait in the same few places as reads that miss. Always inline: a
 * function that does nothing else counts as one without effect, and calls of it are left out before it would be inlined (GCC 12). */
static inline __attribute__((always_inline)) void v16_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T1); }

#endif
