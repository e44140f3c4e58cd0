/* linear_avx2: products of integer panels with block activations without VNNI. Included by avx2.c. SPDX-License-Identifier: Apache-2.0
 *
 * Weights of types with minimums and 4-bit weights are below 128 (in fact below 32): vpmaddubsw of them with signed bytes within ±127
 * cannot saturate (2 · 127 · 127 < 32,767). Other 8-bit weights: |w| times the activation with w's sign (2 · 128 · 127 < 32,767), so
 * no offset is needed. 16-bit activations: weights widened to 16 bits and vpmaddwd. Integer sums are exact, so the bits are those of
 * AVX-512 and of ref_linear.c. A panel is two halves of 8 rows; a register tile is 8 rows × 4 columns. */

enum { INT_COLUMNS = 4 };

struct int_half {
  __m256i q[8];
  __m256 scale[2], minimum[2];
};

static inline __attribute__((always_inline)) __m256 int_load_scale(const unsigned char *at, int half, int bytes) {
  return bytes == 2 ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(at + 16 * half)))
                    : _mm256_loadu_ps((const float *)(const void *)(at + 32 * half));
}

static inline __attribute__((always_inline)) void int_load(struct int_half *b, const unsigned char *at, int half, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  for (int part = 0; part < form.parts; part++) {
    const unsigned char *scales = at + 16 * form.scale_bytes * part;
    b->scale[part] = int_load_scale(scales, half, form.scale_bytes);
    if (form.minimum) b->minimum[part] = int_load_scale(scales + pack_scales_bytes(pack), half, form.scale_bytes);
  }
  at += pack_quants_at(pack) + 32 * (size_t)half;
  if (form.bits == 8) {
    const __m256i flip = _mm256_set1_epi8(form.offset == 128 ? (char)0x80 : 0); /* q + 128 back to q */
    for (int i = 0; i < 8; i++) b->q[i] = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)(at + 64 * i)), flip);
    return;
  }
  const __m256i mask = _mm256_set1_epi8(15);
  for (int i = 0; i < 4; i++) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(at + 64 * i));
    b->q[i] = _mm256_and_si256(v, mask);
    b->q[4 + i] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
  }
}

/* Products of k = 4·from … 4·to − 1; is_signed: the weights are. */
static inline __attribute__((always_inline)) __m256i int_dot_i8(const struct int_half *b, const int8_t *x, int from, int to,
                                                                bool is_signed) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  for (int i = from; i < to; i++) {
    int32_t four;
    memcpy(&four, x + 4 * i, sizeof four);
    __m256i v = _mm256_set1_epi32(four);
    __m256i pairs =
        is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(b->q[i]), _mm256_sign_epi8(v, b->q[i])) : _mm256_maddubs_epi16(b->q[i], v);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
  return sum;
}

/* k = 4i … 4i+3 of each row: bytes are spread to 16 bits, rows 0-1 and 4-5 in one register, 2-3 and 6-7 in the other. */
static inline __attribute__((always_inline)) __m256i int_dot_i16(const struct int_half *b, const int16_t *x, int from, int to,
                                                                 bool is_signed) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = from; i < to; i++) {
    int64_t four;
    memcpy(&four, x + 4 * i, sizeof four);
    __m256i v = _mm256_set1_epi64x(four), q = b->q[i];
    __m256i sign = is_signed ? _mm256_cmpgt_epi8(_mm256_setzero_si256(), q) : _mm256_setzero_si256();
    __m256i low = _mm256_madd_epi16(_mm256_unpacklo_epi8(q, sign), v), high = _mm256_madd_epi16(_mm256_unpackhi_epi8(q, sign), v);
    sum = _mm256_add_epi32(sum, _mm256_hadd_epi32(low, high));
  }
  return sum;
}

static inline __attribute__((always_inline)) __m256i int_sum(const struct int_half *b, const void *x, int32_t bias, int from, int to,
                                                             int offset, bool wide) {
  const bool is_signed = offset == 128;
  __m256i dot = wide ? int_dot_i16(b, ((const struct act16 *)x)->q, from, to, is_signed)
                     : int_dot_i8(b, ((const struct act8 *)x)->q, from, to, is_signed);
  return offset == 8 ? _mm256_add_epi32(dot, _mm256_set1_epi32(bias / 16)) : dot;
}

/* One block of one column joins the accumulator. */
static inline __attribute__((always_inline)) __m256 int_join(__m256 acc, const struct int_half *b, const void *x, enum pack pack,
                                                             bool wide) {
  const struct pack_form form = pack_form(pack);
  const struct act8 *narrow = x;
  const struct act16 *a = x;
  const int32_t bias = wide ? a->bias : narrow->bias, bias_half = wide ? a->bias_half : narrow->bias_half;
  const float d = wide ? a->d : narrow->d;
  if (form.parts == 1) {
    __m256i sum = int_sum(b, x, bias, 0, 8, form.offset, wide);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(d)), b->scale[0], acc);
    return form.minimum ? _mm256_fmadd_ps(_mm256_set1_ps(wide ? a->ds : narrow->ds), b->minimum[0], acc) : acc;
  }
  for (int part = 0; part < 2; part++) {
    int32_t own = part ? bias - bias_half : bias_half;
    __m256i sum = int_sum(b, x, own, 4 * part, 4 * part + 4, form.offset, wide);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(d)), b->scale[part], acc);
    if (form.minimum) acc = _mm256_fmadd_ps(_mm256_set1_ps(d * (float)(own / -128)), b->minimum[part], acc);
  }
  return acc;
}

static inline __attribute__((always_inline)) void int_tile(const struct product *p, size_t panel, size_t first, int columns, enum pack pack,
                                                           bool wide) {
  const struct weight *w = p->job->w;
  const size_t size = wide ? sizeof(struct act16) : sizeof(struct act8);
  const unsigned char *x[INT_COLUMNS];
  v16 acc[INT_COLUMNS];
  for (int c = 0; c < columns; c++) {
    size_t block = product_row(p, first + (size_t)c) * (p->act->ld / BLOCK);
    x[c] = (wide ? (const unsigned char *)p->act->i16 : (const unsigned char *)p->act->i8) + block * size;
  }
  for (int half = 0; half < 2; half++) {
    const unsigned char *at = w->data + panel * w->panel_bytes;
    __m256 sum[INT_COLUMNS];
    for (int c = 0; c < columns; c++) sum[c] = _mm256_setzero_ps();
    for (size_t n = 0; n < w->n_blocks; n++, at += pack_block_bytes(pack)) {
      struct int_half b;
      int_load(&b, at, half, pack);
      for (int c = 0; c < columns; c++) sum[c] = int_join(sum[c], &b, x[c] + n * size, pack, wide);
    }
    for (int c = 0; c < columns; c++) {
      if (half == 0) acc[c].a = sum[c];
      else acc[c].b = sum[c];
    }
  }
  for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, acc[c]);
}

static inline __attribute__((always_inline)) void int_panels(const struct product *p, size_t panel_begin, size_t panel_end, enum pack pack,
                                                             bool wide) {
  size_t i = 0;
  for (; i + 4 <= p->n_rows; i += 4)
    for (size_t panel = panel_begin; panel < panel_end; panel++) int_tile(p, panel, i, 4, pack, wide);
  for (; i < p->n_rows; i++)
    for (size_t panel = panel_begin; panel < panel_end; panel++) int_tile(p, panel, i, 1, pack, wide);
}

static inline __attribute__((always_inline)) void linear_int(const struct product *p, size_t panel_begin, size_t panel_end, bool wide) {
  switch (p->job->w->pack) {
    case PACK_Q8: int_panels(p, panel_begin, panel_end, PACK_Q8, wide); break;
    case PACK_Q4: int_panels(p, panel_begin, panel_end, PACK_Q4, wide); break;
    case PACK_Q4M: int_panels(p, panel_begin, panel_end, PACK_Q4M, wide); break;
    case PACK_S8: int_panels(p, panel_begin, panel_end, PACK_S8, wide); break;
    case PACK_S8M: int_panels(p, panel_begin, panel_end, PACK_S8M, wide); break;
    case PACK_S4M: int_panels(p, panel_begin, panel_end, PACK_S4M, wide); break;
    case PACK_H8: int_panels(p, panel_begin, panel_end, PACK_H8, wide); break;
    case PACK_H8M: int_panels(p, panel_begin, panel_end, PACK_H8M, wide); break;
    default: break;
  }
}

static void linear_i8(const struct product *p, size_t panel_begin, size_t panel_end) { linear_int(p, panel_begin, panel_end, false); }
static void linear_i16(const struct product *p, size_t panel_begin, size_t panel_end) { linear_int(p, panel_begin, panel_end, true); }

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
    _mm_prefetch((const char *)p + i + 4096, _MM_HINT_T0);
    _mm_prefetch((const char *)p + i + 4160, _MM_HINT_T0);
    for (size_t k = 0; k < 4; k++)
      lanes[k] = _mm256_xor_si256(lanes[k], _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32 * k)));
  }
  __m256i all = _mm256_xor_si256(_mm256_xor_si256(lanes[0], lanes[1]), _mm256_xor_si256(lanes[2], lanes[3]));
  return (uint64_t)(_mm256_extract_epi64(all, 0) ^ _mm256_extract_epi64(all, 1) ^ _mm256_extract_epi64(all, 2) ^
                    _mm256_extract_epi64(all, 3));
}
