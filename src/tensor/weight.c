/* weight: repacks a matrix into panels of 16 rows (kernels.h), without loss. SPDX-License-Identifier: Apache-2.0
 *
 * Under COMPUTE_FAST Q4_0, Q4_1 and Q8_0 keep their integers and fp16 scales; every other type, and every type under COMPUTE_F32,
 * becomes fp32. Memory is mapped fresh, so that untouched tails cost nothing. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "tensor/compute.h"

static enum pack pack_of(enum compute_mode mode, enum dtype dtype) {
  if (mode == COMPUTE_F32) return PACK_F32;
  switch (dtype) {
    case DTYPE_Q4_0: return PACK_Q4;
    case DTYPE_Q4_1: return PACK_Q4M;
    case DTYPE_Q8_0: return PACK_Q8;
    default: return PACK_F32;
  }
}

struct packing {
  const struct weight_source *source;
  struct weight *w;
  size_t row_bytes;      /* of the source */
  float *rows;           /* [threads][n_in], for PACK_F32 */
  atomic_bool failed;    /* a dtype without conversion */
};

static const unsigned char *source_row(const struct packing *p, size_t r) {
  const struct weight_source *s = p->source;
  size_t row = s->row_order ? s->row_order[r] : r;
  assert(row < s->n_out);
  return (const unsigned char *)s->data + row * p->row_bytes;
}

static void pack_f32_row(struct packing *p, unsigned char *panel, size_t r, const unsigned char *row, int worker) {
  size_t n = p->w->n_in;
  float *values = p->rows + (size_t)worker * n, *to = (float *)panel + r;
  if (!dtype_to_f32(p->source->dtype, row, values, n)) atomic_store(&p->failed, true);
  else
    for (size_t k = 0; k < n; k++) to[k * PANEL_ROWS] = values[k];
}

/* The source block's parts: scale, maybe a minimum, then 16 bytes of nibbles or 32 bytes. */
static void pack_block(const struct weight *w, unsigned char *to, size_t r, const unsigned char *block) {
  memcpy(to + 2 * r, block, 2);
  if (w->pack == PACK_Q8) {
    for (size_t k = 0; k < BLOCK; k++) to[32 + k / 4 * 64 + r * 4 + k % 4] = block[2 + k] ^ 0x80;
    return;
  }
  bool has_minimum = w->pack == PACK_Q4M;
  if (has_minimum) memcpy(to + 32 + 2 * r, block + 2, 2);
  const unsigned char *nibbles = block + (has_minimum ? 4 : 2);
  for (size_t k = 0; k < 16; k++) to[(has_minimum ? 64 : 32) + k / 4 * 64 + r * 4 + k % 4] = nibbles[k];
}

static void pack_panel(void *job, int tile, int worker) {
  struct packing *p = job;
  struct weight *w = p->w;
  unsigned char *panel = w->data + (size_t)tile * w->panel_bytes;
  size_t source_block = dtype_info(p->source->dtype)->block_bytes, block_bytes = kernels_block_bytes(w->pack);
  for (size_t r = 0; r < PANEL_ROWS && (size_t)tile * PANEL_ROWS + r < w->n_out; r++) {
    const unsigned char *row = source_row(p, (size_t)tile * PANEL_ROWS + r);
    if (w->pack == PACK_F32) {
      pack_f32_row(p, panel, r, row, worker);
      continue;
    }
    for (size_t b = 0; b < w->n_blocks; b++) pack_block(w, panel + b * block_bytes, r, row + b * source_block);
  }
}

static uint64_t panel_bytes_of(enum pack pack, uint64_t n_in) {
  return pack == PACK_F32 ? n_in * PANEL_ROWS * sizeof(float) : (n_in + BLOCK - 1) / BLOCK * kernels_block_bytes(pack);
}

uint64_t weight_packed_bytes(enum compute_mode mode, enum dtype dtype, uint64_t n_out, uint64_t n_in) {
  uint64_t bytes;
  if (n_in > UINT64_MAX / 1024) return UINT64_MAX;
  uint64_t n_panels = n_out / PANEL_ROWS + (n_out % PANEL_ROWS != 0);
  return __builtin_mul_overflow(n_panels, panel_bytes_of(pack_of(mode, dtype), n_in), &bytes) ? UINT64_MAX : bytes;
}

static struct weight *make_weight(const struct compute *c, const struct weight_source *s, struct error *err) {
  struct weight *w = mem_zalloc(1, sizeof *w);
  *w = (struct weight){.pack = pack_of(c->mode, s->dtype), .n_out = s->n_out, .n_in = s->n_in};
  w->wide = s->head && w->pack != PACK_F32;
  w->n_panels = (s->n_out + PANEL_ROWS - 1) / PANEL_ROWS;
  w->n_blocks = (s->n_in + BLOCK - 1) / BLOCK;
  w->panel_bytes = (size_t)panel_bytes_of(w->pack, s->n_in);
  size_t bytes;
  void *data = MAP_FAILED;
  if (!__builtin_mul_overflow(w->n_panels, w->panel_bytes, &bytes))
    data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    error_set(err, ERROR_NO_MEMORY, "There is no memory for a weight matrix of %zu x %zu values.", s->n_out, s->n_in);
    free(w);
    return NULL;
  }
  madvise(data, bytes, MADV_HUGEPAGE);
  w->data = data;
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
  p.rows = mem_alloc((size_t)pool_threads(c->pool) * s->n_in * sizeof *p.rows);
  pool_run(c->pool, pack_panel, &p, (int)w->n_panels);
  free(p.rows);
  if (!atomic_load(&p.failed)) return w;
  error_set(err, ERROR_UNSUPPORTED, "Weights of the type %s cannot be converted.", dtype_info(s->dtype)->name);
  weight_free(w);
  return NULL;
}

void weight_free(struct weight *w) {
  if (!w) return;
  munmap(w->data, w->n_panels * w->panel_bytes);
  free(w);
}

size_t weight_n_out(const struct weight *w) { return w->n_out; }
size_t weight_n_in(const struct weight *w) { return w->n_in; }
size_t weight_bytes(const struct weight *w) { return w->n_panels * w->panel_bytes; }
size_t weight_stream_bytes(const struct weight *w) { return weight_bytes(w); }
unsigned weight_act_form(const struct weight *w) { return w->pack == PACK_F32 ? ACT_F32 : w->wide ? ACT_I16 : ACT_I8; }

static float half_at(const unsigned char *p, size_t i) {
  uint16_t half;
  memcpy(&half, p + 2 * i, sizeof half);
  return dtype_f16_to_f32(half);
}

static void block_row(const struct weight *w, const unsigned char *block, size_t r, float *out, size_t n) {
  const unsigned char *q = block + (w->pack == PACK_Q4M ? 64 : 32) + r * 4;
  float scale = half_at(block, r), minimum = w->pack == PACK_Q4M ? half_at(block + 32, r) : 0;
  for (size_t k = 0; k < n; k++) {
    if (w->pack == PACK_Q8) out[k] = scale * (float)((int)q[k / 4 * 64 + k % 4] - 128);
    else {
      int nibble = q[k % 16 / 4 * 64 + k % 4] >> (k < 16 ? 0 : 4) & 15;
      out[k] = w->pack == PACK_Q4 ? scale * (float)(nibble - 8) : scale * (float)nibble + minimum;
    }
  }
}

void weight_row(const struct weight *w, size_t r, float *out) {
  assert(r < w->n_out);
  const unsigned char *panel = w->data + r / PANEL_ROWS * w->panel_bytes;
  if (w->pack == PACK_F32) {
    for (size_t k = 0; k < w->n_in; k++) out[k] = ((const float *)panel)[k * PANEL_ROWS + r % PANEL_ROWS];
    return;
  }
  for (size_t b = 0; b < w->n_blocks; b++) {
    size_t left = w->n_in - b * BLOCK;
    block_row(w, panel + b * kernels_block_bytes(w->pack), r % PANEL_ROWS, out + b * BLOCK, left < BLOCK ? left : BLOCK);
  }
}
