/* mpt: MPT: LayerNorm, one fused projection for q, k and v that may be clipped and normalized, ALiBi or learned positions, GELU; the head is
 * the embedding. SPDX-License-Identifier: Apache-2.0
 *
 * The parts are those of decoder.h. Values are those of the model's own configuration (attn_config.…), also where Hugging Face code takes
 * constants instead: alibi_bias_max, expansion_ratio, logit_scale, qk_ln, biases, kv_n_heads. */
#include <math.h>
#include <stdlib.h>

#include "base/js.h"
#include "base/mem.h"
#include "model/decoder.h"

static const struct decoder_names NAMES = {
    .embedding = {"token_embd.weight", "wte.weight", NULL},
    .position = {"position_embd.weight", "wpe.weight", NULL},
    .norm = {"output_norm.weight", "norm_f.weight", NULL},
    .norm_bias = {"output_norm.bias", "norm_f.bias", NULL},
    .head = {"output.weight", "lm_head.weight", NULL},
    .attn_norm = {"blk.%zu.attn_norm.weight", "blocks.%zu.norm_1.weight", NULL},
    .attn_norm_bias = {"blk.%zu.attn_norm.bias", "blocks.%zu.norm_1.bias", NULL},
    .ffn_norm = {"blk.%zu.ffn_norm.weight", "blocks.%zu.norm_2.weight", NULL},
    .ffn_norm_bias = {"blk.%zu.ffn_norm.bias", "blocks.%zu.norm_2.bias", NULL},
    .qkv = {"blk.%zu.attn_qkv.weight", "blocks.%zu.attn.Wqkv.weight", NULL},
    .qkv_bias = {"blk.%zu.attn_qkv.bias", "blocks.%zu.attn.Wqkv.bias", NULL},
    .q_norm = {"blk.%zu.attn_q_norm.weight", "blocks.%zu.attn.q_ln.weight", NULL},
    .q_norm_bias = {"blk.%zu.attn_q_norm.bias", "blocks.%zu.attn.q_ln.bias", NULL},
    .k_norm = {"blk.%zu.attn_k_norm.weight", "blocks.%zu.attn.k_ln.weight", NULL},
    .k_norm_bias = {"blk.%zu.attn_k_norm.bias", "blocks.%zu.attn.k_ln.bias", NULL},
    .o = {"blk.%zu.attn_output.weight", "blocks.%zu.attn.out_proj.weight", NULL},
    .o_bias = {"blk.%zu.attn_output.bias", "blocks.%zu.attn.out_proj.bias", NULL},
    .up = {"blk.%zu.ffn_up.weight", "blocks.%zu.ffn.up_proj.weight", NULL},
    .up_bias = {"blk.%zu.ffn_up.bias", "blocks.%zu.ffn.up_proj.bias", NULL},
    .down = {"blk.%zu.ffn_down.weight", "blocks.%zu.ffn.down_proj.weight", NULL},
    .down_bias = {"blk.%zu.ffn_down.bias", "blocks.%zu.ffn.down_proj.bias", NULL},
};

static const char *const SITES[DECODER_SITES] = {
    [DECODER_Q] = DECODER_NO_SITE,
    [DECODER_K] = DECODER_NO_SITE,
    [DECODER_V] = DECODER_NO_SITE,
    [DECODER_QKV] = "blocks.%zu.attn.Wqkv",
    [DECODER_O] = "blocks.%zu.attn.out_proj",
    [DECODER_GATE] = DECODER_NO_SITE,
    [DECODER_UP] = "blocks.%zu.ffn.up_proj",
    [DECODER_DOWN] = "blocks.%zu.ffn.down_proj",
    [DECODER_ROUTER] = DECODER_NO_SITE,
};

/* ---- config ---- */

/* A text that must be one of two (the second may be NULL), when it is there. */
static int refuse_other(const struct config *c, const char *key, const char *one, const char *two, struct error *err) {
  struct slice value = config_str(c, NULL, key);
  if (!value.len || slice_eq(value, slice_cstr(one)) || (two && slice_eq(value, slice_cstr(two)))) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: %s = \"%.*s\" is not supported; Plinth knows \"%s\"%s%s%s.", c->file->path, key,
                   SLICE_ARG(value), one, two ? " and \"" : "", two ? two : "", two ? "\"" : "");
}

static int refuse_true(const struct config *c, const char *key, struct error *err) {
  bool on = false;
  if (config_bool_or(c, NULL, key, &on, err) < 0) return -1;
  return on ? error_set(err, ERROR_UNSUPPORTED, "%s: %s = true is not supported.", c->file->path, key) : 0;
}

/* Of config.json or its attn_config; neither absent nor null. */
static bool is_given(const struct config *c, const char *key) {
  const char *dot = strchr(key, '.');
  const struct js *in = dot ? js_get(c->file->config, "attn_config") : c->file->config, *value = js_get(in, dot ? dot + 1 : key);
  return js_type(value) != JS_NONE && js_type(value) != JS_NULL;
}

/* Settings of newer training code that change the arithmetic; null and absence mean that they are not used. */
static int refuse_given(const struct config *c, const char *key, struct error *err) {
  if (!is_given(c, key)) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: %s is given, but is not supported; only null is.", c->file->path, key);
}

static int refuse_unsupported(const struct config *c, struct error *err) {
  double window = -1;
  if (refuse_true(c, "attn_config.prefix_lm", err) < 0 || refuse_true(c, "attn_config.attn_uses_sequence_id", err) < 0 ||
      refuse_true(c, "attn_config.rope", err) < 0 || refuse_true(c, "attn_config.qk_gn", err) < 0 ||
      refuse_other(c, "norm_type", "layernorm", "low_precision_layernorm", err) < 0 ||
      refuse_other(c, "ffn_config.ffn_type", "mptmlp", NULL, err) < 0 ||
      refuse_other(c, "ffn_config.ffn_act_fn.name", "gelu", NULL, err) < 0 ||
      refuse_given(c, "attn_config.attn_logit_softcapping", err) < 0 || refuse_given(c, "final_logit_softcapping", err) < 0 ||
      refuse_given(c, "block_overrides", err) < 0 || config_real_or(c, NULL, "attn_config.sliding_window_size", &window, err) < 0)
    return -1;
  if (window != -1)
    return error_set(err, ERROR_UNSUPPORTED, "%s: attn_config.sliding_window_size = %g is not supported.", c->file->path, window);
  return 0;
}

/* attn_type says how many heads keys and values have. */
static int read_kv_heads(const struct config *c, struct model_info *info, struct error *err) {
  struct slice type = config_str(c, NULL, "attn_config.attn_type");
  bool grouped = slice_eq(type, SLICE("grouped_query_attention")), multiquery = slice_eq(type, SLICE("multiquery_attention"));
  if (type.len && !grouped && !multiquery && !slice_eq(type, SLICE("multihead_attention")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: attn_config.attn_type = \"%.*s\" is not supported.", c->file->path, SLICE_ARG(type));
  info->n_kv_heads = multiquery ? 1 : info->n_heads;
  if (grouped) return config_size(c, NULL, "attn_config.kv_n_heads", 1, 4096, &info->n_kv_heads, err);
  return config_size_or(c, "%s.attention.head_count_kv", NULL, 1, 4096, &info->n_kv_heads, err);
}

static int read_inner(const struct config *c, struct model_info *info, struct error *err) {
  if (c->file->container == FILE_GGUF) return config_size(c, "%s.feed_forward_length", NULL, 1, 1 << 20, &info->n_ff, err);
  double ratio = 4;
  if (config_real_or(c, NULL, "expansion_ratio", &ratio, err) < 0) return -1;
  double inner = ratio * (double)info->n_embd;
  if (!(inner >= 1 && inner <= 1 << 20) || inner != floor(inner))
    return error_set(err, ERROR_UNSUPPORTED, "%s: expansion_ratio = %g gives no feed-forward width for a width of %zu.", c->file->path,
                     ratio, info->n_embd);
  info->n_ff = (size_t)inner;
  return 0;
}

static struct config config_of(const struct file_model *file) { return (struct config){.file = file, .gguf_arch = "mpt"}; }

static const char *hf_prefix(const struct file_model *file) {
  return file->container == FILE_GGUF || !file_model_tensor(file, "wte.weight") ? "transformer." : "";
}

static int mpt_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  struct config c = config_of(file);
  info->task = MODEL_GENERATE;
  if (refuse_unsupported(&c, err) < 0 || config_size(&c, "%s.block_count", "n_layers", 1, 1000, &info->n_layers, err) < 0 ||
      config_size(&c, "%s.embedding_length", "d_model", 1, 1 << 17, &info->n_embd, err) < 0 ||
      config_size(&c, "%s.attention.head_count", "n_heads", 1, 4096, &info->n_heads, err) < 0 ||
      config_size(&c, "%s.context_length", "max_seq_len", 1, 1 << 24, &info->context_tokens, err) < 0 || read_inner(&c, info, err) < 0 ||
      read_kv_heads(&c, info, err) < 0)
    return -1;
  info->head_dim = info->n_embd / info->n_heads;
  if (info->head_dim * info->n_heads != info->n_embd)
    return error_set(err, ERROR_UNSUPPORTED, "%s: a width of %zu cannot be split evenly over %zu heads.", file->path, info->n_embd,
                     info->n_heads);
  info->norm_epsilon = 1e-5;
  if (decoder_check_sizes(&c, info, false, err) < 0 ||
      config_epsilon(&c, "%s.attention.layer_norm_epsilon", "layer_norm_epsilon", &info->norm_epsilon, err) < 0)
    return -1;
  info->tied_head = decoder_ties_head(&c, hf_prefix(file), &NAMES, true);
  return decoder_count_vocab(file, hf_prefix(file), &NAMES.embedding, info, err);
}

/* Slopes of ALiBi: 2^(−i·max/N), i = 1 … N, N the next power of two; of more slopes than heads, every second one comes first. */
static float *alibi_slopes(size_t n_heads, double bias_max) {
  size_t n = 1;
  while (n < n_heads) n *= 2;
  float *slopes = mem_alloc(n_heads * sizeof *slopes);
  for (size_t h = 0; h < n_heads; h++) {
    size_t i = n == n_heads ? h + 1 : h < n / 2 ? 2 * h + 2 : 2 * (h - n / 2) + 1;
    slopes[h] = (float)pow(2, -(double)i * bias_max / (double)n);
  }
  return slopes;
}

static int read_positions(const struct config *c, struct decoder *m, struct error *err) {
  bool gguf = c->file->container == FILE_GGUF, alibi = gguf, learned = gguf;
  double bias_max = gguf ? 0 : 8;
  if (!gguf && js_type(js_get(js_get(c->file->config, "attn_config"), "alibi")) == JS_NONE)
    return error_set(err, ERROR_CORRUPT, "%s: the key attn_config.alibi is missing from the model's config.json.", c->file->path);
  if (config_bool_or(c, NULL, "attn_config.alibi", &alibi, err) < 0 || config_bool_or(c, NULL, "learned_pos_emb", &learned, err) < 0 ||
      config_real_or(c, "%s.attention.max_alibi_bias", "attn_config.alibi_bias_max", &bias_max, err) < 0)
    return -1;
  if (alibi && bias_max > 0) {
    m->slopes = alibi_slopes(m->base.info.n_heads, bias_max);
    return 0;
  }
  if (alibi && !gguf)
    return error_set(err, ERROR_UNSUPPORTED, "%s: attn_config.alibi_bias_max = %g is not positive.", c->file->path, bias_max);
  struct weights w = {.file = c->file, .hf_prefix = hf_prefix(c->file)};
  const struct file_tensor *table = learned ? weights_find(&w, &NAMES.position, 0) : NULL;
  if (!learned || (gguf && !table)) return 0;
  m->rules.positions = table && table->rank == 2 ? (size_t)table->shape[0] : m->base.info.context_tokens;
  if (m->rules.positions >= m->base.info.context_tokens) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: the position embeddings hold %zu positions, but the window is %zu tokens.", c->file->path,
                   m->rules.positions, m->base.info.context_tokens);
}

/* A number, or 1/√d_model by name. */
static int read_logit_scale(const struct config *c, struct decoder_rules *r, size_t n_embd, struct error *err) {
  double scale = 0;
  if (js_type(js_get(c->file->config, "logit_scale")) == JS_STRING) {
    struct slice name = config_str(c, NULL, "logit_scale");
    if (!slice_eq(name, SLICE("inv_sqrt_d_model")))
      return error_set(err, ERROR_UNSUPPORTED, "%s: logit_scale = \"%.*s\" is not supported.", c->file->path, SLICE_ARG(name));
    scale = 1 / sqrt((double)n_embd);
  } else if (config_real_or(c, "%s.logit_scale", "logit_scale", &scale, err) < 0) {
    return -1;
  }
  if (js_type(js_get(c->file->config, "logit_scale")) == JS_INT || js_type(js_get(c->file->config, "logit_scale")) == JS_REAL)
    if (scale == 0) return error_set(err, ERROR_UNSUPPORTED, "%s: logit_scale = 0 makes all tokens alike.", c->file->path);
  r->logit_scale = (float)scale;
  return 0;
}

static int read_rules(const struct config *c, struct decoder *m, struct error *err) {
  struct decoder_rules *r = &m->rules;
  double clip = 0, scale = 0;
  bool no_bias = c->file->container == FILE_SAFETENSORS;
  struct weights w = {.file = c->file, .hf_prefix = hf_prefix(c->file)};
  if (config_real_or(c, "%s.attention.clamp_kqv", "attn_config.clip_qkv", &clip, err) < 0 ||
      config_real_or(c, "%s.attention.scale", "attn_config.softmax_scale", &scale, err) < 0 ||
      config_bool_or(c, NULL, "no_bias", &no_bias, err) < 0 || config_bool_or(c, NULL, "attn_config.qk_ln", &r->qk_norm, err) < 0 ||
      read_logit_scale(c, r, m->base.info.n_embd, err) < 0 || read_positions(c, m, err) < 0)
    return -1;
  if (clip < 0) return error_set(err, ERROR_UNSUPPORTED, "%s: clip_qkv = %g cannot be negative.", c->file->path, clip);
  if (scale < 0 || (scale == 0 && is_given(c, "attn_config.softmax_scale")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: softmax_scale = %g is not supported; it must be positive, or null.", c->file->path,
                     scale);
  if (c->file->container == FILE_GGUF) r->qk_norm = weights_find(&w, &NAMES.q_norm, 0) != NULL;
  r->eps = (float)m->base.info.norm_epsilon, r->clip = (float)clip, r->scale = (float)scale;
  r->biases = !no_bias;
  return 0;
}

static struct model *mpt_load(const struct file_model *file, const struct model_info *s, struct compute *compute,
                              const struct model_options *options, struct error *err) {
  struct decoder *m = mem_zalloc(1, sizeof *m);
  struct config c = config_of(file);
  struct weights w = {.file = file, .compute = compute, .options = options, .kept = options->kept, .hf_prefix = hf_prefix(file)};
  m->base.info = *s;
  if (read_rules(&c, m, err) == 0) return decoder_load(m, &NAMES, &w, options, err);
  decoder_free(&m->base);
  return NULL;
}

const struct model_arch mpt_arch = {
    .name = "mpt",
    .gguf_name = "mpt",
    .hf_model_type = "mpt",
    .inspect = mpt_inspect,
    .load = mpt_load,
    .free = decoder_free,
    .forward = decoder_forward,
    .hidden = decoder_hidden,
    .sites = SITES,
    .n_sites = DECODER_SITES,
    .site_weight = decoder_site_weight,
};
