/* weight: repacks a matrix into panels of 16 rows (kernels.h). SPDX-License-Identifier: Apache-2.0
 *
 * Under COMPUTE_FAST and COMPUTE_PRECISE integer types keep their integers and scales (quants.h says in which pack); all others are rounded
 * to 14-bit blocks. Under COMPUTE_F32, and where the source says exact, F16 and BF16 stay as they are and all others become fp32.
 * Memory is new: it is zero where nothing is written. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/compute.h"
#include "tensor/quants.h"

static enum pack pack_of(enum compute_mode mode, enum dtype dtype) {
  if (mode != COMPUTE_F32) return quants_pack(dtype);
  return dtype == DTYPE_F16 ? PACK_F16 : dtype == DTYPE_BF16 ? PACK_BF16 : PACK_F32;
}

struct packing {
  const struct weight_source *source;
  struct weight *w;
  size_t row_bytes; /* of the source */
  float *rows;      /* [threads][whole blocks of n_in], for PACK_F32 and PACK_I14 */
  size_t row_floats;
  atomic_bool failed; /* a dtype without conversion */
};

static const unsigned char *source_row(const struct packing *p, size_t r) {
  const struct weight_source *s = p->source;
  size_t row = s->row_order ? s->row_order[r] : r;
  assert(row < s->n_out);
  return (const unsigned char *)s->data + row * p->row_bytes;
}

/* The row as fp32, up to whole blocks; NULL when its type has no conversion. */
static const float *read_row(struct packing *p, const unsigned char *row, int worker) {
  float *values = p->rows + (size_t)worker * p->row_floats;
  memset(values + p->w->n_in, 0, (p->row_floats - p->w->n_in) * sizeof *values);
  if (dtype_to_f32(p->source->dtype, row, values, p->w->n_in)) return values;
  atomic_store(&p->failed, true);
  return NULL;
}

static void pack_f32_row(struct packing *p, unsigned char *panel, size_t r, const float *values) {
  float *to = (float *)panel + r;
  for (size_t k = 0; values && k < p->w->n_in; k++) to[k * PANEL_ROWS] = values[k];
}

static void pack_i14_row(struct packing *p, unsigned char *panel, size_t r, const float *values) {
  for (size_t b = 0; values && b < p->w->n_blocks; b++) {
    unsigned char *to = panel + b * pack_unit_bytes(PACK_I14), *quants = to + pack_quants_at(PACK_I14, 0) + 4 * r;
    int16_t q[BLOCK];
    uint16_t scale = quants_round(values + b * BLOCK, q);
    memcpy(to + 2 * r, &scale, sizeof scale);
    for (size_t k = 0; k < BLOCK; k += 2) memcpy(quants + 32 * k, q + k, 4);
  }
}

static void pack_16_bit_row(struct packing *p, unsigned char *panel, size_t r, const unsigned char *row) {
  for (size_t k = 0; k < p->w->n_in; k++) memcpy(panel + 2 * (k * PANEL_ROWS + r), row + 2 * k, 2);
}

static void pack_panel(void *job, int tile, int worker) {
  struct packing *p = job;
  struct weight *w = p->w;
  unsigned char *panel = w->data + (size_t)tile * w->panel_bytes;
  for (size_t r = 0; r < PANEL_ROWS && (size_t)tile * PANEL_ROWS + r < w->n_out; r++) {
    const unsigned char *row = source_row(p, (size_t)tile * PANEL_ROWS + r);
    if (w->pack == PACK_F32) pack_f32_row(p, panel, r, read_row(p, row, worker));
    if (w->pack == PACK_I14) pack_i14_row(p, panel, r, read_row(p, row, worker));
    if (w->pack == PACK_F16 || w->pack == PACK_BF16) pack_16_bit_row(p, panel, r, row);
    if (pack_is_float(w->pack) || w->pack == PACK_I14) continue;
    for (size_t b = 0; b < w->n_blocks; b++) {
      struct quants block;
      quants_read(p->source->dtype, row, b, &block);
      pack_put(w->pack, panel, b, r, &block);
    }
  }
}

uint64_t weight_packed_bytes(enum compute_mode mode, enum dtype dtype, uint64_t n_out, uint64_t n_in) {
  uint64_t bytes;
  if (n_in > UINT64_MAX / 1024) return UINT64_MAX;
  uint64_t n_panels = n_out / PANEL_ROWS + (n_out % PANEL_ROWS != 0);
  return __builtin_mul_overflow(n_panels, (uint64_t)pack_panel_bytes(pack_of(mode, dtype), n_in), &bytes) ? UINT64_MAX : bytes;
}

static struct weight *make_weight(struct compute *c, const struct weight_source *s, struct error *err) {
  struct weight *w = mem_zalloc(1, sizeof *w);
  *w = (struct weight){.pack = pack_of(s->exact ? COMPUTE_F32 : c->mode, s->dtype), .n_out = s->n_out, .n_in = s->n_in};
  w->wide = (s->head || c->mode == COMPUTE_PRECISE) && !pack_is_float(w->pack) && w->pack != PACK_I14;
  w->n_panels = (s->n_out + PANEL_ROWS - 1) / PANEL_ROWS;
  w->n_blocks = (s->n_in + BLOCK - 1) / BLOCK;
  w->panel_bytes = pack_panel_bytes(w->pack, s->n_in);
  size_t bytes, order_bytes = s->in_order ? s->n_in * sizeof *s->in_order : 0;
  if (!__builtin_mul_overflow(w->n_panels, w->panel_bytes, &bytes) && !__builtin_add_overflow(bytes, order_bytes, &bytes))
    w->data = huge_take(&c->weights, bytes);
  if (!w->data) {
    error_set(err, ERROR_NO_MEMORY, "There is no memory for a weight matrix of %zu x %zu values.", s->n_out, s->n_in);
    free(w);
    return NULL;
  }
  if (s->in_order) w->in_order = memcpy(w->data + w->n_panels * w->panel_bytes, s->in_order, order_bytes);
  return w;
}

struct weight *weight_pack(struct compute *c, const struct weight_source *s, struct error *err) {
  assert(s->n_out > 0 && s->n_in > 0);
  uint64_t row_bytes;
  if (!dtype_bytes(s->dtype, s->n_in, &row_bytes)) {
    error_set(err, ERROR_CORRUPT, "Rows of %zu values do not fill whole blocks of the type %s.", s->n_in, dtype_info(s->dtype)->name);
    return NULL;
  }
  struct weight *w = make_weight(c, s, err);
  if (!w) return NULL;
  struct packing p = {.source = s, .w = w, .row_bytes = (size_t)row_bytes};
  p.row_floats = w->n_blocks * BLOCK;
  p.rows = mem_alloc((size_t)pool_threads(c->pool) * p.row_floats * sizeof *p.rows);
  pool_run(c->pool, pack_panel, &p, (int)w->n_panels);
  free(p.rows);
  if (!atomic_load(&p.failed)) return w;
  error_set(err, ERROR_UNSUPPORTED, "Weights of the type %s cannot be converted.", dtype_info(s->dtype)->name);
  weight_free(w);
  return NULL;
}

void weight_free(struct weight *w) {
  if (!w) return;
  if (!w->borrowed) huge_give(w->data, weight_bytes(w));
  free(w);
}

size_t weight_n_out(const struct weight *w) { return w->n_out; }
size_t weight_n_in(const struct weight *w) { return w->n_in; }
size_t weight_bytes(const struct weight *w) { return w->n_panels * w->panel_bytes + (w->in_order ? w->n_in * sizeof *w->in_order : 0); }
size_t weight_stream_bytes(const struct weight *w) { return weight_bytes(w); }
unsigned weight_act_form(const struct weight *w) { return w->in_order ? ACT_F32 : pack_act_form(w); }

static float element(const unsigned char *panel, size_t i, enum pack pack) {
  float value;
  uint16_t bits;
  if (pack == PACK_F32) return memcpy(&value, panel + 4 * i, sizeof value), value;
  memcpy(&bits, panel + 2 * i, sizeof bits);
  return pack == PACK_F16 ? dtype_f16_to_f32(bits) : dtype_bf16_to_f32(bits);
}

static void i14_row(const struct weight *w, const unsigned char *panel, size_t r, float *out) {
  for (size_t k = 0; k < w->n_in; k++) {
    const unsigned char *block = panel + k / BLOCK * pack_unit_bytes(PACK_I14);
    int16_t q;
    memcpy(&q, block + pack_quants_at(PACK_I14, 0) + k % BLOCK / 2 * 64 + 4 * r + k % 2 * 2, sizeof q);
    out[w->in_order ? w->in_order[k] : k] = element(block, r, PACK_BF16) * (float)q;
  }
}

void weight_row(const struct weight *w, size_t r, float *out) {
  assert(r < w->n_out);
  const unsigned char *panel = w->data + r / PANEL_ROWS * w->panel_bytes;
  if (pack_is_float(w->pack))
    for (size_t k = 0; k < w->n_in; k++) out[w->in_order ? w->in_order[k] : k] = element(panel, k * PANEL_ROWS + r % PANEL_ROWS, w->pack);
  if (w->pack == PACK_I14) i14_row(w, panel, r % PANEL_ROWS, out);
  if (pack_is_float(w->pack) || w->pack == PACK_I14) return;
  struct pack_form form = pack_form(w->pack);
  for (size_t b = 0; b < w->n_blocks; b++) { /* rows of these are whole blocks */
    struct quants block;
    pack_get(w->pack, panel, b, r % PANEL_ROWS, &block);
    for (size_t k = 0; k < BLOCK; k++) {
      float value = block.scale[k / 16] * (float)(block.q[k] - form.offset);
      out[w->in_order ? w->in_order[b * BLOCK + k] : b * BLOCK + k] = form.minimum ? value + block.minimum[k / 16] : value;
    }
  }
}
