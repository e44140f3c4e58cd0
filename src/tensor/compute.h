/* compute: the inside of struct compute. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TENSOR_COMPUTE_H
#define TENSOR_COMPUTE_H
#include "base/huge.h"
#include "tensor/kernels.h"

/* What is chosen together (compute_choice.c). */
enum choice_family {
  CHOICE_F32,
  CHOICE_I8,
  CHOICE_K8,
  CHOICE_I16,
  CHOICE_I14,
  CHOICE_ATTENTION,
  CHOICE_ROWS,
  CHOICE_TILE,
  CHOICE_FAMILIES
};

struct compute {
  enum compute_mode mode;
  struct pool *pool;             /* borrowed */
  const struct kernels *kernels; /* &chosen */
  struct kernels chosen;         /* at first a copy of the widest table that isa_mask allows */
  unsigned isa_mask;
  size_t tile_bytes;                   /* weights of a tile when few rows read them once, at most */
  const char *choice[CHOICE_FAMILIES]; /* names of what is used */
  bool settled[CHOICE_FAMILIES];       /* set or measured */
  float **attention_scratch;           /* one per thread, grown as needed */
  size_t attention_floats;             /* the size of each */
  unsigned char **product_scratch;     /* one per thread, made when a product first has many rows; or NULLs */
  struct huge weights;                 /* where weights are packed */
  struct act *ordered;                 /* rows in the order of a weight, grown as needed; or NULL */
  float *ordered_rows;                 /* [ordered.rows_max][ordered.ld] */
};

/* The widest everywhere, nothing settled. */
void compute_choice_init(struct compute *c);

#endif
