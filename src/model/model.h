/* model: architectures: config and weights from files, forward passes. The door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * One file per architecture (llama.c, mpt.c, dbrx.c, bert.c, gte.c) over what they share (decoder.c, encoder.c, moe.c); model.c picks by the
 * file's architecture. Nothing is hard-coded: every size comes from the file and every tensor is checked against it. Forward passes are
 * driven by one thread at a time. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "file/file.h"
#include "tensor/tensor.h"

enum model_task { MODEL_GENERATE, MODEL_EMBED };
enum model_pooling { MODEL_POOL_MEAN, MODEL_POOL_CLS };

/* What a file says about its model; filled without loading weights. */
struct model_info {
  char architecture[32]; /* "llama", "bert" */
  enum model_task task;
  char name[96]; /* general.name or _name_or_path; may be empty */
  size_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
  size_t context_tokens;            /* window: positions, or max_seq_length of an embedding model */
  size_t window_tokens;             /* sliding window of attention, the same in every layer; 0: none */
  size_t n_experts, n_experts_used; /* of a layer, and by a token; 0: dense. n_ff is of one expert */
  uint64_t n_parameters;
  char quantization[32];      /* "Q4_1" : the type that holds most of the bytes */
  uint64_t weight_bytes;      /* tensors as stored */
  bool tied_head;             /* the output head is the embedding */
  enum model_pooling pooling; /* MODEL_EMBED */
  bool normalize;             /* MODEL_EMBED: unit L2 */
  double norm_epsilon;        /* as the file says it, or what transformers takes where config.json is silent */
  double rope_theta;          /* alike; 0: no rotation */
};

/* ---- checkpoints: the tensors of a file, whatever way it stores them (quantization_config; doc/format/checkpoints.md) ---- */

struct checkpoint;

/* A tensor, plain: [out, in] as torch prints it. */
struct checkpoint_tensor {
  struct file_tensor view; /* data lies in the file, or in owned */
  void *owned;
  uint32_t *in_order; /* owned; NULL, but of checkpoint_read_ordered (checkpoint.h) */
};

/* The file is borrowed. A method or setting that Plinth cannot load is refused by key and value. */
struct checkpoint *checkpoint_open(const struct file_model *file, struct error *err);
void checkpoint_close(struct checkpoint *c);               /* NULL is fine */
const char *checkpoint_method(const struct checkpoint *c); /* "GPTQ", "AWQ", "FP8", "compressed-tensors"; NULL when plain */
/* What the file holds under that name, or what stands in its place (X.qweight for X.weight); NULL when neither. */
const struct file_tensor *checkpoint_witness(const struct checkpoint *c, const char *name);
/* 1: *out is filled (checkpoint_release it); a quantized matrix is unpacked without loss, on the pool. 0: there is none. -1: it is broken. */
int checkpoint_read(const struct checkpoint *c, const char *name, struct pool *pool, struct checkpoint_tensor *out, struct error *err);
void checkpoint_release(struct checkpoint_tensor *t); /* fine on {0} */

/* Rows of a tensor that stacks one matrix for each expert. */
struct checkpoint_rows {
  size_t rows_per_expert; /* of the tensor */
  size_t begin, n;        /* rows of the whole tensor, all of one expert */
  size_t columns;
};
/* Those rows as a matrix [n, columns], for a tensor of a number type that needs scales. Of 8-bit floats the scales stand in NAME_scale_inv or
 * NAME_scale; stacks of integers are refused by key and value. Release out. */
int checkpoint_read_rows(const struct checkpoint *c, const struct file_tensor *t, const struct checkpoint_rows *rows, struct pool *pool,
                         struct checkpoint_tensor *out, struct error *err);

/* How many of the model's parameters the tensor t of the file holds: 0 for scales and the like. */
uint64_t checkpoint_parameters(const struct checkpoint *c, const struct file_tensor *t);

/* Whether the architecture is known: 0, or -1 with its name. For a file that was opened for its text alone, too. */
int model_supports(const struct file_model *file, struct error *err);
/* Reads and checks config and tensor list; refuses an unknown architecture or unsupported value with its key. */
int model_inspect(const struct file_model *file, struct model_info *info, struct error *err);
/* What the weights take in memory under mode, planned from the tensor list; info is model_inspect's. UINT64_MAX when the count does not fit. */
int model_memory(const struct file_model *file, const struct model_info *info, enum compute_mode mode, uint64_t *ret_bytes,
                 struct error *err);

struct model;
struct kept;

/* What the models of a process have in mapped files. */
struct model_mapped {
  atomic_ullong bytes; /* of weights: the system calls them free memory */
  atomic_uint copying; /* threads that copy such weights to memory of their own */
};

struct model_options {
  size_t rows_max;     /* most rows of one forward pass; 0: 512 */
  size_t out_rows_max; /* most rows with logits in one pass; 0: 64 */
  enum kv_type kv;     /* what keys and values are held in; encoders hold none */
  /* Folder of this model's own for packed weights, written in the background for the next load, which maps them and copies them in the background.
   * NULL: none. */
  const char *kept_dir;
  /* A model may be loaded by one thread while another drives forward passes on the same compute: */
  struct compute *packer;       /* unpacks and packs, with a pool of its own and the same mode; NULL: the model's own */
  const atomic_bool *cancelled; /* becomes true when nobody wants the model any more: ERROR_CANCELLED soon after; NULL: never */
  uint64_t reserved_bytes;      /* of the memory that the system calls free, so much is promised to others */
  struct model_mapped *mapped;  /* stays until the model is freed; NULL: nobody asks */
  struct kept *kept;            /* model_load's own */
};

/* Positions whose keys and values a sequence of so many tokens needs at once, at most: with a sliding window those of the window and of one
 * pass of rows_max rows (0: 512), in whole pages; what lies before them is never read again. */
uint64_t model_kv_positions(const struct model_info *info, size_t rows_max, uint64_t n_tokens);

/* Of one of these positions, but under COMPUTE_F32; 0 for encoders. */
uint64_t model_kv_bytes_per_token(const struct model_info *info, enum kv_type type);

/* Loads and repacks the weights. The file may be closed afterwards. */
struct model *model_load(const struct file_model *file, struct compute *c, const struct model_options *options, struct error *err);
void model_free(struct model *m); /* NULL is fine */
const struct model_info *model_info(const struct model *m);
struct compute *model_compute(const struct model *m);
size_t model_rows_max(const struct model *m);
size_t model_out_rows_max(const struct model *m);
size_t model_weight_bytes(const struct model *m); /* in memory, as packed */
size_t model_stream_bytes(const struct model *m); /* weights read to decode one token of one stream */
/* Weights read by a pass of so many rows; of experts those that so many rows use on the average, if each were as likely. */
double model_read_bytes(const struct model *m, size_t n_rows);
/* Operations (two for a product and its sum) of a pass's products with weights. */
double model_operations(const struct model *m, size_t n_rows, size_t n_out_rows);
struct kv_layout model_kv_layout(const struct model *m); /* MODEL_GENERATE */

/* A LoRA adapter on a loaded model, which it needs as long as it lives: the base's weights are shared, each sequence says which adapter
 * it goes through (adapter.c has the mathematics). packer as in model_options. Refused, by key or tensor: what is not plain LoRA, and what does not fit m. */
struct adapter;
struct adapter *adapter_load(const struct file_adapter *file, const struct model *m, struct compute *packer, struct error *err);
void adapter_free(struct adapter *a); /* NULL is fine */
size_t adapter_weight_bytes(const struct adapter *a);
const struct model *adapter_model(const struct adapter *a);
/* Writes the base's tensors with the adapter's share in them, W + s·BA in fp32 and rounded to the type of W, to a new .safetensors file.
 * The base must be plain safetensors; an adapter that adapter_load takes fits. */
int adapter_merge(const struct file_adapter *adapter, const struct file_model *base, const char *path, struct error *err);

/* One forward pass over rows of several sequences.  Generating models. */
struct model_batch {
  size_t n_rows;                     /* sum of the segments' rows, <= rows_max */
  const int32_t *tokens;             /* [n_rows], each in [0, n_vocab): asserted */
  const struct kv_segment *segments; /* rows in order, pages already assigned for every position of the rows */
  size_t n_segments;
  struct adapter *const *adapters; /* [n_segments], NULL for the model itself; NULL: no segment has one */
  const int32_t *out_rows;         /* rows whose logits are wanted, ascending */
  size_t n_out_rows;               /* <= out_rows_max */
  float *logits;                   /* [n_out_rows, n_vocab] */
};
void model_forward(struct model *m, const struct model_batch *batch);

/* Embeddings of several texts in one pass: text i is tokens[offset[i] … offset[i+1]).  out [n, n_embd], pooled, normalized where the
 * model says so. offset[n] <= rows_max; each text has 1 … context_tokens tokens (asserted). */
void model_embed(struct model *m, const int32_t *tokens, const size_t *offset, size_t n, float *out);

#endif
