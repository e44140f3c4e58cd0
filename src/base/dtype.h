/* dtype: the element and block types that files hold. SPDX-License-Identifier: Apache-2.0
 * Layouts and formulas: doc/format/blocks.md; ids as in GGUF. Float types of safetensors share the list. */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
  DTYPE_F32,
  DTYPE_F16,
  DTYPE_BF16,
  DTYPE_F64,
  DTYPE_Q4_0,
  DTYPE_Q4_1,
  DTYPE_Q5_0,
  DTYPE_Q5_1,
  DTYPE_Q8_0,
  DTYPE_Q8_1,
  DTYPE_Q2_K,
  DTYPE_Q3_K,
  DTYPE_Q4_K,
  DTYPE_Q5_K,
  DTYPE_Q6_K,
  DTYPE_Q8_K,
  DTYPE_IQ4_NL,
  DTYPE_IQ4_XS,
  DTYPE_MXFP4,
  DTYPE_TQ2_0,
  DTYPE_I8,
  DTYPE_U8,
  DTYPE_I16,
  DTYPE_U16,
  DTYPE_I32,
  DTYPE_U32,
  DTYPE_I64,
  DTYPE_U64,
  DTYPE_BOOL,
  DTYPE_F8_E4M3,
  DTYPE_F8_E5M2,
  DTYPE_Q8_F32, /* of no file: what integers of quantized checkpoints become in memory, an fp32 scale and 32 int8 */
  DTYPE_COUNT,
};

struct dtype_info {
  const char *name;        /* "Q4_1" */
  unsigned block_elements; /* elements in a block; 1 for plain types */
  unsigned block_bytes;    /* bytes of a block */
};

const struct dtype_info *dtype_info(enum dtype type); /* never NULL for a valid type */
/* Bytes of n elements. False when n is no multiple of the block or the size does not fit. */
bool dtype_bytes(enum dtype type, uint64_t n_elements, uint64_t *ret_bytes);

/* fp16 and bf16, exact in both directions where a value fits; to half rounds to nearest even (IEEE 754). */
float dtype_f16_to_f32(uint16_t half);
uint16_t dtype_f32_to_f16(float value);
float dtype_bf16_to_f32(uint16_t bits);
uint16_t dtype_f32_to_bf16(float value);

/* The 8-bit floats of safetensors: E4M3 in its "fn" form (no infinities, NaN is 0x7F and 0xFF), E5M2 as IEEE 754 would have it. */
float dtype_f8_e4m3_to_f32(uint8_t bits);
float dtype_f8_e5m2_to_f32(uint8_t bits);

/* Turns n elements (a multiple of the block) into fp32, bit for bit as the published formula says (doc/format/blocks.md); an integer
 * or an F64 is rounded to nearest even. False when the type has no conversion yet. src may be unaligned. */
bool dtype_to_f32(enum dtype type, const void *src, float *dst, size_t n);

#endif
