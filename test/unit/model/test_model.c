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
  assert_int_equal(info.kv_bytes_per_token, 2 * 2 * 2 * 16 * 2);
  assert_string_equal(info.quantization, "F32");
  file_model_close(file);
  buf_free(&path);
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
      cmocka_unit_test(too_few_positions_are_refused),
      cmocka_unit_test(inspect_tells_sizes_without_loading),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
