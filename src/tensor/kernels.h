/* kernels: the table of kernel variants, and the layouts they share. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * A kernel works on one thread; compute.c and ops.c spread the work. Contract of every entry: doc/design/compute.md; equal bits from
 * every variant. The plain C in ref/ fills the table first, then each instruction set that the machine has overwrites its entries. */
#ifndef TENSOR_KERNELS_H
#define TENSOR_KERNELS_H
#include "tensor/tensor.h"

enum { PANEL_ROWS = 16, BLOCK = 32, UNIT_BLOCKS = 8, UNIT = UNIT_BLOCKS * BLOCK };

/* How a weight lies in memory: panels of 16 output rows; rows beyond n_out are zero. Float types: [n_in][16] elements of 4 or 2 bytes.
 * Integer types: k in blocks of 32, blocks in units: of one block, or of 8 where a file's super-block of 256 has a scale and its parts have
 * integer multiples of it (K: 8 · parts parts). A unit:
 *   scales         [16], fp16 where the source's are, else fp32
 *   minimums       [16] alike, where the type has them (K packs have zeros there otherwise, so that quants begin at whole lines)
 *   sub-scales     [8][parts][16] signed bytes (K packs)
 *   sub-minimums   alike, where the type has them
 *   quants         of each block, unsigned: the low 8 or 4 bits, then the high ones
 * 8 bits: 8 vectors of 64 bytes, vector i holding k = 4i … 4i+3 of each of the 16 rows. 4 bits: 4 vectors, vector i holding k = 4i … 4i+3 of
 * each row in the low nibbles and k = 16+4i … 16+4i+3, those of vector 4+i, in the high ones. High bits: with 2, two vectors; of each byte of
 * vector j the bits 2t and 2t + 1 belong to vector 4j+t of the quants. With 1, one vector, whose bits t belong to vector t.
 * I14: bf16 scales [16], then 16 vectors of 64 bytes, vector i holding k = 2i and 2i + 1 of each of the 16 rows as signed 16-bit integers.
 * value = scale · (quant − offset), or scale · quant + minimum; in a K pack scale = float(scale · sub-scale) and minimum =
 * −float(minimum · sub-minimum). Quants are below 128, but those with the offset 128. */
enum pack {
  PACK_F32,
  PACK_F16,
  PACK_BF16,
  PACK_I14, /* what has no integers of its own, rounded to 14 bits a value */
  PACK_Q8,
  PACK_Q4,
  PACK_Q4M,
  PACK_Q5,
  PACK_Q5M, /* fp16 scales: Q8_0, IQ4_NL, TQ2_0; Q4_0; Q4_1; Q5_0; Q5_1 */
  PACK_S8,  /* fp32 scales: IQ4_XS, MXFP4, Q8_F32 */
  PACK_K2M,
  PACK_K3,
  PACK_K4M,
  PACK_K5M,
  PACK_K6, /* fp16 scales of super-blocks: Q2_K … Q6_K */
  PACK_COUNT,
};

struct pack_form {
  int bits;        /* of an element, the low ones; 32 and 16: float types, nothing else below counts */
  int high;        /* more bits of it */
  int scale_bytes; /* of a scale and of a minimum */
  int parts;       /* scales of a block, for halves of it */
  bool minimum;
  int offset;
  bool sub; /* a unit of 8 blocks with sub-scales */
};

/* Constant where pack is, so that kernels specialize. */
static inline __attribute__((always_inline)) struct pack_form pack_form(enum pack pack) {
  switch (pack) {
    case PACK_F16:
    case PACK_BF16: return (struct pack_form){.bits = 16};
    case PACK_I14: return (struct pack_form){16, 0, 2, 1, false, 0, false};
    case PACK_Q8: return (struct pack_form){8, 0, 2, 1, false, 128, false};
    case PACK_Q4: return (struct pack_form){4, 0, 2, 1, false, 8, false};
    case PACK_Q4M: return (struct pack_form){4, 0, 2, 1, true, 0, false};
    case PACK_Q5: return (struct pack_form){4, 1, 2, 1, false, 16, false};
    case PACK_Q5M: return (struct pack_form){4, 1, 2, 1, true, 0, false};
    case PACK_S8: return (struct pack_form){8, 0, 4, 1, false, 128, false};
    case PACK_K2M: return (struct pack_form){4, 0, 2, 2, true, 0, true};
    case PACK_K3: return (struct pack_form){4, 0, 2, 2, false, 4, true};
    case PACK_K4M: return (struct pack_form){4, 0, 2, 1, true, 0, true};
    case PACK_K5M: return (struct pack_form){4, 1, 2, 1, true, 0, true};
    case PACK_K6: return (struct pack_form){4, 2, 2, 2, false, 32, true};
    default: return (struct pack_form){.bits = 32};
  }
}
static inline bool pack_is_float(enum pack pack) { return pack <= PACK_BF16; }
enum { I14_LARGEST = 8191 }; /* 32 · 8191² < 2^31 */
static inline __attribute__((always_inline)) size_t pack_unit_blocks(enum pack pack) { return pack_form(pack).sub ? UNIT_BLOCKS : 1; }
/* Bytes of a unit's scales (and of its minimums, if any). */
static inline __attribute__((always_inline)) size_t pack_scales_bytes(enum pack pack) {
  return (size_t)(PANEL_ROWS * pack_form(pack).scale_bytes);
}
/* Where the sub-scales and the sub-minimums of the part `part` of the unit's block b begin. */
static inline __attribute__((always_inline)) size_t pack_sub_at(enum pack pack, bool minimum, size_t b, size_t part) {
  size_t parts = (size_t)pack_form(pack).parts, at = 2 * pack_scales_bytes(pack);
  return at + ((minimum ? UNIT_BLOCKS : 0) * parts + b * parts + part) * PANEL_ROWS;
}
/* Where the quants of the unit's block b begin; b = pack_unit_blocks: the unit's end. */
static inline __attribute__((always_inline)) size_t pack_quants_at(enum pack pack, size_t b) {
  const struct pack_form form = pack_form(pack);
  size_t first = form.sub ? pack_sub_at(pack, form.minimum, UNIT_BLOCKS, 0) : pack_scales_bytes(pack) * (form.minimum ? 2 : 1);
  return first + b * (size_t)(PANEL_ROWS * BLOCK * (form.bits + form.high) / 8);
}
static inline __attribute__((always_inline)) size_t pack_unit_bytes(enum pack pack) { return pack_quants_at(pack, pack_unit_blocks(pack)); }
static inline size_t pack_panel_bytes(enum pack pack, size_t n_in) {
  size_t k = BLOCK * pack_unit_blocks(pack);
  return pack_is_float(pack) ? n_in * (size_t)(PANEL_ROWS * pack_form(pack).bits / 8) : (n_in + k - 1) / k * pack_unit_bytes(pack);
}

struct weight {
  enum pack pack;
  bool wide; /* takes 16-bit activations */
  size_t n_out, n_in;
  size_t n_panels, n_blocks;
  size_t panel_bytes;
  unsigned char *data; /* n_panels · panel_bytes, 64-byte aligned */
  bool borrowed;       /* data is somebody else's */
  uint32_t *in_order;  /* [n_in], behind the panels in data: column k belongs to input in_order[k]; or NULL */
};

/* What its columns take, in their order. */
static inline unsigned pack_act_form(const struct weight *w) {
  if (pack_is_float(w->pack)) return ACT_F32;
  if (w->pack == PACK_I14) return ACT_I14;
  return w->wide ? ACT_I16 : pack_form(w->pack).sub ? ACT_K8 : ACT_I8;
}

/* Activations of one row and block: x ≈ d · q. What a kernel needs beside q stands next to it. */
struct act_terms {
  float d;
  float ds;       /* d · Σ q, rounded once */
  int32_t bias;   /* −128 · Σ q: where the sum of products with quants of offset 128 starts */
  int32_t bias_8; /* −8 · Σ q: of other offsets its multiple, or half */
};
struct act8 {
  int8_t q[BLOCK];
  struct act_terms terms;
};
struct act16 {
  int8_t high[BLOCK], low[BLOCK]; /* q = 256 · high + low */
  int16_t q[BLOCK];
  struct act_terms terms;
  int32_t bias_half; /* −8 · Σ q of the first 16, for packs with two parts */
};

enum { UNIT_STEPS = 8 };
/* Activations for K packs: a unit of 8 blocks with one scale, x ≈ d · steps · q. */
struct act_k8 {
  int8_t q[UNIT];
  int32_t bias[2 * UNIT_BLOCKS];     /* of each half of a block: −32 · Σ q, where the sum of products with quants of offset 32 starts */
  int16_t sum_half[2 * UNIT_BLOCKS]; /* of each half: steps · Σ q */
  int16_t sum[UNIT_BLOCKS];          /* of each block, alike */
  int32_t steps[UNIT_BLOCKS];        /* of each block: 1 … UNIT_STEPS */
  float d;
};

/* Activations for 14-bit weights: |q| <= I14_LARGEST. */
struct act14 {
  int16_t q[BLOCK];
  float d;
};

struct act {
  size_t rows_max, in_max;
  size_t ld;      /* in_max rounded up to whole blocks */
  size_t rows, n; /* as prepared last */
  unsigned forms;
  float *f32;         /* [rows_max][ld], or NULL */
  struct act8 *i8;    /* [rows_max][ld / 32], or NULL */
  struct act_k8 *k8;  /* [rows_max][act_units(ld)], or NULL */
  struct act16 *i16;  /* alike */
  struct act14 *i14;  /* alike */
  float *row_scratch; /* [threads][ld] */
  size_t bytes;
};

/* Units of a row of n values. */
static inline size_t act_units(size_t n) { return (n + UNIT - 1) / UNIT; }

/* One product, some of its panels, all its rows. */
struct product {
  const struct linear *job;
  const struct act *act;
  const int32_t *row_index; /* or NULL */
  size_t n_rows;
  unsigned char *scratch; /* of the calling thread, KERNELS_SCRATCH_BYTES, 64-byte aligned; or NULL */
};

/* From so many rows on a kernel may open weights into the scratch, once for all rows. */
enum { KERNELS_OPEN_ROWS = 64, KERNELS_SCRATCH_BYTES = 160 * 1024 };

/* A kv head of a page's layer. */
struct kv_head {
  unsigned char *k, *v;
  uint16_t *k_scales, *v_scales; /* [kv_scales][32], with elements of 8 bits */
};
/* Scales of a position's K or V of a head. */
static inline size_t kv_scales(size_t head_dim) { return (head_dim + BLOCK - 1) / BLOCK; }
static inline struct kv_head kv_head_at(const struct kv_layout *kv, unsigned char *page_layer, size_t head) {
  size_t values = kv->head_dim * KV_PAGE_TOKENS, size = kv->dtype == DTYPE_F32 ? 4 : kv->dtype == DTYPE_Q8_0 ? 1 : 2;
  struct kv_head h = {.k = page_layer + head * kv->head_bytes};
  h.v = h.k + values * size;
  h.k_scales = (uint16_t *)(void *)(h.v + values * size);
  h.v_scales = h.k_scales + kv_scales(kv->head_dim) * KV_PAGE_TOKENS;
  return h;
}
enum { KV_LARGEST = 127, KV_BROKEN = 0x7E00 }; /* the scale of a block that is no number: NaN */

/* A query tile of one kv head of one segment. */
struct attention_tile {
  const struct attention *a;
  const struct kv_segment *segment;
  size_t kv_head;
  size_t row_begin, n_rows; /* within the segment; n_rows <= ATTENTION_ROWS */
  float *scratch;           /* kernels_attention_floats(…) floats of the calling thread */
};
enum { ATTENTION_ROWS = 16 };

/* What row `row` of a segment sees: positions *begin … *end − 1. */
static inline void kernels_attention_range(const struct attention *a, const struct kv_segment *g, size_t row, size_t *begin, size_t *end) {
  *end = a->causal ? g->pos_begin + row + 1 : g->pos_begin + g->n_rows;
  *begin = a->window && *end > a->window ? *end - a->window : 0;
}

/* Scratch of one thread: a block of K and of V with their scales, per query its output, scores, maximum and sum, and weights times scales of a
 * few queries; with slack for alignment. */
enum { ATTENTION_TILE_MAX = 4 }; /* queries of an output tile */
static inline size_t kernels_attention_floats(size_t heads_per_kv, size_t head_dim) {
  return 2 * head_dim * KV_PAGE_TOKENS + ATTENTION_ROWS * heads_per_kv * (2 * head_dim + KV_PAGE_TOKENS + 2) +
         (2 + ATTENTION_TILE_MAX) * kv_scales(head_dim) * KV_PAGE_TOKENS + 64;
}

struct kernels {
  const char *name;
  void (*linear_f32)(const struct product *p, size_t panel_begin, size_t panel_end);
  void (*linear_i8)(const struct product *p, size_t panel_begin, size_t panel_end);
  void (*linear_k8)(const struct product *p, size_t panel_begin, size_t panel_end); /* K packs with 8-bit activations */
  void (*linear_i16)(const struct product *p, size_t panel_begin, size_t panel_end);
  void (*linear_i14)(const struct product *p, size_t panel_begin, size_t panel_end);
  void (*attention)(const struct attention_tile *t);
  void (*quantize_i8)(struct act8 *to, const float *x, size_t n);   /* one row; what is missing in the last block counts as 0 */
  void (*quantize_k8)(struct act_k8 *to, const float *x, size_t n); /* alike, of the last unit */
  void (*quantize_i16)(struct act16 *to, const float *x, size_t n);
  void (*quantize_i14)(struct act14 *to, const float *x, size_t n);
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
  /* For the figures of the machine: rounds of independent dot instructions out of registers (returns the operations done); reading. */
  double (*dot_rounds)(size_t rounds);
  uint64_t (*read_all)(const void *memory, size_t bytes);
};

/* Each overwrites the entries it has. */
void ref_fill(struct kernels *k);
void avx2_fill(struct kernels *k);
void avx512_fill(struct kernels *k);
void neon_fill(struct kernels *k);
void dotprod_fill(struct kernels *k);
/* The widest table that this machine, the mask and PLINTH_ISA allow, each variant checked against ref. */
const struct kernels *kernels_best(unsigned isa_mask);

/* All of them, the widest first; returns how many, at least one. */
enum { KERNELS_MAX = 3 };
size_t kernels_list(unsigned isa_mask, const struct kernels *ret[KERNELS_MAX]);

/* Row of act that output row i reads. */
static inline size_t product_row(const struct product *p, size_t i) { return p->row_index ? (size_t)p->row_index[i] : i; }

#endif
