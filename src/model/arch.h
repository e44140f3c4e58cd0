/* arch: what an architecture gives to model.c, and what it may use to read its file. Private to the room.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H
#include "model/kept.h"
#include "model/model.h"

/* First member of every architecture's own struct. */
struct model {
  const struct model_arch *arch;
  struct model_info info;
  struct compute *compute; /* borrowed */
  enum kv_type kv;
  size_t rows_max, out_rows_max;
  size_t weight_bytes; /* in memory */
  size_t stream_bytes; /* read to decode one token */
  size_t expert_bytes; /* of these, of experts */
  double row_operations, out_row_operations;
  struct kept *kept; /* or NULL */
};

/* How an architecture calls its experts; which: 0 gate, 1 up, 2 down. */
struct model_experts {
  const char *one[3];        /* the Hugging Face module of one expert's matrix, "%zu" for the layer, then for the expert */
  const char *stack;         /* the module that holds those of all, "%zu" for the layer */
  const char *parameters[2]; /* of it, in its order: gate rows above up rows [E, 2F, D], and down [E, D, F] */
  const struct weight *(*weight)(const struct model *m, size_t layer, size_t expert, size_t which);
};

struct model_arch {
  const char *name;          /* info.architecture */
  const char *gguf_name;     /* general.architecture, or NULL */
  const char *hf_model_type; /* config.json model_type, or NULL */
  /* Fills everything in info that needs more than the tensor list; checks values and refuses by key. */
  int (*inspect)(const struct file_model *file, struct model_info *info, struct error *err);
  /* info is filled. The common members of the result are set by model.c afterwards. */
  struct model *(*load)(const struct file_model *file, const struct model_info *info, struct compute *c,
                        const struct model_options *options, struct error *err);
  void (*free)(struct model *m);
  void (*forward)(struct model *m, const struct model_batch *batch);                                 /* or NULL */
  void (*embed)(struct model *m, const int32_t *tokens, const size_t *offset, size_t n, float *out); /* or NULL */
  const float *(*hidden)(const struct model *m);
  /* The products that an adapter may add to: their Hugging Face names below "model." or "transformer.", with "%zu" for the layer and bars
   * between several names of the same; none for an architecture without adapters. A site's number is its place here. */
  const char *const *sites;
  size_t n_sites;
  const struct weight *(*site_weight)(const struct model *m, size_t site, size_t layer); /* NULL where this model has none */
  const struct model_experts *experts;                                                   /* that adapters may change; or NULL */
};

/* The architecture of a file, or NULL with an error that names it. */
const struct model_arch *model__arch(const struct file_model *file, struct error *err);

/* What the last pass left in front of the final norm (a decoder) or the pooling (an encoder), [rows, n_embd]: for tests. */
const float *model__hidden(const struct model *m);

extern const struct model_arch llama_arch, llama_mistral_arch, llama_mixtral_arch, mpt_arch, dbrx_arch;
extern const struct model_arch bert_arch, gte_arch, gte_new_arch;

/* ---- config: one value under its GGUF key ("%s" stands for the architecture) or its config.json key ---- */

struct config {
  const struct file_model *file;
  const char *gguf_arch; /* prefix of the GGUF keys */
  bool rope_ntk;         /* the rope rule "ntk" is known to this architecture */
};

/* A config.json key may be a path through objects: "attn_config.clip_qkv". */

/* Required: an error that names the key when it is missing, of a wrong type, or outside [min, max]. */
int config_size(const struct config *c, const char *gguf_key, const char *hf_key, size_t min, size_t max, size_t *out, struct error *err);
/* Optional: *out keeps its value when the key is absent. */
int config_size_or(const struct config *c, const char *gguf_key, const char *hf_key, size_t min, size_t max, size_t *out,
                   struct error *err);
int config_real_or(const struct config *c, const char *gguf_key, const char *hf_key, double *out, struct error *err);
int config_bool_or(const struct config *c, const char *gguf_key, const char *hf_key, bool *out, struct error *err);
/* Of a norm: between 0 and 1, neither included. config.json may leave it out: *out keeps its value. GGUF may not. */
int config_epsilon(const struct config *c, const char *gguf_key, const char *hf_key, double *out, struct error *err);
/* Of config.json: vocab_size, where it is there, is the rows of the embedding. */
int config_check_vocab(const struct config *c, size_t rows, struct error *err);
/* Of config.json: the first of `architectures`, where it is there, ends with that; else its head does something else. */
int config_check_class(const struct config *c, const char *end, struct error *err);
bool config_is_type(const struct config *c, const char *model_type); /* of config.json */
/* Empty when absent; "(no text)", which nothing is called, when it is a number or the like. */
struct slice config_str(const struct config *c, const char *gguf_key, const char *hf_key);

/* ---- weights: tensors by name, each checked against the shape that the config demands ---- */

/* A tensor's names; each holds "%zu" for the layer or nothing. */
struct weight_name {
  const char *gguf, *hf;
  const char *hf_legacy; /* an older spelling, or NULL */
};

struct weights {
  const struct file_model *file;
  struct compute *compute;
  const struct model_options *options; /* packer is filled */
  const char *hf_prefix;               /* put in front of HF names, "" for none */
  size_t bytes;                        /* packed so far, in memory */
  size_t stream_bytes;                 /* of matrices, read by one product each */
  size_t expert_bytes;                 /* of these, of experts: those that one token uses */
  double operations;                   /* of one row's products with them */
  struct kept *kept;                   /* where packed matrices are looked for first; or NULL */
};

/* -1 with ERROR_CANCELLED when the load is not wanted any more. */
int weights_check_wanted(const struct weights *w, struct error *err);
/* NULL when absent. */
const struct file_tensor *weights_find(const struct weights *w, const struct weight_name *name, size_t layer);
/* A file must not hold a layer beyond the last of the configuration; name is of a tensor that every layer has. */
int weights_check_depth(const struct weights *w, const struct weight_name *name, size_t n_layers, struct error *err);
/* [n_out, n_in]; row_order as in weight_source. */
struct weight *weights_matrix(struct weights *w, const struct weight_name *name, size_t layer, size_t n_out, size_t n_in,
                              const uint32_t *row_order, bool head, struct error *err);
/* For this file's own: the matrix out of the kept weights, or NULL; and packing with the sums of w and the kept weights brought up to date. key
 * names the matrix within the model, tensor is for messages. */
struct weight *weights__kept(struct weights *w, const char *key, size_t n_out, size_t n_in);
struct weight *weights__pack(struct weights *w, const char *key, struct slice tensor, const struct weight_source *source,
                             struct error *err);
/* A matrix within a tensor that stacks several: the tensor, of rank 2 or 3, is seen as `rows` rows. */
struct weight_part {
  size_t rows, begin; /* the part's rows are begin … */
  size_t n_experts;   /* that share the rows evenly */
  size_t n_out, n_in; /* of the matrix */
  bool transposed;    /* the part is [n_in, n_out] and is turned; plain number types only */
};
struct weight *weights_part(struct weights *w, const struct weight_name *name, size_t layer, const struct weight_part *part,
                            struct error *err);
/* Whether the name has a spelling for the container of the file. */
bool weights_part_names(const struct weights *w, const struct weight_name *name);
/* [n] as fp32, in new memory. */
float *weights_vector(struct weights *w, const struct weight_name *name, size_t layer, size_t n, const uint32_t *order, struct error *err);
/* [rows, n] as fp32, in new memory. */
float *weights_table(struct weights *w, const struct weight_name *name, size_t layer, size_t rows, size_t n, struct error *err);

/* ---- the memory plan ---- */

/* The weights of the file in the layout of the mode; info is filled. UINT64_MAX when that does not fit. */
uint64_t plan_memory_bytes(const struct file_model *file, const struct checkpoint *c, const struct model_info *info,
                           enum compute_mode mode);

/* ---- rotary frequencies ---- */

/* info.rope_theta from the file; for inspect. */
int rope_read_theta(const struct config *c, double *out, struct error *err);
/* inv_freq [head_dim / 2] in new memory, of the base theta and scaled by the file's rule (default, linear, llama3; rope_freqs.weight of GGUF); another
 * rule is refused by name. */
float *rope_frequencies(const struct config *c, double theta, size_t head_dim, struct error *err);

/* ---- adapters: what an architecture's forward pass calls ---- */

/* The forms that the activations of a product need besides their own, so that adapters of this batch can read them. */
unsigned adapter_forms(const struct model_batch *b);
/* y += what the adapters of the batch give to this product; act holds its input. y [n_rows, n_out], stride ldy. */
void adapter_add(const struct model_batch *b, const struct act *act, size_t site, size_t layer, float *y, size_t ldy);
enum adapter_expert { ADAPTER_GATE, ADAPTER_UP, ADAPTER_DOWN };
/* Rows of the batch that have chosen one expert. */
struct adapter_slots {
  const int32_t *row;     /* [n] of the batch, ascending */
  const int32_t *act_row; /* [n] where the product's input lies in act */
  size_t n;
};
/* The same for a product of one expert.  y [n, n_out] */
void adapter_add_expert(const struct model_batch *b, const struct act *act, enum adapter_expert which, size_t layer, size_t expert,
                        const struct adapter_slots *s, float *y, size_t ldy);

#endif
