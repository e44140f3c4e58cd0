/* dotprod: the kernels for NEON with dot products of bytes (`sdot`). Compiled with -march=armv8.2-a+dotprod. SPDX-License-Identifier: Apache-2.0 */
#if defined(__ARM_FEATURE_DOTPROD)
#include "tensor/arm/neon.h"

void dotprod_fill(struct kernels *k) { template_fill(k, "dotprod"); }
#endif
