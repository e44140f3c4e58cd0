/* checkpoint: tensors of a file, whatever way they are stored there. Private to the room but for what model.h declares.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_CHECKPOINT_H
#define MODEL_CHECKPOINT_H
#include "model/model.h"

/* Where the integers (or 8-bit floats) of a matrix lie. Element (o, i) is that of output o and input i. */
enum checkpoint_order {
  CHECKPOINT_DOWN,   /* bit strings down the columns of words [in·bits/32, out]: GPTQ */
  CHECKPOINT_AWQ,    /* words [in, out/8], eight outputs in AWQ's order */
  CHECKPOINT_ACROSS, /* bit strings along the rows of words [out, ⌈in·bits/32⌉]: compressed-tensors */
  CHECKPOINT_BYTES,  /* int8 [out, in] */
  CHECKPOINT_FLOATS, /* 8-bit floats [out, in] */
};

enum checkpoint_zeros {
  CHECKPOINT_ZERO_CONST,  /* zero for all */
  CHECKPOINT_ZERO_ACROSS, /* bit strings along the rows of words [groups, out·bits/32]: GPTQ */
  CHECKPOINT_ZERO_AWQ,    /* words [groups, out/8] in AWQ's order */
  CHECKPOINT_ZERO_DOWN,   /* bit strings down the columns of words [⌈out·bits/32⌉, groups]: compressed-tensors */
  CHECKPOINT_ZERO_BYTES,  /* int8 [out, groups] */
};

/* A matrix W[o, i] = scale · (q[o, i] − zero). All sizes have been checked against the tensors. */
struct checkpoint_matrix {
  size_t n_out, n_in;
  enum checkpoint_order order;
  int bits;
  enum dtype dtype; /* of CHECKPOINT_FLOATS */
  const unsigned char *q;
  enum checkpoint_zeros zeros;
  int zero, zero_added; /* what is added to a stored zero (then cut to the bits); zero of CONST */
  const unsigned char *z;
  size_t n_groups, group_size; /* inputs of a group; group g_idx[i] or i / group_size */
  const unsigned char *g_idx;  /* int32 [in], or NULL */
  float *scales;               /* scale of (o, g): scales[(row_first + o) / row_block · row_stride + g · group_stride] */
  size_t row_first, row_block, row_stride, group_stride;
};

/* Turns it into a plain matrix in new memory (free): blocks of integers where that loses nothing, else F32. With ret_order (else NULL) its
 * columns may come group by group where g_idx scatters them: then *ret_order is new memory, and column k belongs to input (*ret_order)[k]. */
void *checkpoint_unpack(const struct checkpoint_matrix *m, struct pool *pool, enum dtype *ret_dtype, uint32_t **ret_order);
/* As checkpoint_read, for who can do with columns in another order: out->in_order says which, or is NULL. */
int checkpoint_read_ordered(const struct checkpoint *c, const char *name, struct pool *pool, struct checkpoint_tensor *out,
                            struct error *err);

#endif
