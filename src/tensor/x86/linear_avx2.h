/* linear_avx2: products of integer panels with block activations without VNNI. Included by avx2.c. SPDX-License-Identifier: Apache-2.0
 *
 * Weights of types with minimums and weights of 4 to 6 bits are below 128 (in fact below 64): vpmaddubsw of them with signed bytes within
 * ±127 cannot saturate (2 · 127 · 127 < 32,767). Other 8-bit weights: |w| times the activation with w's sign (2 · 128 · 127 < 32,767), so
 * no offset is needed. 16-bit activations: weights widened to 16 bits and vpmaddwd. Integer sums are exact, so the bits are those of
 * AVX-512 and of ref_linear.c. A panel is two halves of 8 rows; a register tile is 8 rows × 4 columns, whose integer sums of a block
 * stay in registers while each vector of weights is opened once. */

enum { INT_COLUMNS = 4, INT_WIDE_COLUMNS = 4, INT_HALVES = false };

/* Integer sums of a block: with 16-bit activations rows 0-1 and 4-5 in pairs in `low`, rows 2-3 and 6-7 in `high`. */
struct int_sums {
  __m256i low[INT_COLUMNS], high[INT_COLUMNS];
};

static inline __attribute__((always_inline)) __m256 int_load_scale(const unsigned char *at, int half, int bytes) {
  return bytes == 2 ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(at + 16 * half)))
                    : _mm256_loadu_ps((const float *)(const void *)(at + 32 * half));
}

static inline __attribute__((always_inline)) __m256 int_load_sub(const unsigned char *at, int half) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(at + 8 * half))));
}

/* The scales, or the minimums, of 8 rows of a part of the unit's block n. */
static inline __attribute__((always_inline)) __m256 int_scale(const unsigned char *unit, size_t n, int part, int half, bool minimum,
                                                              enum pack pack) {
  const struct pack_form form = pack_form(pack);
  __m256 scale = int_load_scale(unit + (minimum ? pack_scales_bytes(pack) : 0), half, form.scale_bytes);
  if (!form.sub) return scale;
  if (minimum) scale = _mm256_xor_ps(scale, _mm256_set1_ps(-0.0f));
  return _mm256_mul_ps(scale, int_load_sub(unit + pack_sub_at(pack, minimum, n, (size_t)part), half));
}

/* Vector i of the quants: k = 4i … 4i+3 of 8 rows; those stored as q + 128 become q again. */
static inline __attribute__((always_inline)) __m256i int_vector(const unsigned char *quants, int i, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  if (form.bits == 8) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(quants + 64 * i));
    return form.offset == 128 ? _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80)) : v;
  }
  __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(quants + 64 * (i & 3)));
  v = _mm256_and_si256(i < 4 ? v : _mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
  if (!form.high) return v;
  __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(quants + 256 + 64 * (i * form.high / 8)));
  int from = i * form.high % 8;
  high = from > 4 ? _mm256_srli_epi16(high, from - 4) : _mm256_slli_epi16(high, 4 - from);
  return _mm256_or_si256(v, _mm256_and_si256(high, _mm256_set1_epi8((char)(((1 << form.high) - 1) << 4))));
}

static inline __attribute__((always_inline)) void int_add_i8(struct int_sums *s, __m256i w, const unsigned char *const *x, size_t at, int i,
                                                             int columns, bool is_signed) {
  const __m256i ones = _mm256_set1_epi16(1), absolute = _mm256_abs_epi8(w);
  for (int c = 0; c < columns; c++) {
    int32_t four;
    memcpy(&four, ((const struct act8 *)(const void *)(x[c] + at))->q + 4 * i, sizeof four);
    __m256i v = _mm256_set1_epi32(four);
    __m256i pairs = is_signed ? _mm256_maddubs_epi16(absolute, _mm256_sign_epi8(v, w)) : _mm256_maddubs_epi16(w, v);
    s->low[c] = _mm256_add_epi32(s->low[c], _mm256_madd_epi16(pairs, ones));
  }
}

static inline __attribute__((always_inline)) void int_add_i16(struct int_sums *s, __m256i w, const unsigned char *const *x, size_t at,
                                                              int i, int columns, bool is_signed) {
  __m256i sign = is_signed ? _mm256_cmpgt_epi8(_mm256_setzero_si256(), w) : _mm256_setzero_si256();
  __m256i low = _mm256_unpacklo_epi8(w, sign), high = _mm256_unpackhi_epi8(w, sign);
  for (int c = 0; c < columns; c++) {
    int64_t four;
    memcpy(&four, ((const struct act16 *)(const void *)(x[c] + at))->q + 4 * i, sizeof four);
    __m256i v = _mm256_set1_epi64x(four);
    s->low[c] = _mm256_add_epi32(s->low[c], _mm256_madd_epi16(low, v));
    s->high[c] = _mm256_add_epi32(s->high[c], _mm256_madd_epi16(high, v));
  }
}

/* One part of the unit's block n of all columns joins the accumulators. */
static inline __attribute__((always_inline)) void int_join(__m256 *acc, const unsigned char *unit, size_t n, int half,
                                                           const unsigned char *const *x, size_t at, int columns, int part, enum pack pack,
                                                           bool wide) {
  const struct pack_form form = pack_form(pack);
  const unsigned char *quants = unit + pack_quants_at(pack, n) + 32 * (size_t)half;
  struct int_sums s;
  for (int c = 0; c < columns; c++) s.low[c] = s.high[c] = _mm256_setzero_si256();
  for (int i = 8 / form.parts * part; i < 8 / form.parts * (part + 1); i++) {
    if (wide) int_add_i16(&s, int_vector(quants, i, pack), x, at, i, columns, form.offset == 128);
    else int_add_i8(&s, int_vector(quants, i, pack), x, at, i, columns, form.offset == 128);
  }
  const __m256 scale = int_scale(unit, n, part, half, false, pack);
  const __m256 minimum = form.minimum ? int_scale(unit, n, part, half, true, pack) : scale;
  for (int c = 0; c < columns; c++) {
    const struct act_terms *terms = linear_terms(x[c] + at, wide);
    const int32_t bias_8 = linear_bias_8(x[c] + at, part, form.parts, wide);
    __m256i sum = wide ? _mm256_hadd_epi32(s.low[c], s.high[c]) : s.low[c];
    if (form.offset && form.offset < 128) sum = _mm256_add_epi32(sum, _mm256_set1_epi32(bias_8 * form.offset / 8));
    acc[c] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(terms->d)), scale, acc[c]);
    if (form.minimum) acc[c] = _mm256_fmadd_ps(_mm256_set1_ps(linear_ds(x[c] + at, part, form.parts, wide)), minimum, acc[c]);
  }
}

static inline __attribute__((always_inline)) void int_tile(const struct product *p, size_t panel, size_t first, int columns, bool cold,
                                                           enum pack pack, bool wide) {
  const struct weight *w = p->job->w;
  const size_t size = linear_block_bytes(wide), lines = (pack_unit_bytes(pack) / pack_unit_blocks(pack) + 63) / 64;
  const unsigned char *x[INT_COLUMNS];
  v16 all[INT_COLUMNS];
  for (int c = 0; c < columns; c++) x[c] = linear_blocks(p, first + (size_t)c, wide);
  for (int half = 0; half < 2; half++) {
    const unsigned char *unit = w->data + panel * w->panel_bytes;
    __m256 acc[INT_COLUMNS];
    for (int c = 0; c < columns; c++) acc[c] = _mm256_setzero_ps();
    for (size_t n = 0; n < w->n_blocks; unit += pack_unit_bytes(pack))
      for (size_t i = 0; i < pack_unit_blocks(pack) && n < w->n_blocks; i++, n++) {
        if (cold && half == 0 && (columns > 2 || pack_form(pack).bits < 8))
          for (size_t line = 0; line < lines; line++) linear_fetch(unit + (i * lines + line) * 64);
        for (int part = 0; part < pack_form(pack).parts; part++) int_join(acc, unit, i, half, x, n * size, columns, part, pack, wide);
      }
    for (int c = 0; c < columns; c++) {
      if (half == 0) all[c].a = acc[c];
      else all[c].b = acc[c];
    }
  }
  for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, all[c]);
}

/* ---- the limits of the machine ---- */

/* The product of bytes, the sum of pairs and the addition that stand for one vpdpbusd. */
static double dot_rounds(size_t rounds) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a, t, u, w = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  for (size_t n = 0; n < rounds; n++)
    __asm__ volatile(
        "vpmaddubsw %6, %6, %4\n vpmaddwd %7, %4, %4\n vpaddd %4, %0, %0\n vpmaddubsw %6, %6, %5\n vpmaddwd %7, %5, %5\n vpaddd %5, %1, "
        "%1\n"
        "vpmaddubsw %6, %6, %4\n vpmaddwd %7, %4, %4\n vpaddd %4, %2, %2\n vpmaddubsw %6, %6, %5\n vpmaddwd %7, %5, %5\n vpaddd %5, %3, "
        "%3\n"
        : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "=&x"(t), "=&x"(u)
        : "x"(w), "x"(ones));
  return (double)rounds * 4 * 64;
}

static uint64_t read_all(const void *memory, size_t bytes) {
  const unsigned char *p = memory;
  __m256i lanes[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  for (size_t i = 0; i + 128 <= bytes; i += 128) {
    for (size_t k = 0; k < 4; k++)
      lanes[k] = _mm256_xor_si256(lanes[k], _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32 * k)));
  }
  __m256i all = _mm256_xor_si256(_mm256_xor_si256(lanes[0], lanes[1]), _mm256_xor_si256(lanes[2], lanes[3]));
  return (uint64_t)(_mm256_extract_epi64(all, 0) ^ _mm256_extract_epi64(all, 1) ^ _mm256_extract_epi64(all, 2) ^
                    _mm256_extract_epi64(all, 3));
}
