/* decoder: see decoder.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- what the files of the architectures ask ---- */

int decoder_check_sizes(const struct config *c, struct model_info *info, bool rotates, struct error *err) {
  const char *path = c->file->path;
  bool tied, causal = true; /* tied is read by decoder_ties_head, which has nowhere to say that it is no bool */
  if (config_check_class(c, "ForCausalLM", err) < 0 || config_bool_or(c, NULL, "tie_word_embeddings", &tied, err) < 0 ||
      config_bool_or(c, "%s.attention.causal", "is_causal", &causal, err) < 0)
    return -1;
  if (!causal)
    return error_set(err, ERROR_UNSUPPORTED, "%s: %s = false is not supported; here a token sees only those before it.", path,
                     c->file->container == FILE_GGUF ? "attention.causal" : "is_causal");
  if (info->n_heads % info->n_kv_heads)
    return error_set(err, ERROR_UNSUPPORTED, "%s: %zu attention heads cannot share %zu key-value heads evenly.", path, info->n_heads,
                     info->n_kv_heads);
  if (info->head_dim == 0)
    return error_set(err, ERROR_UNSUPPORTED, "%s: a width of %zu is too small for %zu heads.", path, info->n_embd, info->n_heads);
  if (rotates && info->head_dim % 2)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the head size is %zu, but rotary positions need an even one.", path, info->head_dim);
  return 0;
}

int decoder_count_vocab(const struct file_model *file, const char *hf_prefix, const struct weight_name *embedding, struct model_info *info,
                        struct error *err) {
  struct weights w = {.file = file, .hf_prefix = hf_prefix};
  const struct file_tensor *t = weights_find(&w, embedding, 0);
  bool gguf = file->container == FILE_GGUF;
  if (!t || t->rank != 2)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %s%s is missing or no matrix.", file->path, gguf ? "" : hf_prefix,
                     gguf ? embedding->gguf : embedding->hf);
  info->n_vocab = (size_t)t->shape[0];
  return config_check_vocab(&(struct config){.file = file}, info->n_vocab, err);
}

/* Whether the head holds other values than the embedding. Of block types, and of outlines without data, that is not asked. */
static bool is_other_head(const struct file_tensor *e, const struct file_tensor *h) {
  enum { AT_ONCE = 256 };
  float a[AT_ONCE], b[AT_ONCE];
  if (e == h || !e->data || !h->data || dtype_info(e->dtype)->block_elements != 1 || dtype_info(h->dtype)->block_elements != 1)
    return false;
  if (e->n_elements != h->n_elements) return true;
  if (e->dtype == h->dtype) return memcmp(e->data, h->data, (size_t)e->n_bytes) != 0;
  size_t e_bytes = dtype_info(e->dtype)->block_bytes, h_bytes = dtype_info(h->dtype)->block_bytes;
  for (uint64_t i = 0; i < e->n_elements; i += AT_ONCE) {
    size_t n = e->n_elements - i < AT_ONCE ? (size_t)(e->n_elements - i) : AT_ONCE;
    dtype_to_f32(e->dtype, (const char *)e->data + i * e_bytes, a, n);
    dtype_to_f32(h->dtype, (const char *)h->data + i * h_bytes, b, n);
    if (memcmp(a, b, n * sizeof *a) != 0) return true;
  }
  return false;
}

bool decoder_ties_head(const struct config *c, const char *hf_prefix, const struct decoder_names *names, bool otherwise) {
  bool tied = otherwise;
  struct weights top = {.file = c->file, .hf_prefix = ""}, inner = {.file = c->file, .hf_prefix = hf_prefix};
  const struct file_tensor *head = weights_find(&top, &names->head, 0), *embedding = weights_find(&inner, &names->embedding, 0);
  if (c->file->container == FILE_GGUF) tied = false; /* a head in the file is meant */
  else config_bool_or(c, NULL, "tie_word_embeddings", &tied, NULL);
  return !head || (tied && !(embedding && is_other_head(embedding, head)));
}

/* ---- loading ---- */

/* Packed row i of a head comes from this row of the file: half-split order out of interleaved. */
static uint32_t *unpermuted_rows(size_t n_heads, size_t head_dim) {
  uint32_t *order = mem_alloc(n_heads * head_dim * sizeof *order);
  for (size_t h = 0; h < n_heads; h++)
    for (size_t i = 0; i < head_dim / 2; i++) {
      order[h * head_dim + i] = (uint32_t)(h * head_dim + 2 * i);
      order[h * head_dim + head_dim / 2 + i] = (uint32_t)(h * head_dim + 2 * i + 1);
    }
  return order;
}

/* Where loading stands. */
struct loading {
  struct decoder *m;
  const struct decoder_names *names;
  struct weights *w;
  size_t D, Hd, Kd, F;
  uint32_t *q_order, *k_order; /* or NULL */
  struct error *err;
};

/* A matrix of layer n, which must be there. */
static bool matrix(struct loading *l, struct weight **out, const struct weight_name *name, size_t n, size_t n_out, size_t n_in,
                   const uint32_t *order) {
  return (*out = weights_matrix(l->w, name, n, n_out, n_in, order, false, l->err)) != NULL;
}

static bool vector(struct loading *l, float **out, const struct weight_name *name, size_t n, size_t size) {
  return (*out = weights_vector(l->w, name, n, size, NULL, l->err)) != NULL;
}

/* NULL when the file has none, or the rules want none. */
static bool bias(struct loading *l, float **out, const struct weight_name *name, size_t n, size_t size) {
  return !l->m->rules.biases || !weights_find(l->w, name, n) || vector(l, out, name, n, size);
}

/* The gain of a norm and, if there is one, its bias. */
static bool norm(struct loading *l, float **gain, float **offset, const struct weight_name *name, const struct weight_name *bias_name,
                 size_t n, size_t size) {
  if (!vector(l, gain, name, n, size)) return false;
  return l->m->rules.rms || !weights_find(l->w, bias_name, n) || vector(l, offset, bias_name, n, size);
}

/* Three biases as one vector; those that the file lacks are zero. */
static bool three_biases(struct loading *l, float **out, size_t n) {
  const struct decoder_names *names = l->names;
  const struct weight_name *name[] = {&names->q_bias, &names->k_bias, &names->v_bias};
  size_t size[] = {l->Hd, l->Kd, l->Kd}, at = 0;
  const uint32_t *order[] = {l->q_order, l->k_order, NULL};
  for (size_t i = 0; i < 3; at += size[i++]) {
    if (!l->m->rules.biases || !weights_find(l->w, name[i], n)) continue;
    float *part = weights_vector(l->w, name[i], n, size[i], order[i], l->err);
    if (!part) return false;
    if (!*out) *out = mem_zalloc(l->Hd + 2 * l->Kd, sizeof **out);
    memcpy(*out + at, part, size[i] * sizeof *part);
    free(part);
  }
  return true;
}

static bool load_qkv(struct loading *l, struct decoder_layer *layer, size_t n) {
  const struct decoder_names *names = l->names;
  size_t all = l->Hd + 2 * l->Kd;
  if (weights_part_names(l->w, &names->qkv)) {
    if (!matrix(l, &layer->wqkv, &names->qkv, n, all, l->D, NULL) || !bias(l, &layer->bqkv, &names->qkv_bias, n, all)) return false;
  } else if (!matrix(l, &layer->wq, &names->q, n, l->Hd, l->D, l->q_order) ||
             !matrix(l, &layer->wk, &names->k, n, l->Kd, l->D, l->k_order) || !matrix(l, &layer->wv, &names->v, n, l->Kd, l->D, NULL) ||
             !three_biases(l, &layer->bqkv, n)) {
    return false;
  }
  return !l->m->rules.qk_norm || (norm(l, &layer->q_norm, &layer->q_norm_bias, &names->q_norm, &names->q_norm_bias, n, l->Hd) &&
                                  norm(l, &layer->k_norm, &layer->k_norm_bias, &names->k_norm, &names->k_norm_bias, n, l->Kd));
}

static bool load_feed_forward(struct loading *l, struct decoder_layer *layer, size_t n) {
  const struct decoder_names *names = l->names;
  const struct moe_rules *moe = &l->m->rules.moe;
  if (moe->n_experts) return moe_load(&layer->moe, &names->moe, moe, l->w, n, l->D, l->F, l->err) == 0;
  return (!weights_part_names(l->w, &names->gate) || matrix(l, &layer->w_gate, &names->gate, n, l->F, l->D, NULL)) &&
         matrix(l, &layer->w_up, &names->up, n, l->F, l->D, NULL) && matrix(l, &layer->w_down, &names->down, n, l->D, l->F, NULL) &&
         bias(l, &layer->b_up, &names->up_bias, n, l->F) && bias(l, &layer->b_down, &names->down_bias, n, l->D);
}

static bool load_layer(struct loading *l, struct decoder_layer *layer, size_t n) {
  const struct decoder_names *names = l->names;
  return norm(l, &layer->attn_norm, &layer->attn_norm_bias, &names->attn_norm, &names->attn_norm_bias, n, l->D) && load_qkv(l, layer, n) &&
         matrix(l, &layer->wo, &names->o, n, l->D, l->Hd, NULL) && bias(l, &layer->bo, &names->o_bias, n, l->D) &&
         norm(l, &layer->ffn_norm, &layer->ffn_norm_bias, &names->ffn_norm, &names->ffn_norm_bias, n, l->D) &&
         load_feed_forward(l, layer, n);
}

static bool load_ends(struct loading *l) {
  struct decoder *m = l->m;
  struct weights *w = l->w;
  const struct model_info *s = &m->base.info;
  bool tied = s->tied_head;
  m->embedding = weights_matrix(w, &l->names->embedding, 0, s->n_vocab, l->D, NULL, tied, l->err);
  if (!m->embedding || !norm(l, &m->norm, &m->norm_bias, &l->names->norm, &l->names->norm_bias, 0, l->D)) return false;
  if (m->rules.positions && !(m->position = weights_table(w, &l->names->position, 0, m->rules.positions, l->D, l->err))) return false;
  m->head = m->embedding;
  if (tied) return true;
  w->stream_bytes -= weight_stream_bytes(m->embedding);
  const char *prefix = w->hf_prefix;
  w->hf_prefix = "";
  m->head = weights_matrix(w, &l->names->head, 0, s->n_vocab, l->D, NULL, true, l->err);
  w->hf_prefix = prefix;
  return m->head != NULL;
}

static float *rows_of(size_t rows, size_t n) { return mem_aligned(64, rows * n * sizeof(float) + 64); }

static bool make_scratch(struct loading *l, const struct model_options *o) {
  struct decoder *m = l->m;
  size_t T = o->rows_max, half = m->base.info.head_dim / 2, widest = l->D > l->Hd ? l->D : l->Hd;
  bool dense = m->rules.moe.n_experts == 0;
  m->act = act_create(l->w->compute, T, widest, l->err);
  if (!m->act || (dense && !(m->act_inner = act_create(l->w->compute, T, l->F, l->err)))) return false;
  m->x = rows_of(T, l->D);
  m->qkv = rows_of(T, l->Hd + 2 * l->Kd);
  m->attn = rows_of(T, l->Hd);
  m->cos = rows_of(T, half);
  m->sin = rows_of(T, half);
  m->x_out = rows_of(o->out_rows_max, l->D);
  m->pos = mem_alloc(T * sizeof *m->pos);
  if (dense) {
    m->gate = rows_of(T, l->F);
    m->up = rows_of(T, l->F);
    return true;
  }
  return (m->moe = moe_scratch_create(l->w->compute, &m->rules.moe, T, l->D, l->F, l->err)) != NULL;
}

static bool load_all(struct loading *l, const struct model_options *o) {
  struct decoder *m = l->m;
  m->layers = mem_zalloc(m->base.info.n_layers, sizeof *m->layers);
  if (!load_ends(l)) return false;
  for (size_t n = 0; n < m->base.info.n_layers; n++)
    if (!load_layer(l, &m->layers[n], n)) return false;
  return make_scratch(l, o);
}

struct model *decoder_load(struct decoder *m, const struct decoder_names *names, struct weights *w, const struct model_options *options,
                           struct error *err) {
  const struct model_info *s = &m->base.info;
  struct loading l = {.m = m, .names = names, .w = w, .D = s->n_embd, .F = s->n_ff, .err = err};
  l.Hd = s->n_heads * s->head_dim;
  l.Kd = s->n_kv_heads * s->head_dim;
  if (m->rules.interleaved) {
    l.q_order = unpermuted_rows(s->n_heads, s->head_dim);
    l.k_order = unpermuted_rows(s->n_kv_heads, s->head_dim);
  }
  if (m->rules.scale == 0) m->rules.scale = (float)(1.0 / sqrt((double)s->head_dim));
  bool ok = weights_check_depth(w, &names->o, s->n_layers, err) == 0 && load_all(&l, options);
  free(l.q_order);
  free(l.k_order);
  m->base.weight_bytes = w->bytes;
  m->base.stream_bytes = w->stream_bytes;
  m->base.expert_bytes = w->expert_bytes;
  m->base.out_row_operations = 2.0 * (double)s->n_vocab * (double)l.D;
  m->base.row_operations = w->operations - m->base.out_row_operations * (s->tied_head ? 1 : 2); /* but the embedding and the head */
  if (ok) return &m->base;
  decoder_free(&m->base);
  return NULL;
}

static void free_layer(struct decoder_layer *l, size_t n_experts) {
  struct weight *matrices[] = {l->wqkv, l->wq, l->wk, l->wv, l->wo, l->w_gate, l->w_up, l->w_down};
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) weight_free(matrices[i]);
  float *vectors[] = {l->attn_norm, l->attn_norm_bias, l->ffn_norm, l->ffn_norm_bias, l->bqkv,  l->q_norm, l->q_norm_bias,
                      l->k_norm,    l->k_norm_bias,    l->bo,       l->b_up,          l->b_down};
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) free(vectors[i]);
  moe_free(&l->moe, n_experts);
}

void decoder_free(struct model *base) {
  struct decoder *m = (struct decoder *)base;
  for (size_t i = 0; m->layers && i < base->info.n_layers; i++) free_layer(&m->layers[i], m->rules.moe.n_experts);
  free(m->layers);
  if (m->head != m->embedding) weight_free(m->head);
  weight_free(m->embedding);
  act_free(m->act);
  act_free(m->act_inner);
  moe_scratch_free(m->moe);
  void *memory[] = {m->inv_freq, m->slopes, m->position, m->norm, m->norm_bias, m->x,     m->qkv,
                    m->attn,     m->gate,   m->up,       m->cos,  m->sin,       m->x_out, m->pos};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  free(m);
}

/* ---- the forward pass ---- */

static void normalize(struct decoder *m, unsigned forms, const float *x, const float *gain, const float *offset, size_t rows) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd;
  if (m->rules.rms) op_rmsnorm(c, NULL, m->act, forms, x, gain, m->rules.eps, rows, D);
  else op_layernorm(c, NULL, m->act, forms, x, NULL, gain, offset, m->rules.eps, rows, D);
}

/* LayerNorm over all heads of q and of k, in place. */
static void normalize_qk(struct decoder *m, const struct decoder_layer *l, size_t rows) {
  const struct model_info *s = &m->base.info;
  size_t Hd = s->n_heads * s->head_dim, Kd = s->n_kv_heads * s->head_dim;
  for (size_t r = 0; r < rows; r++) {
    float *q = m->qkv + r * (Hd + 2 * Kd), *k = q + Hd;
    op_layernorm(m->base.compute, q, NULL, 0, q, NULL, l->q_norm, l->q_norm_bias, m->rules.eps, 1, Hd);
    op_layernorm(m->base.compute, k, NULL, 0, k, NULL, l->k_norm, l->k_norm_bias, m->rules.eps, 1, Kd);
  }
}

static void project_qkv(struct decoder *m, const struct decoder_layer *l, size_t n, const struct model_batch *b) {
  struct compute *c = m->base.compute;
  const struct model_info *s = &m->base.info;
  size_t T = b->n_rows, Hd = s->n_heads * s->head_dim, Kd = s->n_kv_heads * s->head_dim, ld = Hd + 2 * Kd;
  float *q = m->qkv, *k = q + Hd, *v = k + Kd;
  if (l->wqkv) {
    normalize(m, weight_act_form(l->wqkv) | adapter_forms(b), m->x, l->attn_norm, l->attn_norm_bias, T);
    op_linear(c, m->act, &(struct linear){.w = l->wqkv, .bias = l->bqkv, .y = q, .ldy = ld}, 1, NULL, T);
    adapter_add(b, m->act, DECODER_QKV, n, q, ld);
  } else {
    unsigned forms = weight_act_form(l->wq) | weight_act_form(l->wk) | weight_act_form(l->wv);
    const float *bias = l->bqkv;
    normalize(m, forms | adapter_forms(b), m->x, l->attn_norm, l->attn_norm_bias, T);
    struct linear jobs[] = {{.w = l->wq, .bias = bias, .y = q, .ldy = ld},
                            {.w = l->wk, .bias = bias ? bias + Hd : NULL, .y = k, .ldy = ld},
                            {.w = l->wv, .bias = bias ? bias + Hd + Kd : NULL, .y = v, .ldy = ld}};
    op_linear(c, m->act, jobs, 3, NULL, T);
    adapter_add(b, m->act, DECODER_Q, n, q, ld);
    adapter_add(b, m->act, DECODER_K, n, k, ld);
    adapter_add(b, m->act, DECODER_V, n, v, ld);
  }
  if (m->rules.clip > 0) op_clamp(c, m->qkv, T * ld, m->rules.clip);
  if (m->rules.qk_norm) normalize_qk(m, l, T);
}

static void attend(struct decoder *m, const struct decoder_layer *l, size_t n, const struct kv_layout *kv, const struct model_batch *b) {
  struct compute *c = m->base.compute;
  const struct model_info *s = &m->base.info;
  size_t T = b->n_rows, D = s->n_embd, Hd = s->n_heads * s->head_dim, Kd = s->n_kv_heads * s->head_dim, ld = Hd + 2 * Kd;
  project_qkv(m, l, n, b);
  op_rope_store(c, kv, n, b->segments, b->n_segments, m->qkv, ld, s->n_heads, m->inv_freq ? m->cos : NULL, m->sin);
  struct attention a = {.kv = kv,
                        .layer = n,
                        .n_heads = s->n_heads,
                        .scale = m->rules.scale,
                        .causal = true,
                        .window = m->rules.window,
                        .slopes = m->slopes,
                        .q = m->qkv,
                        .ldq = ld,
                        .out = m->attn,
                        .ldo = Hd};
  op_attention(c, &a, b->segments, b->n_segments);
  op_prepare(c, m->act, weight_act_form(l->wo) | adapter_forms(b), m->attn, Hd, T, Hd);
  op_linear(c, m->act, &(struct linear){.w = l->wo, .bias = l->bo, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  adapter_add(b, m->act, DECODER_O, n, m->x, D);
}

/* Gated SiLU, or GELU without a gate. */
static void feed_forward(struct decoder *m, const struct decoder_layer *l, size_t n, const struct model_batch *b) {
  struct compute *c = m->base.compute;
  size_t T = b->n_rows, D = m->base.info.n_embd, F = m->base.info.n_ff;
  unsigned more = adapter_forms(b), forms = weight_act_form(l->w_up) | (l->w_gate ? weight_act_form(l->w_gate) : 0);
  normalize(m, forms | more, m->x, l->ffn_norm, l->ffn_norm_bias, T);
  struct linear jobs[] = {{.w = l->w_up, .bias = l->b_up, .y = m->up, .ldy = F}, {.w = l->w_gate, .y = m->gate, .ldy = F}};
  unsigned inner = weight_act_form(l->w_down) | more;
  if (!b->adapters) {
    op_linear_then(c, m->act, jobs, l->w_gate ? LINEAR_SILU_MUL : LINEAR_GELU, m->act_inner, inner, T);
  } else {
    op_linear(c, m->act, jobs, l->w_gate ? 2 : 1, NULL, T);
    if (l->w_gate) adapter_add(b, m->act, DECODER_GATE, n, m->gate, F);
    adapter_add(b, m->act, DECODER_UP, n, m->up, F);
    if (l->w_gate) op_silu_mul(c, NULL, m->act_inner, inner, m->gate, m->up, T, F);
    else op_gelu(c, NULL, m->act_inner, inner, m->up, T, F);
  }
  op_linear(c, m->act_inner, &(struct linear){.w = l->w_down, .bias = l->b_down, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  adapter_add(b, m->act_inner, DECODER_DOWN, n, m->x, D);
}

static void mix_experts(struct decoder *m, const struct decoder_layer *l, size_t n, const struct model_batch *b) {
  normalize(m, moe_forms(&l->moe, &m->rules.moe) | adapter_forms(b), m->x, l->ffn_norm, l->ffn_norm_bias, b->n_rows);
  moe_add(m->base.compute, m->moe, &l->moe, &m->rules.moe, m->act, b, n, DECODER_ROUTER, m->x);
}

static void score(struct decoder *m, const struct model_batch *b) {
  size_t D = m->base.info.n_embd, V = m->base.info.n_vocab;
  for (size_t i = 0; i < b->n_out_rows; i++) memcpy(m->x_out + i * D, m->x + (size_t)b->out_rows[i] * D, D * sizeof *m->x);
  normalize(m, weight_act_form(m->head), m->x_out, m->norm, m->norm_bias, b->n_out_rows);
  op_linear(m->base.compute, m->act, &(struct linear){.w = m->head, .y = b->logits, .ldy = V}, 1, NULL, b->n_out_rows);
  for (size_t i = 0; m->rules.logit_scale != 0 && i < b->n_out_rows * V; i++) b->logits[i] *= m->rules.logit_scale;
}

static void add_positions(struct decoder *m, size_t rows) {
  size_t D = m->base.info.n_embd;
  for (size_t r = 0; r < rows; r++) {
    const float *p = m->position + (size_t)m->pos[r] * D;
    for (size_t i = 0; i < D; i++) m->x[r * D + i] += p[i];
  }
}

void decoder_forward(struct model *base, const struct model_batch *b) {
  struct decoder *m = (struct decoder *)base;
  struct kv_layout kv = model_kv_layout(base);
  for (size_t i = 0; i < b->n_segments; i++)
    for (size_t r = 0; r < b->segments[i].n_rows; r++) m->pos[b->segments[i].row_begin + r] = (int32_t)(b->segments[i].pos_begin + r);
  op_embed(base->compute, m->x, m->embedding, b->tokens, b->n_rows);
  if (m->position) add_positions(m, b->n_rows);
  if (m->inv_freq) op_rope_table(base->compute, m->cos, m->sin, m->pos, b->n_rows, m->inv_freq, base->info.head_dim / 2);
  for (size_t n = 0; n < base->info.n_layers; n++) {
    const struct decoder_layer *l = &m->layers[n];
    attend(m, l, n, &kv, b);
    if (l->moe.router) mix_experts(m, l, n, b);
    else feed_forward(m, l, n, b);
  }
  if (b->n_out_rows) score(m, b);
}

/* ---- the rest of the table of an architecture ---- */

const float *decoder_hidden(const struct model *m) { return ((const struct decoder *)m)->x; }

const struct weight *decoder_site_weight(const struct model *m, size_t site, size_t layer) {
  const struct decoder_layer *l = &((const struct decoder *)m)->layers[layer];
  const struct weight *sites[DECODER_SITES] = {
      [DECODER_Q] = l->wq,        [DECODER_K] = l->wk,    [DECODER_V] = l->wv,        [DECODER_QKV] = l->wqkv,         [DECODER_O] = l->wo,
      [DECODER_GATE] = l->w_gate, [DECODER_UP] = l->w_up, [DECODER_DOWN] = l->w_down, [DECODER_ROUTER] = l->moe.router};
  return sites[site];
}

const struct weight *decoder_expert_weight(const struct model *m, size_t layer, size_t expert, size_t which) {
  const struct moe_layer *l = &((const struct decoder *)m)->layers[layer].moe;
  struct weight *const *lists[] = {l->gate, l->up, l->down};
  return lists[which][expert];
}
