/* avx2: the kernels for AVX2 with FMA and F16C. SPDX-License-Identifier: Apache-2.0
 * Compiled with -mavx2 -mfma -mf16c. The templates do the roundings of ref/ in its order; where sums are integers their order is free. */
#if defined(__AVX2__)
#include "tensor/x86/v16_avx2.h"

#define QUERY_TILE 2
#define OUTPUT_TILE 1
#define F32_PANELS 1
#define F32_COLUMNS 6
#define I14_PANELS 1
#define I14_COLUMNS 4
#include "tensor/ref/ref.h"
#define ATTENTION_FALLBACK ref_attention
#include "tensor/template/rows_template.h"

#include "tensor/template/attention_template.h"

#include "tensor/template/linear_template.h"

#include "tensor/x86/linear_avx2.h"

#include "tensor/template/int_template.h"

#include "tensor/x86/unit_avx2.h"

#include "tensor/template/unit_template.h"

#include "tensor/template/fill_template.h"

void avx2_fill(struct kernels *k) { template_fill(k, "avx2"); }
#endif
