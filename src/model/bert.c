/* bert: BERT encoders for embeddings (all-MiniLM, BGE): learned positions, token types, exact GELU; mean or CLS pooling.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The parts are those of encoder.h. */
#include <stdlib.h>

#include "base/mem.h"
#include "model/encoder.h"

#define LAYER "encoder.layer.%zu."

static const struct encoder_names NAMES = {
    .word = {"token_embd.weight", "embeddings.word_embeddings.weight", NULL},
    .position = {"position_embd.weight", "embeddings.position_embeddings.weight", NULL},
    .type = {"token_types.weight", "embeddings.token_type_embeddings.weight", NULL},
    .norm = {"token_embd_norm.weight", "embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma"},
    .norm_bias = {"token_embd_norm.bias", "embeddings.LayerNorm.bias", "embeddings.LayerNorm.beta"},
    .q = {"blk.%zu.attn_q.weight", LAYER "attention.self.query.weight", NULL},
    .k = {"blk.%zu.attn_k.weight", LAYER "attention.self.key.weight", NULL},
    .v = {"blk.%zu.attn_v.weight", LAYER "attention.self.value.weight", NULL},
    .o = {"blk.%zu.attn_output.weight", LAYER "attention.output.dense.weight", NULL},
    .q_bias = {"blk.%zu.attn_q.bias", LAYER "attention.self.query.bias", NULL},
    .k_bias = {"blk.%zu.attn_k.bias", LAYER "attention.self.key.bias", NULL},
    .v_bias = {"blk.%zu.attn_v.bias", LAYER "attention.self.value.bias", NULL},
    .o_bias = {"blk.%zu.attn_output.bias", LAYER "attention.output.dense.bias", NULL},
    .attn_norm = {"blk.%zu.attn_output_norm.weight", LAYER "attention.output.LayerNorm.weight", LAYER "attention.output.LayerNorm.gamma"},
    .attn_norm_bias = {"blk.%zu.attn_output_norm.bias", LAYER "attention.output.LayerNorm.bias", LAYER "attention.output.LayerNorm.beta"},
    .up = {"blk.%zu.ffn_up.weight", LAYER "intermediate.dense.weight", NULL},
    .up_bias = {"blk.%zu.ffn_up.bias", LAYER "intermediate.dense.bias", NULL},
    .down = {"blk.%zu.ffn_down.weight", LAYER "output.dense.weight", NULL},
    .down_bias = {"blk.%zu.ffn_down.bias", LAYER "output.dense.bias", NULL},
    .ffn_norm = {"blk.%zu.layer_output_norm.weight", LAYER "output.LayerNorm.weight", LAYER "output.LayerNorm.gamma"},
    .ffn_norm_bias = {"blk.%zu.layer_output_norm.bias", LAYER "output.LayerNorm.bias", LAYER "output.LayerNorm.beta"},
};

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

static int read_gguf_pooling(const struct config *c, struct model_info *info, struct error *err) {
  size_t type = 1;
  if (config_size_or(c, "%s.pooling_type", NULL, 0, 100, &type, err) < 0) return -1;
  if (type != 1 && type != 2)
    return error_set(err, ERROR_UNSUPPORTED, "%s: bert.pooling_type %zu is not supported; it must be 1 (mean) or 2 (CLS).", c->file->path,
                     type);
  info->pooling = type == 2 ? MODEL_POOL_CLS : MODEL_POOL_MEAN;
  info->normalize = true; /* GGUF has no key for it but our own; the models kept in this form are normalized */
  size_t window = info->context_tokens;
  if (config_bool_or(c, "plinth.embedding.normalize", NULL, &info->normalize, err) < 0) return -1;
  return config_size_or(c, "plinth.embedding.window", NULL, 1, window, &info->context_tokens, err);
}

static int bert_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  struct config c = config_of(file);
  info->task = MODEL_EMBED;
  info->norm_epsilon = 1e-12;
  if (refuse_unsupported(&c, err) < 0 || config_size(&c, "%s.block_count", "num_hidden_layers", 1, 1000, &info->n_layers, err) < 0 ||
      config_size(&c, "%s.embedding_length", "hidden_size", 1, 1 << 17, &info->n_embd, err) < 0 ||
      config_size(&c, "%s.attention.head_count", "num_attention_heads", 1, 4096, &info->n_heads, err) < 0 ||
      config_size(&c, "%s.feed_forward_length", "intermediate_size", 1, 1 << 20, &info->n_ff, err) < 0 ||
      config_size(&c, "%s.context_length", "max_position_embeddings", 1, 1 << 20, &info->context_tokens, err) < 0 ||
      config_epsilon(&c, "%s.attention.layer_norm_epsilon", "layer_norm_eps", &info->norm_epsilon, err) < 0 ||
      encoder_inspect(file, hf_prefix(file), &NAMES.word, info, err) < 0)
    return -1;
  return file->container == FILE_GGUF ? read_gguf_pooling(&c, info, err) : pooling_read(file, info, err);
}

static struct model *bert_load(const struct file_model *file, const struct model_info *s, struct compute *compute,
                               const struct model_options *options, struct error *err) {
  struct encoder *m = mem_zalloc(1, sizeof *m);
  struct weights w = {.file = file, .compute = compute, .options = options, .kept = options->kept, .hf_prefix = hf_prefix(file)};
  m->base.info = *s;
  m->eps = (float)s->norm_epsilon;
  return encoder_load(m, &NAMES, &w, options, err);
}

const struct model_arch bert_arch = {
    .name = "bert",
    .gguf_name = "bert",
    .hf_model_type = "bert",
    .inspect = bert_inspect,
    .load = bert_load,
    .free = encoder_free,
    .embed = encoder_embed,
    .hidden = encoder_hidden,
};
