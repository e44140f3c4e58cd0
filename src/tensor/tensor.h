/* tensor: what models compute with: packed weights, activations, KV pages and the operations on them. The door of the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A *compute mode* is a contract about bits (doc/design/compute.md): per weight type it fixes blocks, rounding and the order of
 * the fp32 operations of every output. Each kernel variant (plain C in ref/, AVX2, AVX-512, NEON) under a mode gives equal bits, for any
 * tile, batch and number of threads. The plain C is the truth; a variant joins the table only after it matched the truth on a
 * start-up sample. All matrices are row-major; "rows" are tokens, unless said otherwise; ld* are strides in floats.
 *
 * One thread drives a `struct compute` at a time; operations spread themselves over its pool. They cannot fail: shapes are
 * asserted, memory is the caller's. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/pool.h"
#include "base/slice.h"

enum compute_mode {
  COMPUTE_F32, /* everything in fp32, weights dequantized exactly, KV in fp32: the mode that is compared with Hugging Face */
  COMPUTE_FAST, /* quantized weights meet activations in 8-bit blocks of 32, K types in units of 256 (weights of the head: 16-bit); KV in f16 */
  COMPUTE_PRECISE, /* the same with 16-bit activations everywhere */
  COMPUTE_MODES,
};
#define COMPUTE_MODE_CHOICES "fast|precise|f32" /* their names, as options list them */

enum { /* instruction sets, for the mask */
       COMPUTE_ISA_REF = 1,
       COMPUTE_ISA_AVX2 = 2,
       COMPUTE_ISA_AVX512 = 4, /* F, BW, DQ, VL, VNNI */
       COMPUTE_ISA_NEON = 8,
       COMPUTE_ISA_DOTPROD = 16, /* NEON with sdot */
       COMPUTE_ISA_ALL = 31,
};

struct compute;

/* isa_mask limits the variants (tests reach each of them on one machine); the environment variable PLINTH_ISA (a name as below) limits
 * further. The pool is borrowed. */
struct compute *compute_create(enum compute_mode mode, struct pool *pool, unsigned isa_mask, struct error *err);
void compute_destroy(struct compute *c); /* NULL is fine */
enum compute_mode compute_mode_of(const struct compute *c);
struct pool *compute_pool(const struct compute *c);
const char *compute_isa_name(const struct compute *c); /* of the widest variant in use: "avx512", "avx2", "dotprod", "neon", "ref" */
/* The mask of all variants up to the one of that name, or of all ("auto"); 0 when this program has none of that name. */
unsigned compute_isa_parse(const char *name);
/* "f32", "fast", "precise" -> mode; -1 for another name. */
int compute_mode_parse(const char *name);
const char *compute_mode_name(enum compute_mode mode);

/* ---- which of the equal variants computes what ----
 * Kernels of a family ("rows", "products of 8 bits", …) come from one instruction set: the widest, until another was measured to be faster, or
 * set. So with the bytes of weights in a tile ("tile": "192 KiB"). Any choice gives the same bits. Families are counted from 0. */
const char *compute_choice_family(size_t family);                        /* its name; NULL behind the last */
const char *compute_choice_name(const struct compute *c, size_t family); /* of what it uses */
/* False, and nothing changes, when there is no such family, or what may be used here has no such variant. */
bool compute_choice_set(struct compute *c, const char *family, const char *name);
/* True while a family was neither set nor measured. */
bool compute_choice_is_open(const struct compute *c);
/* Measures those, on some sample, a few milliseconds each, and takes the fastest where it is faster by a twentieth at least. */
void compute_choice_measure(struct compute *c);
/* "avx512", or with what differs from that: "avx512; rows avx2". Appends to out. */
void compute_choice_tell(const struct compute *c, struct buf *out);

/* ---- weights ---- */

struct weight; /* a matrix [n_out, n_in], repacked into the layout the kernels stream; immutable; any number of readers */

struct weight_source {
  enum dtype dtype;
  const void *data;          /* [n_out, n_in] in the file's layout, maybe unaligned; not needed after packing */
  size_t n_out, n_in;        /* n_in a multiple of the type's block */
  const uint32_t *row_order; /* packed row r is source row row_order[r]; NULL: as they are */
  const uint32_t *in_order;  /* column k of data belongs to input in_order[k], a permutation; NULL: to input k. Copied */
  bool exact;                /* packed as under COMPUTE_F32, whatever the mode */
  bool head;                 /* the output head: its activations are 16-bit under COMPUTE_FAST too */
};

/* Repacks, in parallel. Under COMPUTE_F32, exact, and for integer block types dequantized packed weights equal dequantized originals bit for
 * bit; other types are rounded to 14 bits (doc/design/compute.md). Fails for a dtype without
 * conversion (ERROR_UNSUPPORTED) and when memory is short (ERROR_NO_MEMORY). */
struct weight *weight_pack(struct compute *c, const struct weight_source *source, struct error *err);
void weight_free(struct weight *w); /* NULL is fine */

/* Packed bytes can be kept in a file and seen from there. A form says what they are; it means the same only under one WEIGHT_LAYOUT, which
 * is counted up whenever anything packs otherwise than before. */
enum { WEIGHT_LAYOUT = 4 };
struct weight_form {
  unsigned pack;
  bool wide;
  size_t n_out, n_in;
};
struct weight_form weight_form(const struct weight *w);
struct slice weight_packed(const struct weight *w);
/* A weight whose packed bytes are the caller's, 64-byte aligned, and stay while it lives. NULL when they are not of this form. */
struct weight *weight_view(struct weight_form form, struct slice packed);
/* From now on a view has its bytes, equal ones, at data, a piece of memory that it gives back when it is freed (base/huge.h). No operation runs with it. */
void weight_take(struct weight *view, void *data);
size_t weight_n_out(const struct weight *w);
size_t weight_n_in(const struct weight *w);
size_t weight_bytes(const struct weight *w); /* in memory */
/* What weight_bytes would say of a matrix that is not packed yet (UINT64_MAX when that does not fit). */
uint64_t weight_packed_bytes(enum compute_mode mode, enum dtype dtype, uint64_t n_out, uint64_t n_in);
size_t weight_stream_bytes(const struct weight *w); /* read by one product with a single row: for bandwidth figures */
/* The dequantized row r, [n_in]. */
void weight_row(const struct weight *w, size_t r, float *out);

/* ---- activations ---- */

struct act; /* rows of fp32 values in the forms that packed weights take (fp32; blocks of 8, 16 and 14 bits; units of 8 bits) */

enum { ACT_F32 = 1, ACT_I8 = 2, ACT_I16 = 4, ACT_I14 = 8, ACT_K8 = 16 };

/* Room for rows_max rows of in_max values in every form of the mode. */
struct act *act_create(struct compute *c, size_t rows_max, size_t in_max, struct error *err);
void act_free(struct act *a); /* NULL is fine */
size_t act_bytes(const struct act *a);
/* The form that products with w take. A weight with an order of its own takes fp32 and puts it in that order itself. */
unsigned weight_act_form(const struct weight *w);

/* ---- operations ----
 * Those with `act` and `forms` leave their result in these forms in act (ready for op_linear), and, when y is not NULL, as fp32 in y. */

/* y[i] = row ids[i] of w.  y [n, n_in] */
void op_embed(struct compute *c, float *y, const struct weight *w, const int32_t *ids, size_t n);

/* act/y = x as it is, in the asked forms.  x [rows, n] */
void op_prepare(struct compute *c, struct act *act, unsigned forms, const float *x, size_t ldx, size_t rows, size_t n);

/* r = x · rsqrt(mean(x²) + eps) · gain (rsqrt as 1/sqrt; products in this order).  x [rows, n]  gain [n] */
void op_rmsnorm(struct compute *c, float *y, struct act *act, unsigned forms, const float *x, const float *gain, float eps, size_t rows,
                size_t n);

/* (x − μ)·1/sqrt(var + eps)·gain + bias; bias may be NULL.  x [rows, n]; y may be x. When add is not NULL the input is x + add. */
void op_layernorm(struct compute *c, float *y, struct act *act, unsigned forms, const float *x, const float *add, const float *gain,
                  const float *bias, float eps, size_t rows, size_t n);

/* silu(gate) · up.  gate, up [rows, n] */
void op_silu_mul(struct compute *c, float *y, struct act *act, unsigned forms, const float *gate, const float *up, size_t rows, size_t n);

/* gelu(x) = x/2 · (1 + erf(x/√2)), exact erf.  x [rows, n] */
void op_gelu(struct compute *c, float *y, struct act *act, unsigned forms, const float *x, size_t rows, size_t n);

/* gelu(gate) · up.  gate, up [rows, n] */
void op_gelu_mul(struct compute *c, float *y, struct act *act, unsigned forms, const float *gate, const float *up, size_t rows, size_t n);

/* Held within ±limit, in place; NaN stays.  x [n] */
void op_clamp(struct compute *c, float *x, size_t n, float limit);

/* y[r] += Σ_j weight[r·k + j] · x[slot[r·k + j]]: the sum is complete, j ascending, before it is added.  y [rows, n] */
void op_mix_rows(struct compute *c, float *y, const float *x, const int32_t *slot, const float *weight, size_t k, size_t rows, size_t n);

/* One product y = act · wᵀ (+ bias) (+ what y holds, when add). */
struct linear {
  const struct weight *w; /* [n_out, n_in] */
  const float *bias;      /* [n_out] or NULL */
  float *y;               /* [rows, n_out], stride ldy */
  size_t ldy;
  bool add; /* y += …; the product is complete before it is added */
};
/* Several products of the same activations in one go (q, k, v; gate, up). rows, n_in as prepared in act; its forms must hold each
 * weight's form. Rows: when row_index is not NULL, output row i is the product of act row row_index[i] (n_rows of them). */
void op_linear(struct compute *c, const struct act *act, const struct linear *jobs, size_t n_jobs, const int32_t *row_index, size_t n_rows);

/* What becomes of the products up (jobs[0]) and gate (jobs[1]). */
enum linear_then { LINEAR_GELU /* gelu(up): one job */, LINEAR_SILU_MUL /* silu(gate) · up */, LINEAR_GELU_MUL /* gelu(gate) · up */ };
/* op_linear, then op_gelu, op_silu_mul or op_gelu_mul of its rows into `out` (not `act`) in the asked forms, tile by tile while the products are
 * in the cache. The jobs have equal n_out, which is ldy, and do not add; what their y hold afterwards is not said. */
void op_linear_then(struct compute *c, const struct act *act, const struct linear *jobs, enum linear_then then, struct act *out,
                    unsigned forms, size_t n_rows);

/* cos/sin [rows, d/2] of float32(pos)·inv_freq[i], product in fp32, then sine and cosine with full range reduction.
 * inv_freq [d/2], already divided by a scaling rule. */
void op_rope_table(struct compute *c, float *cos, float *sin, const int32_t *pos, size_t rows, const float *inv_freq, size_t half_dim);
/* Half-split rotation in place: pairs (i, i + d/2) of each head.  x [rows, n_heads · d], stride ldx */
void op_rope(struct compute *c, float *x, size_t ldx, const float *cos, const float *sin, size_t rows, size_t n_heads, size_t head_dim);

/* ---- KV pages ----
 * A page holds KV_PAGE_TOKENS consecutive positions of one sequence, all layers. Per layer and kv head: K as [head_dim][32]
 * (positions innermost), then V as [32][head_dim]. Elements are f32, f16, bf16, or Q8_0: signed bytes, and behind K and V of the head the fp16 scales, one
 * for 32 values of a position: of K [head_dim / 32, rounded up][32], then of V alike. A position is rounded alone, so pages do not depend on what
 * else is in them. */
enum { KV_PAGE_TOKENS = 32 };

struct kv_layout {
  size_t n_layers, n_kv_heads, head_dim;
  enum dtype dtype;   /* DTYPE_F32, DTYPE_F16, DTYPE_BF16 or DTYPE_Q8_0 */
  size_t head_bytes;  /* of one kv head within a layer: its K, its V, their scales */
  size_t layer_bytes; /* of one layer within a page */
  size_t page_bytes;  /* a multiple of 64 */
};
/* What users choose: a contract about bits of its own (doc/design/compute.md). */
enum kv_type {
  KV_F16,  /* DTYPE_F16; under COMPUTE_F32 DTYPE_F32 */
  KV_BF16, /* DTYPE_BF16 */
  KV_Q8,   /* DTYPE_Q8_0 */
  KV_TYPES,
};
#define KV_TYPE_CHOICES "f16|bf16|q8" /* their names, as options list them */
int kv_type_parse(const char *name);  /* -1 for another name */
const char *kv_type_name(enum kv_type type);
enum dtype kv_type_dtype(enum kv_type type, enum compute_mode mode);

/* Bytes of n values of a kv head at one position, with their scales. */
size_t kv_row_bytes(enum dtype dtype, size_t n);
struct kv_layout kv_layout_make(size_t n_layers, size_t n_kv_heads, size_t head_dim, enum dtype dtype);

/* A run of rows that belong to one sequence: row row_begin + i has position pos_begin + i; page p holds positions 32p … 32p+31. */
struct kv_segment {
  size_t row_begin, n_rows;
  size_t pos_begin;
  void *const *pages; /* pointers to whole pages, 64-byte aligned */
};

/* Writes the k and v rows of the segments to their places of a layer.  k, v [rows, n_kv_heads · head_dim], stride ld */
void op_kv_store(struct compute *c, const struct kv_layout *kv, size_t layer, const struct kv_segment *segments, size_t n_segments,
                 const float *k, const float *v, size_t ld);

/* The same of rows [q k v] of n_heads + 2 · n_kv_heads heads, after op_rope of q and of k with cos and sin (NULL: no rotation). q is rotated in
 * place; k and v may be rotated or left as they were.  qkv [rows, …], stride ld */
void op_rope_store(struct compute *c, const struct kv_layout *kv, size_t layer, const struct kv_segment *segments, size_t n_segments,
                   float *qkv, size_t ld, size_t n_heads, const float *cos, const float *sin);

struct attention {
  const struct kv_layout *kv;
  size_t layer;
  size_t n_heads; /* query heads; head h reads kv head h / (n_heads / n_kv_heads) */
  float scale;
  bool causal;         /* position p sees 0 … p; otherwise all positions of its segment (0 … pos_begin + n_rows − 1) */
  size_t window;       /* not 0 (causal only): position p sees no more than p − window + 1 … p */
  const float *slopes; /* [n_heads] or NULL: ALiBi, score += slope · (key's position − query's position) */
  const float *q;      /* [rows, n_heads · head_dim], stride ldq */
  size_t ldq;
  float *out; /* [rows, n_heads · head_dim], stride ldo */
  size_t ldo;
};
/* Online softmax over key blocks of 32 by absolute position, in ascending order; blocks before the window are not read. */
void op_attention(struct compute *c, const struct attention *a, const struct kv_segment *segments, size_t n_segments);

/* ---- pooling and scores (single rows; on the calling thread) ---- */
void op_mean_rows(float *y, const float *x, size_t rows, size_t n); /* sum in row order, then times 1/rows.  x [rows, n] */
void op_l2_normalize(float *x, size_t n);                           /* x / max(‖x‖₂, 1e-12) */
float op_log_sum_exp(const float *x, size_t n);                     /* fixed order: 16 lanes, then a tree */
/* y[i] = exp((x[i] − max x)·scale); returns their sum, in the order of op_log_sum_exp (16 lanes, then a tree). y may be x. */
float op_softmax_weights(float *y, const float *x, float scale, size_t n);
size_t op_argmax(const float *x, size_t n); /* lowest index on ties; NaN never wins */

/* ---- our own elementary functions: equal bits on every machine ---- */
float tensor_exp(float x);
float tensor_erf(float x);
float tensor_tanh(float x);
float tensor_log(float x);
void tensor_sincos(float x, float *sin, float *cos); /* full range reduction up to 2^20 */

/* ---- figures of this machine, measured (for `plinth bench`) ---- */
/* Bytes/s, all threads reading memory that no cache holds, over the whole time: what neighbours on the memory bus leave just then. */
double tensor_read_bandwidth(struct pool *p, double seconds);
void tensor_read(struct pool *p, struct slice memory); /* all threads read it once, as products read weights, and do nothing else */
double tensor_dot_peak(struct compute *c,
                       double seconds_max); /* operations/s of the dot instruction that `fast` uses; 1 product + 1 sum = 2 */

#endif
