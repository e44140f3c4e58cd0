/* encoder: see encoder.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/encoder.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

int encoder_inspect(const struct file_model *file, const char *hf_prefix, const struct weight_name *word, struct model_info *info,
                    struct error *err) {
  if (info->n_embd % info->n_heads)
    return error_set(err, ERROR_UNSUPPORTED, "%s: a width of %zu cannot be split evenly over %zu heads.", file->path, info->n_embd,
                     info->n_heads);
  info->n_kv_heads = info->n_heads;
  info->head_dim = info->n_embd / info->n_heads;
  struct weights w = {.file = file, .hf_prefix = hf_prefix};
  const struct file_tensor *t = weights_find(&w, word, 0);
  if (!t || t->rank != 2) return error_set(err, ERROR_CORRUPT, "%s: the word embeddings are missing or no matrix.", file->path);
  info->n_vocab = (size_t)t->shape[0];
  return config_check_vocab(&(struct config){.file = file}, info->n_vocab, err);
}

/* ---- loading ---- */

/* Where loading stands. */
struct loading {
  struct encoder *m;
  const struct encoder_names *names;
  struct weights *w;
  size_t D, F;
  struct error *err;
};

static bool matrix(struct loading *l, struct weight **out, const struct weight_name *name, size_t n, size_t n_out, size_t n_in) {
  return (*out = weights_matrix(l->w, name, n, n_out, n_in, NULL, false, l->err)) != NULL;
}

static bool vector(struct loading *l, float **out, const struct weight_name *name, size_t n, size_t size) {
  return (*out = weights_vector(l->w, name, n, size, NULL, l->err)) != NULL;
}

static bool norm(struct loading *l, float **gain, float **bias, const struct weight_name *name, const struct weight_name *bias_name,
                 size_t n) {
  return vector(l, gain, name, n, l->D) && vector(l, bias, bias_name, n, l->D);
}

/* Fused under one name, or three names. */
static bool load_qkv(struct loading *l, struct encoder_layer *layer, size_t n) {
  const struct encoder_names *names = l->names;
  size_t D = l->D;
  if (weights_part_names(l->w, &names->qkv) && weights_find(l->w, &names->qkv, n))
    return matrix(l, &layer->wqkv, &names->qkv, n, 3 * D, D) && vector(l, &layer->bqkv, &names->qkv_bias, n, 3 * D);
  if (!matrix(l, &layer->wq, &names->q, n, D, D) || !matrix(l, &layer->wk, &names->k, n, D, D) ||
      !matrix(l, &layer->wv, &names->v, n, D, D))
    return false;
  const struct weight_name *bias[] = {&names->q_bias, &names->k_bias, &names->v_bias};
  layer->bqkv = mem_alloc(3 * D * sizeof *layer->bqkv + 64);
  for (size_t i = 0; i < 3; i++) {
    float *part;
    if (!vector(l, &part, bias[i], n, D)) return false;
    memcpy(layer->bqkv + i * D, part, D * sizeof *part);
    free(part);
  }
  return true;
}

static bool load_feed_forward(struct loading *l, struct encoder_layer *layer, size_t n) {
  const struct encoder_names *names = l->names;
  size_t D = l->D, F = l->F;
  if (weights_part_names(l->w, &names->up_gate) && weights_find(l->w, &names->up_gate, n)) {
    struct weight_part up = {.rows = 2 * F, .n_experts = 1, .n_out = F, .n_in = D}, gate = up;
    gate.begin = F;
    layer->w_up = weights_part(l->w, &names->up_gate, n, &up, l->err);
    layer->w_gate = layer->w_up ? weights_part(l->w, &names->up_gate, n, &gate, l->err) : NULL;
    if (!layer->w_gate) return false;
  } else if (!matrix(l, &layer->w_up, &names->up, n, F, D) ||
             (weights_part_names(l->w, &names->gate) && !matrix(l, &layer->w_gate, &names->gate, n, F, D))) {
    return false;
  }
  if (weights_part_names(l->w, &names->up_bias) && !vector(l, &layer->b_up, &names->up_bias, n, F)) return false;
  return matrix(l, &layer->w_down, &names->down, n, D, F) && vector(l, &layer->b_down, &names->down_bias, n, D);
}

static bool load_layer(struct loading *l, struct encoder_layer *layer, size_t n) {
  const struct encoder_names *names = l->names;
  return load_qkv(l, layer, n) && matrix(l, &layer->wo, &names->o, n, l->D, l->D) && vector(l, &layer->bo, &names->o_bias, n, l->D) &&
         norm(l, &layer->attn_norm, &layer->attn_norm_bias, &names->attn_norm, &names->attn_norm_bias, n) &&
         load_feed_forward(l, layer, n) && norm(l, &layer->ffn_norm, &layer->ffn_norm_bias, &names->ffn_norm, &names->ffn_norm_bias, n);
}

static bool load_position(struct loading *l) {
  struct encoder *m = l->m;
  const struct file_tensor *t = weights_find(l->w, &l->names->position, 0);
  size_t positions = t && t->rank == 2 ? (size_t)t->shape[0] : 0;
  if (positions >= m->base.info.context_tokens)
    return (m->position = weights_table(l->w, &l->names->position, 0, positions, l->D, l->err)) != NULL;
  error_set(l->err, ERROR_CORRUPT, "%s: the position embeddings hold %zu positions, but the window is %zu tokens.", l->w->file->path,
            positions, m->base.info.context_tokens);
  return false;
}

static bool load_type(struct loading *l) {
  const struct file_tensor *t = weights_find(l->w, &l->names->type, 0);
  if (!t) return true;
  if (t->rank != 2 || t->shape[1] != l->D || t->shape[0] < 1) {
    error_set(l->err, ERROR_CORRUPT, "%s: the token type embeddings do not have rows of %zu values.", l->w->file->path, l->D);
    return false;
  }
  return (l->m->type = weights_table(l->w, &l->names->type, 0, (size_t)t->shape[0], l->D, l->err)) != NULL;
}

static float *rows_of(size_t rows, size_t n) { return mem_aligned(64, rows * n * sizeof(float) + 64); }

static bool load_all(struct loading *l) {
  struct encoder *m = l->m;
  const struct encoder_names *names = l->names;
  m->layers = mem_zalloc(m->base.info.n_layers, sizeof *m->layers);
  if ((weights_part_names(l->w, &names->position) && !load_position(l)) || !load_type(l) ||
      !matrix(l, &m->word, &names->word, 0, m->base.info.n_vocab, l->D) ||
      !norm(l, &m->norm, &m->norm_bias, &names->norm, &names->norm_bias, 0))
    return false;
  l->w->stream_bytes = 0; /* the table of words is looked up, not streamed */
  l->w->operations = 0;
  for (size_t n = 0; n < m->base.info.n_layers; n++)
    if (!load_layer(l, &m->layers[n], n)) return false;
  return true;
}

struct model *encoder_load(struct encoder *m, const struct encoder_names *names, struct weights *w, const struct model_options *options,
                           struct error *err) {
  struct loading l = {.m = m, .names = names, .w = w, .D = m->base.info.n_embd, .F = m->base.info.n_ff, .err = err};
  bool ok = weights_check_depth(w, &names->o, m->base.info.n_layers, err) == 0 && load_all(&l);
  m->base.weight_bytes = w->bytes;
  m->base.stream_bytes = w->stream_bytes;
  m->base.row_operations = w->operations;
  (void)options; /* memory for a pass is made for its rows */
  if (ok) return &m->base;
  encoder_free(&m->base);
  return NULL;
}

/* ---- memory of one pass ---- */

static void free_scratch(struct encoder *m) {
  act_free(m->act);
  act_free(m->act_inner);
  void *memory[] = {m->x, m->qkv, m->attn, m->gate, m->up, m->cos, m->sin, m->pos, m->pages, m->page_list};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
}

static void make_scratch(struct encoder *m, size_t T) {
  const struct model_info *s = &m->base.info;
  size_t D = s->n_embd, F = s->n_ff, half = s->head_dim / 2;
  m->rows = T;
  m->act = act_create(m->base.compute, T, D, NULL);
  m->act_inner = act_create(m->base.compute, T, F, NULL);
  m->x = rows_of(T, D);
  m->qkv = rows_of(T, 3 * D);
  m->attn = rows_of(T, D);
  m->up = rows_of(T, F);
  m->gate = m->layers[0].w_gate ? rows_of(T, F) : NULL;
  m->cos = rows_of(T, half);
  m->sin = rows_of(T, half);
  m->pos = mem_alloc(T * sizeof *m->pos);
  m->kv = kv_layout_make(1, s->n_heads, s->head_dim, DTYPE_F32);
  size_t n_pages = T / KV_PAGE_TOKENS + ENCODER_TEXTS_MAX + 1;
  m->pages = mem_aligned(64, n_pages * m->kv.page_bytes);
  m->page_list = mem_alloc(n_pages * sizeof *m->page_list);
  for (size_t i = 0; i < n_pages; i++) m->page_list[i] = m->pages + i * m->kv.page_bytes;
}

/* Rows are several ten KiB each: a window of 8,192 would hold half a GiB for the sake of one long text. */
static void fit_scratch(struct encoder *m, size_t T) {
  bool fits = T <= m->rows && (T > ENCODER_ROWS_WANTED || m->rows <= ENCODER_ROWS_WANTED);
  if (fits) return;
  free_scratch(m);
  make_scratch(m, T > ENCODER_ROWS_WANTED ? T : ENCODER_ROWS_WANTED);
}

static void free_layer(struct encoder_layer *l) {
  struct weight *matrices[] = {l->wqkv, l->wq, l->wk, l->wv, l->wo, l->w_gate, l->w_up, l->w_down};
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) weight_free(matrices[i]);
  float *vectors[] = {l->bqkv, l->bo, l->attn_norm, l->attn_norm_bias, l->b_up, l->b_down, l->ffn_norm, l->ffn_norm_bias};
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) free(vectors[i]);
}

void encoder_free(struct model *base) {
  struct encoder *m = (struct encoder *)base;
  for (size_t i = 0; m->layers && i < base->info.n_layers; i++) free_layer(&m->layers[i]);
  free(m->layers);
  weight_free(m->word);
  free_scratch(m);
  void *memory[] = {m->inv_freq, m->position, m->type, m->norm, m->norm_bias};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  free(m);
}

/* ---- the forward pass ---- */

/* What the products with a layer's input take. */
static unsigned input_forms(const struct encoder_layer *l) {
  if (l->wqkv) return weight_act_form(l->wqkv);
  return weight_act_form(l->wq) | weight_act_form(l->wk) | weight_act_form(l->wv);
}

static void embed_tokens(struct encoder *m, const int32_t *tokens, size_t n_segments, size_t T) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd;
  op_embed(c, m->x, m->word, tokens, T);
  for (size_t s = 0; s < n_segments; s++)
    for (size_t r = 0; r < m->segments[s].n_rows; r++) {
      size_t row = m->segments[s].row_begin + r;
      float *x = m->x + row * D;
      m->pos[row] = (int32_t)r;
      for (size_t i = 0; m->type && i < D; i++) x[i] += m->type[i];
      for (size_t i = 0; m->position && i < D; i++) x[i] += m->position[r * D + i];
    }
  if (m->inv_freq) op_rope_table(c, m->cos, m->sin, m->pos, T, m->inv_freq, m->base.info.head_dim / 2);
  op_layernorm(c, m->x, m->act, input_forms(&m->layers[0]), m->x, NULL, m->norm, m->norm_bias, m->eps, T, D);
}

static void project_qkv(struct encoder *m, const struct encoder_layer *l, size_t T) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd;
  float *q = m->qkv, *k = q + D, *v = k + D;
  struct linear fused = {.w = l->wqkv, .bias = l->bqkv, .y = q, .ldy = 3 * D};
  struct linear jobs[] = {{.w = l->wq, .bias = l->bqkv, .y = q, .ldy = 3 * D},
                          {.w = l->wk, .bias = l->bqkv + D, .y = k, .ldy = 3 * D},
                          {.w = l->wv, .bias = l->bqkv + 2 * D, .y = v, .ldy = 3 * D}};
  op_linear(c, m->act, l->wqkv ? &fused : jobs, l->wqkv ? 1 : 3, NULL, T);
}

static void attend(struct encoder *m, const struct encoder_layer *l, size_t n_segments, size_t T) {
  struct compute *c = m->base.compute;
  const struct model_info *s = &m->base.info;
  size_t D = s->n_embd;
  unsigned forms = weight_act_form(l->w_up) | (l->w_gate ? weight_act_form(l->w_gate) : 0);
  project_qkv(m, l, T);
  op_rope_store(c, &m->kv, 0, m->segments, n_segments, m->qkv, 3 * D, s->n_heads, m->inv_freq ? m->cos : NULL, m->sin);
  struct attention a = {.kv = &m->kv,
                        .n_heads = s->n_heads,
                        .scale = (float)(1.0 / sqrt((double)s->head_dim)),
                        .q = m->qkv,
                        .ldq = 3 * D,
                        .out = m->attn,
                        .ldo = D};
  op_attention(c, &a, m->segments, n_segments);
  op_prepare(c, m->act, weight_act_form(l->wo), m->attn, D, T, D);
  op_linear(c, m->act, &(struct linear){.w = l->wo, .bias = l->bo, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  op_layernorm(c, m->x, m->act, forms, m->x, NULL, l->attn_norm, l->attn_norm_bias, m->eps, T, D);
}

/* forms: what the next layer's products take; 0 after the last. */
static void feed_forward(struct encoder *m, const struct encoder_layer *l, unsigned forms, size_t T) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd, F = m->base.info.n_ff;
  struct linear jobs[] = {{.w = l->w_up, .bias = l->b_up, .y = m->up, .ldy = F}, {.w = l->w_gate, .y = m->gate, .ldy = F}};
  op_linear_then(c, m->act, jobs, l->w_gate ? LINEAR_GELU_MUL : LINEAR_GELU, m->act_inner, weight_act_form(l->w_down), T);
  op_linear(c, m->act_inner, &(struct linear){.w = l->w_down, .bias = l->b_down, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  op_layernorm(c, m->x, forms ? m->act : NULL, forms, m->x, NULL, l->ffn_norm, l->ffn_norm_bias, m->eps, T, D);
}

static void pool(struct encoder *m, const struct kv_segment *text, float *out) {
  size_t D = m->base.info.n_embd;
  const float *rows = m->x + text->row_begin * D;
  if (m->base.info.pooling == MODEL_POOL_CLS) memcpy(out, rows, D * sizeof *out);
  else op_mean_rows(out, rows, text->n_rows, D);
  if (m->base.info.normalize) op_l2_normalize(out, D);
}

/* Texts 0 … n-1 (n <= ENCODER_TEXTS_MAX) in one pass. */
static void embed_group(struct encoder *m, const int32_t *tokens, const size_t *offset, size_t n, float *out) {
  size_t page = 0, T = offset[n] - offset[0];
  fit_scratch(m, T);
  for (size_t i = 0; i < n; i++) {
    size_t length = offset[i + 1] - offset[i];
    assert(length > 0 && length <= m->base.info.context_tokens);
    m->segments[i] = (struct kv_segment){.row_begin = offset[i] - offset[0], .n_rows = length, .pages = m->page_list + page};
    page += (length + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  }
  embed_tokens(m, tokens + offset[0], n, T);
  for (size_t i = 0; i < m->base.info.n_layers; i++) {
    bool last = i + 1 == m->base.info.n_layers;
    attend(m, &m->layers[i], n, T);
    feed_forward(m, &m->layers[i], last ? 0 : input_forms(&m->layers[i + 1]), T);
  }
  for (size_t i = 0; i < n; i++) pool(m, &m->segments[i], out + i * m->base.info.n_embd);
}

/* How many of the n texts from offset on go together. */
static size_t group_of(const size_t *offset, size_t n) {
  size_t group = 1;
  while (group < n && group < ENCODER_TEXTS_MAX && offset[group + 1] - offset[0] <= ENCODER_ROWS_WANTED) group++;
  return group;
}

void encoder_embed(struct model *base, const int32_t *tokens, const size_t *offset, size_t n, float *out) {
  for (size_t i = 0, group; i < n; i += group) {
    group = group_of(offset + i, n - i);
    embed_group((struct encoder *)base, tokens, offset + i, group, out + i * base->info.n_embd);
  }
}

const float *encoder_hidden(const struct model *m) { return ((const struct encoder *)m)->x; }
