/* ref_linear: products of packed weights with activations in plain C: the truth. SPDX-License-Identifier: Apache-2.0
 *
 * One accumulator per output. fp32: one fma per k, ascending. Blocks: the integer sum of a block is exact; then one fma with the
 * weight's scale, and one more with its minimum where there is one; blocks ascending. */
#include <math.h>
#include <string.h>

#include "tensor/ref/ref.h"

static void put(const struct product *p, size_t panel, size_t i, const float acc[PANEL_ROWS]) {
  const struct linear *job = p->job;
  for (size_t r = 0; r < PANEL_ROWS && panel * PANEL_ROWS + r < job->w->n_out; r++) {
    size_t out = panel * PANEL_ROWS + r;
    float *y = job->y + i * job->ldy + out;
    float v = job->bias ? acc[r] + job->bias[out] : acc[r];
    *y = job->add ? *y + v : v;
  }
}

void ref_linear_f32(const struct product *p, size_t panel_begin, size_t panel_end) {
  const struct weight *w = p->job->w;
  for (size_t panel = panel_begin; panel < panel_end; panel++)
    for (size_t i = 0; i < p->n_rows; i++) {
      const float *x = p->act->f32 + product_row(p, i) * p->act->ld, *m = (const float *)(w->data + panel * w->panel_bytes);
      float acc[PANEL_ROWS] = {0};
      for (size_t k = 0; k < w->n_in; k++)
        for (size_t r = 0; r < PANEL_ROWS; r++) acc[r] = fmaf(m[k * PANEL_ROWS + r], x[k], acc[r]);
      put(p, panel, i, acc);
    }
}

/* One block of a panel, unpacked: value = scale · (q − offset) + minimum. */
struct block {
  int32_t q[PANEL_ROWS][BLOCK];
  float scale[PANEL_ROWS], minimum[PANEL_ROWS];
  int32_t offset;
};

static float half_at(const unsigned char *p, size_t i) {
  uint16_t half;
  memcpy(&half, p + 2 * i, sizeof half);
  return dtype_f16_to_f32(half);
}

static void unpack(const struct weight *w, size_t panel, size_t b, struct block *out) {
  const unsigned char *p = w->data + panel * w->panel_bytes + b * kernels_block_bytes(w->pack);
  const unsigned char *q = p + (w->pack == PACK_Q4M ? 64 : 32);
  out->offset = w->pack == PACK_Q8 ? 128 : w->pack == PACK_Q4 ? 8 : 0;
  for (size_t r = 0; r < PANEL_ROWS; r++) {
    out->scale[r] = half_at(p, r);
    out->minimum[r] = w->pack == PACK_Q4M ? half_at(p + 32, r) : 0;
    for (size_t k = 0; k < BLOCK; k++) {
      if (w->pack == PACK_Q8) out->q[r][k] = q[k / 4 * 64 + r * 4 + k % 4];
      else out->q[r][k] = q[k % 16 / 4 * 64 + r * 4 + k % 4] >> (k < 16 ? 0 : 4) & 15;
    }
  }
}

static int32_t value_at(const struct act_blocks *a, size_t i) { return a->q16 ? a->q16[i] : a->q8[i]; }

/* The panel times the activations that begin at element `first`. */
static void multiply(const struct weight *w, size_t panel, const struct act_blocks *a, size_t first, float acc[PANEL_ROWS]) {
  struct block block;
  memset(acc, 0, PANEL_ROWS * sizeof *acc);
  for (size_t b = 0; b < w->n_blocks; b++) {
    size_t at = first / BLOCK + b;
    unpack(w, panel, b, &block);
    for (size_t r = 0; r < PANEL_ROWS; r++) {
      int32_t sum = -block.offset * a->sum[at];
      for (size_t k = 0; k < BLOCK; k++) sum += block.q[r][k] * value_at(a, first + b * BLOCK + k);
      acc[r] = fmaf((float)sum * a->d[at], block.scale[r], acc[r]);
      if (w->pack == PACK_Q4M) acc[r] = fmaf(a->ds[at], block.minimum[r], acc[r]);
    }
  }
}

static void multiply_rows(const struct product *p, const struct act_blocks *a, size_t panel_begin, size_t panel_end) {
  const struct weight *w = p->job->w;
  for (size_t i = 0; i < p->n_rows; i++) {
    for (size_t panel = panel_begin; panel < panel_end; panel++) {
      float acc[PANEL_ROWS];
      multiply(w, panel, a, product_row(p, i) * p->act->ld, acc);
      put(p, panel, i, acc);
    }
  }
}

void ref_linear_i8(const struct product *p, size_t panel_begin, size_t panel_end) { multiply_rows(p, &p->act->i8, panel_begin, panel_end); }

void ref_linear_i16(const struct product *p, size_t panel_begin, size_t panel_end) { multiply_rows(p, &p->act->i16, panel_begin, panel_end); }
