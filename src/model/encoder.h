/* encoder: what the embedding architectures share: one post-norm transformer whose parts follow a configuration. Private to the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   h = LN(word[token] (+ type[0]) (+ position[0 … T-1]))
 *   per layer:  q, k, v = h Wᵀ + b;  (rope(q, k));  h = LN(attention(q, k, v) Woᵀ + bo + h);  h = LN(feed_forward(h) + h)
 *   feed_forward(h) = gelu(h Wuᵀ + bu) Wdᵀ + bd,  or (gelu(h Wgᵀ) ⊙ (h Wuᵀ)) Wdᵀ + bd
 *   embedding = pool(h), of unit length where the files say so
 *
 * Texts are packed one behind the other without padding. Each is one segment whose keys lie in KV pages of a scratch that is used
 * again by every layer, so attention is the same operation as in a generating model, without the causal rule. */
#ifndef MODEL_ENCODER_H
#define MODEL_ENCODER_H
#include "model/arch.h"

/* Texts in one pass; more are done in several. So are more rows than this, unless one text has them: what a layer hands to the next then
 * stays in the caches. */
enum { ENCODER_TEXTS_MAX = 64, ENCODER_ROWS_WANTED = 512 };

/* Tensor names; what an architecture does not have is {0}. Each but `type` and `position` must be there if it is named. */
struct encoder_names {
  struct weight_name word, position, type, norm, norm_bias;
  struct weight_name qkv, qkv_bias; /* fused, rows q, k, v; when {0} the next three pairs */
  struct weight_name q, q_bias, k, k_bias, v, v_bias;
  struct weight_name o, o_bias, attn_norm, attn_norm_bias;
  struct weight_name up_gate; /* [2F, D]: the rows of up, then those of gate; when {0} the next two */
  struct weight_name gate, up, up_bias;
  struct weight_name down, down_bias, ffn_norm, ffn_norm_bias;
};

struct encoder_layer {
  struct weight *wqkv;                   /* [3D, D], or NULL and */
  struct weight *wq, *wk, *wv;           /* [D, D] */
  float *bqkv;                           /* [3D] */
  struct weight *wo;                     /* [D, D] */
  float *bo;                             /* [D] */
  float *attn_norm, *attn_norm_bias;     /* [D] */
  struct weight *w_gate, *w_up, *w_down; /* [F, D] or NULL, [F, D], [D, F] */
  float *b_up, *b_down;                  /* [F] or NULL, [D] */
  float *ffn_norm, *ffn_norm_bias;       /* [D] */
};

struct encoder {
  struct model base;
  float eps;
  float *inv_freq;         /* [d/2]; NULL: no rotation */
  struct weight *word;     /* [V, D] */
  float *position;         /* [positions, D] or NULL */
  float *type;             /* [D]: row 0 of the table; NULL without token types */
  float *norm, *norm_bias; /* [D] */
  struct encoder_layer *layers;
  /* one pass of up to `rows` rows; grown for a longer one, and small again for the next */
  size_t rows;
  struct act *act, *act_inner; /* inner: [T, F] */
  float *x;                    /* [T, D] */
  float *qkv;                  /* [T, 3D] */
  float *attn;                 /* [T, D] */
  float *gate, *up;            /* [T, F] */
  float *cos, *sin;            /* [T, d/2] */
  int32_t *pos;                /* [T] */
  struct kv_layout kv;         /* one layer, fp32 */
  unsigned char *pages;        /* n_pages · kv.page_bytes */
  void **page_list;            /* [n_pages] */
  struct kv_segment segments[ENCODER_TEXTS_MAX];
};

/* Fills what follows from the sizes in info, and the vocabulary from the rows of the word embeddings. */
int encoder_inspect(const struct file_model *file, const char *hf_prefix, const struct weight_name *word, struct model_info *info,
                    struct error *err);
/* Loads everything into m, whose info, eps and inv_freq are set. On failure m is freed, and NULL is returned. */
struct model *encoder_load(struct encoder *m, const struct encoder_names *names, struct weights *w, const struct model_options *options,
                           struct error *err);
/* For the table of an architecture. */
void encoder_free(struct model *m);
void encoder_embed(struct model *m, const int32_t *tokens, const size_t *offset, size_t n, float *out);
const float *encoder_hidden(const struct model *m); /* of the last group of texts */

/* Pooling, unit length and window as the files of sentence-transformers say; what they leave open stays as it is in info. */
int pooling_read(const struct file_model *file, struct model_info *info, struct error *err);

#endif
