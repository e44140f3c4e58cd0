/* llama: Llama and its relatives (SmolLM2, CodeLlama, LlamaGuard), Mistral with its sliding window, and Mixtral with its experts: RMSNorm,
 * rotary positions, grouped-query attention, gated SiLU. SPDX-License-Identifier: Apache-2.0
 *
 * The parts are those of decoder.h with RMSNorm and rotation. GGUF calls all of them "llama" and holds the rows of q and k interleaved for
 * its own rotation; they are put back when packed, so one rotation serves both. */
#include <stdio.h>
#include <stdlib.h>

#include "base/js.h"
#include "base/mem.h"
#include "model/decoder.h"

static const struct decoder_names NAMES = {
    .embedding = {"token_embd.weight", "embed_tokens.weight", NULL},
    .norm = {"output_norm.weight", "norm.weight", NULL},
    .head = {"output.weight", "lm_head.weight", NULL},
    .attn_norm = {"blk.%zu.attn_norm.weight", "layers.%zu.input_layernorm.weight", NULL},
    .ffn_norm = {"blk.%zu.ffn_norm.weight", "layers.%zu.post_attention_layernorm.weight", NULL},
    .q = {"blk.%zu.attn_q.weight", "layers.%zu.self_attn.q_proj.weight", NULL},
    .k = {"blk.%zu.attn_k.weight", "layers.%zu.self_attn.k_proj.weight", NULL},
    .v = {"blk.%zu.attn_v.weight", "layers.%zu.self_attn.v_proj.weight", NULL},
    .o = {"blk.%zu.attn_output.weight", "layers.%zu.self_attn.o_proj.weight", NULL},
    .q_bias = {"blk.%zu.attn_q.bias", "layers.%zu.self_attn.q_proj.bias", NULL},
    .k_bias = {"blk.%zu.attn_k.bias", "layers.%zu.self_attn.k_proj.bias", NULL},
    .v_bias = {"blk.%zu.attn_v.bias", "layers.%zu.self_attn.v_proj.bias", NULL},
    .o_bias = {"blk.%zu.attn_output.bias", "layers.%zu.self_attn.o_proj.bias", NULL},
    .gate = {"blk.%zu.ffn_gate.weight", "layers.%zu.mlp.gate_proj.weight", NULL},
    .up = {"blk.%zu.ffn_up.weight", "layers.%zu.mlp.up_proj.weight", NULL},
    .down = {"blk.%zu.ffn_down.weight", "layers.%zu.mlp.down_proj.weight", NULL},
    .moe = {.router = {"blk.%zu.ffn_gate_inp.weight", "layers.%zu.block_sparse_moe.gate.weight", "layers.%zu.mlp.gate.weight"},
            .gate = {"blk.%zu.ffn_gate_exps.weight", NULL, NULL},
            .up = {"blk.%zu.ffn_up_exps.weight", NULL, NULL},
            .down = {"blk.%zu.ffn_down_exps.weight", "layers.%zu.mlp.experts.down_proj", NULL},
            .gate_up = {"blk.%zu.ffn_gate_up_exps.weight", "layers.%zu.mlp.experts.gate_up_proj", NULL},
            .one_gate = {"blk.%zu.ffn_gate.%zu.weight", "layers.%zu.block_sparse_moe.experts.%zu.w1.weight", NULL},
            .one_up = {"blk.%zu.ffn_up.%zu.weight", "layers.%zu.block_sparse_moe.experts.%zu.w3.weight", NULL},
            .one_down = {"blk.%zu.ffn_down.%zu.weight", "layers.%zu.block_sparse_moe.experts.%zu.w2.weight", NULL}},
};

static const char *const SITES[DECODER_SITES] = {
    [DECODER_Q] = "layers.%zu.self_attn.q_proj",
    [DECODER_K] = "layers.%zu.self_attn.k_proj",
    [DECODER_V] = "layers.%zu.self_attn.v_proj",
    [DECODER_QKV] = DECODER_NO_SITE,
    [DECODER_O] = "layers.%zu.self_attn.o_proj",
    [DECODER_GATE] = "layers.%zu.mlp.gate_proj",
    [DECODER_UP] = "layers.%zu.mlp.up_proj",
    [DECODER_DOWN] = "layers.%zu.mlp.down_proj",
    [DECODER_ROUTER] = "layers.%zu.block_sparse_moe.gate|layers.%zu.mlp.gate",
};

static const struct model_experts EXPERTS = {
    .one = {"layers.%zu.block_sparse_moe.experts.%zu.w1", "layers.%zu.block_sparse_moe.experts.%zu.w3",
            "layers.%zu.block_sparse_moe.experts.%zu.w2"},
    .stack = "layers.%zu.mlp.experts",
    .parameters = {"gate_up_proj", "down_proj"},
    .weight = decoder_expert_weight,
};

/* ---- config ---- */

/* Values that change the arithmetic in a way that this file does not do. */
static int refuse_unsupported(const struct config *c, struct error *err) {
  const char *path = c->file->path;
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

static int check_rotation(const struct config *c, const struct model_info *info, struct error *err) {
  size_t rotated = info->head_dim;
  if (config_size_or(c, "%s.rope.dimension_count", NULL, 0, 4096, &rotated, err) < 0) return -1;
  if (rotated == info->head_dim) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: rope.dimension_count is %zu, but the head size is %zu; partial rotation is not supported.",
                   c->file->path, rotated, info->head_dim);
}

/* Mixtral has experts, and so has a GGUF file that names some; Llama and Mistral have none. */
static int read_experts(const struct config *c, struct model_info *info, struct error *err) {
  bool mixtral = config_is_type(c, "mixtral");
  if (mixtral && (config_size(c, NULL, "num_local_experts", 1, 1024, &info->n_experts, err) < 0 ||
                  config_size(c, NULL, "num_experts_per_tok", 1, 1024, &info->n_experts_used, err) < 0))
    return -1;
  if (config_size_or(c, "%s.expert_count", NULL, 0, 1024, &info->n_experts, err) < 0) return -1;
  if (info->n_experts && config_size(c, "%s.expert_used_count", "num_experts_per_tok", 1, 1024, &info->n_experts_used, err) < 0) return -1;
  if (info->n_experts_used > info->n_experts)
    return error_set(err, ERROR_UNSUPPORTED, "%s: a token cannot use %zu of %zu experts.", c->file->path, info->n_experts_used,
                     info->n_experts);
  return 0;
}

/* Null means no window; absence, too, but that of Mistral 7B with Mistral. Llama has none, whatever its config.json says. */
static int read_window(const struct config *c, struct model_info *info, struct error *err) {
  bool llama = config_is_type(c, "llama");
  if (config_is_type(c, "mistral") && js_type(js_get(c->file->config, "sliding_window")) == JS_NONE) info->window_tokens = 4096;
  return config_size_or(c, "%s.attention.sliding_window", llama ? NULL : "sliding_window", 1, 1 << 24, &info->window_tokens, err);
}

/* The name prefix of a Hugging Face checkpoint: "model." or none. */
static const char *hf_prefix(const struct file_model *file) {
  if (file->container == FILE_GGUF || !file_model_tensor(file, "embed_tokens.weight")) return "model.";
  return "";
}

static bool is_zero(const struct file_tensor *t) {
  float value;
  const struct dtype_info *type = dtype_info(t->dtype);
  for (uint64_t i = 0; type->block_elements == 1 && i < t->n_elements; i++) {
    dtype_to_f32(t->dtype, (const char *)t->data + i * type->block_bytes, &value, 1);
    if (value != 0) return false;
  }
  return type->block_elements == 1;
}

/* The tensor is there exactly when attention_bias says so. One of zeros, as GPTQ's tools write beside every matrix, changes nothing. */
static int check_bias(const struct config *c, const char *name, bool wanted, struct error *err) {
  const struct file_tensor *t = file_model_tensor(c->file, name);
  if (wanted && !t)
    return error_set(err, ERROR_CORRUPT, "%s: attention_bias in config.json is true, but the tensor %s is missing. Correct config.json.",
                     c->file->path, name);
  if (wanted || !t || is_zero(t)) return 0;
  if (config_is_type(c, "llama"))
    return error_set(err, ERROR_UNSUPPORTED,
                     "%s: there is the tensor %s, but attention_bias in config.json is not true. Correct config.json.", c->file->path,
                     name);
  return error_set(err, ERROR_UNSUPPORTED, "%s: there is the tensor %s, but attention in this architecture has no biases.", c->file->path,
                   name);
}

/* Of config.json: GGUF has no such key, and means what it holds. */
static int check_biases(const struct config *c, size_t n_layers, struct error *err) {
  static const char which[] = "qkvo";
  bool wanted = false;
  if (c->file->container == FILE_GGUF) return 0;
  if (config_is_type(c, "llama") && config_bool_or(c, NULL, "attention_bias", &wanted, err) < 0) return -1;
  for (size_t i = 0; i < 4 * n_layers; i++) {
    char name[96];
    snprintf(name, sizeof name, "%slayers.%zu.self_attn.%c_proj.bias", hf_prefix(c->file), i / 4, which[i % 4]);
    if (check_bias(c, name, wanted, err) < 0) return -1;
  }
  return 0;
}

static struct config config_of(const struct file_model *file) { return (struct config){.file = file, .gguf_arch = "llama"}; }

static int llama_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  struct config c = config_of(file);
  info->task = MODEL_GENERATE;
  info->norm_epsilon = config_is_type(&c, "mixtral") ? 1e-5 : 1e-6;
  if (refuse_unsupported(&c, err) < 0 || read_sizes(&c, info, err) < 0 || decoder_check_sizes(&c, info, true, err) < 0 ||
      check_rotation(&c, info, err) < 0 || read_experts(&c, info, err) < 0 || read_window(&c, info, err) < 0 ||
      config_epsilon(&c, "%s.attention.layer_norm_rms_epsilon", "rms_norm_eps", &info->norm_epsilon, err) < 0 ||
      rope_read_theta(&c, &info->rope_theta, err) < 0 || check_biases(&c, info->n_layers, err) < 0)
    return -1;
  if (info->n_experts) strcpy(info->architecture, "mixtral");
  info->tied_head = decoder_ties_head(&c, hf_prefix(file), &NAMES, false);
  return decoder_count_vocab(file, hf_prefix(file), &NAMES.embedding, info, err);
}

/* ---- loading ---- */

static struct model *llama_load(const struct file_model *file, const struct model_info *s, struct compute *compute,
                                const struct model_options *options, struct error *err) {
  struct decoder *m = mem_zalloc(1, sizeof *m);
  struct config c = config_of(file);
  struct weights w = {.file = file, .compute = compute, .options = options, .kept = options->kept, .hf_prefix = hf_prefix(file)};
  if (!(m->inv_freq = rope_frequencies(&c, s->rope_theta, s->head_dim, err))) {
    free(m);
    return NULL;
  }
  m->base.info = *s;
  m->rules = (struct decoder_rules){.rms = true,
                                    .eps = (float)s->norm_epsilon,
                                    .biases = true,
                                    .window = s->window_tokens,
                                    .interleaved = file->container == FILE_GGUF,
                                    .moe = {s->n_experts, s->n_experts_used, MOE_NORM_SUM}};
  return decoder_load(m, &NAMES, &w, options, err);
}

const struct model_arch llama_arch = {
    .name = "llama",
    .gguf_name = "llama",
    .hf_model_type = "llama",
    .inspect = llama_inspect,
    .load = llama_load,
    .free = decoder_free,
    .forward = decoder_forward,
    .hidden = decoder_hidden,
    .sites = SITES,
    .n_sites = DECODER_SITES,
    .site_weight = decoder_site_weight,
    .experts = &EXPERTS, /* of a GGUF file that has some */
};

const struct model_arch llama_mistral_arch = {
    .name = "mistral",
    .hf_model_type = "mistral",
    .inspect = llama_inspect,
    .load = llama_load,
    .free = decoder_free,
    .forward = decoder_forward,
    .hidden = decoder_hidden,
    .sites = SITES,
    .n_sites = DECODER_SITES,
    .site_weight = decoder_site_weight,
};

const struct model_arch llama_mixtral_arch = {
    .name = "mixtral",
    .hf_model_type = "mixtral",
    .inspect = llama_inspect,
    .load = llama_load,
    .free = decoder_free,
    .forward = decoder_forward,
    .hidden = decoder_hidden,
    .sites = SITES,
    .n_sites = DECODER_SITES,
    .site_weight = decoder_site_weight,
    .experts = &EXPERTS,
};
