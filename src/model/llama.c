/* llama: Llama and its relatives (SmolLM2, CodeLlama, LlamaGuard): RMSNorm, rotary positions, grouped-query attention, gated SiLU.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   h  = E[token]
 *   per layer:  a = rms(h);  q, k, v = a Wqᵀ, a Wkᵀ, a Wvᵀ;  rope(q, k);  h += attention(q, k, v) Woᵀ
 *               b = rms(h);  h += (silu(b Wgᵀ) ⊙ (b Wuᵀ)) Wdᵀ
 *   logits = rms(h) Woutᵀ          (Wout = E when tied)
 *
 * Letters: D width, H query heads, K kv heads, d head size, F inner width, V vocabulary, T rows.
 * GGUF holds the rows of q and k interleaved for its own rotation; they are put back when packed, so one rotation serves both. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/js.h"
#include "base/mem.h"
#include "model/arch.h"

struct llama_layer {
  float *attn_norm;                      /* [D] */
  struct weight *wq, *wk, *wv;           /* [H·d, D], [K·d, D], [K·d, D] */
  float *bq, *bk, *bv, *bo;              /* [H·d], [K·d], [K·d], [D]; NULL without attention_bias */
  struct weight *wo;                     /* [D, H·d] */
  float *ffn_norm;                       /* [D] */
  struct weight *w_gate, *w_up, *w_down; /* [F, D], [F, D], [D, F] */
};

struct llama {
  struct model base;
  float eps;
  float *inv_freq;          /* [d/2] */
  struct weight *embedding; /* [V, D] */
  struct weight *head;      /* [V, D]; the embedding itself when tied */
  float *norm;              /* [D] */
  struct llama_layer *layers;
  /* activations of one pass, rows_max rows each */
  struct act *act;
  float *x;                /* [T, D] residual stream */
  float *q, *k, *v, *attn; /* [T, H·d], [T, K·d], [T, K·d], [T, H·d] */
  float *gate, *up;        /* [T, F] */
  float *cos, *sin;        /* [T, d/2] */
  float *x_out;            /* [out_rows_max, D] */
  int32_t *pos;            /* [T] */
};

static const struct weight_name N_EMBED = {"token_embd.weight", "embed_tokens.weight", NULL};
static const struct weight_name N_NORM = {"output_norm.weight", "norm.weight", NULL};
static const struct weight_name N_ATTN_NORM = {"blk.%zu.attn_norm.weight", "layers.%zu.input_layernorm.weight", NULL};
static const struct weight_name N_Q = {"blk.%zu.attn_q.weight", "layers.%zu.self_attn.q_proj.weight", NULL};
static const struct weight_name N_K = {"blk.%zu.attn_k.weight", "layers.%zu.self_attn.k_proj.weight", NULL};
static const struct weight_name N_V = {"blk.%zu.attn_v.weight", "layers.%zu.self_attn.v_proj.weight", NULL};
static const struct weight_name N_O = {"blk.%zu.attn_output.weight", "layers.%zu.self_attn.o_proj.weight", NULL};
static const struct weight_name N_Q_BIAS = {"blk.%zu.attn_q.bias", "layers.%zu.self_attn.q_proj.bias", NULL};
static const struct weight_name N_K_BIAS = {"blk.%zu.attn_k.bias", "layers.%zu.self_attn.k_proj.bias", NULL};
static const struct weight_name N_V_BIAS = {"blk.%zu.attn_v.bias", "layers.%zu.self_attn.v_proj.bias", NULL};
static const struct weight_name N_O_BIAS = {"blk.%zu.attn_output.bias", "layers.%zu.self_attn.o_proj.bias", NULL};
static const struct weight_name N_FFN_NORM = {"blk.%zu.ffn_norm.weight", "layers.%zu.post_attention_layernorm.weight", NULL};
static const struct weight_name N_GATE = {"blk.%zu.ffn_gate.weight", "layers.%zu.mlp.gate_proj.weight", NULL};
static const struct weight_name N_UP = {"blk.%zu.ffn_up.weight", "layers.%zu.mlp.up_proj.weight", NULL};
static const struct weight_name N_DOWN = {"blk.%zu.ffn_down.weight", "layers.%zu.mlp.down_proj.weight", NULL};
/* The head lies beside the model, without its "model." prefix. */
static const struct weight_name N_HEAD = {"output.weight", "lm_head.weight", NULL};

/* ---- config ---- */

/* Values that change the arithmetic in a way that this file does not do. */
static int refuse_unsupported(const struct config *c, struct error *err) {
  const char *path = c->file->path;
  size_t experts = 0;
  if (config_size_or(c, "%s.expert_count", "num_local_experts", 0, 1 << 20, &experts, err) < 0) return -1;
  if (experts > 0) return error_set(err, ERROR_UNSUPPORTED, "%s: mixtures of experts (%zu experts) are not supported.", path, experts);
  struct slice act = config_str(c, NULL, "hidden_act");
  if (act.len && !slice_eq(act, SLICE("silu")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: hidden_act = \"%.*s\" is not supported; Llama models use \"silu\".", path,
                     SLICE_ARG(act));
  bool mlp_bias = false;
  if (config_bool_or(c, NULL, "mlp_bias", &mlp_bias, err) < 0) return -1;
  if (mlp_bias) return error_set(err, ERROR_UNSUPPORTED, "%s: mlp_bias = true is not supported.", path);
  size_t key = 0, value = 0;
  if (config_size_or(c, "%s.attention.value_length", NULL, 1, 4096, &value, err) < 0 ||
      config_size_or(c, "%s.attention.key_length", NULL, 1, 4096, &key, err) < 0)
    return -1;
  if (key != value) return error_set(err, ERROR_UNSUPPORTED, "%s: key_length %zu and value_length %zu differ.", path, key, value);
  return 0;
}

static int read_sizes(const struct config *c, struct model_info *info, struct error *err) {
  if (config_size(c, "%s.block_count", "num_hidden_layers", 1, 1000, &info->n_layers, err) < 0 ||
      config_size(c, "%s.embedding_length", "hidden_size", 1, 1 << 17, &info->n_embd, err) < 0 ||
      config_size(c, "%s.attention.head_count", "num_attention_heads", 1, 4096, &info->n_heads, err) < 0 ||
      config_size(c, "%s.feed_forward_length", "intermediate_size", 1, 1 << 20, &info->n_ff, err) < 0 ||
      config_size(c, "%s.context_length", "max_position_embeddings", 1, 1 << 24, &info->context_tokens, err) < 0)
    return -1;
  info->n_kv_heads = info->n_heads;
  if (config_size_or(c, "%s.attention.head_count_kv", "num_key_value_heads", 1, 4096, &info->n_kv_heads, err) < 0) return -1;
  info->head_dim = info->n_embd / info->n_heads;
  return config_size_or(c, "%s.attention.key_length", "head_dim", 1, 4096, &info->head_dim, err);
}

static int check_sizes(const struct config *c, const struct model_info *info, struct error *err) {
  const char *path = c->file->path;
  if (info->n_heads % info->n_kv_heads)
    return error_set(err, ERROR_UNSUPPORTED, "%s: %zu attention heads cannot share %zu key-value heads evenly.", path, info->n_heads,
                     info->n_kv_heads);
  if (info->head_dim == 0 || info->head_dim % 2)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the head size is %zu, but rotary positions need an even one.", path, info->head_dim);
  size_t rotated = info->head_dim;
  if (config_size_or(c, "%s.rope.dimension_count", NULL, 0, 4096, &rotated, err) < 0) return -1;
  if (rotated != info->head_dim)
    return error_set(err, ERROR_UNSUPPORTED,
                     "%s: rope.dimension_count is %zu, but the head size is %zu; partial rotation is not supported.", path, rotated,
                     info->head_dim);
  return 0;
}

static struct config config_of(const struct file_model *file) { return (struct config){.file = file, .gguf_arch = "llama"}; }

/* The name prefix of a Hugging Face checkpoint: "model." or none. */
static const char *hf_prefix(const struct file_model *file) {
  if (file->container == FILE_GGUF || !file_model_tensor(file, "embed_tokens.weight")) return "model.";
  return "";
}

static int llama_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  struct config c = config_of(file);
  info->task = MODEL_GENERATE;
  if (refuse_unsupported(&c, err) < 0 || read_sizes(&c, info, err) < 0 || check_sizes(&c, info, err) < 0) return -1;
  struct weights w = {.file = file, .hf_prefix = hf_prefix(file)};
  const struct file_tensor *embedding = weights_find(&w, &N_EMBED, 0);
  if (!embedding || embedding->rank != 2)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %s is missing or no matrix.", file->path,
                     file->container == FILE_GGUF ? N_EMBED.gguf : "model.embed_tokens.weight");
  info->n_vocab = (size_t)embedding->shape[0];
  info->kv_bytes_per_token = 2 * info->n_layers * info->n_kv_heads * info->head_dim * sizeof(uint16_t);
  return 0;
}

/* ---- loading ---- */

/* Packed row i of a head comes from this row of a GGUF file: half-split order out of interleaved (architectures §1.2). */
static uint32_t *unpermuted_rows(const struct file_model *file, size_t n_heads, size_t head_dim) {
  if (file->container != FILE_GGUF) return NULL;
  uint32_t *order = mem_alloc(n_heads * head_dim * sizeof *order);
  for (size_t h = 0; h < n_heads; h++)
    for (size_t i = 0; i < head_dim / 2; i++) {
      order[h * head_dim + i] = (uint32_t)(h * head_dim + 2 * i);
      order[h * head_dim + head_dim / 2 + i] = (uint32_t)(h * head_dim + 2 * i + 1);
    }
  return order;
}

/* 0 with *out NULL when the bias is absent. */
static int load_bias(struct weights *w, const struct weight_name *name, size_t layer, size_t n, const uint32_t *order, float **out,
                     struct error *err) {
  if (!weights_find(w, name, layer)) return 0;
  *out = weights_vector(w, name, layer, n, order, err);
  return *out ? 0 : -1;
}

static int load_layer(struct weights *w, const struct model_info *s, size_t n, struct llama_layer *l, const uint32_t *q_order,
                      const uint32_t *k_order, struct error *err) {
  size_t D = s->n_embd, Hd = s->n_heads * s->head_dim, Kd = s->n_kv_heads * s->head_dim, F = s->n_ff;
  bool ok =
      (l->attn_norm = weights_vector(w, &N_ATTN_NORM, n, D, NULL, err)) &&
      (l->wq = weights_matrix(w, &N_Q, n, Hd, D, q_order, false, err)) &&
      (l->wk = weights_matrix(w, &N_K, n, Kd, D, k_order, false, err)) && (l->wv = weights_matrix(w, &N_V, n, Kd, D, NULL, false, err)) &&
      (l->wo = weights_matrix(w, &N_O, n, D, Hd, NULL, false, err)) && (l->ffn_norm = weights_vector(w, &N_FFN_NORM, n, D, NULL, err)) &&
      (l->w_gate = weights_matrix(w, &N_GATE, n, F, D, NULL, false, err)) &&
      (l->w_up = weights_matrix(w, &N_UP, n, F, D, NULL, false, err)) &&
      (l->w_down = weights_matrix(w, &N_DOWN, n, D, F, NULL, false, err));
  if (!ok) return -1;
  if (load_bias(w, &N_Q_BIAS, n, Hd, q_order, &l->bq, err) < 0 || load_bias(w, &N_K_BIAS, n, Kd, k_order, &l->bk, err) < 0 ||
      load_bias(w, &N_V_BIAS, n, Kd, NULL, &l->bv, err) < 0)
    return -1;
  return load_bias(w, &N_O_BIAS, n, D, NULL, &l->bo, err);
}

/* Whether the head is the embedding: by the flag where there is one, else by the absence of a head. */
static bool is_tied(const struct weights *w, const struct config *c) {
  bool tied = false;
  if (w->file->container == FILE_SAFETENSORS && config_bool_or(c, NULL, "tie_word_embeddings", &tied, NULL) == 0 && tied) return true;
  struct weights top = *w;
  top.hf_prefix = "";
  return !weights_find(&top, &N_HEAD, 0);
}

static int load_ends(struct weights *w, struct llama *m, const struct model_info *s, const struct config *c, struct error *err) {
  bool tied = is_tied(w, c);
  m->embedding = weights_matrix(w, &N_EMBED, 0, s->n_vocab, s->n_embd, NULL, tied, err);
  if (!m->embedding || !(m->norm = weights_vector(w, &N_NORM, 0, s->n_embd, NULL, err))) return -1;
  if (tied) {
    m->head = m->embedding;
    return 0;
  }
  w->stream_bytes -= weight_stream_bytes(m->embedding);
  const char *prefix = w->hf_prefix;
  w->hf_prefix = "";
  m->head = weights_matrix(w, &N_HEAD, 0, s->n_vocab, s->n_embd, NULL, true, err);
  w->hf_prefix = prefix;
  return m->head ? 0 : -1;
}

static int load_layers(struct weights *w, struct llama *m, const struct model_info *s, struct error *err) {
  uint32_t *q_order = unpermuted_rows(w->file, s->n_heads, s->head_dim);
  uint32_t *k_order = unpermuted_rows(w->file, s->n_kv_heads, s->head_dim);
  m->layers = mem_zalloc(s->n_layers, sizeof *m->layers);
  int result = 0;
  for (size_t i = 0; i < s->n_layers && result == 0; i++) result = load_layer(w, s, i, &m->layers[i], q_order, k_order, err);
  free(q_order);
  free(k_order);
  return result;
}

static float *rows_of(size_t rows, size_t n) { return mem_aligned(64, rows * n * sizeof(float) + 64); }

static int make_scratch(struct llama *m, const struct model_info *s, struct compute *c, const struct model_options *o, struct error *err) {
  size_t T = o->rows_max, D = s->n_embd, Hd = s->n_heads * s->head_dim, Kd = s->n_kv_heads * s->head_dim, F = s->n_ff;
  size_t widest = D > F ? D : F;
  if (widest < Hd) widest = Hd;
  m->act = act_create(c, T, widest, err);
  if (!m->act) return -1;
  m->x = rows_of(T, D);
  m->q = rows_of(T, Hd);
  m->k = rows_of(T, Kd);
  m->v = rows_of(T, Kd);
  m->attn = rows_of(T, Hd);
  m->gate = rows_of(T, F);
  m->up = rows_of(T, F);
  m->cos = rows_of(T, s->head_dim / 2);
  m->sin = rows_of(T, s->head_dim / 2);
  m->x_out = rows_of(o->out_rows_max, D);
  m->pos = mem_alloc(T * sizeof *m->pos);
  return 0;
}

static void llama_free(struct model *base);

static struct model *llama_load(const struct file_model *file, const struct model_info *s, struct compute *c, const struct model_options *o,
                                struct error *err) {
  struct llama *m = mem_zalloc(1, sizeof *m);
  m->base.info = *s;
  struct config config = config_of(file);
  struct weights w = {.file = file, .compute = c, .hf_prefix = hf_prefix(file)};
  double eps = 1e-6;
  if (config_epsilon_or(&config, "%s.attention.layer_norm_rms_epsilon", "rms_norm_eps", &eps, err) < 0) goto fail;
  m->eps = (float)eps;
  m->inv_freq = rope_frequencies(&config, s->head_dim, err);
  if (!m->inv_freq || load_ends(&w, m, s, &config, err) < 0 || load_layers(&w, m, s, err) < 0 || make_scratch(m, s, c, o, err) < 0)
    goto fail;
  m->base.weight_bytes = w.bytes;
  m->base.stream_bytes = w.stream_bytes;
  return &m->base;
fail:
  llama_free(&m->base);
  return NULL;
}

static void free_layer(struct llama_layer *l) {
  struct weight *matrices[] = {l->wq, l->wk, l->wv, l->wo, l->w_gate, l->w_up, l->w_down};
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) weight_free(matrices[i]);
  float *vectors[] = {l->attn_norm, l->ffn_norm, l->bq, l->bk, l->bv, l->bo};
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) free(vectors[i]);
}

static void llama_free(struct model *base) {
  struct llama *m = (struct llama *)base;
  for (size_t i = 0; m->layers && i < base->info.n_layers; i++) free_layer(&m->layers[i]);
  free(m->layers);
  if (m->head != m->embedding) weight_free(m->head);
  weight_free(m->embedding);
  act_free(m->act);
  void *memory[] = {m->inv_freq, m->norm, m->x, m->q, m->k, m->v, m->attn, m->gate, m->up, m->cos, m->sin, m->x_out, m->pos};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  free(m);
}

/* ---- adapters ---- */

enum { SITE_Q, SITE_K, SITE_V, SITE_O, SITE_GATE, SITE_UP, SITE_DOWN, N_SITES };

static const char *const sites[N_SITES] = {
    [SITE_Q] = "layers.%zu.self_attn.q_proj", [SITE_K] = "layers.%zu.self_attn.k_proj", [SITE_V] = "layers.%zu.self_attn.v_proj",
    [SITE_O] = "layers.%zu.self_attn.o_proj", [SITE_GATE] = "layers.%zu.mlp.gate_proj", [SITE_UP] = "layers.%zu.mlp.up_proj",
    [SITE_DOWN] = "layers.%zu.mlp.down_proj",
};

static const struct weight *llama_site_weight(const struct model *base, size_t site, size_t layer) {
  const struct llama_layer *l = &((const struct llama *)base)->layers[layer];
  const struct weight *const all[N_SITES] = {[SITE_Q] = l->wq,        [SITE_K] = l->wk,    [SITE_V] = l->wv,       [SITE_O] = l->wo,
                                             [SITE_GATE] = l->w_gate, [SITE_UP] = l->w_up, [SITE_DOWN] = l->w_down};
  return all[site];
}

/* ---- the forward pass ---- */

static void attend(struct llama *m, struct llama_layer *l, size_t n, const struct kv_layout *kv, const struct model_batch *b) {
  struct compute *c = m->base.compute;
  const struct model_info *s = &m->base.info;
  size_t T = b->n_rows, D = s->n_embd, Hd = s->n_heads * s->head_dim, Kd = s->n_kv_heads * s->head_dim;
  const unsigned adapts = adapter_forms(b), forms = weight_act_form(l->wq) | weight_act_form(l->wk) | weight_act_form(l->wv);
  op_rmsnorm(c, NULL, m->act, forms | adapts, m->x, l->attn_norm, m->eps, T, D);
  struct linear qkv[] = {{.w = l->wq, .bias = l->bq, .y = m->q, .ldy = Hd},
                         {.w = l->wk, .bias = l->bk, .y = m->k, .ldy = Kd},
                         {.w = l->wv, .bias = l->bv, .y = m->v, .ldy = Kd}};
  op_linear(c, m->act, qkv, 3, NULL, T);
  adapter_add(b, m->act, SITE_Q, n, m->q, Hd);
  adapter_add(b, m->act, SITE_K, n, m->k, Kd);
  adapter_add(b, m->act, SITE_V, n, m->v, Kd);
  op_rope(c, m->q, Hd, m->cos, m->sin, T, s->n_heads, s->head_dim);
  op_rope(c, m->k, Kd, m->cos, m->sin, T, s->n_kv_heads, s->head_dim);
  op_kv_store(c, kv, n, b->segments, b->n_segments, m->k, m->v, Kd);
  struct attention a = {.kv = kv,
                        .layer = n,
                        .n_heads = s->n_heads,
                        .scale = (float)(1.0 / sqrt((double)s->head_dim)),
                        .causal = true,
                        .q = m->q,
                        .ldq = Hd,
                        .out = m->attn,
                        .ldo = Hd};
  op_attention(c, &a, b->segments, b->n_segments);
  op_prepare(c, m->act, weight_act_form(l->wo) | adapts, m->attn, Hd, T, Hd);
  op_linear(c, m->act, &(struct linear){.w = l->wo, .bias = l->bo, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  adapter_add(b, m->act, SITE_O, n, m->x, D);
}

static void feed_forward(struct llama *m, struct llama_layer *l, size_t n, const struct model_batch *b) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd, F = m->base.info.n_ff, T = b->n_rows;
  const unsigned adapts = adapter_forms(b);
  op_rmsnorm(c, NULL, m->act, weight_act_form(l->w_gate) | weight_act_form(l->w_up) | adapts, m->x, l->ffn_norm, m->eps, T, D);
  struct linear gate_up[] = {{.w = l->w_gate, .y = m->gate, .ldy = F}, {.w = l->w_up, .y = m->up, .ldy = F}};
  op_linear(c, m->act, gate_up, 2, NULL, T);
  adapter_add(b, m->act, SITE_GATE, n, m->gate, F);
  adapter_add(b, m->act, SITE_UP, n, m->up, F);
  op_silu_mul(c, NULL, m->act, weight_act_form(l->w_down) | adapts, m->gate, m->up, T, F);
  op_linear(c, m->act, &(struct linear){.w = l->w_down, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  adapter_add(b, m->act, SITE_DOWN, n, m->x, D);
}

static void score(struct llama *m, const struct model_batch *b) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd;
  for (size_t i = 0; i < b->n_out_rows; i++) memcpy(m->x_out + i * D, m->x + (size_t)b->out_rows[i] * D, D * sizeof *m->x);
  op_rmsnorm(c, NULL, m->act, weight_act_form(m->head), m->x_out, m->norm, m->eps, b->n_out_rows, D);
  struct linear head = {.w = m->head, .y = b->logits, .ldy = m->base.info.n_vocab};
  op_linear(c, m->act, &head, 1, NULL, b->n_out_rows);
}

static void llama_forward(struct model *base, const struct model_batch *b) {
  struct llama *m = (struct llama *)base;
  struct kv_layout kv = model_kv_layout(base);
  for (size_t i = 0; i < b->n_segments; i++)
    for (size_t r = 0; r < b->segments[i].n_rows; r++) m->pos[b->segments[i].row_begin + r] = (int32_t)(b->segments[i].pos_begin + r);
  op_embed(base->compute, m->x, m->embedding, b->tokens, b->n_rows);
  op_rope_table(base->compute, m->cos, m->sin, m->pos, b->n_rows, m->inv_freq, base->info.head_dim / 2);
  for (size_t n = 0; n < base->info.n_layers; n++) {
    attend(m, &m->layers[n], n, &kv, b);
    feed_forward(m, &m->layers[n], n, b);
  }
  if (b->n_out_rows) score(m, b);
}

const struct model_arch llama_arch = {
    .name = "llama",
    .gguf_name = "llama",
    .hf_model_type = "llama",
    .inspect = llama_inspect,
    .load = llama_load,
    .free = llama_free,
    .forward = llama_forward,
    .sites = sites,
    .n_sites = N_SITES,
    .site_weight = llama_site_weight,
};
