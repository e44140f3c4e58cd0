/* neon: the NEON kernels, compiled once for the base instruction set (neon.c) and once with dot products (dotprod.c). Private to arm/.
 * SPDX-License-Identifier: Apache-2.0
 * The templates do the roundings of ref/ in its order; where sums are integers their order is free. */
#include "tensor/arm/v16_neon.h"

#define QUERY_TILE 2
#define OUTPUT_TILE 1
#define F32_PANELS 1
#define F32_COLUMNS 5
#define I14_PANELS 1
#define I14_COLUMNS 2
#include "tensor/ref/ref.h"
#define ATTENTION_FALLBACK ref_attention
#include "tensor/template/rows_template.h"

#include "tensor/template/attention_template.h"

#include "tensor/template/linear_template.h"

#include "tensor/arm/linear_neon.h"

#include "tensor/template/int_template.h"

#include "tensor/arm/unit_neon.h"

#include "tensor/template/unit_template.h"

#include "tensor/template/fill_template.h"
