/* convert_values: the GGUF keys that say what config.json says; see convert.h. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "app/convert.h"
#include "base/js.h"

/* One family's keys: prefix and what is written under it. */
struct keys {
  const struct convert *c;
  const struct js *config;
  const char *prefix;
  struct gguf_writer *w;
};

static void key_of(const struct keys *k, const char *last, char out[80]) { snprintf(out, 80, "%s.%s", k->prefix, last); }

static void put_u32(const struct keys *k, const char *last, uint64_t v) {
  char key[80];
  key_of(k, last, key);
  gguf_writer_u32(k->w, key, (uint32_t)v);
}

static void put_f32(const struct keys *k, const char *last, double v) {
  char key[80];
  key_of(k, last, key);
  gguf_writer_f32(k->w, key, (float)v);
}

static void put_bool(const struct keys *k, const char *last, bool v) {
  char key[80];
  key_of(k, last, key);
  gguf_writer_bool(k->w, key, v);
}

static double real_or(const struct js *from, const char *key, double fallback) {
  js_real(js_get(from, key), &fallback);
  return fallback;
}

static int64_t int_or(const struct js *from, const char *key, int64_t fallback) {
  js_int(js_get(from, key), &fallback);
  return fallback;
}

static void put_sizes(const struct keys *k, size_t context) {
  const struct model_info *i = &k->c->info;
  put_u32(k, "block_count", i->n_layers);
  put_u32(k, "context_length", context);
  put_u32(k, "embedding_length", i->n_embd);
  put_u32(k, "feed_forward_length", i->n_ff);
  put_u32(k, "attention.head_count", i->n_heads);
  put_u32(k, "vocab_size", i->n_vocab);
  if (i->n_kv_heads) put_u32(k, "attention.head_count_kv", i->n_kv_heads);
}

static int put_rope(const struct keys *k, struct error *err) {
  const struct js *rule = js_get(k->config, "rope_parameters");
  if (js_type(rule) != JS_OBJECT) rule = js_get(k->config, "rope_scaling");
  struct slice type = SLICE("default");
  if (!js_str(js_get(rule, "rope_type"), &type)) js_str(js_get(rule, "type"), &type);
  put_u32(k, "rope.dimension_count", k->c->info.head_dim);
  put_f32(k, "rope.freq_base", k->c->info.rope_theta);
  if (slice_eq(type, SLICE("default")) || slice_eq(type, SLICE("llama3"))) return 0; /* llama3 is the tensor rope_freqs.weight */
  if (!slice_eq(type, SLICE("linear")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: GGUF has no form for rope_type = \"%.*s\".", k->c->file->path, SLICE_ARG(type));
  char key[80];
  key_of(k, "rope.scaling.type", key);
  gguf_writer_str(k->w, key, type);
  put_f32(k, "rope.scaling.factor", real_or(rule, "factor", 1));
  return 0;
}

static int put_llama(const struct keys *k, struct error *err) {
  const struct model_info *i = &k->c->info;
  put_sizes(k, i->context_tokens);
  put_f32(k, "attention.layer_norm_rms_epsilon", i->norm_epsilon);
  put_u32(k, "attention.key_length", i->head_dim);
  put_u32(k, "attention.value_length", i->head_dim);
  if (i->window_tokens) put_u32(k, "attention.sliding_window", i->window_tokens);
  if (i->n_experts) put_u32(k, "expert_count", i->n_experts);
  if (i->n_experts) put_u32(k, "expert_used_count", i->n_experts_used);
  return put_rope(k, err);
}

static int put_dbrx(const struct keys *k, struct error *err) {
  const struct js *attention = js_get(k->config, "attn_config"), *ffn = js_get(k->config, "ffn_config");
  const struct js *norm = js_get(ffn, "moe_normalize_expert_weights"), *clip = js_get(attention, "clip_qkv");
  double p = 1, limit = 0;
  js_real(clip, &limit);
  if (norm && !js_real(norm, &p)) p = 0;
  put_sizes(k, k->c->info.context_tokens);
  put_f32(k, "attention.layer_norm_epsilon", k->c->info.norm_epsilon);
  put_u32(k, "expert_count", k->c->info.n_experts);
  put_u32(k, "expert_used_count", k->c->info.n_experts_used);
  put_f32(k, "attention.clamp_kqv", limit); /* llama.cpp demands it; 0 is none */
  if (p != 1)
    return error_set(err, ERROR_UNSUPPORTED, "%s: GGUF has no form for ffn_config.moe_normalize_expert_weights other than 1.",
                     k->c->file->path);
  return put_rope(k, err);
}

static int put_mpt(const struct keys *k, struct error *err) {
  const struct js *attention = js_get(k->config, "attn_config");
  bool alibi = true;
  js_bool(js_get(attention, "alibi"), &alibi);
  const struct js *scale = js_get(k->config, "logit_scale"), *softmax = js_get(attention, "softmax_scale");
  if (!alibi || (scale && js_type(scale) != JS_NULL) || (softmax && js_type(softmax) != JS_NULL))
    return error_set(err, ERROR_UNSUPPORTED, "%s: GGUF has no form for an MPT model without ALiBi, with logit_scale or with softmax_scale.",
                     k->c->file->path);
  put_sizes(k, k->c->info.context_tokens);
  put_f32(k, "attention.layer_norm_epsilon", k->c->info.norm_epsilon);
  put_f32(k, "attention.max_alibi_bias", real_or(attention, "alibi_bias_max", 8));
  double clip;
  if (js_real(js_get(attention, "clip_qkv"), &clip)) put_f32(k, "attention.clamp_kqv", clip);
  return 0;
}

static int put_bert(const struct keys *k, struct error *err) {
  (void)err;
  const struct model_info *i = &k->c->info;
  size_t positions = (size_t)int_or(k->config, "max_position_embeddings", (int64_t)i->context_tokens);
  put_sizes(k, positions); /* the rows of the position table, though sentence-transformers may stop sooner */
  put_f32(k, "attention.layer_norm_epsilon", i->norm_epsilon);
  /* Keys of our own: GGUF has none for these. */
  if (i->context_tokens < positions) gguf_writer_u32(k->w, "plinth.embedding.window", (uint32_t)i->context_tokens);
  if (!i->normalize) gguf_writer_bool(k->w, "plinth.embedding.normalize", false);
  put_bool(k, "attention.causal", false);
  put_u32(k, "pooling_type", i->pooling == MODEL_POOL_CLS ? 2 : 1);
  gguf_writer_u32(k->w, "tokenizer.ggml.token_type_count", (uint32_t)int_or(k->config, "type_vocab_size", 2));
  return 0;
}

/* The file's own name for itself; else its folder's. */
static struct slice name_of(const struct convert *c) {
  if (c->info.name[0]) return slice_cstr(c->info.name);
  const char *path = c->file->path, *last = path;
  size_t len = strlen(path);
  while (len > 1 && path[len - 1] == '/') len--;
  for (size_t i = 0; i + 1 < len; i++)
    if (path[i] == '/') last = path + i + 1;
  return slice_make(last, (size_t)(path + len - last));
}

static int hugging_face(const struct convert *c, const struct tokenizer *tokenizer, struct gguf_writer *w, struct error *err) {
  static const struct {
    const char *architecture, *gguf;
    int (*put)(const struct keys *k, struct error *err);
  } families[] = {{"llama", "llama", put_llama}, {"mistral", "llama", put_llama}, {"mixtral", "llama", put_llama},
                  {"dbrx", "dbrx", put_dbrx},    {"mpt", "mpt", put_mpt},         {"bert", "bert", put_bert}};
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
    if (strcmp(c->info.architecture, families[i].architecture) != 0) continue;
    struct keys k = {.c = c, .config = c->file->config, .prefix = families[i].gguf, .w = w};
    gguf_writer_str(w, "general.architecture", slice_cstr(families[i].gguf));
    gguf_writer_str(w, "general.type", SLICE("model"));
    gguf_writer_str(w, "general.name", name_of(c));
    if (families[i].put(&k, err) < 0) return -1;
    return convert_tokenizer(c->file, tokenizer, c->info.n_vocab, w, err);
  }
  return error_set(err, ERROR_UNSUPPORTED, "%s: GGUF has no form for the architecture \"%s\".", c->file->path, c->info.architecture);
}

/* These say how the file at hand is stored. */
static bool is_of_the_file(struct slice key) {
  return slice_eq(key, SLICE("general.file_type")) || slice_eq(key, SLICE("general.quantization_version")) ||
         slice_eq(key, SLICE("general.alignment")) || slice_starts(key, SLICE("split.")) || slice_starts(key, SLICE("quantize.imatrix."));
}

int convert_values(const struct convert *c, const struct tokenizer *tokenizer, struct gguf_writer *w, struct error *err) {
  if (c->file->container == FILE_SAFETENSORS) return hugging_face(c, tokenizer, w, err);
  for (size_t i = 0; i < gguf_n_values(c->file->gguf); i++) {
    const struct gguf_value *v = gguf_value_at(c->file->gguf, i);
    if (!is_of_the_file(v->key)) gguf_writer_copy(w, v);
  }
  return 0;
}
