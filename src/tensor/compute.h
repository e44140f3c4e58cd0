/* compute: the inside of struct compute. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TENSOR_COMPUTE_H
#define TENSOR_COMPUTE_H
#include "tensor/kernels.h"

struct compute {
  enum compute_mode mode;
  struct pool *pool; /* borrowed */
  const struct kernels *kernels;
  float **attention_scratch; /* one per thread, grown as needed */
  size_t attention_floats;   /* the size of each */
  struct act *ordered;       /* rows in the order of a weight, grown as needed; or NULL */
  float *ordered_rows;       /* [ordered.rows_max][ordered.ld] */
};

#endif
