/* dbrx: DBRX: LayerNorm without bias, one fused projection for q, k and v that is clipped before rotation, grouped-query attention, sixteen
 * experts of which four are used. SPDX-License-Identifier: Apache-2.0
 *
 * The parts are those of decoder.h. Hugging Face files stack the experts as [E·F, D], the last matrix untransposed; GGUF stacks them as
 * [E, F, D] and [E, D, F]. Neither permutes rows for the rotation. */
#include <stdlib.h>

#include "base/js.h"
#include "base/mem.h"
#include "model/decoder.h"

static const struct decoder_names NAMES = {
    .embedding = {"token_embd.weight", "wte.weight", NULL},
    .norm = {"output_norm.weight", "norm_f.weight", NULL},
    .head = {"output.weight", "lm_head.weight", NULL},
    .attn_norm = {"blk.%zu.attn_norm.weight", "blocks.%zu.norm_attn_norm.norm_1.weight", NULL},
    .ffn_norm = {"blk.%zu.attn_output_norm.weight", "blocks.%zu.norm_attn_norm.norm_2.weight", NULL},
    .qkv = {"blk.%zu.attn_qkv.weight", "blocks.%zu.norm_attn_norm.attn.Wqkv.weight", NULL},
    .o = {"blk.%zu.attn_output.weight", "blocks.%zu.norm_attn_norm.attn.out_proj.weight", NULL},
    .moe = {.router = {"blk.%zu.ffn_gate_inp.weight", "blocks.%zu.ffn.router.layer.weight", NULL},
            .gate = {"blk.%zu.ffn_gate_exps.weight", "blocks.%zu.ffn.experts.mlp.w1", "blocks.%zu.ffn.experts.mlp.w1_weight"},
            .up = {"blk.%zu.ffn_up_exps.weight", "blocks.%zu.ffn.experts.mlp.v1", "blocks.%zu.ffn.experts.mlp.v1_weight"},
            .down = {"blk.%zu.ffn_down_exps.weight", NULL, NULL},
            .down_transposed = {NULL, "blocks.%zu.ffn.experts.mlp.w2", "blocks.%zu.ffn.experts.mlp.w2_weight"}},
};

static const char *const SITES[DECODER_SITES] = {
    [DECODER_Q] = DECODER_NO_SITE,
    [DECODER_K] = DECODER_NO_SITE,
    [DECODER_V] = DECODER_NO_SITE,
    [DECODER_QKV] = "blocks.%zu.norm_attn_norm.attn.Wqkv",
    [DECODER_O] = "blocks.%zu.norm_attn_norm.attn.out_proj",
    [DECODER_GATE] = DECODER_NO_SITE,
    [DECODER_UP] = DECODER_NO_SITE,
    [DECODER_DOWN] = DECODER_NO_SITE,
    [DECODER_ROUTER] = "blocks.%zu.ffn.router.layer",
};

static struct config config_of(const struct file_model *file) { return (struct config){.file = file, .gguf_arch = "dbrx"}; }

static const char *hf_prefix(const struct file_model *file) {
  return file->container == FILE_GGUF || !file_model_tensor(file, "wte.weight") ? "transformer." : "";
}

static int refuse_unsupported(const struct config *c, struct error *err) {
  const struct js *fn = js_get(js_get(c->file->config, "ffn_config"), "ffn_act_fn");
  bool tied = false, object = js_type(fn) == JS_NONE || js_type(fn) == JS_NULL || js_type(fn) == JS_OBJECT;
  if (!object) return error_set(err, ERROR_UNSUPPORTED, "%s: the value of ffn_config.ffn_act_fn is no object.", c->file->path);
  if (config_bool_or(c, NULL, "tie_word_embeddings", &tied, err) < 0) return -1;
  if (tied) return error_set(err, ERROR_UNSUPPORTED, "%s: tie_word_embeddings = true is not supported; DBRX has a head.", c->file->path);
  struct slice act = config_str(c, NULL, "ffn_config.ffn_act_fn.name");
  if (!act.len || slice_eq(act, SLICE("silu"))) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: ffn_config.ffn_act_fn.name = \"%.*s\" is not supported; DBRX uses \"silu\".", c->file->path,
                   SLICE_ARG(act));
}

static int read_sizes(const struct config *c, struct model_info *info, struct error *err) {
  if (config_size(c, "%s.block_count", "n_layers", 1, 1000, &info->n_layers, err) < 0 ||
      config_size(c, "%s.embedding_length", "d_model", 1, 1 << 17, &info->n_embd, err) < 0 ||
      config_size(c, "%s.attention.head_count", "n_heads", 1, 4096, &info->n_heads, err) < 0 ||
      config_size(c, "%s.attention.head_count_kv", "attn_config.kv_n_heads", 1, 4096, &info->n_kv_heads, err) < 0 ||
      config_size(c, "%s.context_length", "max_seq_len", 1, 1 << 24, &info->context_tokens, err) < 0 ||
      config_size(c, "%s.feed_forward_length", "ffn_config.ffn_hidden_size", 1, 1 << 20, &info->n_ff, err) < 0 ||
      config_size(c, "%s.expert_count", "ffn_config.moe_num_experts", 1, 1024, &info->n_experts, err) < 0 ||
      config_size(c, "%s.expert_used_count", "ffn_config.moe_top_k", 1, 1024, &info->n_experts_used, err) < 0)
    return -1;
  info->head_dim = info->n_embd / info->n_heads;
  if (info->head_dim * info->n_heads != info->n_embd)
    return error_set(err, ERROR_UNSUPPORTED, "%s: a width of %zu cannot be split evenly over %zu heads.", c->file->path, info->n_embd,
                     info->n_heads);
  if (info->n_experts_used > info->n_experts)
    return error_set(err, ERROR_UNSUPPORTED, "%s: a token cannot use %zu of %zu experts.", c->file->path, info->n_experts_used,
                     info->n_experts);
  return decoder_check_sizes(c, info, true, err);
}

static int dbrx_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  struct config c = config_of(file);
  info->task = MODEL_GENERATE;
  info->norm_epsilon = 1e-5; /* torch's own: no Hugging Face key for it */
  if (refuse_unsupported(&c, err) < 0 || read_sizes(&c, info, err) < 0 || rope_read_theta(&c, &info->rope_theta, err) < 0 ||
      config_epsilon(&c, "%s.attention.layer_norm_epsilon", NULL, &info->norm_epsilon, err) < 0)
    return -1;
  info->tied_head = decoder_ties_head(&c, hf_prefix(file), &NAMES, false);
  return decoder_count_vocab(file, hf_prefix(file), &NAMES.embedding, info, err);
}

/* moe_normalize_expert_weights is the p of a norm; null: the weights stay. GGUF has no key for it and means 1. */
static int read_norm(const struct config *c, enum moe_norm *norm, struct error *err) {
  const struct js *value = js_get(js_get(c->file->config, "ffn_config"), "moe_normalize_expert_weights");
  double p = 1;
  *norm = MOE_NORM_SUM;
  if (c->file->container == FILE_SAFETENSORS && js_type(value) == JS_NULL) *norm = MOE_NORM_NONE;
  if (config_real_or(c, NULL, "ffn_config.moe_normalize_expert_weights", &p, err) < 0) return -1;
  if (p == 2) *norm = MOE_NORM_L2;
  if (p == 1 || p == 2) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: ffn_config.moe_normalize_expert_weights = %g is not supported; it must be 1, 2 or null.",
                   c->file->path, p);
}

static int read_rules(const struct config *c, struct decoder *m, struct error *err) {
  double clip = 0;
  const struct model_info *s = &m->base.info;
  m->rules.moe = (struct moe_rules){.n_experts = s->n_experts, .n_used = s->n_experts_used};
  const struct js *given = js_get(js_get(c->file->config, "attn_config"), "clip_qkv");
  bool null = js_type(given) == JS_NONE || js_type(given) == JS_NULL;
  if (config_real_or(c, "%s.attention.clamp_kqv", "attn_config.clip_qkv", &clip, err) < 0 || read_norm(c, &m->rules.moe.norm, err) < 0)
    return -1;
  if (clip < 0 || (clip == 0 && !null)) /* Hugging Face code clips to 0; null means no limit, and so does GGUF's 0 */
    return error_set(err, ERROR_UNSUPPORTED, "%s: clip_qkv = %g is not supported; it must be positive, or null.", c->file->path, clip);
  m->rules.eps = (float)s->norm_epsilon, m->rules.clip = (float)clip;
  m->inv_freq = rope_frequencies(c, s->rope_theta, s->head_dim, err);
  return m->inv_freq ? 0 : -1;
}

static struct model *dbrx_load(const struct file_model *file, const struct model_info *s, struct compute *compute,
                               const struct model_options *options, struct error *err) {
  struct decoder *m = mem_zalloc(1, sizeof *m);
  struct config c = config_of(file);
  struct weights w = {.file = file, .compute = compute, .options = options, .kept = options->kept, .hf_prefix = hf_prefix(file)};
  m->base.info = *s;
  if (read_rules(&c, m, err) == 0) return decoder_load(m, &NAMES, &w, options, err);
  decoder_free(&m->base);
  return NULL;
}

const struct model_arch dbrx_arch = {
    .name = "dbrx",
    .gguf_name = "dbrx",
    .hf_model_type = "dbrx",
    .inspect = dbrx_inspect,
    .load = dbrx_load,
    .free = decoder_free,
    .forward = decoder_forward,
    .hidden = decoder_hidden,
    .sites = SITES,
    .n_sites = DECODER_SITES,
    .site_weight = decoder_site_weight,
};
