/* decoder: what the generating architectures share: one pre-norm transformer whose parts follow a configuration. Private to the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   h = E[token] (+ P[position])
 *   per layer:  a = norm(h);  q, k, v = clamp(a Wᵀ + b);  q, k = norm(q), norm(k);  rope(q, k);  h += attention(q, k, v) Woᵀ + bo
 *               b = norm(h);  h += feed_forward(b)
 *   logits = norm(h) Woutᵀ · logit_scale          (Wout = E when tied)
 *   feed_forward(b) = (silu(b Wgᵀ) ⊙ (b Wuᵀ)) Wdᵀ,  or gelu(b Wuᵀ + bu) Wdᵀ + bd,  or a mixture of experts (moe.c)
 *
 * An architecture's file reads the configuration into `rules`, names the tensors, and calls decoder_load; the steps that its rules do not
 * ask for are left out. Letters: D width, H query heads, K kv heads, d head size, F inner width, V vocabulary, T rows. */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H
#include "model/arch.h"
#include "model/moe.h"

/* Tensor names; what an architecture does not have is {0}. */
struct decoder_names {
  struct weight_name embedding, position, norm, norm_bias;
  struct weight_name head; /* without the prefix: it lies beside the model */
  struct weight_name attn_norm, attn_norm_bias, ffn_norm, ffn_norm_bias;
  struct weight_name qkv, qkv_bias; /* fused, rows q, k, v; when {0} the next three pairs */
  struct weight_name q, q_bias, k, k_bias, v, v_bias;
  struct weight_name q_norm, q_norm_bias, k_norm, k_norm_bias;
  struct weight_name o, o_bias;
  struct weight_name gate, up, up_bias, down, down_bias; /* gate {0}: up alone, with GELU */
  struct moe_names moe;
};

struct decoder_rules {
  bool rms; /* norms are RMSNorm; else LayerNorm, whose biases are optional */
  float eps;
  float clip;           /* q, k, v are held within ±clip; 0: no */
  bool qk_norm;         /* LayerNorm of all of q and all of k */
  bool biases;          /* linear layers may have biases */
  float scale;          /* of attention scores; 0: 1/√d */
  size_t window;        /* sliding window; 0: none */
  size_t positions;     /* rows of the table of learned positions; 0: none */
  float logit_scale;    /* 0: 1 */
  bool interleaved;     /* the file's rows of q and k are interleaved for its own rotation: they are put back when packed */
  struct moe_rules moe; /* n_experts 0: dense */
};

struct decoder_layer {
  float *attn_norm, *attn_norm_bias, *ffn_norm, *ffn_norm_bias; /* [D]; biases NULL when absent */
  struct weight *wqkv;                                          /* [(H + 2K)·d, D], or NULL and */
  struct weight *wq, *wk, *wv;                                  /* [H·d, D], [K·d, D], [K·d, D] */
  float *bqkv;                                                  /* [(H + 2K)·d] or NULL */
  float *q_norm, *q_norm_bias, *k_norm, *k_norm_bias;           /* [H·d], [K·d] */
  struct weight *wo;                                            /* [D, H·d] */
  struct weight *w_gate, *w_up, *w_down;                        /* [F, D] or NULL, [F, D], [D, F] */
  float *bo, *b_up, *b_down;                                    /* or NULL */
  struct moe_layer moe;
};

struct decoder {
  struct model base;
  struct decoder_rules rules;
  float *inv_freq;          /* [d/2]; NULL: no rotation */
  float *slopes;            /* [H]; NULL: no ALiBi */
  struct weight *embedding; /* [V, D] */
  struct weight *head;      /* [V, D]; the embedding itself when tied */
  float *position;          /* [positions, D] or NULL */
  float *norm, *norm_bias;  /* [D] */
  struct decoder_layer *layers;
  /* one pass, rows_max rows each */
  struct act *act, *act_inner; /* inner: [T, F], what goes into the last product of a layer; not with experts */
  float *x;                    /* [T, D] residual stream */
  float *qkv;                  /* [T, (H + 2K)·d] */
  float *attn;                 /* [T, H·d] */
  float *gate, *up;            /* [T, F]; not with experts */
  float *cos, *sin;            /* [T, d/2] */
  float *x_out;                /* [out_rows_max, D] */
  int32_t *pos;                /* [T] */
  struct moe_scratch *moe;
};

/* The products that adapters may add to, in the order of model_arch.sites; a name that no tensor has stands for one that an architecture
 * lacks. */
enum decoder_site {
  DECODER_Q,
  DECODER_K,
  DECODER_V,
  DECODER_QKV,
  DECODER_O,
  DECODER_GATE,
  DECODER_UP,
  DECODER_DOWN,
  DECODER_ROUTER,
  DECODER_SITES
};
#define DECODER_NO_SITE "-.%zu"

/* Heads, kv heads and head size fit each other, and the head is of a language model; fills what follows from them. rotates: the head size must be even. */
int decoder_check_sizes(const struct config *c, struct model_info *info, bool rotates, struct error *err);
/* The vocabulary from the embedding's rows. */
int decoder_count_vocab(const struct file_model *file, const char *hf_prefix, const struct weight_name *embedding, struct model_info *info,
                        struct error *err);
/* Whether the head is the embedding: by tie_word_embeddings where the file has it, else `otherwise`; and when there is no head. A head whose
 * values are not the embedding's goes before that word, as transformers 5 has it. */
bool decoder_ties_head(const struct config *c, const char *hf_prefix, const struct decoder_names *names, bool otherwise);

/* Loads everything into m, whose info, rules, inv_freq and slopes are set. On failure m is freed, and NULL is returned. */
struct model *decoder_load(struct decoder *m, const struct decoder_names *names, struct weights *w, const struct model_options *options,
                           struct error *err);
/* For the table of an architecture. */
void decoder_free(struct model *m);
void decoder_forward(struct model *m, const struct model_batch *batch);
const float *decoder_hidden(const struct model *m);
const struct weight *decoder_site_weight(const struct model *m, size_t site, size_t layer);
const struct weight *decoder_expert_weight(const struct model *m, size_t layer, size_t expert, size_t which);

#endif
