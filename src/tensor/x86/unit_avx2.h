/* unit_avx2: products of K packs with 8-bit units without VNNI. Included by avx2.c, behind linear_avx2.h. SPDX-License-Identifier: Apache-2.0
 *
 * vpmaddubsw of quants below 16, 32 or 64 with bytes within ±127 gives sums of two that leave room for 8, 4 or 2 of them in 16 bits; then
 * one vpmaddwd with the products of sub-scale and steps, which makes them 32 bits wide and scales them at once. Offsets meet the sums of
 * the activations in the end, as minimums do. A panel is two halves of 8 rows; a register tile is 8 rows × 4 columns. */

enum { UNIT_COLUMNS = 4, UNIT_HALVES = false };

/* How many vectors of vpmaddubsw sums fit into 16 bits. */
static inline __attribute__((always_inline)) int unit_group(enum pack pack) { return 8 >> pack_form(pack).high; }

/* The 8 signed bytes at `at` in pairs of 16 bits. */
static inline __attribute__((always_inline)) __m256i unit_twice(const unsigned char *at) {
  const __m128i v = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)at));
  return _mm256_set_m128i(_mm_unpackhi_epi16(v, v), _mm_unpacklo_epi16(v, v));
}

/* Those at `at` with those 16 bytes behind: a pair for each row. */
static inline __attribute__((always_inline)) __m256i unit_pairs(const unsigned char *at) {
  const __m128i a = _mm_loadl_epi64((const __m128i *)(const void *)at);
  const __m128i b = _mm_loadl_epi64((const __m128i *)(const void *)(at + PANEL_ROWS));
  return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
}

static inline __attribute__((always_inline)) __m256i unit_broadcast(const void *four) {
  int32_t value;
  memcpy(&value, four, sizeof value);
  return _mm256_set1_epi32(value);
}

/* One part of the unit's block n of all columns joins the sums. */
static inline __attribute__((always_inline)) void unit_add(__m256i *sum, const unsigned char *unit, size_t n, int half,
                                                           const struct act_k8 *const *x, int columns, int part, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  const unsigned char *quants = unit + pack_quants_at(pack, n) + 32 * (size_t)half;
  const __m256i sub = unit_twice(unit + pack_sub_at(pack, false, n, (size_t)part) + 8 * (size_t)half);
  const int end = 8 / form.parts * (part + 1), group = unit_group(pack) < 8 / form.parts ? unit_group(pack) : 8 / form.parts;
  __m256i times[UNIT_COLUMNS];
  for (int c = 0; c < columns; c++) times[c] = _mm256_mullo_epi16(sub, _mm256_set1_epi16((short)x[c]->steps[n]));
  for (int begin = 8 / form.parts * part; begin < end; begin += group) {
    __m256i pairs[UNIT_COLUMNS];
    for (int c = 0; c < columns; c++) pairs[c] = _mm256_setzero_si256();
    for (int i = begin; i < begin + group; i++) {
      const __m256i w = int_vector(quants, i, pack);
      for (int c = 0; c < columns; c++)
        pairs[c] = _mm256_add_epi16(pairs[c], _mm256_maddubs_epi16(w, unit_broadcast(x[c]->q + n * BLOCK + 4 * (size_t)i)));
    }
    for (int c = 0; c < columns; c++) sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(pairs[c], times[c]));
  }
}

/* The unit's sub-minimums, or its sub-scales, with the sums of all columns. */
static inline __attribute__((always_inline)) void unit_low(__m256i *low, const unsigned char *unit, bool minimum, int half,
                                                           const struct act_k8 *const *x, int columns, enum pack pack) {
  const int parts = pack_form(pack).parts;
  for (int c = 0; c < columns; c++) low[c] = _mm256_setzero_si256();
  for (size_t i = 0; i < (size_t)(UNIT_BLOCKS / 2 * parts); i++) {
    const __m256i w = unit_pairs(unit + pack_sub_at(pack, minimum, 0, 0) + 2 * PANEL_ROWS * i + 8 * (size_t)half);
    for (int c = 0; c < columns; c++)
      low[c] = _mm256_add_epi32(low[c], _mm256_madd_epi16(w, unit_broadcast((parts == 1 ? x[c]->sum : x[c]->sum_half) + 2 * i)));
  }
}

/* One unit of one half of a panel joins the accumulators. */
static inline __attribute__((always_inline)) void unit_join(__m256 *acc, const unsigned char *unit, size_t blocks, int half,
                                                            const struct act_k8 *const *x, int columns, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  __m256i sum[UNIT_COLUMNS], low[UNIT_COLUMNS];
  for (int c = 0; c < columns; c++) sum[c] = _mm256_setzero_si256();
  for (size_t n = 0; n < blocks; n++)
    for (int part = 0; part < form.parts; part++) unit_add(sum, unit, n, half, x, columns, part, pack);
  if (form.offset || form.minimum) unit_low(low, unit, form.minimum, half, x, columns, pack);
  const __m256 scale = int_load_scale(unit, half, 2);
  for (int c = 0; c < columns; c++) {
    if (form.offset) sum[c] = _mm256_sub_epi32(sum[c], _mm256_slli_epi32(low[c], __builtin_ctz((unsigned)form.offset)));
    __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[c]), scale);
    if (form.minimum) value = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(low[c]), int_load_scale(unit + pack_scales_bytes(pack), half, 2), value);
    acc[c] = _mm256_fmadd_ps(value, _mm256_set1_ps(x[c]->d), acc[c]);
  }
}

static inline __attribute__((always_inline)) void unit_tile(const struct product *p, size_t panel, size_t first, int columns, bool cold,
                                                            enum pack pack) {
  const struct weight *w = p->job->w;
  const size_t bytes = pack_unit_bytes(pack);
  v16 all[UNIT_COLUMNS];
  for (int half = 0; half < 2; half++) {
    const unsigned char *unit = w->data + panel * w->panel_bytes;
    const struct act_k8 *x[UNIT_COLUMNS];
    __m256 acc[UNIT_COLUMNS];
    for (int c = 0; c < columns; c++) x[c] = linear_units(p, first + (size_t)c), acc[c] = _mm256_setzero_ps();
    for (size_t done = 0; done < w->n_blocks; done += UNIT_BLOCKS, unit += bytes) {
      const size_t left = w->n_blocks - done;
      for (size_t at = 0; cold && half == 0 && at < bytes; at += 64) linear_fetch(unit + at);
      unit_join(acc, unit, left < UNIT_BLOCKS ? left : UNIT_BLOCKS, half, x, columns, pack);
      for (int c = 0; c < columns; c++) x[c]++;
    }
    for (int c = 0; c < columns; c++) {
      if (half == 0) all[c].a = acc[c];
      else all[c].b = acc[c];
    }
  }
  for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, all[c]);
}
