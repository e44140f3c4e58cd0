/* avx512: the kernels for AVX-512 F, BW, DQ, VL and VNNI. SPDX-License-Identifier: Apache-2.0
 * Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c. The templates do the roundings of ref/ in its
 * order; where sums are integers their order is free. */
#if defined(__AVX512VNNI__)
#include "tensor/x86/v16_avx512.h"

#define QUERY_TILE 6
#define OUTPUT_TILE 4
#define F32_PANELS 2
#define F32_COLUMNS 8
#define I14_PANELS 1
#define I14_COLUMNS 8
#include "tensor/ref/ref.h"
#define ATTENTION_FALLBACK ref_attention
#include "tensor/template/rows_template.h"

#include "tensor/template/attention_template.h"

#include "tensor/template/linear_template.h"

#include "tensor/x86/linear_avx512.h"

#include "tensor/x86/unit_avx512.h"

#include "tensor/x86/open_avx512.h"

#define INT_MANY_ROWS open_rows
#include "tensor/template/int_template.h"

#include "tensor/template/unit_template.h"

#include "tensor/template/fill_template.h"

void avx512_fill(struct kernels *k) { template_fill(k, "avx512"); }
#endif
