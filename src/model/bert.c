/* bert: BERT encoders for embeddings (all-MiniLM, BGE): learned positions, post-LayerNorm, exact GELU; mean or CLS pooling.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   h = LN(word[token] + type[0] + position[0 … T-1])
 *   per layer:  q, k, v = h W{q,k,v}ᵀ + b;  h = LN(attention(q, k, v) Woᵀ + bo + h);  h = LN(gelu(h W1ᵀ + b1) W2ᵀ + b2 + h)
 *   embedding = pool(h), of unit length where the files say so
 *
 * Texts are packed one behind the other without padding. Each is one segment whose keys lie in KV pages of a scratch that is used
 * again by every layer, so attention is the same operation as in a generating model, without the causal rule. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/js.h"
#include "base/mem.h"
#include "model/arch.h"

enum { TEXTS_MAX = 64 }; /* texts in one pass; more are done in several */

struct bert_layer {
  struct weight *wq, *wk, *wv, *wo;  /* [D, D] */
  float *bq, *bk, *bv, *bo;          /* [D] */
  float *attn_norm, *attn_norm_bias; /* [D] */
  struct weight *w_in, *w_out;       /* [F, D], [D, F] */
  float *b_in, *b_out;               /* [F], [D] */
  float *ffn_norm, *ffn_norm_bias;   /* [D] */
};

struct bert {
  struct model base;
  float eps;
  struct weight *word;     /* [V, D] */
  float *position;         /* [positions, D] */
  float *type;             /* [D]: row 0 of the table; NULL without token types */
  float *norm, *norm_bias; /* [D] */
  struct bert_layer *layers;
  /* one pass */
  struct act *act;
  float *x;                /* [T, D] */
  float *q, *k, *v, *attn; /* [T, D] */
  float *inner;            /* [T, F] */
  struct kv_layout kv;     /* one layer, fp32 */
  unsigned char *pages;    /* n_pages · kv.page_bytes */
  void **page_list;        /* [n_pages] */
  struct kv_segment segments[TEXTS_MAX];
};

static const struct weight_name N_WORD = {"token_embd.weight", "embeddings.word_embeddings.weight", NULL};
static const struct weight_name N_POSITION = {"position_embd.weight", "embeddings.position_embeddings.weight", NULL};
static const struct weight_name N_TYPE = {"token_types.weight", "embeddings.token_type_embeddings.weight", NULL};
static const struct weight_name N_NORM = {"token_embd_norm.weight", "embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma"};
static const struct weight_name N_NORM_BIAS = {"token_embd_norm.bias", "embeddings.LayerNorm.bias", "embeddings.LayerNorm.beta"};
static const struct weight_name N_Q = {"blk.%zu.attn_q.weight", "encoder.layer.%zu.attention.self.query.weight", NULL};
static const struct weight_name N_K = {"blk.%zu.attn_k.weight", "encoder.layer.%zu.attention.self.key.weight", NULL};
static const struct weight_name N_V = {"blk.%zu.attn_v.weight", "encoder.layer.%zu.attention.self.value.weight", NULL};
static const struct weight_name N_O = {"blk.%zu.attn_output.weight", "encoder.layer.%zu.attention.output.dense.weight", NULL};
static const struct weight_name N_Q_BIAS = {"blk.%zu.attn_q.bias", "encoder.layer.%zu.attention.self.query.bias", NULL};
static const struct weight_name N_K_BIAS = {"blk.%zu.attn_k.bias", "encoder.layer.%zu.attention.self.key.bias", NULL};
static const struct weight_name N_V_BIAS = {"blk.%zu.attn_v.bias", "encoder.layer.%zu.attention.self.value.bias", NULL};
static const struct weight_name N_O_BIAS = {"blk.%zu.attn_output.bias", "encoder.layer.%zu.attention.output.dense.bias", NULL};
static const struct weight_name N_ATTN_NORM = {"blk.%zu.attn_output_norm.weight", "encoder.layer.%zu.attention.output.LayerNorm.weight",
                                               "encoder.layer.%zu.attention.output.LayerNorm.gamma"};
static const struct weight_name N_ATTN_NORM_BIAS = {"blk.%zu.attn_output_norm.bias", "encoder.layer.%zu.attention.output.LayerNorm.bias",
                                                    "encoder.layer.%zu.attention.output.LayerNorm.beta"};
static const struct weight_name N_IN = {"blk.%zu.ffn_up.weight", "encoder.layer.%zu.intermediate.dense.weight", NULL};
static const struct weight_name N_IN_BIAS = {"blk.%zu.ffn_up.bias", "encoder.layer.%zu.intermediate.dense.bias", NULL};
static const struct weight_name N_OUT = {"blk.%zu.ffn_down.weight", "encoder.layer.%zu.output.dense.weight", NULL};
static const struct weight_name N_OUT_BIAS = {"blk.%zu.ffn_down.bias", "encoder.layer.%zu.output.dense.bias", NULL};
static const struct weight_name N_FFN_NORM = {"blk.%zu.layer_output_norm.weight", "encoder.layer.%zu.output.LayerNorm.weight",
                                              "encoder.layer.%zu.output.LayerNorm.gamma"};
static const struct weight_name N_FFN_NORM_BIAS = {"blk.%zu.layer_output_norm.bias", "encoder.layer.%zu.output.LayerNorm.bias",
                                                   "encoder.layer.%zu.output.LayerNorm.beta"};

static struct config config_of(const struct file_model *file) { return (struct config){.file = file, .gguf_arch = "bert"}; }

static const char *hf_prefix(const struct file_model *file) {
  return file->container == FILE_SAFETENSORS && file_model_tensor(file, "bert.embeddings.word_embeddings.weight") ? "bert." : "";
}

/* ---- config and pooling ---- */

static int refuse_unsupported(const struct config *c, struct error *err) {
  struct slice act = config_str(c, NULL, "hidden_act"), position = config_str(c, NULL, "position_embedding_type");
  if (act.len && !slice_eq(act, SLICE("gelu")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: hidden_act = \"%.*s\" is not supported; BERT models use \"gelu\".", c->file->path,
                     SLICE_ARG(act));
  if (position.len && !slice_eq(position, SLICE("absolute")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: position_embedding_type = \"%.*s\" is not supported; only \"absolute\" is.",
                     c->file->path, SLICE_ARG(position));
  bool causal = false;
  if (config_bool_or(c, "%s.attention.causal", "is_decoder", &causal, err) < 0) return -1;
  return causal ? error_set(err, ERROR_UNSUPPORTED, "%s: a causal BERT is not supported.", c->file->path) : 0;
}

/* The last part of a module's type: "sentence_transformers.models.Pooling" -> "Pooling". */
static struct slice module_kind(const struct js *module) {
  struct slice type = {0};
  js_str(js_get(module, "type"), &type);
  for (size_t i = type.len; i > 0; i--)
    if (type.data[i - 1] == '.') return slice_from(type, i);
  return type;
}

static int read_pooling_file(const struct file_model *file, const struct js *module, struct model_info *info, struct error *err) {
  struct slice folder = {0};
  js_str(js_get(module, "path"), &folder);
  struct buf name = {0};
  buf_printf(&name, "%.*s/config.json", SLICE_ARG(folder));
  struct js *pooling = NULL;
  int result = file_model_json(file, name.data, &pooling, err);
  if (result == 0 && !pooling)
    result = error_set(err, ERROR_CORRUPT, "%s: modules.json names a Pooling module, but %s is missing.", file->path, name.data);
  buf_free(&name);
  if (result < 0) return -1;
  bool cls = false, mean = false, other = false;
  for (void *it = js_iter(pooling); it; it = js_iter_next(pooling, it)) {
    struct slice key;
    const struct js *value;
    bool on = false;
    js_iter_get(it, &key, &value);
    if (!slice_starts(key, SLICE("pooling_mode_")) || !js_bool(value, &on) || !on) continue;
    if (slice_eq(key, SLICE("pooling_mode_cls_token"))) cls = true;
    else if (slice_eq(key, SLICE("pooling_mode_mean_tokens"))) mean = true;
    else other = true;
  }
  js_free(pooling);
  if (other || cls == mean)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the pooling of %.*s/config.json is not supported; it must be CLS or mean, and only one.",
                     file->path, SLICE_ARG(folder));
  info->pooling = cls ? MODEL_POOL_CLS : MODEL_POOL_MEAN;
  return 0;
}

/* modules.json of sentence-transformers: Transformer, Pooling, and maybe Normalize. */
static int read_modules(const struct file_model *file, struct model_info *info, struct error *err) {
  struct js *modules = NULL;
  if (file_model_json(file, "modules.json", &modules, err) < 0) return -1;
  int result = 0;
  for (size_t i = 0; i < js_len(modules) && result == 0; i++) {
    const struct js *module = js_at(modules, i);
    struct slice kind = module_kind(module);
    if (slice_eq(kind, SLICE("Transformer"))) continue;
    if (slice_eq(kind, SLICE("Normalize"))) info->normalize = true;
    else if (slice_eq(kind, SLICE("Pooling"))) result = read_pooling_file(file, module, info, err);
    else
      result = error_set(err, ERROR_UNSUPPORTED, "%s: the module \"%.*s\" in modules.json is not supported.", file->path, SLICE_ARG(kind));
  }
  js_free(modules);
  return result;
}

static int read_window(const struct file_model *file, struct model_info *info, struct error *err) {
  struct js *sentence = NULL;
  if (file_model_json(file, "sentence_bert_config.json", &sentence, err) < 0) return -1;
  int64_t window;
  if (js_int(js_get(sentence, "max_seq_length"), &window) && window > 0 && (uint64_t)window < info->context_tokens)
    info->context_tokens = (size_t)window;
  js_free(sentence);
  return 0;
}

static int read_gguf_pooling(const struct config *c, struct model_info *info, struct error *err) {
  size_t type = 1;
  if (config_size_or(c, "%s.pooling_type", NULL, 0, 100, &type, err) < 0) return -1;
  if (type != 1 && type != 2)
    return error_set(err, ERROR_UNSUPPORTED, "%s: bert.pooling_type %zu is not supported; it must be 1 (mean) or 2 (CLS).", c->file->path,
                     type);
  info->pooling = type == 2 ? MODEL_POOL_CLS : MODEL_POOL_MEAN;
  info->normalize = true; /* GGUF has no key for it; the models kept in this form are normalized */
  return 0;
}

static int bert_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  struct config c = config_of(file);
  info->task = MODEL_EMBED;
  if (refuse_unsupported(&c, err) < 0 || config_size(&c, "%s.block_count", "num_hidden_layers", 1, 1000, &info->n_layers, err) < 0 ||
      config_size(&c, "%s.embedding_length", "hidden_size", 1, 1 << 17, &info->n_embd, err) < 0 ||
      config_size(&c, "%s.attention.head_count", "num_attention_heads", 1, 4096, &info->n_heads, err) < 0 ||
      config_size(&c, "%s.feed_forward_length", "intermediate_size", 1, 1 << 20, &info->n_ff, err) < 0 ||
      config_size(&c, "%s.context_length", "max_position_embeddings", 1, 1 << 20, &info->context_tokens, err) < 0)
    return -1;
  if (info->n_embd % info->n_heads)
    return error_set(err, ERROR_UNSUPPORTED, "%s: a width of %zu cannot be split evenly over %zu heads.", file->path, info->n_embd,
                     info->n_heads);
  info->n_kv_heads = info->n_heads;
  info->head_dim = info->n_embd / info->n_heads;
  struct weights w = {.file = file, .hf_prefix = hf_prefix(file)};
  const struct file_tensor *word = weights_find(&w, &N_WORD, 0);
  if (!word || word->rank != 2) return error_set(err, ERROR_CORRUPT, "%s: the word embeddings are missing or no matrix.", file->path);
  info->n_vocab = (size_t)word->shape[0];
  if (file->container == FILE_GGUF) return read_gguf_pooling(&c, info, err);
  return read_modules(file, info, err) < 0 || read_window(file, info, err) < 0 ? -1 : 0;
}

/* ---- loading ---- */

static int load_layer(struct weights *w, const struct model_info *s, size_t n, struct bert_layer *l, struct error *err) {
  size_t D = s->n_embd, F = s->n_ff;
  bool ok = (l->wq = weights_matrix(w, &N_Q, n, D, D, NULL, false, err)) && (l->wk = weights_matrix(w, &N_K, n, D, D, NULL, false, err)) &&
            (l->wv = weights_matrix(w, &N_V, n, D, D, NULL, false, err)) && (l->wo = weights_matrix(w, &N_O, n, D, D, NULL, false, err)) &&
            (l->bq = weights_vector(w, &N_Q_BIAS, n, D, NULL, err)) && (l->bk = weights_vector(w, &N_K_BIAS, n, D, NULL, err)) &&
            (l->bv = weights_vector(w, &N_V_BIAS, n, D, NULL, err)) && (l->bo = weights_vector(w, &N_O_BIAS, n, D, NULL, err)) &&
            (l->attn_norm = weights_vector(w, &N_ATTN_NORM, n, D, NULL, err)) &&
            (l->attn_norm_bias = weights_vector(w, &N_ATTN_NORM_BIAS, n, D, NULL, err)) &&
            (l->w_in = weights_matrix(w, &N_IN, n, F, D, NULL, false, err)) && (l->b_in = weights_vector(w, &N_IN_BIAS, n, F, NULL, err)) &&
            (l->w_out = weights_matrix(w, &N_OUT, n, D, F, NULL, false, err)) &&
            (l->b_out = weights_vector(w, &N_OUT_BIAS, n, D, NULL, err)) &&
            (l->ffn_norm = weights_vector(w, &N_FFN_NORM, n, D, NULL, err)) &&
            (l->ffn_norm_bias = weights_vector(w, &N_FFN_NORM_BIAS, n, D, NULL, err));
  return ok ? 0 : -1;
}

static int load_embeddings(struct weights *w, struct bert *m, const struct model_info *s, struct error *err) {
  const struct file_tensor *position = weights_find(w, &N_POSITION, 0), *type = weights_find(w, &N_TYPE, 0);
  size_t positions = position && position->rank == 2 ? (size_t)position->shape[0] : 0;
  if (positions < s->context_tokens)
    return error_set(err, ERROR_CORRUPT, "%s: the position embeddings hold %zu positions, but the window is %zu tokens.", w->file->path,
                     positions, s->context_tokens);
  if (type && (type->rank != 2 || type->shape[1] != s->n_embd || type->shape[0] < 1))
    return error_set(err, ERROR_CORRUPT, "%s: the token type embeddings do not have rows of %zu values.", w->file->path, s->n_embd);
  if (type && !(m->type = weights_table(w, &N_TYPE, 0, (size_t)type->shape[0], s->n_embd, err))) return -1;
  bool ok = (m->word = weights_matrix(w, &N_WORD, 0, s->n_vocab, s->n_embd, NULL, false, err)) &&
            (m->position = weights_table(w, &N_POSITION, 0, positions, s->n_embd, err)) &&
            (m->norm = weights_vector(w, &N_NORM, 0, s->n_embd, NULL, err)) &&
            (m->norm_bias = weights_vector(w, &N_NORM_BIAS, 0, s->n_embd, NULL, err));
  return ok ? 0 : -1;
}

static float *rows_of(size_t rows, size_t n) { return mem_aligned(64, rows * n * sizeof(float) + 64); }

static int make_scratch(struct bert *m, const struct model_info *s, struct compute *c, const struct model_options *o, struct error *err) {
  size_t T = o->rows_max, D = s->n_embd;
  m->act = act_create(c, T, D > s->n_ff ? D : s->n_ff, err);
  if (!m->act) return -1;
  m->x = rows_of(T, D);
  m->q = rows_of(T, D);
  m->k = rows_of(T, D);
  m->v = rows_of(T, D);
  m->attn = rows_of(T, D);
  m->inner = rows_of(T, s->n_ff);
  m->kv = kv_layout_make(1, s->n_heads, s->head_dim, DTYPE_F32);
  size_t n_pages = T / KV_PAGE_TOKENS + TEXTS_MAX + 1;
  m->pages = mem_aligned(64, n_pages * m->kv.page_bytes);
  m->page_list = mem_alloc(n_pages * sizeof *m->page_list);
  for (size_t i = 0; i < n_pages; i++) m->page_list[i] = m->pages + i * m->kv.page_bytes;
  return 0;
}

static void bert_free(struct model *base);

static struct model *bert_load(const struct file_model *file, const struct model_info *s, struct compute *c, const struct model_options *o,
                               struct error *err) {
  struct bert *m = mem_zalloc(1, sizeof *m);
  m->base.info = *s;
  struct config config = config_of(file);
  struct weights w = {.file = file, .compute = c, .hf_prefix = hf_prefix(file)};
  double eps = 1e-12;
  if (config_epsilon_or(&config, "%s.attention.layer_norm_epsilon", "layer_norm_eps", &eps, err) < 0) goto fail;
  m->eps = (float)eps;
  m->layers = mem_zalloc(s->n_layers, sizeof *m->layers);
  if (load_embeddings(&w, m, s, err) < 0) goto fail;
  w.stream_bytes = 0; /* the table of words is looked up, not streamed */
  for (size_t i = 0; i < s->n_layers; i++)
    if (load_layer(&w, s, i, &m->layers[i], err) < 0) goto fail;
  if (make_scratch(m, s, c, o, err) < 0) goto fail;
  m->base.weight_bytes = w.bytes;
  m->base.stream_bytes = w.stream_bytes;
  return &m->base;
fail:
  bert_free(&m->base);
  return NULL;
}

static void free_layer(struct bert_layer *l) {
  struct weight *matrices[] = {l->wq, l->wk, l->wv, l->wo, l->w_in, l->w_out};
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) weight_free(matrices[i]);
  float *vectors[] = {l->bq, l->bk, l->bv, l->bo, l->attn_norm, l->attn_norm_bias, l->b_in, l->b_out, l->ffn_norm, l->ffn_norm_bias};
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) free(vectors[i]);
}

static void bert_free(struct model *base) {
  struct bert *m = (struct bert *)base;
  for (size_t i = 0; m->layers && i < base->info.n_layers; i++) free_layer(&m->layers[i]);
  free(m->layers);
  weight_free(m->word);
  act_free(m->act);
  void *memory[] = {m->position, m->type, m->norm, m->norm_bias, m->x, m->q, m->k, m->v, m->attn, m->inner, m->pages, m->page_list};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  free(m);
}

/* ---- the forward pass ---- */

static void embed_tokens(struct bert *m, const int32_t *tokens, size_t n_segments, size_t T) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd;
  op_embed(c, m->x, m->word, tokens, T);
  for (size_t s = 0; s < n_segments; s++)
    for (size_t r = 0; r < m->segments[s].n_rows; r++) {
      float *x = m->x + (m->segments[s].row_begin + r) * D;
      const float *position = m->position + r * D;
      for (size_t i = 0; m->type && i < D; i++) x[i] += m->type[i];
      for (size_t i = 0; i < D; i++) x[i] += position[i];
    }
  const struct bert_layer *first = &m->layers[0];
  unsigned forms = weight_act_form(first->wq) | weight_act_form(first->wk) | weight_act_form(first->wv);
  op_layernorm(c, m->x, m->act, forms, m->x, NULL, m->norm, m->norm_bias, m->eps, T, D);
}

static void attend(struct bert *m, const struct bert_layer *l, size_t n_segments, size_t T) {
  struct compute *c = m->base.compute;
  const struct model_info *s = &m->base.info;
  size_t D = s->n_embd;
  struct linear qkv[] = {{.w = l->wq, .bias = l->bq, .y = m->q, .ldy = D},
                         {.w = l->wk, .bias = l->bk, .y = m->k, .ldy = D},
                         {.w = l->wv, .bias = l->bv, .y = m->v, .ldy = D}};
  op_linear(c, m->act, qkv, 3, NULL, T);
  op_kv_store(c, &m->kv, 0, m->segments, n_segments, m->k, m->v, D);
  struct attention a = {.kv = &m->kv,
                        .n_heads = s->n_heads,
                        .scale = (float)(1.0 / sqrt((double)s->head_dim)),
                        .q = m->q,
                        .ldq = D,
                        .out = m->attn,
                        .ldo = D};
  op_attention(c, &a, m->segments, n_segments);
  op_prepare(c, m->act, weight_act_form(l->wo), m->attn, D, T, D);
  op_linear(c, m->act, &(struct linear){.w = l->wo, .bias = l->bo, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  op_layernorm(c, m->x, m->act, weight_act_form(l->w_in), m->x, NULL, l->attn_norm, l->attn_norm_bias, m->eps, T, D);
}

/* forms: what the next layer's products take; 0 after the last. */
static void feed_forward(struct bert *m, const struct bert_layer *l, unsigned forms, size_t T) {
  struct compute *c = m->base.compute;
  size_t D = m->base.info.n_embd, F = m->base.info.n_ff;
  op_linear(c, m->act, &(struct linear){.w = l->w_in, .bias = l->b_in, .y = m->inner, .ldy = F}, 1, NULL, T);
  op_gelu(c, NULL, m->act, weight_act_form(l->w_out), m->inner, T, F);
  op_linear(c, m->act, &(struct linear){.w = l->w_out, .bias = l->b_out, .y = m->x, .ldy = D, .add = true}, 1, NULL, T);
  op_layernorm(c, m->x, forms ? m->act : NULL, forms, m->x, NULL, l->ffn_norm, l->ffn_norm_bias, m->eps, T, D);
}

static void pool(struct bert *m, const struct kv_segment *text, float *out) {
  size_t D = m->base.info.n_embd;
  const float *rows = m->x + text->row_begin * D;
  if (m->base.info.pooling == MODEL_POOL_CLS) memcpy(out, rows, D * sizeof *out);
  else op_mean_rows(out, rows, text->n_rows, D);
  if (m->base.info.normalize) op_l2_normalize(out, D);
}

/* Texts 0 … n-1 (n <= TEXTS_MAX) in one pass. */
static void embed_group(struct bert *m, const int32_t *tokens, const size_t *offset, size_t n, float *out) {
  size_t page = 0, T = offset[n] - offset[0];
  for (size_t i = 0; i < n; i++) {
    size_t length = offset[i + 1] - offset[i];
    assert(length > 0 && length <= m->base.info.context_tokens);
    m->segments[i] = (struct kv_segment){.row_begin = offset[i] - offset[0], .n_rows = length, .pages = m->page_list + page};
    page += (length + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  }
  embed_tokens(m, tokens + offset[0], n, T);
  for (size_t i = 0; i < m->base.info.n_layers; i++) {
    const struct bert_layer *next = i + 1 < m->base.info.n_layers ? &m->layers[i + 1] : NULL;
    unsigned forms = next ? weight_act_form(next->wq) | weight_act_form(next->wk) | weight_act_form(next->wv) : 0;
    attend(m, &m->layers[i], n, T);
    feed_forward(m, &m->layers[i], forms, T);
  }
  for (size_t i = 0; i < n; i++) pool(m, &m->segments[i], out + i * m->base.info.n_embd);
}

static void bert_embed(struct model *base, const int32_t *tokens, const size_t *offset, size_t n, float *out) {
  for (size_t i = 0; i < n; i += TEXTS_MAX) {
    size_t group = n - i < TEXTS_MAX ? n - i : TEXTS_MAX;
    embed_group((struct bert *)base, tokens, offset + i, group, out + i * base->info.n_embd);
  }
}

const struct model_arch bert_arch = {
    .name = "bert",
    .gguf_name = "bert",
    .hf_model_type = "bert",
    .inspect = bert_inspect,
    .load = bert_load,
    .free = bert_free,
    .embed = bert_embed,
};
