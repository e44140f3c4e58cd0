/* ref_linear: products of packed weights with activations in plain C: the truth. SPDX-License-Identifier: Apache-2.0
 *
 * One accumulator per output. Float types: one fma per k, ascending. Integer types: the sum over a block, or over each half of it, is
 * an exact integer; times the activation's scale (one rounding), then one fma with the weight's scale, and one more with its minimum
 * where there is one; blocks and halves ascending. 14-bit blocks alike. K packs with 8-bit activations: the sum over a unit is an exact integer,
 * its products with the whole sub-scales and steps included. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "tensor/quants.h"
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

static float half_at(const unsigned char *p, size_t i) {
  uint16_t half;
  memcpy(&half, p + 2 * i, sizeof half);
  return dtype_f16_to_f32(half);
}

static float float_at(const unsigned char *p, size_t i) {
  float f;
  memcpy(&f, p + 4 * i, sizeof f);
  return f;
}

static float element(const unsigned char *panel, size_t i, enum pack pack) {
  if (pack == PACK_F32) return float_at(panel, i);
  if (pack == PACK_F16) return half_at(panel, i);
  uint16_t bits;
  memcpy(&bits, panel + 2 * i, sizeof bits);
  return dtype_bf16_to_f32(bits);
}

void ref_linear_f32(const struct product *p, size_t panel_begin, size_t panel_end) {
  const struct weight *w = p->job->w;
  for (size_t panel = panel_begin; panel < panel_end; panel++)
    for (size_t i = 0; i < p->n_rows; i++) {
      const float *x = p->act->f32 + product_row(p, i) * p->act->ld;
      float acc[PANEL_ROWS] = {0};
      for (size_t k = 0; k < w->n_in; k++)
        for (size_t r = 0; r < PANEL_ROWS; r++)
          acc[r] = fmaf(element(w->data + panel * w->panel_bytes, k * PANEL_ROWS + r, w->pack), x[k], acc[r]);
      put(p, panel, i, acc);
    }
}

/* The activations of one block, whatever their width. */
struct values {
  int32_t q[BLOCK], sum[2];
  float d, ds;
};

static void values_at(const struct act *a, size_t row, size_t b, bool wide, struct values *out) {
  size_t at = row * (a->ld / BLOCK) + b;
  for (size_t k = 0; k < BLOCK; k++) out->q[k] = wide ? a->i16[at].q[k] : a->i8[at].q[k];
  const struct act_terms *terms = wide ? &a->i16[at].terms : &a->i8[at].terms;
  out->d = terms->d;
  out->ds = terms->ds;
  out->sum[0] = out->sum[1] = 0;
  for (size_t k = 0; k < BLOCK; k++) out->sum[k / 16] += out->q[k];
}

static int32_t dot(const uint8_t *q, int32_t offset, const int32_t *x, size_t n) {
  int32_t sum = 0;
  for (size_t k = 0; k < n; k++) sum += (q[k] - offset) * x[k];
  return sum;
}

static float join(float acc, const struct pack_form *form, const struct quants *w, const struct values *x) {
  if (form->parts == 1) {
    acc = fmaf((float)dot(w->q, form->offset, x->q, BLOCK) * x->d, w->scale[0], acc);
    return form->minimum ? fmaf(x->ds, w->minimum[0], acc) : acc;
  }
  for (int half = 0; half < 2; half++) {
    acc = fmaf((float)dot(w->q + 16 * half, form->offset, x->q + 16 * half, 16) * x->d, w->scale[half], acc);
    if (form->minimum) acc = fmaf(x->d * (float)x->sum[half], w->minimum[half], acc);
  }
  return acc;
}

static void multiply(const struct product *p, bool wide, size_t panel_begin, size_t panel_end) {
  const struct weight *w = p->job->w;
  struct pack_form form = pack_form(w->pack);
  for (size_t i = 0; i < p->n_rows; i++)
    for (size_t panel = panel_begin; panel < panel_end; panel++) {
      float acc[PANEL_ROWS] = {0};
      for (size_t b = 0; b < w->n_blocks; b++) {
        struct values x;
        values_at(p->act, product_row(p, i), b, wide, &x);
        for (size_t r = 0; r < PANEL_ROWS; r++) {
          struct quants block;
          pack_get(w->pack, w->data + panel * w->panel_bytes, b, r, &block);
          acc[r] = join(acc[r], &form, &block, &x);
        }
      }
      put(p, panel, i, acc);
    }
}

void ref_linear_i8(const struct product *p, size_t panel_begin, size_t panel_end) {
  assert(!pack_form(p->job->w->pack).sub);
  multiply(p, false, panel_begin, panel_end);
}

/* One unit of one row of a panel: `first` is its first block, n how many it has. */
static float join_unit(float acc, const struct weight *w, const unsigned char *panel, size_t first, size_t n, size_t r,
                       const struct act_k8 *x) {
  struct pack_form form = pack_form(w->pack);
  struct quants block = {0};
  int32_t sum = 0, low = 0;
  for (size_t b = 0; b < n; b++) {
    pack_get(w->pack, panel, first + b, r, &block);
    for (size_t half = 0; half < 2; half++) {
      int32_t q[16];
      for (size_t k = 0; k < 16; k++) q[k] = x->q[b * BLOCK + half * 16 + k];
      sum += dot(block.q + 16 * half, form.offset, q, 16) * block.sub_scale[half] * x->steps[b];
      low += x->sum_half[2 * b + half] * block.sub_minimum[half];
    }
  }
  float value = (float)sum * dtype_f16_to_f32(block.super_scale);
  if (form.minimum) value = fmaf(-(float)low, dtype_f16_to_f32(block.super_minimum), value);
  return fmaf(value, x->d, acc);
}

void ref_linear_k8(const struct product *p, size_t panel_begin, size_t panel_end) {
  const struct weight *w = p->job->w;
  assert(pack_form(w->pack).sub);
  for (size_t i = 0; i < p->n_rows; i++)
    for (size_t panel = panel_begin; panel < panel_end; panel++) {
      const struct act_k8 *x = p->act->k8 + product_row(p, i) * act_units(p->act->ld);
      float acc[PANEL_ROWS] = {0};
      for (size_t b = 0; b < w->n_blocks; b += UNIT_BLOCKS, x++) {
        size_t n = w->n_blocks - b < UNIT_BLOCKS ? w->n_blocks - b : UNIT_BLOCKS;
        for (size_t r = 0; r < PANEL_ROWS; r++) acc[r] = join_unit(acc[r], w, w->data + panel * w->panel_bytes, b, n, r, x);
      }
      put(p, panel, i, acc);
    }
}

void ref_linear_i16(const struct product *p, size_t panel_begin, size_t panel_end) { multiply(p, true, panel_begin, panel_end); }

/* One row of one block of a panel: value = scale · q. */
static float unpack_i14(const unsigned char *at, size_t r, int32_t q[BLOCK]) {
  for (size_t k = 0; k < BLOCK; k++) {
    int16_t v;
    memcpy(&v, at + pack_quants_at(PACK_I14, 0) + k / 2 * 64 + r * 4 + k % 2 * 2, sizeof v);
    q[k] = v;
  }
  return element(at, r, PACK_BF16);
}

void ref_linear_i14(const struct product *p, size_t panel_begin, size_t panel_end) {
  const struct weight *w = p->job->w;
  for (size_t i = 0; i < p->n_rows; i++)
    for (size_t panel = panel_begin; panel < panel_end; panel++) {
      const struct act14 *x = p->act->i14 + product_row(p, i) * (p->act->ld / BLOCK);
      float acc[PANEL_ROWS] = {0};
      for (size_t b = 0; b < w->n_blocks; b++, x++)
        for (size_t r = 0; r < PANEL_ROWS; r++) {
          int32_t q[BLOCK], sum = 0;
          float scale = unpack_i14(w->data + panel * w->panel_bytes + b * pack_unit_bytes(PACK_I14), r, q);
          for (size_t k = 0; k < BLOCK; k++) sum += q[k] * x->q[k];
          acc[r] = fmaf((float)sum * x->d, scale, acc[r]);
        }
      put(p, panel, i, acc);
    }
}
