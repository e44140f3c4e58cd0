/* pack: one row's part of one block, into a panel and out of it; kernels.h draws the memory. SPDX-License-Identifier: Apache-2.0
 * For those who need not be fast: packing, embeddings, and the truth of the products. */
#include <string.h>

#include "tensor/quants.h"

/* Byte k of a row among 16: four of its bytes, then four of the next row. */
static size_t byte_at(size_t r, size_t k) { return k / 4 * 64 + 4 * r + k % 4; }

static float scale_at(const unsigned char *p, size_t i, int bytes) {
  uint16_t half;
  float f;
  if (bytes == 2) return memcpy(&half, p + 2 * i, sizeof half), dtype_f16_to_f32(half);
  return memcpy(&f, p + 4 * i, sizeof f), f;
}

static void put_scale(unsigned char *p, size_t i, float value, int bytes) {
  uint16_t half = dtype_f32_to_f16(value); /* exact: it came from fp16 */
  if (bytes == 2) memcpy(p + 2 * i, &half, 2);
  else memcpy(p + 4 * i, &value, 4);
}

static void put_sub(enum pack pack, unsigned char *unit, size_t b, size_t r, const struct quants *block) {
  struct pack_form form = pack_form(pack);
  memcpy(unit + 2 * r, &block->super_scale, 2);
  if (form.minimum) memcpy(unit + pack_scales_bytes(pack) + 2 * r, &block->super_minimum, 2);
  for (size_t part = 0; part < (size_t)form.parts; part++) {
    unit[pack_sub_at(pack, false, b, part) + r] = (unsigned char)block->sub_scale[part];
    if (form.minimum) unit[pack_sub_at(pack, true, b, part) + r] = (unsigned char)block->sub_minimum[part];
  }
}

static void put_quants(struct pack_form form, unsigned char *to, size_t r, const uint8_t q[BLOCK]) {
  unsigned char *high = to + PANEL_ROWS * BLOCK / 2;
  for (size_t k = 0; form.bits == 8 && k < BLOCK; k++) to[byte_at(r, k)] = q[k];
  for (size_t k = 0; form.bits == 4 && k < 16; k++) to[byte_at(r, k)] = (unsigned char)((q[k] & 15) | q[k + 16] << 4);
  for (size_t k = 0; form.high && k < BLOCK; k++) {
    size_t per_byte = 8 / (size_t)form.high, vector = k / 4, at = vector / per_byte * 64 + 4 * r + k % 4;
    int shift = form.high * (int)(vector % per_byte);
    high[at] = (unsigned char)((high[at] & ~(((1 << form.high) - 1) << shift)) | q[k] >> 4 << shift);
  }
}

void pack_put(enum pack pack, unsigned char *panel, size_t b, size_t r, const struct quants *block) {
  struct pack_form form = pack_form(pack);
  size_t in_unit = b % pack_unit_blocks(pack);
  unsigned char *unit = panel + b / pack_unit_blocks(pack) * pack_unit_bytes(pack);
  if (form.sub) {
    put_sub(pack, unit, in_unit, r, block);
  } else {
    put_scale(unit, r, block->scale[0], form.scale_bytes);
    if (form.minimum) put_scale(unit + pack_scales_bytes(pack), r, block->minimum[0], form.scale_bytes);
  }
  put_quants(form, unit + pack_quants_at(pack, in_unit), r, block->q);
}

static void get_sub(enum pack pack, const unsigned char *unit, size_t b, size_t r, struct quants *block) {
  struct pack_form form = pack_form(pack);
  float scale = scale_at(unit, r, 2), minimum = form.minimum ? scale_at(unit + pack_scales_bytes(pack), r, 2) : 0;
  memcpy(&block->super_scale, unit + 2 * r, 2);
  block->super_minimum = 0;
  if (form.minimum) memcpy(&block->super_minimum, unit + pack_scales_bytes(pack) + 2 * r, 2);
  for (size_t half = 0; half < 2; half++) {
    size_t part = form.parts == 2 ? half : 0;
    block->sub_scale[half] = (int8_t)unit[pack_sub_at(pack, false, b, part) + r];
    block->sub_minimum[half] = form.minimum ? (int8_t)unit[pack_sub_at(pack, true, b, part) + r] : 0;
    block->scale[half] = scale * (float)block->sub_scale[half];
    block->minimum[half] = form.minimum ? -(minimum * (float)block->sub_minimum[half]) : 0;
  }
}

static void get_quants(struct pack_form form, const unsigned char *from, size_t r, uint8_t q[BLOCK]) {
  const unsigned char *high = from + PANEL_ROWS * BLOCK / 2;
  for (size_t k = 0; k < BLOCK; k++) {
    q[k] = form.bits == 8 ? from[byte_at(r, k)] : from[byte_at(r, k % 16)] >> (k < 16 ? 0 : 4) & 15;
    if (!form.high) continue;
    size_t per_byte = 8 / (size_t)form.high, vector = k / 4;
    int bits = high[vector / per_byte * 64 + 4 * r + k % 4] >> form.high * (int)(vector % per_byte);
    q[k] |= (uint8_t)((bits & ((1 << form.high) - 1)) << 4);
  }
}

void pack_get(enum pack pack, const unsigned char *panel, size_t b, size_t r, struct quants *block) {
  struct pack_form form = pack_form(pack);
  size_t in_unit = b % pack_unit_blocks(pack);
  const unsigned char *unit = panel + b / pack_unit_blocks(pack) * pack_unit_bytes(pack);
  if (form.sub) {
    get_sub(pack, unit, in_unit, r, block);
  } else {
    block->scale[0] = block->scale[1] = scale_at(unit, r, form.scale_bytes);
    block->minimum[0] = block->minimum[1] = form.minimum ? scale_at(unit + pack_scales_bytes(pack), r, form.scale_bytes) : 0;
  }
  get_quants(form, unit + pack_quants_at(pack, in_unit), r, block->q);
}
