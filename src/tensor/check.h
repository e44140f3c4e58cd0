/* check: the start-up sample that a kernel variant must match. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TENSOR_CHECK_H
#define TENSOR_CHECK_H
#include "tensor/kernels.h"

/* NULL when every kernel of k gives the bits of truth on the sample, else the name of the first that does not. */
const char *check_kernels(const struct kernels *k, const struct kernels *truth);

#endif
