/* kernels: the table of kernel variants, and the layouts they share. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * A kernel works on one thread; compute.c and ops.c spread the work. Contract of every entry: doc/design/compute.md; equal bits from
 * every variant. The plain C in ref/ fills the table first, then each instruction set that the machine has overwrites its entries. */
#ifndef TENSOR_KERNELS_H
#define TENSOR_KERNELS_H
#include "tensor/tensor.h"

enum { PANEL_ROWS = 16, BLOCK = 32 };

/* How a weight lies in memory: panels of 16 output rows; within a panel, k ascending.
 *   PACK_F32   [n_in][16] fp32
 *   PACK_Q8    per block of 32 k: 16 fp16 scales, then 8 vectors of 64 bytes; vector i holds, for each of the 16 rows, k = 4i … 4i+3 as q + 128
 *   PACK_Q4    per block: 16 fp16 scales, then 4 vectors of 64 bytes; vector i holds per row k = 4i … 4i+3 in the low nibbles and
 *              k = 16+4i … 16+4i+3 in the high ones, as q in 0 … 15; value = scale · (q − 8)
 *   PACK_Q4M   per block: 16 fp16 scales, 16 fp16 minimums, then the vectors of PACK_Q4; value = scale · q + minimum
 * Rows beyond n_out are zero. */
enum pack { PACK_F32, PACK_Q8, PACK_Q4, PACK_Q4M };

struct weight {
  enum pack pack;
  bool wide;            /* takes 16-bit activations */
  size_t n_out, n_in;
  size_t n_panels, n_blocks;
  size_t panel_bytes;
  unsigned char *data;  /* n_panels · panel_bytes, 64-byte aligned */
};

/* Activations in 8-bit or 16-bit blocks of 32, per row: x ≈ d · q. For 16 bits q = 256 · high + low. */
struct act_blocks {
  int8_t *q8;       /* [rows][ld] 8-bit values, or the high bytes */
  int8_t *low;      /* [rows][ld] low bytes; 16 bits only */
  int16_t *q16;     /* [rows][ld] the whole values; 16 bits only */
  float *d;         /* [rows][ld / 32] scale */
  float *ds;        /* [rows][ld / 32] d · (sum of q), rounded once */
  int32_t *sum;     /* [rows][ld / 32] sum of q */
};

struct act {
  size_t rows_max, in_max;
  size_t ld;            /* in_max rounded up to whole blocks */
  size_t rows, n;       /* as prepared last */
  unsigned forms;
  float *f32;           /* [rows_max][ld], or NULL */
  struct act_blocks i8, i16;
  float *row_scratch;   /* [threads][ld] */
  size_t bytes;
};

/* One product, some of its panels, all its rows. */
struct product {
  const struct linear *job;
  const struct act *act;
  const int32_t *row_index; /* or NULL */
  size_t n_rows;
};

/* A query tile of one kv head of one segment. */
struct attention_tile {
  const struct attention *a;
  const struct kv_segment *segment;
  size_t kv_head;
  size_t row_begin, n_rows;  /* within the segment; n_rows <= ATTENTION_ROWS */
  float *scratch;            /* attention_scratch_floats(…) floats of the calling thread */
};
enum { ATTENTION_ROWS = 16 };
size_t attention_scratch_floats(size_t heads_per_kv, size_t head_dim);

struct kernels {
  const char *name;
  void (*linear_f32)(const struct product *p, size_t panel_begin, size_t panel_end);
  void (*linear_i8)(const struct product *p, size_t panel_begin, size_t panel_end);
  void (*linear_i16)(const struct product *p, size_t panel_begin, size_t panel_end);
  void (*attention)(const struct attention_tile *t);
  void (*quantize_i8)(const struct act_blocks *to, size_t row, size_t ld, const float *x, size_t n);
  void (*quantize_i16)(const struct act_blocks *to, size_t row, size_t ld, const float *x, size_t n);
  void (*rmsnorm)(float *y, const float *x, const float *gain, float eps, size_t n);
  void (*layernorm)(float *y, const float *x, const float *add, const float *gain, const float *bias, float eps, size_t n);
  void (*silu_mul)(float *y, const float *gate, const float *up, size_t n);
  void (*gelu)(float *y, const float *x, size_t n);
  void (*rope)(float *x, const float *cos, const float *sin, size_t n_heads, size_t head_dim); /* one row */
  /* One row's k and v ([n_kv_heads · head_dim]) into slot `slot` of a page's layer. */
  void (*kv_store)(const struct kv_layout *kv, unsigned char *page_layer, size_t slot, const float *k, const float *v);
  float (*softmax_weights)(float *y, const float *x, float scale, size_t n);
  float (*sum_exp)(const float *x, float max, size_t n); /* Σ exp(x − max) */
  float (*max)(const float *x, size_t n);                /* −inf for n = 0; NaN is passed over */
};

/* Each overwrites the entries it has. */
void ref_fill(struct kernels *k);
void avx2_fill(struct kernels *k);
void avx512_fill(struct kernels *k);
/* The widest table that this machine, the mask and PLINTH_ISA allow, each variant checked against ref. */
const struct kernels *kernels_best(unsigned isa_mask);

/* Where a panel's parts begin. */
static inline size_t kernels_block_bytes(enum pack pack) {
  return pack == PACK_Q8 ? 32 + 8 * 64 : pack == PACK_Q4 ? 32 + 4 * 64 : pack == PACK_Q4M ? 64 + 4 * 64 : BLOCK * 64;
}
/* Row of act that output row i reads. */
static inline size_t product_row(const struct product *p, size_t i) { return p->row_index ? (size_t)p->row_index[i] : i; }

#endif
