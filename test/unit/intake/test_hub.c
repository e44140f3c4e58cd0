/* Tests of what is taken from a repository: its list of files, and the choice among them. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "base/mem.h"
#include "intake/hub.h"

/* The names that are picked from a repository with these files, each followed by a space; "refused: …" without. */
static const char *select_from(const char *const *paths, const char *wanted) {
  static char out[1024];
  struct hub_tree t = {0};
  struct error err = {0};
  for (; *paths; paths++) {
    t.files = mem_realloc(t.files, t.n + 1, sizeof *t.files);
    t.files[t.n++] = (struct hub_file){.path = mem_strdup(*paths)};
  }
  assert_int_equal(hub_tree_finish(&t, &err), 0);
  bool *picked = mem_zalloc(t.n + 1, 1);
  out[0] = '\0';
  if (hub_select(&t, &wanted, wanted != NULL, picked, &err) < 0) snprintf(out, sizeof out, "refused: %s", err.message);
  else
    for (size_t i = 0; i < t.n; i++)
      if (picked[i]) strcat(strcat(out, t.files[i].path), " ");
  free(picked);
  hub_tree_free(&t);
  return out;
}
#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void safetensors_win_and_their_other_forms_stay(void **state) {
  (void)state;
  assert_string_equal(select_from(FILES("config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "m.gguf",
                                        "code.py", "tokenizer.json", "onnx/model.onnx", "onnx/config.json"),
                                  NULL),
                      "config.json model.safetensors tokenizer.json ");
  assert_string_equal(select_from(FILES("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json", "consolidated.safetensors", "consolidated.00.pth"),
                                  NULL),
                      "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json ");
  assert_string_equal(select_from(FILES("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "optimizer.pt"), NULL),
                      "adapter_config.json adapter_model.safetensors ");
}

static void one_gguf_is_chosen_by_name_pattern_or_part_of_a_name(void **state) {
  (void)state;
  const char *const *files = FILES("m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-mmproj-f16.gguf");
  assert_string_equal(select_from(files, "m-Q8_0.gguf"), "m-Q8_0.gguf ");
  assert_string_equal(select_from(files, "q4_k_m"), "m-Q4_K_M.gguf ");
  assert_string_equal(select_from(files, "*Q8*"), "m-Q8_0.gguf ");
  assert_non_null(strstr(select_from(files, NULL), "m-Q4_K_M.gguf, "));
  assert_non_null(strstr(select_from(files, "Q2_K"), "no .gguf file that fits \"Q2_K\""));
  assert_string_equal(select_from(FILES("only.gguf", "mmproj.gguf", "plinth-vectors.json"), NULL), "only.gguf plinth-vectors.json ");
  assert_non_null(strstr(select_from(FILES("mmproj.gguf"), NULL), "by itself"));
}

static void all_parts_of_a_split_file_come(void **state) {
  (void)state;
  assert_string_equal(
      select_from(FILES("q/m-00001-of-00002.gguf", "q/m-00002-of-00002.gguf", "o-00001-of-00001.gguf"), "q/m-00002-of-00002.gguf"),
      "q/m-00001-of-00002.gguf q/m-00002-of-00002.gguf ");
}

static void pickles_alone_are_refused(void **state) {
  (void)state;
  assert_non_null(strstr(select_from(FILES("config.json", "pytorch_model.bin"), NULL), "pickle"));
  assert_non_null(strstr(select_from(FILES("adapter_model.bin"), NULL), "PeftModel"));
  assert_non_null(strstr(select_from(FILES("README.md"), NULL), "no model"));
}

static void names_of_repositories(void **state) {
  (void)state;
  static const char *const good[] = {"gpt2", "org/repo", "a-b/c.d_e"};
  static const char *const bad[] = {"", "/", "a/", "/a", "a/b/c", "a/..", "../b", "a b", "a?b", "a/b#c", "a%2fb"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_true(hub_repo_valid(good[i]));
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(hub_repo_valid(bad[i]));
}

static void a_file_that_is_listed_twice_is_refused(void **state) {
  (void)state;
  static const char page[] = "[{\"type\":\"file\",\"path\":\"a\",\"size\":1,\"oid\":\"0123456789012345678901234567890123456789\"}]";
  struct hub_tree t = {0};
  struct error err = {0};
  assert_int_equal(hub_tree_parse(SLICE(page), &t, &err), 0);
  assert_int_equal(hub_tree_finish(&t, &err), 0);
  assert_int_equal(hub_tree_parse(SLICE(page), &t, &err), 0);
  assert_int_equal(hub_tree_finish(&t, &err), -1);
  hub_tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(safetensors_win_and_their_other_forms_stay),
      cmocka_unit_test(one_gguf_is_chosen_by_name_pattern_or_part_of_a_name),
      cmocka_unit_test(all_parts_of_a_split_file_come),
      cmocka_unit_test(pickles_alone_are_refused),
      cmocka_unit_test(names_of_repositories),
      cmocka_unit_test(a_file_that_is_listed_twice_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
