/* linear_avx512: products of integer panels with block activations by vpdpbusd. Included by avx512.c. SPDX-License-Identifier: Apache-2.0
 *
 * One dot instruction advances 16 rows by 4 products: unsigned weight bytes times the row's signed bytes, broadcast from memory. The
 * integer sum of a block is exact, so it starts at −offset · Σq and its instructions may come in any order; the float part is one
 * fma per block (two with a minimum), blocks ascending, one accumulator per output, as in ref_linear.c.
 *
 * A register tile is 16 rows × 8 columns (4 with 16-bit activations). Tiles go column by column through the panels of a call, whose
 * weights then come from the second cache; the first column fetches them from memory, which the processor alone does not foresee
 * far enough when a tile computes much: hence linear_fetch. Packs of 4 to 6 bits are opened by each tile for itself; many
 * rows of K packs go another way (open_avx512.h). */

enum { INT_COLUMNS = 8, INT_WIDE_COLUMNS = 4, INT_HALVES = true };

struct int_block {
  __m512i q[8];
  __m512 scale[2], minimum[2];
};

static inline __attribute__((always_inline)) __m512 int_load_scale(const unsigned char *at, int bytes) {
  return bytes == 2 ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at)) : _mm512_loadu_ps(at);
}

static inline __attribute__((always_inline)) __m512 int_load_sub(const unsigned char *at) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)));
}

static inline __attribute__((always_inline)) void int_load_scales(struct int_block *b, const unsigned char *unit, size_t n,
                                                                  enum pack pack) {
  const struct pack_form form = pack_form(pack);
  const __m512 sign = _mm512_set1_ps(-0.0f);
  b->scale[0] = int_load_scale(unit, form.scale_bytes);
  if (form.minimum) b->minimum[0] = int_load_scale(unit + pack_scales_bytes(pack), form.scale_bytes);
  if (!form.sub) return;
  const __m512 scale = b->scale[0], minimum = form.minimum ? _mm512_xor_ps(b->minimum[0], sign) : sign;
  for (size_t part = 0; part < (size_t)form.parts; part++) {
    b->scale[part] = _mm512_mul_ps(scale, int_load_sub(unit + pack_sub_at(pack, false, n, part)));
    if (form.minimum) b->minimum[part] = _mm512_mul_ps(minimum, int_load_sub(unit + pack_sub_at(pack, true, n, part)));
  }
}

/* v with the bits at `to` of the bytes taken from those at `from` of high. */
static inline __attribute__((always_inline)) __m512i int_high(__m512i v, __m512i high, int from, int to, int bits) {
  __m512i moved = from > to ? _mm512_srli_epi16(high, (unsigned)(from - to)) : _mm512_slli_epi16(high, (unsigned)(to - from));
  return _mm512_ternarylogic_epi64(v, moved, _mm512_set1_epi8((char)(((1 << bits) - 1) << to)), 0xF8); /* v | (moved & mask) */
}

/* The quants of the unit's block n, a byte each. */
static inline __attribute__((always_inline)) void int_load_quants(__m512i q[8], const unsigned char *unit, size_t n, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  const unsigned char *at = unit + pack_quants_at(pack, n), *high = at + 256;
  if (form.bits == 8) {
    V16_UNROLL for (int i = 0; i < 8; i++) q[i] = _mm512_loadu_si512(at + 64 * i);
    return;
  }
  const __m512i mask = _mm512_set1_epi8(15);
  V16_UNROLL for (int i = 0; i < 4; i++) {
    __m512i v = _mm512_loadu_si512(at + 64 * i);
    q[i] = _mm512_and_si512(v, mask);
    q[4 + i] = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
  }
  if (!form.high) return;
  V16_UNROLL for (int i = 0; i < 8; i++) q[i] =
      int_high(q[i], _mm512_loadu_si512(high + 64 * (i * form.high / 8)), i * form.high % 8, 4, form.high);
}

/* Block n of the unit. */
static inline __attribute__((always_inline)) void int_load(struct int_block *b, const unsigned char *unit, size_t n, enum pack pack) {
  int_load_scales(b, unit, n, pack);
  int_load_quants(b->q, unit, n, pack);
}

/* Whether a tile computes so much on each line of weights that linear_fetch pays: from about 9 vector instructions on. Q2_K counts fewer with one row,
 * and yet is read twice as fast with it. */
static inline __attribute__((always_inline)) bool int_is_busy(enum pack pack, int columns, bool wide) {
  const struct pack_form form = pack_form(pack);
  const int opening = (form.bits == 8 ? 8 : form.high ? 34 : 16) + (form.sub ? 3 * form.parts : 0);
  const int column = (wide ? 16 + 7 * form.parts : form.sub ? 8 + 3 * form.parts : 12) + (form.minimum ? form.parts : 0);
  const int block_bytes = (int)(pack_unit_bytes(pack) / pack_unit_blocks(pack));
  return (opening + columns * column) * 64 > 9 * block_bytes || (form.minimum && form.parts == 2);
}

/* A block's part of what is read soon. */
static inline __attribute__((always_inline)) void int_prefetch(const unsigned char *unit, size_t n, enum pack pack) {
  size_t lines = (pack_unit_bytes(pack) / pack_unit_blocks(pack) + 63) / 64;
  for (size_t line = 0; line < lines; line++) linear_fetch(unit + (n * lines + line) * 64);
}

/* sum plus the products of k = 4·from … 4·to − 1 of a block. In assembly: the compiler makes two instructions of each, and the processor looks ahead
 * by their number; 4 to 8 % of a product's time. */
static inline __attribute__((always_inline)) __m512i int_dot(__m512i sum, const __m512i q[8], const int8_t *x, int from, int to) {
  V16_UNROLL for (int i = from; i < to;
                  i++) __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(q[i]), "m"(*(const v16_any4 *)(const void *)(x + 4 * i)));
  return sum;
}

/* −offset · Σq of a part: where its sum starts. Out of memory, where the type's offset allows: an instruction less that waits. */
static inline __attribute__((always_inline)) __m512i int_start(const void *x, int part, enum pack pack, bool wide) {
  const struct pack_form form = pack_form(pack);
  const struct act_terms *terms = linear_terms(x, wide);
  if (form.offset == 0) return _mm512_setzero_si512();
  if (form.offset == 128) return _mm512_set1_epi32(terms->bias);
  __m512i start = _mm512_set1_epi32(terms->bias_8);
  if (form.parts == 2) {
    const __m512i first = _mm512_set1_epi32(((const struct act16 *)x)->bias_half);
    start = part ? _mm512_sub_epi32(start, first) : first;
  }
  if (form.offset < 8) return _mm512_srai_epi32(start, (unsigned)__builtin_ctz(8 / (unsigned)form.offset));
  return form.offset == 8 ? start : _mm512_slli_epi32(start, (unsigned)__builtin_ctz((unsigned)form.offset / 8));
}

/* The integer sum of a part of one column. */
static inline __attribute__((always_inline)) __m512i int_sum(const struct int_block *b, const void *x, int part, enum pack pack,
                                                             bool wide) {
  const int parts = pack_form(pack).parts, from = 8 / parts * part, to = 8 / parts * (part + 1);
  const __m512i start = int_start(x, part, pack, wide);
  if (!wide) return int_dot(start, b->q, ((const struct act8 *)x)->q, from, to);
  const struct act16 *a = x;
  __m512i high = int_dot(_mm512_setzero_si512(), b->q, a->high, from, to);
  return _mm512_add_epi32(_mm512_slli_epi32(high, 8), int_dot(start, b->q, a->low, from, to));
}

/* One block of one column joins the accumulator. */
static inline __attribute__((always_inline)) __m512 int_join(__m512 acc, const struct int_block *b, const void *x, enum pack pack,
                                                             bool wide) {
  const struct pack_form form = pack_form(pack);
  const __m512 d = _mm512_set1_ps(linear_terms(x, wide)->d);
  V16_UNROLL for (int part = 0; part < form.parts; part++) {
    const __m512i sum = int_sum(b, x, part, pack, wide);
    acc = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), d), b->scale[part], acc);
    if (form.minimum) acc = _mm512_fmadd_ps(_mm512_set1_ps(linear_ds(x, part, form.parts, wide)), b->minimum[part], acc);
  }
  return acc;
}

/* A tile's rows and accumulators. */
static inline __attribute__((always_inline)) void int_begin(const unsigned char *x[INT_COLUMNS], __m512 acc[INT_COLUMNS],
                                                            const struct product *p, size_t first, int columns, bool wide) {
  V16_UNROLL for (int c = 0; c < columns; c++) {
    x[c] = linear_blocks(p, first + (size_t)c, wide);
    acc[c] = _mm512_setzero_ps();
  }
}

static inline __attribute__((always_inline)) void int_tile(const struct product *p, size_t panel, size_t first, int columns, bool cold,
                                                           enum pack pack, bool wide) {
  const struct weight *w = p->job->w;
  const unsigned char *unit = w->data + panel * w->panel_bytes;
  const size_t size = linear_block_bytes(wide);
  const unsigned char *x[INT_COLUMNS];
  __m512 acc[INT_COLUMNS];
  int_begin(x, acc, p, first, columns, wide);
  for (size_t n = 0; n < w->n_blocks; unit += pack_unit_bytes(pack))
    for (size_t i = 0; i < pack_unit_blocks(pack) && n < w->n_blocks; i++, n++) {
      struct int_block b;
      if (cold && int_is_busy(pack, columns, wide)) int_prefetch(unit, i, pack);
      int_load(&b, unit, i, pack);
      V16_UNROLL for (int c = 0; c < columns; c++) acc[c] = int_join(acc[c], &b, x[c] + n * size, pack, wide);
    }
  V16_UNROLL for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, acc[c]);
}

/* ---- the limits of the machine ---- */

/* In assembly: the compiler would put copies of registers between the dot instructions. */
static double dot_rounds(size_t rounds) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a, e = a, f = a, g = a, h = a, w = _mm512_set1_epi8(3);
  for (size_t n = 0; n < rounds; n++)
    __asm__ volatile(
        "vpdpbusd %8, %8, %0\n vpdpbusd %8, %8, %1\n vpdpbusd %8, %8, %2\n vpdpbusd %8, %8, %3\n"
        "vpdpbusd %8, %8, %4\n vpdpbusd %8, %8, %5\n vpdpbusd %8, %8, %6\n vpdpbusd %8, %8, %7\n"
        : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h)
        : "v"(w));
  return (double)rounds * 8 * 128;
}

static uint64_t read_all(const void *memory, size_t bytes) {
  const unsigned char *p = memory;
  __m512i lanes[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (size_t i = 0; i + 256 <= bytes; i += 256)
    for (size_t k = 0; k < 4; k++) lanes[k] = _mm512_xor_si512(lanes[k], _mm512_loadu_si512(p + i + 64 * k));
  __m512i all = _mm512_xor_si512(_mm512_xor_si512(lanes[0], lanes[1]), _mm512_xor_si512(lanes[2], lanes[3]));
  return (uint64_t)_mm512_reduce_add_epi64(all);
}
