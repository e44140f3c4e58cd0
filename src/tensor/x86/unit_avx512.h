/* unit_avx512: products of K packs with 8-bit units by vpdpbusd. Included by avx512.c, behind linear_avx512.h. SPDX-License-Identifier: Apache-2.0
 *
 * All sums of a unit are integers: of each block (or half of it) times the whole sub-scale and the block's steps, and of the sub-minimums times the
 * activations' sums, by vpdpwssd. The multiplications share no execution port with all of the dot instructions, where fp32 ones would; a unit
 * costs three fp32 instructions for each column. */

enum { UNIT_COLUMNS = 8, UNIT_HALVES = true };

static inline __attribute__((always_inline)) __m512i unit_sub(const unsigned char *at) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at));
}

/* Two rows of 16 sub-minimums as pairs. */
static inline __attribute__((always_inline)) __m512i unit_pairs(const unsigned char *at) {
  const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)at),
                b = _mm_loadu_si128((const __m128i *)(const void *)(at + PANEL_ROWS));
  return _mm512_cvtepi8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b)));
}

static inline __attribute__((always_inline)) __m512i unit_broadcast(const void *four) {
  int32_t value;
  memcpy(&value, four, sizeof value);
  return _mm512_set1_epi32(value);
}

/* The sum of part `part` of block n of one column. */
static inline __attribute__((always_inline)) __m512i unit_sum(const __m512i q[8], const struct act_k8 *x, size_t n, int part,
                                                              enum pack pack) {
  const struct pack_form form = pack_form(pack);
  if (form.parts == 1) return int_dot(_mm512_setzero_si512(), q, x->q + n * BLOCK, 0, 8);
  __m512i start = _mm512_setzero_si512();
  if (form.offset)
    start = _mm512_srai_epi32(unit_broadcast(&x->bias[2 * n + (size_t)part]), (unsigned)__builtin_ctz(32 / (unsigned)form.offset));
  return int_dot(start, q, x->q + n * BLOCK, 4 * part, 4 * part + 4);
}

/* The unit's sub-minimums with the sums of one column. */
static inline __attribute__((always_inline)) __m512i unit_low(const __m512i pairs[UNIT_BLOCKS], const struct act_k8 *x, enum pack pack) {
  const int parts = pack_form(pack).parts;
  __m512i low = _mm512_setzero_si512();
  for (int i = 0; i < UNIT_BLOCKS / 2 * parts; i++) low = v16i_dot_at(low, pairs[i], (parts == 1 ? x->sum : x->sum_half) + 2 * i);
  return low;
}

/* What a unit's sums become. */
static inline __attribute__((always_inline)) __m512 unit_join(__m512 acc, __m512i sum, __m512i low, __m512 scale, __m512 minimum, float d,
                                                              enum pack pack) {
  __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
  if (pack_form(pack).minimum) value = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(low), minimum, value);
  return _mm512_fmadd_ps(value, _mm512_set1_ps(d), acc);
}

static inline __attribute__((always_inline)) void unit_tile(const struct product *p, size_t panel, size_t first, int columns, bool cold,
                                                            enum pack pack) {
  const struct weight *w = p->job->w;
  const struct pack_form form = pack_form(pack);
  const unsigned char *unit = w->data + panel * w->panel_bytes;
  const struct act_k8 *x[UNIT_COLUMNS];
  __m512 acc[UNIT_COLUMNS];
  V16_UNROLL for (int c = 0; c < columns; c++) x[c] = linear_units(p, first + (size_t)c), acc[c] = _mm512_setzero_ps();
  for (size_t done = 0; done < w->n_blocks; done += UNIT_BLOCKS, unit += pack_unit_bytes(pack)) {
    const size_t blocks = w->n_blocks - done < UNIT_BLOCKS ? w->n_blocks - done : UNIT_BLOCKS;
    __m512i sum[UNIT_COLUMNS], pairs[UNIT_BLOCKS];
    V16_UNROLL for (int c = 0; c < columns; c++) sum[c] = _mm512_setzero_si512();
    for (size_t n = 0; n < blocks; n++) {
      __m512i q[8], sub[2];
      if (cold && int_is_busy(pack, columns, false)) int_prefetch(unit, n, pack);
      int_load_quants(q, unit, n, pack);
      for (size_t part = 0; part < (size_t)form.parts; part++) sub[part] = unit_sub(unit + pack_sub_at(pack, false, n, part));
      V16_UNROLL for (int c = 0; c < columns; c++) {
        __m512i part_sum = _mm512_mullo_epi32(unit_sum(q, x[c], n, 0, pack), sub[0]);
        if (form.parts == 2) part_sum = _mm512_add_epi32(part_sum, _mm512_mullo_epi32(unit_sum(q, x[c], n, 1, pack), sub[1]));
        sum[c] = _mm512_add_epi32(sum[c], _mm512_mullo_epi32(part_sum, unit_broadcast(&x[c]->steps[n])));
      }
    }
    const __m512 scale = int_load_scale(unit, 2), minimum = form.minimum ? int_load_scale(unit + pack_scales_bytes(pack), 2) : scale;
    for (size_t i = 0; form.minimum && i < (size_t)(UNIT_BLOCKS / 2 * form.parts); i++)
      pairs[i] = unit_pairs(unit + pack_sub_at(pack, true, 0, 0) + 2 * PANEL_ROWS * i);
    V16_UNROLL for (int c = 0; c < columns; c++) {
      __m512i low = form.minimum ? unit_low(pairs, x[c], pack) : sum[c];
      acc[c] = unit_join(acc[c], sum[c], low, scale, minimum, x[c]->d, pack);
      x[c]++;
    }
  }
  V16_UNROLL for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, acc[c]);
}
