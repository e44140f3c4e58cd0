/* open_avx512: products of K packs with many rows, whose weights are opened once for all of them. Included by avx512.c, behind unit_avx512.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of a few panels a chunk of 8 blocks is opened into the thread's scratch, where it stays in the first cache while all rows pass by: bytes, and what
 * meets a block's sums. The rows' accumulators wait in the scratch for the next chunk. What is opened has two forms, whatever the pack:
 *   blocks   with 16-bit activations: scales and minimums in fp32, part by part, then the 8 vectors of quants
 *   units    scale and minimum in fp32 and pairs of sub-minimums; then of each block the 8 vectors of quants, and for each part the products
 *            of sub-scale and 1, 2 … UNIT_STEPS steps, of which a column takes its own by address: one multiplication less
 * Other packs open so quickly that this is a tenth slower than opening them in each tile. */

enum {
  OPEN_BLOCKS = UNIT_BLOCKS, /* of a chunk */
  OPEN_BYTES = 25 * 1024,    /* of the chunks that are open at once: they share the first cache with a tile's activations */
  OPEN_PANELS = 4,           /* at most */
  OPEN_SLAB = 512,           /* rows whose accumulators wait at once */
  OPEN_ACC = PANEL_ROWS * 4, /* bytes of a row's accumulators */
};
_Static_assert(OPEN_BYTES + OPEN_PANELS * OPEN_SLAB * OPEN_ACC + OPEN_SLAB * sizeof(void *) <= KERNELS_SCRATCH_BYTES, "room for all");

/* ---- blocks ---- */

static inline __attribute__((always_inline)) size_t open_block_bytes(enum pack pack) {
  const struct pack_form form = pack_form(pack);
  return (size_t)(64 * form.parts * (form.minimum ? 2 : 1) + 512);
}

static inline __attribute__((always_inline)) void open_prefetch(const struct weight *w, const unsigned char *at, size_t n) {
  const size_t bytes = n * pack_unit_bytes(w->pack) / UNIT_BLOCKS;
  for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)at + bytes + i, _MM_HINT_T1);
}

static inline __attribute__((always_inline)) void open_blocks(unsigned char *to, const struct weight *w, size_t panel, size_t first,
                                                              size_t n, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  const unsigned char *unit = w->data + panel * w->panel_bytes + first / UNIT_BLOCKS * pack_unit_bytes(pack);
  open_prefetch(w, unit, n);
  for (size_t i = 0; i < n; i++) {
    struct int_block b;
    int_load(&b, unit, i, pack);
    for (int part = 0; part < form.parts; part++, to += 64) _mm512_store_ps(to, b.scale[part]);
    for (int part = 0; form.minimum && part < form.parts; part++, to += 64) _mm512_store_ps(to, b.minimum[part]);
    for (int k = 0; k < 8; k++, to += 64) _mm512_store_si512(to, b.q[k]);
  }
}

static inline __attribute__((always_inline)) void open_blocks_tile(float *acc, const unsigned char *opened, const unsigned char *const *x,
                                                                   size_t at, size_t n, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  __m512 sum[INT_WIDE_COLUMNS];
  for (int c = 0; c < INT_WIDE_COLUMNS; c++) sum[c] = _mm512_load_ps(acc + c * PANEL_ROWS);
  for (size_t i = 0; i < n; i++) {
    struct int_block b;
    for (int part = 0; part < form.parts; part++, opened += 64) b.scale[part] = _mm512_load_ps(opened);
    for (int part = 0; form.minimum && part < form.parts; part++, opened += 64) b.minimum[part] = _mm512_load_ps(opened);
    for (int k = 0; k < 8; k++, opened += 64) b.q[k] = _mm512_load_si512(opened);
    for (int c = 0; c < INT_WIDE_COLUMNS; c++) sum[c] = int_join(sum[c], &b, x[c] + at + i * sizeof(struct act16), pack, true);
  }
  for (int c = 0; c < INT_WIDE_COLUMNS; c++) _mm512_store_ps(acc + c * PANEL_ROWS, sum[c]);
}

/* ---- units ---- */

enum { OPEN_TABLE = 64 * UNIT_STEPS };

static inline __attribute__((always_inline)) size_t open_unit_head(enum pack pack) {
  const struct pack_form form = pack_form(pack);
  return (size_t)(form.minimum ? 128 + 64 * UNIT_BLOCKS / 2 * form.parts : 64);
}
static inline __attribute__((always_inline)) size_t open_unit_block(enum pack pack) {
  return 512 + OPEN_TABLE * (size_t)pack_form(pack).parts;
}
_Static_assert(128 + 64 * UNIT_BLOCKS + OPEN_BLOCKS * (512 + 2 * OPEN_TABLE) <= OPEN_BYTES, "the largest chunk fits");

static inline __attribute__((always_inline)) void open_unit(unsigned char *to, const struct weight *w, size_t panel, size_t first, size_t n,
                                                            enum pack pack) {
  const struct pack_form form = pack_form(pack);
  const unsigned char *unit = w->data + panel * w->panel_bytes + first / UNIT_BLOCKS * pack_unit_bytes(pack);
  open_prefetch(w, unit, n);
  _mm512_store_ps(to, int_load_scale(unit, 2));
  if (form.minimum) _mm512_store_ps(to + 64, int_load_scale(unit + pack_scales_bytes(pack), 2));
  for (size_t i = 0; form.minimum && i < (size_t)(UNIT_BLOCKS / 2 * form.parts); i++)
    _mm512_store_si512(to + 128 + 64 * i, unit_pairs(unit + pack_sub_at(pack, true, 0, 0) + 2 * PANEL_ROWS * i));
  to += open_unit_head(pack);
  for (size_t i = 0; i < n; i++) {
    __m512i q[8];
    int_load_quants(q, unit, i, pack);
    for (int k = 0; k < 8; k++, to += 64) _mm512_store_si512(to, q[k]);
    for (size_t part = 0; part < (size_t)form.parts; part++) {
      const __m512i sub = unit_sub(unit + pack_sub_at(pack, false, i, part));
      __m512i times = _mm512_setzero_si512();
      for (int steps = 0; steps < UNIT_STEPS; steps++, to += 64) _mm512_store_si512(to, times = _mm512_add_epi32(times, sub));
    }
  }
}

static inline __attribute__((always_inline)) void open_unit_tile(float *acc, const unsigned char *opened, const unsigned char *const *x,
                                                                 size_t at, size_t n, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  const struct act_k8 *units[UNIT_COLUMNS];
  V16_UNROLL for (int c = 0; c < UNIT_COLUMNS; c++) units[c] = (const struct act_k8 *)(const void *)(x[c] + at);
  const unsigned char *block = opened + open_unit_head(pack);
  __m512i sum[UNIT_COLUMNS];
  V16_UNROLL for (int c = 0; c < UNIT_COLUMNS; c++) sum[c] = _mm512_setzero_si512();
  for (size_t i = 0; i < n; i++, block += open_unit_block(pack)) {
    __m512i q[8];
    __asm__("" : "+r"(i)); /* one index for all columns, not one for each */
    V16_UNROLL for (int k = 0; k < 8; k++) q[k] = _mm512_load_si512(block + 64 * k);
    V16_UNROLL for (int c = 0; c < UNIT_COLUMNS; c++) {
      const unsigned char *times = block + 512 + 64 * (size_t)(uint32_t)units[c]->steps[i] - 64;
      for (int part = 0; part < form.parts; part++)
        sum[c] = _mm512_add_epi32(sum[c],
                                  _mm512_mullo_epi32(unit_sum(q, units[c], i, part, pack), _mm512_load_si512(times + OPEN_TABLE * part)));
    }
  }
  const __m512 scale = _mm512_load_ps(opened), minimum = form.minimum ? _mm512_load_ps(opened + 64) : scale;
  V16_UNROLL for (int c = 0; c < UNIT_COLUMNS; c++) {
    const __m512i low = form.minimum ? unit_low((const __m512i *)(const void *)(opened + 128), units[c], pack) : sum[c];
    float *to = acc + c * PANEL_ROWS;
    _mm512_store_ps(to, unit_join(_mm512_load_ps(to), sum[c], low, scale, minimum, units[c]->d, pack));
  }
}

/* ---- a specialization for each form ---- */

/* Bytes of an opened chunk. */
static size_t open_chunk_bytes(enum pack pack, bool wide) {
  return wide ? OPEN_BLOCKS * open_block_bytes(pack) : open_unit_head(pack) + OPEN_BLOCKS * open_unit_block(pack);
}

/* Blocks first … first + n − 1 of a panel, written to `to`. */
static void open_chunk(unsigned char *to, const struct weight *w, size_t panel, size_t first, size_t n, bool wide) {
  switch (w->pack) {
    case PACK_K2M: wide ? open_blocks(to, w, panel, first, n, PACK_K2M) : open_unit(to, w, panel, first, n, PACK_K2M); break;
    case PACK_K3: wide ? open_blocks(to, w, panel, first, n, PACK_K3) : open_unit(to, w, panel, first, n, PACK_K3); break;
    case PACK_K4M: wide ? open_blocks(to, w, panel, first, n, PACK_K4M) : open_unit(to, w, panel, first, n, PACK_K4M); break;
    case PACK_K5M: wide ? open_blocks(to, w, panel, first, n, PACK_K5M) : open_unit(to, w, panel, first, n, PACK_K5M); break;
    case PACK_K6: wide ? open_blocks(to, w, panel, first, n, PACK_K6) : open_unit(to, w, panel, first, n, PACK_K6); break;
    default: break;
  }
}

/* A tile's columns, whose activations are `at` bytes behind x, of one opened chunk of n blocks join acc, [columns][16]. Packs that differ in how they lie in memory only are one form. */
static __attribute__((noinline)) void open_tile_units(float *acc, const unsigned char *opened, const unsigned char *const *x, size_t at,
                                                      size_t n, enum pack pack) {
  switch (pack) {
    case PACK_K2M: open_unit_tile(acc, opened, x, at, n, PACK_K2M); break;
    case PACK_K3: open_unit_tile(acc, opened, x, at, n, PACK_K3); break;
    case PACK_K4M:
    case PACK_K5M: open_unit_tile(acc, opened, x, at, n, PACK_K4M); break;
    case PACK_K6: open_unit_tile(acc, opened, x, at, n, PACK_K6); break;
    default: break;
  }
}

static __attribute__((noinline)) void open_tile_blocks(float *acc, const unsigned char *opened, const unsigned char *const *x, size_t at,
                                                       size_t n, enum pack pack) {
  switch (pack) {
    case PACK_K2M: open_blocks_tile(acc, opened, x, at, n, PACK_K2M); break;
    case PACK_K3: open_blocks_tile(acc, opened, x, at, n, PACK_K3); break;
    case PACK_K4M:
    case PACK_K5M: open_blocks_tile(acc, opened, x, at, n, PACK_K4M); break;
    case PACK_K6: open_blocks_tile(acc, opened, x, at, n, PACK_K6); break;
    default: break;
  }
}

/* ---- all rows past a few panels ---- */

struct open_run {
  const struct product *p;
  bool wide;
  size_t columns, chunk_bytes, x_bytes; /* of a tile; of an opened chunk; of a row's activations that meet a chunk */
  size_t first, rows;                   /* of the slab */
  unsigned char *opened;                /* [panels][chunk_bytes] */
  float *acc;                           /* [panels][OPEN_SLAB][16] */
  const unsigned char **x;              /* [OPEN_SLAB], the rows' activations */
};

static const unsigned char *open_row(const struct open_run *run, size_t i) {
  return run->wide ? linear_blocks(run->p, i, true) : (const unsigned char *)linear_units(run->p, i);
}

/* Blocks first … first + n − 1 of `panels` panels: the rows pass by. */
static void open_pass(const struct open_run *run, size_t panel, size_t panels, size_t first, size_t n) {
  const struct weight *w = run->p->job->w;
  for (size_t k = 0; k < panels; k++) open_chunk(run->opened + k * run->chunk_bytes, w, panel + k, first, n, run->wide);
  for (size_t i = 0; i < run->rows; i += run->columns) {
    for (size_t k = 0; k < panels; k++) {
      float *acc = run->acc + (k * OPEN_SLAB + i) * PANEL_ROWS;
      (run->wide ? open_tile_blocks : open_tile_units)(acc, run->opened + k * run->chunk_bytes, run->x + i,
                                                       first / OPEN_BLOCKS * run->x_bytes, n, w->pack);
      for (size_t c = 0; first + n == w->n_blocks && c < run->columns; c++) /* here, where stores wait beside computing */
        linear_put(run->p, panel + k, run->first + i + c, _mm512_load_ps(acc + c * PANEL_ROWS));
    }
  }
}

static void open_panels(const struct open_run *run, size_t panel, size_t panels) {
  const size_t n_blocks = run->p->job->w->n_blocks;
  for (size_t k = 0; k < panels; k++) memset(run->acc + k * OPEN_SLAB * PANEL_ROWS, 0, run->rows * OPEN_ACC);
  for (size_t first = 0; first < n_blocks; first += OPEN_BLOCKS)
    open_pass(run, panel, panels, first, n_blocks - first < OPEN_BLOCKS ? n_blocks - first : OPEN_BLOCKS);
}

/* Whole tiles of many rows; returns how many rows those are: 0 of another pack, when they are few, and without scratch. */
static size_t open_rows(const struct product *p, size_t panel_begin, size_t panel_end, bool wide) {
  const enum pack pack = p->job->w->pack;
  if (!pack_form(pack).sub || p->n_rows < KERNELS_OPEN_ROWS || !p->scratch) return 0;
  struct open_run run = {
      .p = p, .wide = wide, .columns = wide ? INT_WIDE_COLUMNS : UNIT_COLUMNS, .chunk_bytes = open_chunk_bytes(pack, wide)};
  run.x_bytes = wide ? OPEN_BLOCKS * sizeof(struct act16) : sizeof(struct act_k8);
  run.opened = p->scratch;
  run.acc = (float *)(void *)(p->scratch + OPEN_BYTES);
  run.x = (const unsigned char **)(void *)(run.acc + OPEN_PANELS * OPEN_SLAB * PANEL_ROWS);
  size_t rows = p->n_rows / run.columns * run.columns, at_once = OPEN_BYTES / run.chunk_bytes;
  if (at_once > OPEN_PANELS) at_once = OPEN_PANELS;
  for (run.first = 0; run.first < rows; run.first += OPEN_SLAB) {
    run.rows = rows - run.first < OPEN_SLAB ? rows - run.first : OPEN_SLAB;
    for (size_t i = 0; i < run.rows; i++) run.x[i] = open_row(&run, run.first + i);
    for (size_t panel = panel_begin; panel < panel_end; panel += at_once)
      open_panels(&run, panel, panel_end - panel < at_once ? panel_end - panel : at_once);
  }
  return rows;
}
