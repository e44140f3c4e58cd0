/* linear_avx512: products of integer panels with block activations by vpdpbusd. Included by avx512.c. SPDX-License-Identifier: Apache-2.0
 *
 * One dot instruction advances 16 rows by 4 products: unsigned weight bytes times the row's signed bytes, broadcast from memory. The
 * integer sum of a block is exact, so it starts at −offset · Σq and its instructions may come in any order; the float part is one
 * fma per block (two with a minimum), blocks ascending, one accumulator per output, as in ref_linear.c. */

enum { INT_COLUMNS = 8 }; /* register tile: 16 rows × 8 columns (4 columns with 16-bit activations) */

struct int_block {
  __m512i q[8];
  __m512 scale, minimum;
};

static inline __attribute__((always_inline)) void int_load(struct int_block *b, const unsigned char *at, enum pack pack) {
  b->scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
  if (pack == PACK_Q8) {
    for (int i = 0; i < 8; i++) b->q[i] = _mm512_loadu_si512(at + 32 + 64 * i);
    return;
  }
  const unsigned char *nibbles = at + (pack == PACK_Q4M ? 64 : 32);
  const __m512i mask = _mm512_set1_epi8(15);
  if (pack == PACK_Q4M) b->minimum = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(at + 32)));
  for (int i = 0; i < 4; i++) {
    __m512i v = _mm512_loadu_si512(nibbles + 64 * i);
    b->q[i] = _mm512_and_si512(v, mask);
    b->q[4 + i] = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
  }
}

static inline __attribute__((always_inline)) __m512i int_broadcast(const int8_t *p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

static inline __attribute__((always_inline)) __m512i int_dot(__m512i sum, const struct int_block *b, const int8_t *x) {
  for (int i = 0; i < 8; i++) sum = _mm512_dpbusd_epi32(sum, b->q[i], int_broadcast(x + 4 * i));
  return sum;
}

static inline __attribute__((always_inline)) void int_tile(const struct product *p, const struct act_blocks *a, size_t panel, size_t first,
                                                           int columns, enum pack pack, bool wide) {
  const struct weight *w = p->job->w;
  const unsigned char *at = w->data + panel * w->panel_bytes;
  const int32_t offset = pack == PACK_Q8 ? 128 : pack == PACK_Q4 ? 8 : 0;
  size_t x[INT_COLUMNS], blocks[INT_COLUMNS];
  __m512 acc[INT_COLUMNS];
  for (int c = 0; c < columns; c++) {
    x[c] = product_row(p, first + (size_t)c) * p->act->ld;
    blocks[c] = x[c] / BLOCK;
    acc[c] = _mm512_setzero_ps();
  }
  for (size_t n = 0; n < w->n_blocks; n++, at += kernels_block_bytes(pack)) {
    struct int_block b;
    int_load(&b, at, pack);
    for (int c = 0; c < columns; c++) {
      size_t block = blocks[c] + n;
      __m512i start = offset ? _mm512_set1_epi32(-offset * a->sum[block]) : _mm512_setzero_si512(), sum;
      if (wide) {
        __m512i high = int_dot(_mm512_setzero_si512(), &b, a->q8 + x[c] + n * BLOCK);
        sum = _mm512_add_epi32(_mm512_slli_epi32(high, 8), int_dot(start, &b, a->low + x[c] + n * BLOCK));
      } else {
        sum = int_dot(start, &b, a->q8 + x[c] + n * BLOCK);
      }
      acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(a->d[block])), b.scale, acc[c]);
      if (pack == PACK_Q4M) acc[c] = _mm512_fmadd_ps(_mm512_set1_ps(a->ds[block]), b.minimum, acc[c]);
    }
  }
  for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, acc[c]);
}

static inline __attribute__((always_inline)) void int_panels(const struct product *p, const struct act_blocks *a, size_t panel_begin,
                                                             size_t panel_end, enum pack pack, bool wide) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    size_t i = 0;
    for (; !wide && i + 8 <= p->n_rows; i += 8) int_tile(p, a, panel, i, 8, pack, wide);
    for (; i + 4 <= p->n_rows; i += 4) int_tile(p, a, panel, i, 4, pack, wide);
    for (; i + 2 <= p->n_rows; i += 2) int_tile(p, a, panel, i, 2, pack, wide);
    if (i < p->n_rows) int_tile(p, a, panel, i, 1, pack, wide);
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
