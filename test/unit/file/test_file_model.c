/* Tests of file/file_model: what a folder or file is taken for. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/js.h"
#include "file/file.h"
#include "gguf_build.h"
#include "tree.h"

static void write_gguf(const struct tree *t, const char *name) {
  struct buf b = {0};
  put_header(&b, 3, 1, 1);
  put_key(&b, "general.architecture", GGUF_STRING), put_str(&b, "llama");
  put_tensor(&b, "w", 1, (uint64_t[]){4}, 0, 0);
  put_padding(&b, 32), put_zeros(&b, 16);
  tree_write(t, name, buf_view(&b));
  buf_free(&b);
}

static void write_safetensors(const struct tree *t, const char *name) {
  static const char header[] = "{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
  struct buf b = {0};
  put_u64(&b, strlen(header));
  buf_add_cstr(&b, header);
  put_zeros(&b, 1);
  tree_write(t, name, buf_view(&b));
  buf_free(&b);
}

static void expect_error(const char *path, enum error_code code, const char *part) {
  struct error err = {0};
  assert_null(file_model_open(path, &err));
  if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
  assert_int_equal(err.code, code);
  assert_true(strlen(err.message) < sizeof err.message - 4); /* not cut */
}

static void a_gguf_file_or_a_folder_with_one_is_a_model(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_gguf(&t, "m.gguf");
  tree_write(&t, "README.md", SLICE("x"));
  tree_write(&t, "config.json", SLICE("{}"));
  for (int i = 0; i < 2; i++) {
    struct file_model *m = file_model_open(i ? tree_path(&t, "m.gguf") : t.dir, NULL);
    assert_non_null(m);
    assert_int_equal(m->container, FILE_GGUF);
    assert_string_equal(m->path, tree_path(&t, "m.gguf"));
    assert_non_null(file_model_tensor(m, "w"));
    assert_null(file_model_tensor(m, "v"));
    struct js *json = (struct js *)&t;
    assert_int_equal(file_model_json(m, "tokenizer.json", &json, NULL), 0);
    assert_null(json);
    file_model_close(m);
  }
  tree_remove(&t);
}

static void a_hugging_face_folder_is_a_model(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_safetensors(&t, "model.safetensors");
  tree_write(&t, "config.json", SLICE("{\"model_type\":\"bert\"}"));
  tree_write(&t, "broken.json", SLICE("{"));
  tree_write(&t, "pytorch_model.bin", SLICE("pickle"));
  tree_mkdir(&t, "1_Pooling");
  tree_write(&t, "1_Pooling/config.json", SLICE("[1]"));
  struct error err = {0};
  struct file_model *m = file_model_open(t.dir, &err);
  if (!m) fail_msg("%s", err.message);
  assert_int_equal(m->container, FILE_SAFETENSORS);
  assert_string_equal(m->path, t.dir);
  assert_non_null(file_model_tensor(m, "w"));
  struct slice type;
  assert_true(js_str(js_get(m->config, "model_type"), &type) && slice_eq(type, SLICE("bert")));
  struct js *json;
  assert_int_equal(file_model_json(m, "1_Pooling/config.json", &json, &err), 0);
  assert_int_equal(js_len(json), 1);
  js_free(json);
  assert_int_equal(file_model_json(m, "modules.json", &json, &err), 0);
  assert_null(json);
  assert_int_equal(file_model_json(m, "broken.json", &json, &err), -1);
  assert_non_null(strstr(err.message, "broken.json"));
  file_model_close(m);
  tree_remove(&t);
}

static void json_names_may_not_leave_the_folder(void **state) {
  (void)state;
  static const char *const bad[] = {"../x.json", "/etc/passwd", "a/../../x", "..", "", "a/.."};
  struct tree t;
  tree_make(&t);
  tree_write(&t, "config.json", SLICE("{}"));
  struct file_model *m = file_model_open_text(t.dir, NULL);
  assert_non_null(m);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct error err = {0};
    struct js *json;
    assert_int_equal(file_model_json(m, bad[i], &json, &err), -1);
    assert_non_null(strstr(err.message, "leads out of the model's folder"));
    assert_null(json);
  }
  struct js *json;
  assert_int_equal(file_model_json(m, "..config.json", &json, NULL), 0);
  file_model_close(m);
  tree_remove(&t);
}

static void text_needs_no_weights(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  tree_write(&t, "tokenizer.json", SLICE("{}"));
  struct file_model *m = file_model_open_text(t.dir, NULL);
  assert_non_null(m);
  assert_null(m->tensors);
  assert_null(file_model_tensor(m, "w"));
  file_model_close(m);
  expect_error(t.dir, ERROR_NOT_FOUND, "holds no model");
  tree_remove(&t);
}

static void what_is_no_model_is_told_why(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  expect_error(tree_path(&t, "none"), ERROR_NOT_FOUND, "There is no file or folder");
  expect_error(t.dir, ERROR_NOT_FOUND, "is empty");
  tree_write(&t, "README.md", SLICE("x"));
  expect_error(t.dir, ERROR_NOT_FOUND, "holds no model");
  tree_write(&t, "config.json", SLICE("{}"));
  expect_error(t.dir, ERROR_NOT_FOUND, "no weights");
  tree_write(&t, "pytorch_model.bin", SLICE("x"));
  expect_error(t.dir, ERROR_UNSUPPORTED, "pickle");
  expect_error(tree_path(&t, "pytorch_model.bin"), ERROR_UNSUPPORTED, "safe_serialization=True");
  write_gguf(&t, "a.gguf");
  write_gguf(&t, "b.gguf");
  expect_error(t.dir, ERROR_INVALID, "holds 2 .gguf files");
  write_safetensors(&t, "model.safetensors");
  expect_error(tree_path(&t, "model.safetensors"), ERROR_INVALID, "Name the folder");
  tree_write(&t, "config.json", SLICE("[]"));
  expect_error(t.dir, ERROR_CORRUPT, "config.json is no JSON object");
  tree_write(&t, "config.json", SLICE("{"));
  expect_error(t.dir, ERROR_CORRUPT, "config.json");
  tree_remove(&t);
  tree_make(&t);
  write_safetensors(&t, "model.safetensors");
  expect_error(t.dir, ERROR_NOT_FOUND, "no config.json");
  tree_write(&t, "other.gguf", SLICE(""));
  expect_error(t.dir, ERROR_CORRUPT, "is empty");
  tree_remove(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_gguf_file_or_a_folder_with_one_is_a_model),
      cmocka_unit_test(a_hugging_face_folder_is_a_model),
      cmocka_unit_test(json_names_may_not_leave_the_folder),
      cmocka_unit_test(text_needs_no_weights),
      cmocka_unit_test(what_is_no_model_is_told_why),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
