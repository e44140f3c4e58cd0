/* quantize: fp32 into the element and block types of files. SPDX-License-Identifier: Apache-2.0
 * Round to nearest, with a search for the scales that lose least; layouts: doc/format/blocks.md. The result depends on the values only. */
#ifndef BASE_QUANTIZE_H
#define BASE_QUANTIZE_H
#include <stdbool.h>
#include <stddef.h>

#include "base/dtype.h"

/* F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K. */
bool quantize_knows(enum dtype type);
/* n, a multiple of the type's block; x is finite. out: the bytes that dtype_bytes says. */
void quantize_row(enum dtype type, const float *x, size_t n, void *out);

#endif
