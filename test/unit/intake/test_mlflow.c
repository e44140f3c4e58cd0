/* Tests of MLmodel files. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "intake/mlflow.h"

static void the_transformers_flavor_names_its_folders(void **state) {
  (void)state;
  struct mlflow m;
  struct error err = {0};
  const char text[] =
      "flavors:\n  python_function: {data: other, model_binary: wrong}\n  transformers:\n    components: [feature_extractor, tokenizer]\n"
      "    model_binary: model\n    source_model_name: org/repo\n    source_model_revision: abc\n    task: text-generation\n"
      "model_binary: wrong\nsignature: {inputs: '[{\"model_binary\": \"wrong\"}]'}\n";
  assert_int_equal(mlflow_parse(SLICE(text), &m, &err), 0);
  assert_string_equal(m.model, "model");
  assert_string_equal(m.tokenizer, "components/tokenizer");
  assert_string_equal(m.source_name, "org/repo");
  assert_string_equal(m.source_revision, "abc");
  assert_null(m.adapter);
  mlflow_free(&m);
}

static void sentence_transformers_and_adapters_are_found(void **state) {
  (void)state;
  struct mlflow m;
  struct error err = {0};
  assert_int_equal(mlflow_parse(SLICE("flavors: {sentence_transformers: {data: model.sentence_transformer}}"), &m, &err), 0);
  assert_string_equal(m.model, "model.sentence_transformer");
  mlflow_free(&m);
  assert_int_equal(mlflow_parse(SLICE("flavors: {transformers: {peft_adaptor: peft, source_model_name: a/b}}"), &m, &err), 0);
  assert_string_equal(m.adapter, "peft");
  mlflow_free(&m);
}

static void refusals_say_why(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } cases[] = {
      {"flavors: {sklearn: {x: y}, python_function: {}}", "sklearn, python_function"},
      {"", "(none)"},
      {"- a\n- b", "(none)"},
      {"flavors: {transformers: {source_model_name: org/repo, source_model_revision: abc}}", "hf:org/repo@abc"},
      {"flavors: {transformers: {model_binary: ../x}}", "leads out"},
      {"flavors: {transformers: {model_binary: /x}}", "leads out"},
      {"a: &x 1\nb: *x", "aliases"},
      {"a: [", "MLmodel:"},
      {"? [a]\n: b", "plain text"},
      {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "deeply"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct mlflow m;
    struct error err = {0};
    assert_int_equal(mlflow_parse(slice_cstr(cases[i].text), &m, &err), -1);
    if (!strstr(err.message, cases[i].why)) fail_msg("%s: %s", cases[i].text, err.message);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_transformers_flavor_names_its_folders),
      cmocka_unit_test(sentence_transformers_and_adapters_are_found),
      cmocka_unit_test(refusals_say_why),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
