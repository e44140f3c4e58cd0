/* linear_avx2: products of integer panels with block activations without VNNI. Included by avx2.c. SPDX-License-Identifier: Apache-2.0
 *
 * 4-bit weights: vpmaddubsw of unsigned nibbles and signed bytes cannot saturate (2 · 15 · 127 < 32,767). 8-bit weights: |w| times the
 * activation with w's sign (2 · 128 · 127 < 32,767), so no offset is needed. 16-bit activations: weights widened to 16 bits and vpmaddwd.
 * Integer sums are exact, so the bits are those of AVX-512 and of ref_linear.c. A panel is two halves of 8 rows. */

enum { INT_COLUMNS = 4 };

struct int_half {
  __m256i q[8];
  __m256 scale, minimum;
};

static inline __attribute__((always_inline)) void int_load(struct int_half *b, const unsigned char *at, int half, enum pack pack) {
  b->scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(at + 16 * half)));
  if (pack == PACK_Q8) {
    const __m256i flip = _mm256_set1_epi8((char)0x80); /* q + 128 back to q */
    for (int i = 0; i < 8; i++)
      b->q[i] = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)(at + 32 + 64 * i + 32 * half)), flip);
    return;
  }
  const unsigned char *nibbles = at + (pack == PACK_Q4M ? 64 : 32) + 32 * half;
  const __m256i mask = _mm256_set1_epi8(15);
  if (pack == PACK_Q4M) b->minimum = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(at + 32 + 16 * half)));
  for (int i = 0; i < 4; i++) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(nibbles + 64 * i));
    b->q[i] = _mm256_and_si256(v, mask);
    b->q[4 + i] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
  }
}

static inline __attribute__((always_inline)) __m256i int_dot_i8(const struct int_half *b, const int8_t *x, enum pack pack) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < 8; i++) {
    int32_t four;
    memcpy(&four, x + 4 * i, sizeof four);
    __m256i v = _mm256_set1_epi32(four);
    __m256i pairs = pack == PACK_Q8 ? _mm256_maddubs_epi16(_mm256_abs_epi8(b->q[i]), _mm256_sign_epi8(v, b->q[i])) : _mm256_maddubs_epi16(b->q[i], v);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
  return sum;
}

/* k = 4i … 4i+3 of each row: bytes are spread to 16 bits, rows 0-1 and 4-5 in one register, 2-3 and 6-7 in the other. */
static inline __attribute__((always_inline)) __m256i int_dot_i16(const struct int_half *b, const int16_t *x, enum pack pack) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < 8; i++) {
    int64_t four;
    memcpy(&four, x + 4 * i, sizeof four);
    __m256i v = _mm256_set1_epi64x(four), q = b->q[i];
    __m256i sign = pack == PACK_Q8 ? _mm256_cmpgt_epi8(_mm256_setzero_si256(), q) : _mm256_setzero_si256();
    __m256i low = _mm256_madd_epi16(_mm256_unpacklo_epi8(q, sign), v), high = _mm256_madd_epi16(_mm256_unpackhi_epi8(q, sign), v);
    sum = _mm256_add_epi32(sum, _mm256_hadd_epi32(low, high));
  }
  return sum;
}

static inline __attribute__((always_inline)) void int_tile(const struct product *p, const struct act_blocks *a, size_t panel, size_t first,
                                                           int columns, enum pack pack, bool wide) {
  const struct weight *w = p->job->w;
  const int32_t offset = pack == PACK_Q4 ? 8 : 0;
  v16 acc[INT_COLUMNS];
  for (int half = 0; half < 2; half++) {
    const unsigned char *at = w->data + panel * w->panel_bytes;
    __m256 sum[INT_COLUMNS];
    for (int c = 0; c < columns; c++) sum[c] = _mm256_setzero_ps();
    for (size_t n = 0; n < w->n_blocks; n++, at += kernels_block_bytes(pack)) {
      struct int_half b;
      int_load(&b, at, half, pack);
      for (int c = 0; c < columns; c++) {
        size_t x = product_row(p, first + (size_t)c) * p->act->ld + n * BLOCK, block = x / BLOCK;
        __m256i dot = wide ? int_dot_i16(&b, a->q16 + x, pack) : int_dot_i8(&b, a->q8 + x, pack);
        if (offset) dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(offset * a->sum[block]));
        sum[c] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(a->d[block])), b.scale, sum[c]);
        if (pack == PACK_Q4M) sum[c] = _mm256_fmadd_ps(_mm256_set1_ps(a->ds[block]), b.minimum, sum[c]);
      }
    }
    for (int c = 0; c < columns; c++) {
      if (half == 0) acc[c].a = sum[c];
      else acc[c].b = sum[c];
    }
  }
  for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, acc[c]);
}

static inline __attribute__((always_inline)) void int_panels(const struct product *p, const struct act_blocks *a, size_t panel_begin,
                                                             size_t panel_end, enum pack pack, bool wide) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    size_t i = 0;
    for (; i + 4 <= p->n_rows; i += 4) int_tile(p, a, panel, i, 4, pack, wide);
    for (; i < p->n_rows; i++) int_tile(p, a, panel, i, 1, pack, wide);
  }
}

static void linear_i8(const struct product *p, size_t panel_begin, size_t panel_end) {
  switch (p->job->w->pack) {
    case PACK_Q8: int_panels(p, &p->act->i8, panel_begin, panel_end, PACK_Q8, false); break;
    case PACK_Q4: int_panels(p, &p->act->i8, panel_begin, panel_end, PACK_Q4, false); break;
    case PACK_Q4M: int_panels(p, &p->act->i8, panel_begin, panel_end, PACK_Q4M, false); break;
    case PACK_F32: break;
  }
}

static void linear_i16(const struct product *p, size_t panel_begin, size_t panel_end) {
  switch (p->job->w->pack) {
    case PACK_Q8: int_panels(p, &p->act->i16, panel_begin, panel_end, PACK_Q8, true); break;
    case PACK_Q4: int_panels(p, &p->act->i16, panel_begin, panel_end, PACK_Q4, true); break;
    case PACK_Q4M: int_panels(p, &p->act->i16, panel_begin, panel_end, PACK_Q4M, true); break;
    case PACK_F32: break;
  }
}
