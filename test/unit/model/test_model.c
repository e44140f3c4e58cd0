/* test_model: what a model's files may say, and what is refused by key and value. SPDX-License-Identifier: Apache-2.0
 * Each case takes a tiny checkpoint of test/vector/model, changes one thing in its config.json, and looks at the error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/model.h"

static const char *tiny;

/* A folder with the checkpoint's weights and its config.json, in which `from` is replaced by `to`. */
static char *changed(const char *name, const char *from, const char *to) {
  struct error err;
  char *folder = mem_strdup("/tmp/plinth-model-XXXXXX");
  assert_non_null(mkdtemp(folder));
  struct buf source = {0}, config = {0}, text = {0};
  buf_printf(&source, "%s/%s", tiny, name);
  char *config_path = fs_join(source.data, "config.json"), *weights = fs_join(source.data, "model.safetensors");
  char *to_config = fs_join(folder, "config.json"), *to_weights = fs_join(folder, "model.safetensors");
  assert_int_equal(fs_read(config_path, 1 << 20, &config, &err), 0);
  char *at = strstr(config.data, from);
  if (!at) fail_msg("%s has no %s", config_path, from);
  buf_add(&text, config.data, (size_t)(at - config.data));
  buf_add_cstr(&text, to);
  buf_add_cstr(&text, at + strlen(from));
  assert_int_equal(fs_write_atomic(to_config, buf_view(&text), 0600, &err), 0);
  assert_int_equal(symlink(weights, to_weights), 0);
  buf_free(&source), buf_free(&config), buf_free(&text);
  free(config_path), free(weights), free(to_config), free(to_weights);
  return folder;
}

static void remove_folder(char *folder) {
  char *config = fs_join(folder, "config.json"), *weights = fs_join(folder, "model.safetensors");
  unlink(config), unlink(weights), rmdir(folder);
  free(config), free(weights), free(folder);
}

/* Loading the changed checkpoint fails, and the message holds both texts. */
static void refused(const char *name, const char *from, const char *to, enum error_code code, const char *has, const char *has_too) {
  struct error err = {0};
  char *folder = changed(name, from, to);
  struct file_model *file = file_model_open(folder, &err);
  if (!file) fail_msg("%s", err.message);
  struct pool *pool = pool_create(1, &err);
  struct compute *c = compute_create(COMPUTE_F32, pool, COMPUTE_ISA_ALL, &err);
  assert_null(model_load(file, c, NULL, &err));
  if (err.code != code || !strstr(err.message, has) || !strstr(err.message, has_too))
    fail_msg("%s: %s", error_code_name(err.code), err.message);
  compute_destroy(c);
  pool_destroy(pool);
  file_model_close(file);
  remove_folder(folder);
}

static void an_unknown_architecture_is_refused_by_name(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"", ERROR_UNSUPPORTED, "mamba", "model_type");
}

static void an_unsupported_activation_is_refused_by_key_and_value(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", ERROR_UNSUPPORTED, "hidden_act", "relu");
  refused("bert-mean", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"", ERROR_UNSUPPORTED, "hidden_act", "relu");
}

static void an_unsupported_rope_rule_is_refused_by_name(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"", ERROR_UNSUPPORTED, "yarn", "rope_type");
}

static void a_rope_rule_without_its_numbers_is_refused(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": \"one\"", ERROR_UNSUPPORTED, "low_freq_factor", "number");
}

/* Each of these would give NaN, or another model than the file describes. */
static void numbers_that_make_no_model_are_refused(void **state) {
  (void)state;
  static const char eps[] = "\"rms_norm_eps\": 1e-05", layers[] = "\"num_hidden_layers\": 2";
  refused("llama-llama3-rope", eps, "\"rms_norm_eps\": -1e-05", ERROR_UNSUPPORTED, "rms_norm_eps is -1e-05", "between 0 and 1");
  refused("llama-llama3-rope", eps, "\"rms_norm_eps\": 0", ERROR_UNSUPPORTED, "rms_norm_eps is 0", "between 0 and 1");
  refused("llama-llama3-rope", eps, "\"rms_norm_eps\": 1e308", ERROR_UNSUPPORTED, "rms_norm_eps", "between 0 and 1");
  refused("bert-mean", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1", ERROR_UNSUPPORTED, "layer_norm_eps is -1", "between 0 and 1");
  refused("llama-llama3-rope", layers, "\"num_hidden_layers\": 2, \"partial_rotary_factor\": 0.5", ERROR_UNSUPPORTED,
          "partial_rotary_factor", "0.5");
  refused("llama-llama3-rope", "\"rope_type\": \"llama3\"", "\"rope_type\": \"llama3\", \"partial_rotary_factor\": 0.25", ERROR_UNSUPPORTED,
          "partial_rotary_factor", "0.25");
}

static void values_of_a_wrong_type_are_refused(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"hidden_act\": \"silu\"", "\"hidden_act\": 7", ERROR_UNSUPPORTED, "hidden_act", "(no text)");
  refused("llama-llama3-rope", "\"rope_parameters\": {", "\"rope_parameters\": \"linear\", \"x\": {", ERROR_UNSUPPORTED, "rope_parameters",
          "no object");
}

static void a_tensor_of_another_shape_is_refused_with_both_shapes(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"intermediate_size\": 64", "\"intermediate_size\": 80", ERROR_CORRUPT, "[64, 48]", "[80, 48]");
}

static void a_missing_tensor_is_named(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", ERROR_CORRUPT,
          "model.layers.2.input_layernorm.weight", "missing");
}

static void sizes_that_cannot_be_are_refused(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", ERROR_UNSUPPORTED, "num_attention_heads", "0");
  refused("llama-llama3-rope", "\"num_attention_heads\": 4", "\"num_attention_heads\": -4", ERROR_UNSUPPORTED, "num_attention_heads",
          "whole number");
  refused("llama-llama3-rope", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", ERROR_UNSUPPORTED, "4 attention heads",
          "3 key-value heads");
  refused("llama-llama3-rope", "\"hidden_size\": 48", "\"hidden_size\": \"wide\"", ERROR_UNSUPPORTED, "hidden_size", "whole number");
}

static void a_vocabulary_other_than_the_embeddings_is_refused(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"vocab_size\": 90", "\"vocab_size\": 91", ERROR_CORRUPT, "vocab_size is 91", "90 rows");
  refused("bert-mean", "\"vocab_size\": 90", "\"vocab_size\": 89", ERROR_CORRUPT, "vocab_size is 89", "90 rows");
}

static void layers_that_the_configuration_leaves_out_are_refused(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", ERROR_CORRUPT, "layers.1.", "1 layers");
  refused("bert-mean", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", ERROR_CORRUPT, "layer.1.", "1 layers");
}

static void a_tie_that_is_neither_true_nor_false_is_refused(void **state) {
  (void)state;
  refused("llama-llama3-rope", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": \"yes\"", ERROR_UNSUPPORTED,
          "tie_word_embeddings", "neither true nor false");
}

static void a_head_of_another_task_is_refused_by_its_class(void **state) {
  (void)state;
  static const char none[] = "\"architectures\": null";
  refused("llama-llama3-rope", none, "\"architectures\": [\"LlamaForSequenceClassification\"]", ERROR_UNSUPPORTED, "architectures",
          "LlamaForSequenceClassification");
  char *folder = changed("bert-mean", none, "\"architectures\": [\"BertForSequenceClassification\"]");
  struct error err = {0};
  struct model_info info;
  struct file_model *file = file_model_open(folder, &err);
  if (!file) fail_msg("%s", err.message);
  assert_int_equal(model_inspect(file, &info, &err), -1);
  assert_non_null(strstr(err.message, "BertForSequenceClassification"));
  file_model_close(file);
  remove_folder(folder);
}

static void rope_rules_of_a_wrong_form_are_refused(void **state) {
  (void)state;
  static const char type[] = "\"rope_type\": \"llama3\"";
  refused("llama-llama3-rope", type, "\"rope_type\": 3", ERROR_UNSUPPORTED, "rope_parameters.rope_type", "no text");
  refused("llama-llama3-rope", type, "\"full_attention\": {}", ERROR_UNSUPPORTED, "rope_parameters.full_attention", "differ by layer");
  refused("llama-llama3-rope", type, "\"rope_type\": \"llama3\", \"partial_rotary_factor\": \"a\"", ERROR_UNSUPPORTED,
          "rope_parameters.partial_rotary_factor", "not a number");
}

static void attention_biases_are_there_exactly_when_the_key_says_so(void **state) {
  (void)state;
  static const char on[] = "\"attention_bias\": true", off[] = "\"attention_bias\": false";
  refused("llama-llama3-rope", off, on, ERROR_CORRUPT, "attention_bias", "model.layers.0.self_attn.q_proj.bias");
  refused("llama-bias-head-dim", on, off, ERROR_UNSUPPORTED, "attention_bias", "model.layers.0.self_attn.q_proj.bias");
  refused("llama-bias-head-dim", on, "\"attention_bias\": \"true\"", ERROR_UNSUPPORTED, "attention_bias", "neither true nor false");
  refused("llama-bias-head-dim", "\"model_type\": \"llama\"", "\"sliding_window\": null, \"model_type\": \"mistral\"", ERROR_UNSUPPORTED,
          "no biases", "model.layers.0.self_attn.q_proj.bias");
}

static void settings_of_mpt_and_dbrx_that_change_the_arithmetic_are_refused(void **state) {
  (void)state;
  refused("mpt", "\"logit_scale\": null", "\"logit_scale\": 0", ERROR_UNSUPPORTED, "logit_scale", "0");
  refused("mpt", "\"logit_scale\": null", "\"final_logit_softcapping\": 30.0", ERROR_UNSUPPORTED, "final_logit_softcapping", "null");
  refused("dbrx", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", ERROR_UNSUPPORTED, "tie_word_embeddings", "true");
}

/* Hugging Face code clips to 0, and scales by 0; and it masks nothing where is_causal is false. */
static void values_that_would_be_taken_for_another_are_refused(void **state) {
  (void)state;
  refused("dbrx", "\"clip_qkv\": 1.0", "\"clip_qkv\": 0", ERROR_UNSUPPORTED, "clip_qkv = 0", "null");
  refused("mpt", "\"softmax_scale\": null", "\"softmax_scale\": 0", ERROR_UNSUPPORTED, "softmax_scale = 0", "null");
  refused("llama-llama3-rope", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 2, \"is_causal\": false", ERROR_UNSUPPORTED,
          "is_causal = false", "not supported");
}

/* The checkpoint's model.gguf but for one key, with another value in its place or none. */
static void refused_gguf(const char *name, const char *key, const char *add, const char *has) {
  struct error err = {0};
  struct model_info info;
  char folder[] = "/tmp/plinth-model-XXXXXX";
  assert_non_null(mkdtemp(folder));
  struct buf source = {0};
  buf_printf(&source, "%s/%s/model.gguf", tiny, name);
  char *path = fs_join(folder, "model.gguf");
  struct gguf *g = gguf_open(source.data, &err);
  struct gguf_writer *w = gguf_writer_create(path, &err);
  if (!g || !w) fail_msg("%s", err.message);
  for (size_t i = 0; i < gguf_n_values(g); i++)
    if (!key || !slice_eq(gguf_value_at(g, i)->key, slice_cstr(key))) gguf_writer_copy(w, gguf_value_at(g, i));
  if (add) gguf_writer_bool(w, add, false);
  for (size_t i = 0; i < gguf_n_tensors(g); i++) {
    const struct file_tensor *t = gguf_tensor_at(g, i);
    gguf_writer_tensor(w, t->name, t->dtype, t->rank, t->shape);
  }
  for (size_t i = 0; i < gguf_n_tensors(g); i++)
    assert_int_equal(gguf_writer_data(w, gguf_tensor_at(g, i)->data, (size_t)gguf_tensor_at(g, i)->n_bytes, &err), 0);
  assert_int_equal(gguf_writer_finish(w, &err), 0);
  struct file_model *file = file_model_open(path, &err);
  if (!file) fail_msg("%s", err.message);
  assert_int_equal(model_inspect(file, &info, &err), -1);
  if (!strstr(err.message, has)) fail_msg("%s", err.message);
  file_model_close(file);
  gguf_close(g);
  unlink(path), rmdir(folder);
  free(path);
  buf_free(&source);
}

static void a_gguf_file_that_attends_to_everything_is_refused(void **state) {
  (void)state;
  refused_gguf("llama-31-old-config", NULL, "llama.attention.causal", "attention.causal = false");
}

static void a_gguf_file_without_its_epsilon_is_refused(void **state) {
  (void)state;
  refused_gguf("llama-31-old-config", "llama.attention.layer_norm_rms_epsilon", NULL, "layer_norm_rms_epsilon is missing");
  refused_gguf("mpt", "mpt.attention.layer_norm_epsilon", NULL, "mpt.attention.layer_norm_epsilon is missing");
  refused_gguf("dbrx", "dbrx.attention.layer_norm_epsilon", NULL, "dbrx.attention.layer_norm_epsilon is missing");
}

static size_t window_with(const char *folder, const char *name, const char *text) {
  struct error err;
  struct model_info info;
  char *path = fs_join(folder, name);
  assert_int_equal(fs_write_atomic(path, slice_cstr(text), 0600, &err), 0);
  struct file_model *file = file_model_open(folder, &err);
  if (!file || model_inspect(file, &info, &err) < 0) fail_msg("%s", err.message);
  file_model_close(file);
  free(path);
  return info.context_tokens;
}

/* sentence-transformers 6 keeps the window there. */
static void the_tokenizers_limit_is_the_window_where_nothing_else_says_one(void **state) {
  (void)state;
  char *folder = changed("bert-mean", "\"max_position_embeddings\": 80", "\"max_position_embeddings\": 80");
  assert_int_equal(window_with(folder, "tokenizer_config.json", "{\"model_max_length\": 1000000000000000019884624838656}"), 80);
  assert_int_equal(window_with(folder, "tokenizer_config.json", "{\"model_max_length\": 64}"), 64);
  assert_int_equal(window_with(folder, "sentence_bert_config.json", "{\"max_seq_length\": null}"), 64);
  assert_int_equal(window_with(folder, "sentence_bert_config.json", "{\"max_seq_length\": 70}"), 70);
  const char *const names[] = {"tokenizer_config.json", "sentence_bert_config.json"};
  for (size_t i = 0; i < 2; i++) {
    char *path = fs_join(folder, names[i]);
    unlink(path);
    free(path);
  }
  remove_folder(folder);
}

/* What transformers takes for a key that config.json leaves out. */
static void mistral_without_the_key_has_the_window_of_mistral_7b(void **state) {
  (void)state;
  struct error err;
  struct model_info info;
  char *folder = changed("mistral-no-window", "\"sliding_window\": null", "\"other\": null");
  struct file_model *file = file_model_open(folder, &err);
  if (!file || model_inspect(file, &info, &err) < 0) fail_msg("%s", err.message);
  assert_int_equal(info.window_tokens, 4096);
  file_model_close(file);
  remove_folder(folder);
}

static void a_sequence_with_a_window_needs_kv_for_the_window_and_one_pass(void **state) {
  (void)state;
  struct model_info info = {.window_tokens = 4096};
  assert_int_equal(model_kv_positions(&info, 0, 32768), 4096 + 512 + KV_PAGE_TOKENS);
  assert_int_equal(model_kv_positions(&info, 16, 32768), 4096 + 16 + KV_PAGE_TOKENS);
  assert_int_equal(model_kv_positions(&info, 0, 100), 100);
  info.window_tokens = 0;
  assert_int_equal(model_kv_positions(&info, 0, 32768), 32768);
}

static void too_few_positions_are_refused(void **state) {
  (void)state;
  refused("bert-mean", "\"max_position_embeddings\": 80", "\"max_position_embeddings\": 512", ERROR_CORRUPT, "80 positions", "512");
}

static void inspect_tells_sizes_without_loading(void **state) {
  (void)state;
  struct error err;
  struct model_info info;
  struct buf path = {0};
  buf_printf(&path, "%s/llama-bias-head-dim", tiny);
  struct file_model *file = file_model_open(path.data, &err);
  if (!file || model_inspect(file, &info, &err) < 0) fail_msg("%s", err.message);
  assert_string_equal(info.architecture, "llama");
  assert_int_equal(info.head_dim, 16);
  assert_int_equal(info.n_layers, 2);
  assert_int_equal(info.n_vocab, 90);
  assert_int_equal(info.context_tokens, 256);
  assert_int_equal(model_kv_bytes_per_token(&info, KV_F16), 2 * 2 * 2 * 16 * 2);
  assert_string_equal(info.quantization, "F32");
  file_model_close(file);
  buf_free(&path);
}

/* ---- big shapes, from a config and a tensor list alone ---- */

/* A Hugging Face folder whose weights are a hole in the file: only the header is written. */
struct shape {
  struct buf header;
  uint64_t at;         /* bytes of data so far */
  uint64_t parameters; /* and of them in vectors, which are kept as fp32 */
  uint64_t in_vectors;
  uint64_t planned_bytes; /* by plan() */
};

/* A BF16 tensor; columns 0: a vector. */
static void add_tensor(struct shape *s, const char *name, uint64_t rows, uint64_t columns) {
  uint64_t n = rows * (columns ? columns : 1), end = s->at + 2 * n;
  buf_printf(&s->header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%llu", s->at ? "," : "{", name, (unsigned long long)rows);
  if (columns) buf_printf(&s->header, ",%llu", (unsigned long long)columns);
  buf_printf(&s->header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)s->at, (unsigned long long)end);
  s->at = end;
  s->parameters += n;
  if (!columns) s->in_vectors += n;
}

static void add_in_layer(struct shape *s, const char *pattern, size_t layer, uint64_t rows, uint64_t columns) {
  char name[128];
  snprintf(name, sizeof name, pattern, layer);
  add_tensor(s, name, rows, columns);
}

/* A model that does not fit is refused before a byte of it is read. */
static void too_large_is_refused(const struct file_model *file, uint64_t planned_bytes) {
  struct error err = {0};
  if (planned_bytes < (uint64_t)700 << 30) return; /* this machine may have room for less */
  struct pool *pool = pool_create(1, &err);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, &err);
  assert_null(model_load(file, c, NULL, &err));
  assert_int_equal(err.code, ERROR_NO_MEMORY);
  if (!strstr(err.message, "MiB are free")) fail_msg("%s", err.message);
  compute_destroy(c);
  pool_destroy(pool);
}

static struct model_info plan(struct shape *s, const char *config) {
  struct error err;
  struct model_info info = {0};
  char *folder = mem_strdup("/tmp/plinth-model-XXXXXX");
  assert_non_null(mkdtemp(folder));
  char *config_path = fs_join(folder, "config.json"), *weights = fs_join(folder, "model.safetensors");
  buf_add_byte(&s->header, '}');
  while (s->header.len % 8) buf_add_byte(&s->header, ' ');
  uint64_t length = s->header.len;
  FILE *f = fopen(weights, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(&length, 8, 1, f), 1);
  assert_int_equal(fwrite(s->header.data, s->header.len, 1, f), 1);
  assert_int_equal(fclose(f), 0);
  assert_int_equal(truncate(weights, (off_t)(8 + length + s->at)), 0);
  assert_int_equal(fs_write_atomic(config_path, slice_cstr(config), 0600, &err), 0);
  struct file_model *file = file_model_open(folder, &err);
  if (!file || model_inspect(file, &info, &err) < 0 || model_memory(file, &info, COMPUTE_FAST, &s->planned_bytes, &err) < 0)
    fail_msg("%s", err.message);
  too_large_is_refused(file, s->planned_bytes);
  file_model_close(file);
  remove_folder(folder);
  free(config_path), free(weights);
  buf_free(&s->header);
  return info;
}

static void add_llama(struct shape *s, size_t layers, uint64_t D, uint64_t kd, uint64_t F, uint64_t V, size_t experts) {
  add_tensor(s, "model.embed_tokens.weight", V, D);
  for (size_t n = 0; n < layers; n++) {
    add_in_layer(s, "model.layers.%zu.input_layernorm.weight", n, D, 0);
    add_in_layer(s, "model.layers.%zu.self_attn.q_proj.weight", n, D, D);
    add_in_layer(s, "model.layers.%zu.self_attn.k_proj.weight", n, kd, D);
    add_in_layer(s, "model.layers.%zu.self_attn.v_proj.weight", n, kd, D);
    add_in_layer(s, "model.layers.%zu.self_attn.o_proj.weight", n, D, D);
    add_in_layer(s, "model.layers.%zu.post_attention_layernorm.weight", n, D, 0);
    if (experts) add_in_layer(s, "model.layers.%zu.block_sparse_moe.gate.weight", n, experts, D);
    for (size_t e = 0; e < (experts ? experts : 1); e++) {
      static const char *const parts[][2] = {{"gate_proj", "w1"}, {"up_proj", "w3"}, {"down_proj", "w2"}};
      for (size_t i = 0; i < 3; i++) {
        char name[128];
        if (experts) snprintf(name, sizeof name, "model.layers.%zu.block_sparse_moe.experts.%zu.%s.weight", n, e, parts[i][1]);
        else snprintf(name, sizeof name, "model.layers.%zu.mlp.%s.weight", n, parts[i][0]);
        add_tensor(s, name, i == 2 ? D : F, i == 2 ? F : D);
      }
    }
  }
  add_tensor(s, "model.norm.weight", D, 0);
  add_tensor(s, "lm_head.weight", V, D);
}

/* In panels of 14-bit blocks: two bytes a value, and two for the scale of every 32. */
static uint64_t packed_bytes(uint64_t parameters) { return 2 * parameters + parameters / 16; }

static void a_70b_and_a_405b_shape_are_planned(void **state) {
  (void)state;
  struct shape s = {0}, t = {0};
  add_llama(&s, 80, 8192, 1024, 28672, 128256, 0);
  struct model_info info =
      plan(&s,
           "{\"model_type\":\"llama\",\"hidden_size\":8192,\"intermediate_size\":28672,\"num_hidden_layers\":80,"
           "\"num_attention_heads\":64,\"num_key_value_heads\":8,\"max_position_embeddings\":131072,\"rope_theta\":500000.0}");
  assert_int_equal(info.n_parameters, 70553706496u);
  assert_int_equal(s.planned_bytes, packed_bytes(s.parameters - s.in_vectors) + 4 * s.in_vectors);
  assert_int_equal(model_kv_bytes_per_token(&info, KV_F16), 327680);
  add_llama(&t, 126, 16384, 1024, 53248, 128256, 0);
  info = plan(&t,
              "{\"model_type\":\"llama\",\"hidden_size\":16384,\"intermediate_size\":53248,\"num_hidden_layers\":126,"
              "\"num_attention_heads\":128,\"num_key_value_heads\":8,\"max_position_embeddings\":131072,\"rope_theta\":500000.0}");
  assert_int_equal(info.n_parameters, 405853388800u);
  assert_int_equal(t.planned_bytes, packed_bytes(t.parameters - t.in_vectors) + 4 * t.in_vectors);
  assert_int_equal(model_kv_bytes_per_token(&info, KV_F16), 516096);
}

/* As transformers 5 takes a file whose config.json says tied. */
static void a_head_with_values_of_its_own_is_not_tied(void **state) {
  (void)state;
  static const char *const names[] = {"llama-llama3-rope", "mpt-untied"};
  struct error err;
  struct model_info info;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char *folder = changed(names[i], "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    struct file_model *file = file_model_open(folder, &err);
    if (!file || model_inspect(file, &info, &err) < 0) fail_msg("%s", err.message);
    assert_false(info.tied_head);
    file_model_close(file);
    remove_folder(folder);
  }
  struct shape same = {0};
  add_llama(&same, 1, 64, 64, 64, 100, 0); /* all of it zeros */
  info = plan(&same,
              "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":64,\"num_hidden_layers\":1,"
              "\"num_attention_heads\":4,\"max_position_embeddings\":64,\"tie_word_embeddings\":true}");
  assert_true(info.tied_head);
}

static void mixtral_shapes_are_planned(void **state) {
  (void)state;
  struct shape s = {0}, t = {0};
  add_llama(&s, 32, 4096, 1024, 14336, 32000, 8);
  struct model_info info = plan(&s,
                                "{\"model_type\":\"mixtral\",\"hidden_size\":4096,\"intermediate_size\":14336,"
                                "\"num_hidden_layers\":32,\"num_attention_heads\":32,\"num_key_value_heads\":8,"
                                "\"max_position_embeddings\":32768,\"num_local_experts\":8,\"num_experts_per_tok\":2,"
                                "\"sliding_window\":null}");
  assert_string_equal(info.architecture, "mixtral");
  assert_int_equal(info.n_experts, 8);
  assert_int_equal(info.n_experts_used, 2);
  assert_int_equal(info.window_tokens, 0);
  assert_int_equal(info.n_parameters, 46702792704u);
  /* Routers are kept as fp32, in panels of 16 rows. */
  uint64_t routers = 32 * 8 * 4096;
  assert_int_equal(s.planned_bytes, packed_bytes(s.parameters - routers - s.in_vectors) + 4 * s.in_vectors + 8 * routers);
  assert_int_equal(model_kv_bytes_per_token(&info, KV_F16), 131072);
  add_llama(&t, 56, 6144, 1024, 16384, 32768, 8);
  info = plan(&t,
              "{\"model_type\":\"mixtral\",\"hidden_size\":6144,\"intermediate_size\":16384,\"num_hidden_layers\":56,"
              "\"num_attention_heads\":48,\"num_key_value_heads\":8,\"max_position_embeddings\":65536,"
              "\"num_local_experts\":8,\"num_experts_per_tok\":2}");
  assert_int_equal(info.n_parameters, 140630071296u);
  assert_int_equal(model_kv_bytes_per_token(&info, KV_F16), 229376);
}

static void the_dbrx_shape_is_planned(void **state) {
  (void)state;
  enum { D = 6144, F = 10752, E = 16, L = 40, V = 100352 };
  struct shape s = {0};
  add_tensor(&s, "transformer.wte.weight", V, D);
  for (size_t n = 0; n < L; n++) {
    add_in_layer(&s, "transformer.blocks.%zu.norm_attn_norm.norm_1.weight", n, D, 0);
    add_in_layer(&s, "transformer.blocks.%zu.norm_attn_norm.norm_2.weight", n, D, 0);
    add_in_layer(&s, "transformer.blocks.%zu.norm_attn_norm.attn.Wqkv.weight", n, D + 2 * 1024, D);
    add_in_layer(&s, "transformer.blocks.%zu.norm_attn_norm.attn.out_proj.weight", n, D, D);
    add_in_layer(&s, "transformer.blocks.%zu.ffn.router.layer.weight", n, E, D);
    add_in_layer(&s, "transformer.blocks.%zu.ffn.experts.mlp.w1", n, E * F, D);
    add_in_layer(&s, "transformer.blocks.%zu.ffn.experts.mlp.v1", n, E * F, D);
    add_in_layer(&s, "transformer.blocks.%zu.ffn.experts.mlp.w2", n, E * F, D);
  }
  add_tensor(&s, "transformer.norm_f.weight", D, 0);
  add_tensor(&s, "lm_head.weight", V, D);
  struct model_info info = plan(&s,
                                "{\"model_type\":\"dbrx\",\"d_model\":6144,\"n_heads\":48,\"n_layers\":40,\"max_seq_len\":32768,"
                                "\"attn_config\":{\"clip_qkv\":8,\"kv_n_heads\":8,\"rope_theta\":500000},"
                                "\"ffn_config\":{\"ffn_hidden_size\":10752,\"moe_num_experts\":16,\"moe_top_k\":4}}");
  assert_int_equal(info.n_parameters, 131596523520u);
  uint64_t routers = (uint64_t)L * E * D;
  assert_int_equal(s.planned_bytes, packed_bytes(s.parameters - routers - s.in_vectors) + 4 * s.in_vectors + 4 * routers);
  assert_int_equal(model_kv_bytes_per_token(&info, KV_F16), 163840);
  assert_int_equal(info.n_experts_used, 4);
}

/* ---- what other architectures refuse ---- */

static void mpt_settings_that_change_the_arithmetic_are_refused(void **state) {
  (void)state;
  refused("mpt", "\"prefix_lm\": false", "\"prefix_lm\": true", ERROR_UNSUPPORTED, "attn_config.prefix_lm", "true");
  refused("mpt", "\"attn_uses_sequence_id\": false", "\"attn_uses_sequence_id\": true", ERROR_UNSUPPORTED,
          "attn_config.attn_uses_sequence_id", "true");
  refused("mpt", "\"norm_type\": \"low_precision_layernorm\"", "\"norm_type\": \"rmsnorm\"", ERROR_UNSUPPORTED, "norm_type", "rmsnorm");
  refused("mpt", "\"logit_scale\": null", "\"logit_scale\": \"half\"", ERROR_UNSUPPORTED, "logit_scale", "half");
  refused("mpt", "\"attn_type\": \"multihead_attention\"", "\"attn_type\": \"linear\"", ERROR_UNSUPPORTED, "attn_config.attn_type",
          "linear");
  refused("mpt", "\"alibi\": true", "\"alibi_\": true", ERROR_CORRUPT, "attn_config.alibi", "missing");
  refused("mpt", "\"clip_qkv\": 1.0", "\"clip_qkv\": -1.0", ERROR_UNSUPPORTED, "clip_qkv", "-1");
  refused("mpt", "\"expansion_ratio\": 4", "\"expansion_ratio\": 0.01", ERROR_UNSUPPORTED, "expansion_ratio", "0.01");
}

/* Stacked experts of a number type other than floats: no published checkpoint has them. */
static void stacked_experts_of_integers_are_refused_by_type_and_method(void **state) {
  (void)state;
  struct error err = {0};
  char *folder = changed("mixtral-fused-window", "\"model_type\"",
                         "\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}, \"model_type\"");
  char *path = fs_join(folder, "model.safetensors");
  struct buf bytes = {0};
  assert_int_equal(fs_read(path, 1 << 22, &bytes, &err), 0);
  char *stack = memmem(bytes.data, bytes.len, "gate_up_proj", 12), *type = stack ? strstr(stack, "\"BF16\"") : NULL;
  assert_non_null(type);
  memcpy(type, "\"I16\" ", 6);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(fs_write_atomic(path, buf_view(&bytes), 0600, &err), 0);
  struct file_model *file = file_model_open(folder, &err);
  if (!file) fail_msg("%s", err.message);
  struct pool *pool = pool_create(1, &err);
  struct compute *c = compute_create(COMPUTE_F32, pool, COMPUTE_ISA_ALL, &err);
  assert_null(model_load(file, c, NULL, &err));
  if (!strstr(err.message, "mlp.experts.gate_up_proj") || !strstr(err.message, "I16") ||
      !strstr(err.message, "quantization_config is GPTQ"))
    fail_msg("%s", err.message);
  compute_destroy(c);
  pool_destroy(pool);
  file_model_close(file);
  remove_folder(folder);
  buf_free(&bytes);
  free(path);
}

static void mixtures_that_cannot_be_are_refused(void **state) {
  (void)state;
  refused("mixtral", "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 5", ERROR_UNSUPPORTED, "5", "4 experts");
  refused("mixtral", "\"num_local_experts\": 4", "\"num_local_experts\": 5", ERROR_CORRUPT, "gate.weight", "[4, 24]");
  refused("mixtral", "\"num_local_experts\": 4", "\"experts\": 4", ERROR_CORRUPT, "num_local_experts", "missing");
  refused("mixtral-fused-window", "\"sliding_window\": 20", "\"sliding_window\": 0", ERROR_UNSUPPORTED, "sliding_window", "0");
  refused("dbrx", "\"ffn_hidden_size\": 16", "\"ffn_hidden_size\": 17", ERROR_CORRUPT, "experts.mlp.w1", "136 rows");
  refused("dbrx", "\"moe_normalize_expert_weights\": 1.0", "\"moe_normalize_expert_weights\": 3.0", ERROR_UNSUPPORTED,
          "moe_normalize_expert_weights", "3");
  refused("dbrx", "\"name\": \"silu\"", "\"name\": \"relu\"", ERROR_UNSUPPORTED, "ffn_act_fn", "relu");
}

/* transformers 5 writes its own default into rope_parameters of a DBRX whose base stands in attn_config. */
static void two_rope_bases_that_differ_are_refused(void **state) {
  (void)state;
  refused("dbrx-no-norm", "\"rope_parameters\": {", "\"rope_parameters\": {\"rope_theta\": 10000.0}, \"x\": {", ERROR_UNSUPPORTED,
          "attn_config.rope_theta", "10000");
}

/* The memory of a pass grows for a long text and shrinks again: what a text gets stays the same. */
static void an_encoder_gives_the_same_bits_before_and_after_a_long_text(void **state) {
  (void)state;
  enum { WIDTH = 24, SHORT = 5, LONG = 700 };
  struct error err;
  char *folder = changed("gte-new-prefix", "\"max_position_embeddings\": 128", "\"max_position_embeddings\": 2048");
  struct file_model *file = file_model_open(folder, &err);
  if (!file) fail_msg("%s", err.message);
  struct pool *pool = pool_create(2, &err);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, &err);
  struct model *m = model_load(file, c, NULL, &err);
  if (!m) fail_msg("%s", err.message);
  int32_t text[LONG + SHORT];
  for (int i = 0; i < LONG + SHORT; i++) text[i] = (i * i + 3) % 48;
  float first[WIDTH], out[2 * WIDTH], both[2 * WIDTH];
  assert_int_equal(model_info(m)->n_embd, WIDTH);
  model_embed(m, text + LONG, (size_t[]){0, SHORT}, 1, first);
  model_embed(m, text, (size_t[]){0, LONG}, 1, out);
  model_embed(m, text + LONG, (size_t[]){0, SHORT}, 1, out + WIDTH);
  model_embed(m, text, (size_t[]){0, LONG, LONG + SHORT}, 2, both);
  assert_memory_equal(first, out + WIDTH, sizeof first);
  assert_memory_equal(both, out, sizeof both);
  model_free(m);
  compute_destroy(c);
  pool_destroy(pool);
  file_model_close(file);
  remove_folder(folder);
}

static void gte_settings_that_change_the_arithmetic_are_refused(void **state) {
  (void)state;
  refused("gte-new-prefix", "\"logn_attention_scale\": false", "\"logn_attention_scale\": true", ERROR_UNSUPPORTED, "logn_attention_scale",
          "true");
  refused("gte-new-prefix", "\"type\": \"ntk\"", "\"type\": \"ntk\", \"mixed_b\": 1.0", ERROR_UNSUPPORTED, "mixed_b", "not supported");
  refused("gte-new-prefix", "\"layer_norm_type\": \"layer_norm\"", "\"layer_norm_type\": \"rms_norm\"", ERROR_UNSUPPORTED,
          "layer_norm_type", "rms_norm");
  refused("gte-new-prefix", "\"type_vocab_size\": 2", "\"type_vocab_size\": 0", ERROR_CORRUPT, "type_vocab_size", "holds");
  refused("llama-linear-rope", "\"rope_type\": \"linear\"", "\"rope_type\": \"ntk\"", ERROR_UNSUPPORTED, "ntk", "rope_type");
}

int main(int argc, char **argv) {
  tiny = argc > 1 ? argv[1] : "test/vector/model/tiny";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_unknown_architecture_is_refused_by_name),
      cmocka_unit_test(an_unsupported_activation_is_refused_by_key_and_value),
      cmocka_unit_test(an_unsupported_rope_rule_is_refused_by_name),
      cmocka_unit_test(a_rope_rule_without_its_numbers_is_refused),
      cmocka_unit_test(numbers_that_make_no_model_are_refused),
      cmocka_unit_test(values_of_a_wrong_type_are_refused),
      cmocka_unit_test(a_tensor_of_another_shape_is_refused_with_both_shapes),
      cmocka_unit_test(a_missing_tensor_is_named),
      cmocka_unit_test(sizes_that_cannot_be_are_refused),
      cmocka_unit_test(a_vocabulary_other_than_the_embeddings_is_refused),
      cmocka_unit_test(layers_that_the_configuration_leaves_out_are_refused),
      cmocka_unit_test(a_tie_that_is_neither_true_nor_false_is_refused),
      cmocka_unit_test(a_head_of_another_task_is_refused_by_its_class),
      cmocka_unit_test(rope_rules_of_a_wrong_form_are_refused),
      cmocka_unit_test(attention_biases_are_there_exactly_when_the_key_says_so),
      cmocka_unit_test(settings_of_mpt_and_dbrx_that_change_the_arithmetic_are_refused),
      cmocka_unit_test(values_that_would_be_taken_for_another_are_refused),
      cmocka_unit_test(a_gguf_file_that_attends_to_everything_is_refused),
      cmocka_unit_test(a_gguf_file_without_its_epsilon_is_refused),
      cmocka_unit_test(the_tokenizers_limit_is_the_window_where_nothing_else_says_one),
      cmocka_unit_test(mistral_without_the_key_has_the_window_of_mistral_7b),
      cmocka_unit_test(a_sequence_with_a_window_needs_kv_for_the_window_and_one_pass),
      cmocka_unit_test(too_few_positions_are_refused),
      cmocka_unit_test(inspect_tells_sizes_without_loading),
      cmocka_unit_test(a_70b_and_a_405b_shape_are_planned),
      cmocka_unit_test(a_head_with_values_of_its_own_is_not_tied),
      cmocka_unit_test(mixtral_shapes_are_planned),
      cmocka_unit_test(the_dbrx_shape_is_planned),
      cmocka_unit_test(mpt_settings_that_change_the_arithmetic_are_refused),
      cmocka_unit_test(stacked_experts_of_integers_are_refused_by_type_and_method),
      cmocka_unit_test(mixtures_that_cannot_be_are_refused),
      cmocka_unit_test(two_rope_bases_that_differ_are_refused),
      cmocka_unit_test(an_encoder_gives_the_same_bits_before_and_after_a_long_text),
      cmocka_unit_test(gte_settings_that_change_the_arithmetic_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
