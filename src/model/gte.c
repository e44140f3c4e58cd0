/* gte: GTE v1.5 encoders for embeddings: rotary positions, gated GELU, CLS pooling; a window of 8,192 tokens.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The parts are those of encoder.h. Two spellings of one model: its own (model_type "new", names below "new." or bare, q, k, v and up, gate
 * fused, the rope rule "ntk") and that of Hugging Face transformers (model_type "gte", one tensor each, the rule as "linear" with the
 * equivalent base and factor). */
#include <stdlib.h>

#include "base/mem.h"
#include "model/encoder.h"

#define LAYER "encoder.layer.%zu."

static const struct encoder_names NEW_NAMES = {
    .word = {NULL, "embeddings.word_embeddings.weight", NULL},
    .type = {NULL, "embeddings.token_type_embeddings.weight", NULL},
    .norm = {NULL, "embeddings.LayerNorm.weight", NULL},
    .norm_bias = {NULL, "embeddings.LayerNorm.bias", NULL},
    .qkv = {NULL, LAYER "attention.qkv_proj.weight", NULL},
    .qkv_bias = {NULL, LAYER "attention.qkv_proj.bias", NULL},
    .q = {NULL, LAYER "attention.q_proj.weight", NULL},
    .k = {NULL, LAYER "attention.k_proj.weight", NULL},
    .v = {NULL, LAYER "attention.v_proj.weight", NULL},
    .q_bias = {NULL, LAYER "attention.q_proj.bias", NULL},
    .k_bias = {NULL, LAYER "attention.k_proj.bias", NULL},
    .v_bias = {NULL, LAYER "attention.v_proj.bias", NULL},
    .o = {NULL, LAYER "attention.o_proj.weight", NULL},
    .o_bias = {NULL, LAYER "attention.o_proj.bias", NULL},
    .attn_norm = {NULL, LAYER "attn_ln.weight", NULL},
    .attn_norm_bias = {NULL, LAYER "attn_ln.bias", NULL},
    .up_gate = {NULL, LAYER "mlp.up_gate_proj.weight", NULL},
    .gate = {NULL, LAYER "mlp.gate_proj.weight", NULL},
    .up = {NULL, LAYER "mlp.up_proj.weight", NULL},
    .down = {NULL, LAYER "mlp.down_proj.weight", NULL},
    .down_bias = {NULL, LAYER "mlp.down_proj.bias", NULL},
    .ffn_norm = {NULL, LAYER "mlp_ln.weight", NULL},
    .ffn_norm_bias = {NULL, LAYER "mlp_ln.bias", NULL},
};

static const struct encoder_names GTE_NAMES = {
    .word = {NULL, "embeddings.word_embeddings.weight", NULL},
    .type = {NULL, "embeddings.token_type_embeddings.weight", NULL},
    .norm = {NULL, "embeddings.LayerNorm.weight", NULL},
    .norm_bias = {NULL, "embeddings.LayerNorm.bias", NULL},
    .q = {NULL, "layers.%zu.self_attn.q_proj.weight", NULL},
    .k = {NULL, "layers.%zu.self_attn.k_proj.weight", NULL},
    .v = {NULL, "layers.%zu.self_attn.v_proj.weight", NULL},
    .q_bias = {NULL, "layers.%zu.self_attn.q_proj.bias", NULL},
    .k_bias = {NULL, "layers.%zu.self_attn.k_proj.bias", NULL},
    .v_bias = {NULL, "layers.%zu.self_attn.v_proj.bias", NULL},
    .o = {NULL, "layers.%zu.self_attn.o_proj.weight", NULL},
    .o_bias = {NULL, "layers.%zu.self_attn.o_proj.bias", NULL},
    .attn_norm = {NULL, "layers.%zu.post_attention_layernorm.weight", NULL},
    .attn_norm_bias = {NULL, "layers.%zu.post_attention_layernorm.bias", NULL},
    .gate = {NULL, "layers.%zu.mlp.gate_proj.weight", NULL},
    .up = {NULL, "layers.%zu.mlp.up_proj.weight", NULL},
    .down = {NULL, "layers.%zu.mlp.down_proj.weight", NULL},
    .down_bias = {NULL, "layers.%zu.mlp.down_proj.bias", NULL},
    .ffn_norm = {NULL, "layers.%zu.post_mlp_layernorm.weight", NULL},
    .ffn_norm_bias = {NULL, "layers.%zu.post_mlp_layernorm.bias", NULL},
};

static struct config config_of(const struct file_model *file) {
  return (struct config){.file = file, .gguf_arch = "new", .rope_ntk = true};
}

/* Either spelling of the names may lie below the model's own word. A file may also keep its own names under the new model_type. */
static const char *hf_prefix(const struct file_model *file) {
  if (file_model_tensor(file, "new.embeddings.word_embeddings.weight")) return "new.";
  return file_model_tensor(file, "gte.embeddings.word_embeddings.weight") ? "gte." : "";
}

static const struct encoder_names *names_of(const struct file_model *file) {
  struct weights w = {.file = file, .hf_prefix = hf_prefix(file)};
  return weights_find(&w, &GTE_NAMES.o, 0) ? &GTE_NAMES : &NEW_NAMES;
}

/* ---- config ---- */

static int refuse_other(const struct config *c, const char *key, const char *only, struct error *err) {
  struct slice value = config_str(c, NULL, key);
  if (!value.len || slice_eq(value, slice_cstr(only))) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: %s = \"%.*s\" is not supported; GTE models use \"%s\".", c->file->path, key,
                   SLICE_ARG(value), only);
}

static int refuse_unsupported(const struct config *c, struct error *err) {
  bool logn = false;
  if (refuse_other(c, "hidden_act", "gelu", err) < 0 || refuse_other(c, "position_embedding_type", "rope", err) < 0 ||
      refuse_other(c, "layer_norm_type", "layer_norm", err) < 0 || config_bool_or(c, NULL, "logn_attention_scale", &logn, err) < 0)
    return -1;
  return logn ? error_set(err, ERROR_UNSUPPORTED, "%s: logn_attention_scale = true is not supported.", c->file->path) : 0;
}

/* Token types are added where the configuration has some; then the table must be there. */
static int check_types(const struct config *c, const struct encoder_names *names, struct error *err) {
  size_t types = 0;
  struct weights w = {.file = c->file, .hf_prefix = hf_prefix(c->file)};
  if (config_size_or(c, NULL, "type_vocab_size", 0, 1 << 20, &types, err) < 0) return -1;
  bool table = weights_find(&w, &names->type, 0) != NULL;
  if (table == (types > 0)) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: type_vocab_size is %zu, but the file %s token type embeddings.", c->file->path, types,
                   table ? "holds" : "has no");
}

static int gte_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  struct config c = config_of(file);
  const struct encoder_names *names = names_of(file);
  info->task = MODEL_EMBED;
  info->pooling = MODEL_POOL_CLS;
  info->norm_epsilon = 1e-12;
  if (refuse_unsupported(&c, err) < 0 || config_size(&c, NULL, "num_hidden_layers", 1, 1000, &info->n_layers, err) < 0 ||
      config_size(&c, NULL, "hidden_size", 1, 1 << 17, &info->n_embd, err) < 0 ||
      config_size(&c, NULL, "num_attention_heads", 1, 4096, &info->n_heads, err) < 0 ||
      config_size(&c, NULL, "intermediate_size", 1, 1 << 20, &info->n_ff, err) < 0 ||
      config_size(&c, NULL, "max_position_embeddings", 1, 1 << 20, &info->context_tokens, err) < 0 ||
      config_epsilon(&c, NULL, "layer_norm_eps", &info->norm_epsilon, err) < 0 || rope_read_theta(&c, &info->rope_theta, err) < 0 ||
      encoder_inspect(file, hf_prefix(file), &names->word, info, err) < 0 || check_types(&c, names, err) < 0)
    return -1;
  if (info->head_dim % 2)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the head size is %zu, but rotary positions need an even one.", file->path,
                     info->head_dim);
  return pooling_read(file, info, err);
}

static struct model *gte_load(const struct file_model *file, const struct model_info *s, struct compute *compute,
                              const struct model_options *options, struct error *err) {
  struct encoder *m = mem_zalloc(1, sizeof *m);
  struct config c = config_of(file);
  struct weights w = {.file = file, .compute = compute, .options = options, .kept = options->kept, .hf_prefix = hf_prefix(file)};
  m->base.info = *s;
  if (!(m->inv_freq = rope_frequencies(&c, s->rope_theta, s->head_dim, err))) {
    encoder_free(&m->base);
    return NULL;
  }
  m->eps = (float)s->norm_epsilon;
  return encoder_load(m, names_of(file), &w, options, err);
}

const struct model_arch gte_new_arch = {
    .name = "gte",
    .hf_model_type = "new",
    .inspect = gte_inspect,
    .load = gte_load,
    .free = encoder_free,
    .embed = encoder_embed,
    .hidden = encoder_hidden,
};

const struct model_arch gte_arch = {
    .name = "gte",
    .hf_model_type = "gte",
    .inspect = gte_inspect,
    .load = gte_load,
    .free = encoder_free,
    .embed = encoder_embed,
    .hidden = encoder_hidden,
};
