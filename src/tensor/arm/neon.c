/* neon: the kernels for NEON as every 64-bit Arm has it. SPDX-License-Identifier: Apache-2.0 */
#if defined(__aarch64__)
#include "tensor/arm/neon.h"

void neon_fill(struct kernels *k) { template_fill(k, "neon"); }
#endif
