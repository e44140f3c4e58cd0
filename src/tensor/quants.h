/* quants: the integers and scales inside the block types of files. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TENSOR_QUANTS_H
#define TENSOR_QUANTS_H
#include "tensor/kernels.h"

/* 32 elements of a row: value = scale · (q − offset) + minimum with the offset of the pack; scale and minimum of each half (equal where
 * the block has one). Their products and sums are those of base/dtype.c, so the values are the same bit for bit. */
struct quants {
  uint8_t q[BLOCK];
  float scale[2], minimum[2];
};

/* The pack that holds a type under COMPUTE_FAST and COMPUTE_PRECISE. */
enum pack quants_pack(enum dtype type);
/* Elements 32b … 32b+31 of a row of such a type. */
void quants_read(enum dtype type, const uint8_t *row, size_t b, struct quants *out);

/* A block of values rounded to 14 bits, |q| <= I14_LARGEST: x ≈ scale · q. The scale, a bf16, is the smallest power of two from 2^-133 on with
 * which the largest fits. 0 for zeros; NaN, with q 0, for a block that holds a NaN or an infinity. */
uint16_t quants_round(const float x[BLOCK], int16_t q[BLOCK]);

#endif
