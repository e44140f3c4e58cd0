/* quants: the integers and scales inside the block types of files. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TENSOR_QUANTS_H
#define TENSOR_QUANTS_H
#include "tensor/kernels.h"

/* 32 elements of a row: value = scale · (q − offset) + minimum with the offset of the pack; scale and minimum of each half (equal where
 * the block has one). Their products and sums are those of base/dtype.c, so the values are the same bit for bit. */
struct quants {
  uint8_t q[BLOCK];
  float scale[2], minimum[2];
  /* What scale and minimum are products of, where the pack keeps that: fp16s of the super-block, and whole numbers. */
  uint16_t super_scale, super_minimum;
  int8_t sub_scale[2], sub_minimum[2];
};

/* The pack that holds a type under COMPUTE_FAST and COMPUTE_PRECISE. */
enum pack quants_pack(enum dtype type);
/* Elements 32b … 32b+31 of a row of such a type. */
void quants_read(enum dtype type, const uint8_t *row, size_t b, struct quants *out);

/* A block of values rounded to 14 bits, |q| <= I14_LARGEST: x ≈ scale · q. The scale, a bf16, is the smallest power of two from 2^-133 on with
 * which the largest fits. 0 for zeros; NaN, with q 0, for a block that holds a NaN or an infinity. */
uint16_t quants_round(const float x[BLOCK], int16_t q[BLOCK]);

/* Block b of row r of a panel (kernels.h) in an integer pack but I14. pack_get fills q, scale and minimum, +0 where the pack has none, and of a K
 * pack what they are products of. */
void pack_put(enum pack pack, unsigned char *panel, size_t b, size_t r, const struct quants *block);
void pack_get(enum pack pack, const unsigned char *panel, size_t b, size_t r, struct quants *block);

#endif
