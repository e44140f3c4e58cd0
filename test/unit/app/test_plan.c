/* Tests of `plinth inspect --plan`: published sizes out of config.json alone, and the same figures as for the weights themselves.
 * SPDX-License-Identifier: Apache-2.0
 * PLINTH names the program; the argument the folder of vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"
#include "model/model.h"

static const char *vectors;
static char dir[64];

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-test-XXXXXX");
  return mkdtemp(dir) && setenv("T", dir, 1) == 0 ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  return system("rm -rf \"$T\"");
}

/* What a command of the shell prints, as JSON; $P is the program. */
static struct js *output_of(const char *command) {
  static char text[1 << 16];
  struct error err = {0};
  setenv("P", getenv("PLINTH"), 1);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = fread(text, 1, sizeof text, f);
  int status = pclose(f);
  if (!WIFEXITED(status) || WEXITSTATUS(status)) fail_msg("%s: %.*s", command, (int)n, text);
  struct js *json = js_parse(slice_make(text, n), &err);
  if (!json) fail_msg("%s: %s", command, err.message);
  return json;
}

static int64_t member(const struct js *object, const char *key) {
  int64_t value = -1;
  js_int(js_get(object, key), &value);
  return value;
}

static const struct js *type_of(const struct js *plan, const char *type) {
  const struct js *types = js_get(plan, "types");
  for (size_t i = 0; i < js_len(types); i++) {
    struct slice name;
    if (js_str(js_get(js_at(types, i), "type"), &name) && slice_eq(name, slice_cstr(type))) return js_at(types, i);
  }
  fail_msg("no type %s", type);
  return NULL;
}

static struct js *plan_of_config(const char *config, const char *options) {
  char path[128], command[256];
  snprintf(path, sizeof path, "%s/config.json", dir);
  assert_int_equal(fs_write_atomic(path, slice_cstr(config), 0600, NULL), 0);
  snprintf(command, sizeof command, "\"$P\" inspect --plan --json %s \"$T\" 2>&1", options);
  return output_of(command);
}

#define LLAMA_3                                                                                                                   \
  "\"model_type\":\"llama\",\"vocab_size\":128256,\"num_key_value_heads\":8,\"max_position_embeddings\":131072,\"torch_dtype\":"  \
  "\"bfloat16\",\"tie_word_embeddings\":false,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0," \
  "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}"

static const struct {
  const char *config;
  int64_t parameters, kv_bytes_per_token;
} published[] = {
    {"{" LLAMA_3 ",\"hidden_size\":4096,\"intermediate_size\":14336,\"num_hidden_layers\":32,\"num_attention_heads\":32}", 8030261248,
     131072},
    {"{" LLAMA_3 ",\"hidden_size\":8192,\"intermediate_size\":28672,\"num_hidden_layers\":80,\"num_attention_heads\":64}", 70553706496,
     327680},
    {"{" LLAMA_3 ",\"hidden_size\":16384,\"intermediate_size\":53248,\"num_hidden_layers\":126,\"num_attention_heads\":128}", 405853388800,
     516096},
    {"{\"model_type\":\"mixtral\",\"vocab_size\":32000,\"hidden_size\":4096,\"intermediate_size\":14336,\"num_hidden_layers\":32,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"num_local_experts\":8,\"num_experts_per_tok\":2,\"max_position_embeddings\":"
     "32768,"
     "\"tie_word_embeddings\":false}",
     46702792704, 131072},
    {"{\"model_type\":\"dbrx\",\"d_model\":6144,\"n_heads\":48,\"n_layers\":40,\"max_seq_len\":32768,\"vocab_size\":100352,"
     "\"tie_word_embeddings\":false,\"attn_config\":{\"clip_qkv\":8,\"kv_n_heads\":8,\"rope_theta\":500000},"
     "\"ffn_config\":{\"ffn_hidden_size\":10752,\"moe_num_experts\":16,\"moe_top_k\":4}}",
     131596523520, 163840},
};

static void big_models_are_planned_from_their_configuration(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
    struct js *plan = plan_of_config(published[i].config, "");
    assert_int_equal(member(plan, "parameters"), published[i].parameters);
    assert_int_equal(member(plan, "kv_bytes_per_token"), published[i].kv_bytes_per_token);
    int64_t stored = member(type_of(plan, "as stored"), "fast_bytes"); /* two bytes each, and two for 32; norms and routers four */
    assert_true((double)stored > 2.0624 * (double)published[i].parameters && (double)stored < 2.064 * (double)published[i].parameters);
    js_free(plan);
  }
}

static void keys_and_values_in_8_bits_are_planned_with_their_scales(void **state) {
  (void)state;
  struct js *plan = plan_of_config(published[0].config, "--kv q8 --plan-tokens 8192");
  assert_int_equal(member(plan, "kv_bytes_per_token"), 131072 / 16 * 17 / 2); /* 8.5 bits instead of 16 */
  assert_int_equal(member(plan, "kv_bytes"), 8192ll * 131072 / 16 * 17 / 2);
  js_free(plan);
}

static void nodes_are_filled_with_whole_layers(void **state) {
  (void)state;
  struct js *plan = plan_of_config(published[1].config, "--memory-gib 64 --plan-tokens 8192");
  assert_int_equal(member(plan, "kv_bytes"), 8192 * 327680ll);
  assert_int_equal(member(type_of(plan, "as stored"), "nodes"), 3);
  assert_int_equal(member(type_of(plan, "q4_0"), "nodes"), 1);
  js_free(plan);
  plan = plan_of_config(published[1].config, "--memory-gib 1");
  assert_int_equal(js_type(js_get(type_of(plan, "f16"), "nodes")), JS_NULL);
  js_free(plan);
}

/* The configuration alone, the weights themselves, and `inspect` agree. */
static void plans_of_configuration_and_weights_are_the_same(void **state) {
  (void)state;
  static const char *const models[] = {
      "llama-untied-bf16-shards", "llama-tied-f16", "mixtral", "mixtral-fused-window", "dbrx", "mpt", "mpt-untied"};
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    char command[512];
    snprintf(command, sizeof command,
             "rm -rf \"$T\"/* && cp -r '%s/model/tiny/%s' \"$T/m\" && rm -f \"$T\"/m/*.gguf && \"$P\" inspect --plan --json \"$T/m\"",
             vectors, models[i]);
    struct js *whole = output_of(command), *told = output_of("\"$P\" inspect --json \"$T/m\"");
    struct js *bare = output_of("rm -f \"$T\"/m/*.safetensors && \"$P\" inspect --plan --json \"$T/m\"");
    struct js *barest = output_of("rm -f \"$T\"/m/*.index.json && \"$P\" inspect --plan --json \"$T/m\"");
    assert_int_equal(member(whole, "parameters"), member(told, "parameters"));
    assert_int_equal(member(whole, "parameters"), member(bare, "parameters"));
    assert_int_equal(member(whole, "parameters"), member(barest, "parameters"));
    assert_int_equal(member(type_of(whole, "as stored"), "fast_bytes"), member(js_get(told, "memory"), "weight_bytes"));
    assert_int_equal(member(type_of(whole, "q4_0"), "fast_bytes"), member(type_of(barest, "q4_0"), "fast_bytes"));
    js_free(whole);
    js_free(told);
    js_free(bare);
    js_free(barest);
  }
}

static void a_model_without_a_form_in_gguf_is_planned_as_stored(void **state) {
  (void)state;
  static const char *const models[] = {"gte-native", "gte-new-prefix", "mpt-learned-positions"};
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    char command[512];
    snprintf(command, sizeof command, "\"$P\" inspect --plan --json '%s/model/tiny/%s'", vectors, models[i]);
    struct js *plan = output_of(command);
    assert_true(member(type_of(plan, "as stored"), "fast_bytes") > 0);
    assert_true(member(plan, "parameters") > 0);
    js_free(plan);
  }
}

/* All that GTE's plan needs stands in config.json, whichever names the weights have. */
static void a_gte_model_is_planned_from_its_configuration(void **state) {
  (void)state;
  static const char *const models[] = {"gte-native", "gte-new-prefix", "gte-new-unpacked"};
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    char command[512];
    snprintf(command, sizeof command, "rm -rf \"$T\"/* && cp -r '%s/model/tiny/%s' \"$T/m\" && \"$P\" inspect --plan --json \"$T/m\"",
             vectors, models[i]);
    struct js *whole = output_of(command), *bare = output_of("rm -f \"$T\"/m/*.safetensors && \"$P\" inspect --plan --json \"$T/m\"");
    assert_int_equal(member(whole, "parameters"), member(bare, "parameters"));
    assert_int_equal(member(type_of(whole, "as stored"), "fast_bytes"), member(type_of(bare, "as stored"), "fast_bytes"));
    js_free(whole);
    js_free(bare);
  }
  struct js *large = plan_of_config(
      "{\"model_type\":\"new\",\"architectures\":[\"NewModel\"],\"vocab_size\":30528,\"hidden_size\":1024,\"num_hidden_layers\":24,"
      "\"num_attention_heads\":16,\"intermediate_size\":4096,\"max_position_embeddings\":8192,\"type_vocab_size\":2,\"rope_theta\":160000,"
      "\"rope_scaling\":{\"type\":\"ntk\",\"factor\":2},\"pack_qkv\":true,\"dtype\":\"float32\"}",
      "");
  assert_int_equal(member(large, "parameters"), 434139136);
  js_free(large);
  char path[128];
  snprintf(path, sizeof path, "%s/config.json", dir);
  assert_int_equal(
      fs_write_atomic(path, SLICE("{\"model_type\":\"gte\",\"vocab_size\":9,\"hidden_size\":8,\"num_hidden_layers\":4000000000}"), 0600,
                      NULL),
      0);
  assert_int_equal(WEXITSTATUS(system("\"$P\" inspect --plan \"$T\" > /dev/null 2>&1")), 1);
}

/* 8-bit floats take two bytes and a little; integers stay bytes at most. */
static void quantized_checkpoints_are_planned_as_they_are_loaded(void **state) {
  (void)state;
  static const struct {
    const char *name;
    bool grows;
  } forms[] = {{"fp8-block", true}, {"float8-channel", true}, {"gptq-4bit-act-order", false}, {"packed-int8-channel", false}};
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    char command[512];
    snprintf(command, sizeof command, "\"$P\" inspect --plan --json '%s/checkpoint/%s'", vectors, forms[i].name);
    struct js *plan = output_of(command);
    const struct js *stored = type_of(plan, "as stored");
    int64_t fast = member(stored, "fast_bytes"), f32 = member(stored, "f32_bytes");
    if (forms[i].grows) assert_true(2 * fast > f32 && 7 * fast < 4 * f32);
    else assert_true(2 * fast < f32);
    js_free(plan);
    snprintf(command, sizeof command, "\"$P\" inspect --plan '%s/checkpoint/%s' | grep -q 'take twice the room'", vectors, forms[i].name);
    assert_int_equal(WEXITSTATUS(system(command)), forms[i].grows ? 0 : 1);
  }
}

static void a_configuration_without_sizes_is_refused(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/config.json", dir);
  assert_int_equal(fs_write_atomic(path, SLICE("{\"model_type\":\"llama\"}"), 0600, NULL), 0);
  assert_int_equal(WEXITSTATUS(system("\"$P\" inspect --plan \"$T\" > /dev/null 2>&1")), 1);
}

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(big_models_are_planned_from_their_configuration),
      cmocka_unit_test(keys_and_values_in_8_bits_are_planned_with_their_scales),
      cmocka_unit_test(nodes_are_filled_with_whole_layers),
      cmocka_unit_test(plans_of_configuration_and_weights_are_the_same),
      cmocka_unit_test(a_model_without_a_form_in_gguf_is_planned_as_stored),
      cmocka_unit_test(a_gte_model_is_planned_from_its_configuration),
      cmocka_unit_test(quantized_checkpoints_are_planned_as_they_are_loaded),
      cmocka_unit_test(a_configuration_without_sizes_is_refused),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
