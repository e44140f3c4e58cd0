/* linear_template: what products share over a v16 type, and the fp32 and 14-bit products. Included once per instruction set.
 * SPDX-License-Identifier: Apache-2.0
 * The including file defines F32_PANELS and I14_PANELS (1 or 2), F32_COLUMNS and I14_COLUMNS (<= 8): the register tiles. */
#include <assert.h>

#include "tensor/kernels.h"

/* The line of weights some blocks behind `at` will be read. For tiles that compute enough between their reads that what the processor fetches ahead by
 * itself does not keep the memory busy: those read up to twice as fast then. Where a tile computes little for each byte, it does, and asking takes a
 * quarter of its speed. At 2 KiB, or into the first cache, most of the gain is lost (Zen 4). */
static inline __attribute__((always_inline)) void linear_fetch(const unsigned char *at) {
  enum { AHEAD_BYTES = 8192 };
  v16_prefetch(at + AHEAD_BYTES);
}

/* acc is the whole product of one panel and one row. */
static inline void linear_put(const struct product *p, size_t panel, size_t i, v16 acc) {
  const struct linear *job = p->job;
  size_t out = panel * PANEL_ROWS, left = job->w->n_out - out;
  float *y = job->y + i * job->ldy + out;
  if (left >= PANEL_ROWS) {
    if (job->bias) acc = v16_add(acc, v16_load(job->bias + out));
    v16_store(y, job->add ? v16_add(v16_load(y), acc) : acc);
    return;
  }
  if (job->bias) acc = v16_add(acc, v16_load_n(job->bias + out, left));
  v16_store_n(y, job->add ? v16_add(v16_load_n(y, left), acc) : acc, left);
}

/* The blocks of output row i's activations, of 8 or 16 bits. */
static inline __attribute__((always_inline)) const unsigned char *linear_blocks(const struct product *p, size_t i, bool wide) {
  size_t block = product_row(p, i) * (p->act->ld / BLOCK);
  return wide ? (const unsigned char *)(p->act->i16 + block) : (const unsigned char *)(p->act->i8 + block);
}

static inline __attribute__((always_inline)) size_t linear_block_bytes(bool wide) {
  return wide ? sizeof(struct act16) : sizeof(struct act8);
}

/* The units of output row i's activations. */
static inline __attribute__((always_inline)) const struct act_k8 *linear_units(const struct product *p, size_t i) {
  return p->act->k8 + product_row(p, i) * act_units(p->act->ld);
}

/* What stands beside the q of one of those blocks. */
static inline __attribute__((always_inline)) const struct act_terms *linear_terms(const void *block, bool wide) {
  return wide ? &((const struct act16 *)block)->terms : &((const struct act8 *)block)->terms;
}

/* −8 · Σq of one of a block's parts; two parts have 16-bit activations only. */
static inline __attribute__((always_inline)) int32_t linear_bias_8(const void *block, int part, int parts, bool wide) {
  const int32_t all = linear_terms(block, wide)->bias_8;
  if (parts == 1) return all;
  const int32_t first = ((const struct act16 *)block)->bias_half;
  return part ? all - first : first;
}
/* d · Σq alike. */
static inline __attribute__((always_inline)) float linear_ds(const void *block, int part, int parts, bool wide) {
  const struct act_terms *terms = linear_terms(block, wide);
  return parts == 1 ? terms->ds : terms->d * (float)(linear_bias_8(block, part, parts, wide) / -8);
}

/* Elements k of the panel's 16 rows, widened without loss. */
static inline __attribute__((always_inline)) v16 linear_elements(const unsigned char *panel, size_t k, enum pack pack) {
  const unsigned char *at = panel + k * (size_t)(PANEL_ROWS * pack_form(pack).bits / 8);
  if (pack == PACK_F16) return v16_load_half((const uint16_t *)(const void *)at);
  if (pack == PACK_BF16) return v16_load_bf16((const uint16_t *)(const void *)at);
  return v16_load((const float *)(const void *)at);
}

static inline __attribute__((always_inline)) void linear_f32_tile(const struct product *p, size_t panel, size_t first, int panels,
                                                                  int columns, enum pack pack) {
  const struct weight *w = p->job->w;
  const unsigned char *m[F32_PANELS];
  const float *x[F32_COLUMNS];
  v16 acc[F32_PANELS][F32_COLUMNS];
  for (int i = 0; i < panels; i++) m[i] = w->data + (panel + (size_t)i) * w->panel_bytes;
  for (int c = 0; c < columns; c++) x[c] = p->act->f32 + product_row(p, first + (size_t)c) * p->act->ld;
  for (int i = 0; i < panels; i++)
    for (int c = 0; c < columns; c++) acc[i][c] = v16_zero();
  for (size_t k = 0; k < w->n_in; k++) {
    v16 row[F32_PANELS];
    for (int i = 0; i < panels; i++) row[i] = linear_elements(m[i], k, pack);
    for (int c = 0; c < columns; c++) {
      v16 value = v16_set1(x[c][k]);
      for (int i = 0; i < panels; i++) acc[i][c] = v16_fma(row[i], value, acc[i][c]);
    }
  }
  for (int i = 0; i < panels; i++)
    for (int c = 0; c < columns; c++) linear_put(p, panel + (size_t)i, first + (size_t)c, acc[i][c]);
}

static inline __attribute__((always_inline)) void linear_f32_panels(const struct product *p, size_t panel, int panels, enum pack pack) {
  size_t i = 0;
  for (; i + F32_COLUMNS <= p->n_rows; i += F32_COLUMNS) linear_f32_tile(p, panel, i, panels, F32_COLUMNS, pack);
  for (; i + 2 <= p->n_rows; i += 2) linear_f32_tile(p, panel, i, panels, 2, pack);
  if (i < p->n_rows) linear_f32_tile(p, panel, i, panels, 1, pack);
}

static inline __attribute__((always_inline)) void linear_float(const struct product *p, size_t panel_begin, size_t panel_end,
                                                               enum pack pack) {
  size_t panel = panel_begin;
  for (; panel + F32_PANELS <= panel_end; panel += F32_PANELS) linear_f32_panels(p, panel, F32_PANELS, pack);
  for (; panel < panel_end; panel++) linear_f32_panels(p, panel, 1, pack);
}

static void linear_f32(const struct product *p, size_t panel_begin, size_t panel_end) {
  switch (p->job->w->pack) {
    case PACK_F16: linear_float(p, panel_begin, panel_end, PACK_F16); break;
    case PACK_BF16: linear_float(p, panel_begin, panel_end, PACK_BF16); break;
    default: linear_float(p, panel_begin, panel_end, PACK_F32); break;
  }
}

/* ---- 14-bit blocks: the integer sum of a block is exact, so only the blocks have an order ---- */

static inline __attribute__((always_inline)) void linear_i14_tile(const struct product *p, size_t panel, size_t first, int panels,
                                                                  int columns, bool cold) {
  const struct weight *w = p->job->w;
  const unsigned char *m[I14_PANELS];
  const struct act14 *x[I14_COLUMNS];
  v16 acc[I14_PANELS][I14_COLUMNS];
  for (int i = 0; i < panels; i++) m[i] = w->data + (panel + (size_t)i) * w->panel_bytes;
  for (int c = 0; c < columns; c++) x[c] = p->act->i14 + product_row(p, first + (size_t)c) * (p->act->ld / BLOCK);
  for (int i = 0; i < panels; i++)
    for (int c = 0; c < columns; c++) acc[i][c] = v16_zero();
  for (size_t n = 0; n < w->n_blocks; n++) {
    v16i_sum sum[I14_PANELS][I14_COLUMNS];
    for (int i = 0; i < panels; i++) {
      for (int c = 0; c < columns; c++) sum[i][c] = v16i_zero();
      for (size_t line = 0; cold && columns > 2 && line < pack_unit_bytes(PACK_I14); line += 64) linear_fetch(m[i] + line);
    }
    for (size_t pair = 0; pair < BLOCK / 2; pair++) {
      v16i row[I14_PANELS];
      for (int i = 0; i < panels; i++) row[i] = v16i_load(m[i] + pack_quants_at(PACK_I14, 0) + 64 * pair);
      for (int c = 0; c < columns; c++)
        for (int i = 0; i < panels; i++) sum[i][c] = v16i_dot_at(sum[i][c], row[i], x[c][n].q + 2 * pair);
    }
    for (int i = 0; i < panels; i++) {
      v16 scale = v16_load_bf16((const uint16_t *)(const void *)m[i]);
      for (int c = 0; c < columns; c++) acc[i][c] = v16_fma(v16_mul(v16i_to_f32(sum[i][c]), v16_set1(x[c][n].d)), scale, acc[i][c]);
      m[i] += pack_unit_bytes(PACK_I14);
    }
  }
  for (int i = 0; i < panels; i++)
    for (int c = 0; c < columns; c++) linear_put(p, panel + (size_t)i, first + (size_t)c, acc[i][c]);
}

/* One column of tiles through all panels of the call, whose weights are in the second cache for the next. */
static inline __attribute__((always_inline)) void linear_i14_column(const struct product *p, size_t panel_begin, size_t panel_end,
                                                                    size_t first, int columns) {
  size_t panel = panel_begin;
  for (; panel + I14_PANELS <= panel_end; panel += I14_PANELS) linear_i14_tile(p, panel, first, I14_PANELS, columns, first == 0);
  for (; panel < panel_end; panel++) linear_i14_tile(p, panel, first, 1, columns, first == 0);
}

static void linear_i14(const struct product *p, size_t panel_begin, size_t panel_end) {
  size_t i = 0;
  for (; i + I14_COLUMNS <= p->n_rows; i += I14_COLUMNS) linear_i14_column(p, panel_begin, panel_end, i, I14_COLUMNS);
  for (; i + 2 <= p->n_rows; i += 2) linear_i14_column(p, panel_begin, panel_end, i, 2);
  if (i < p->n_rows) linear_i14_column(p, panel_begin, panel_end, i, 1);
}
