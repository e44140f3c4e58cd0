/* Tests of split GGUF files (file/parts, file/gguf, file/file_model). SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "file/file.h"
#include "file/parts.h"
#include "gguf_build.h"
#include "tree.h"

/* A part with one tensor of 8 floats, all of them `value`. */
static void make_part(struct buf *b, const char *tensor, uint16_t no, uint16_t count, int32_t total, float value) {
  put_header(b, 3, 1, no == 0 ? 4 : 3);
  if (no == 0) put_key(b, "general.architecture", GGUF_STRING), put_str(b, "llama");
  put_key(b, "split.no", GGUF_U16), buf_add(b, &no, 2);
  put_key(b, "split.count", GGUF_U16), buf_add(b, &count, 2);
  put_key(b, "split.tensors.count", GGUF_I32), put_u32(b, (uint32_t)total);
  put_tensor(b, tensor, 1, (uint64_t[]){8}, 0, 0);
  put_padding(b, 32);
  for (int i = 0; i < 8; i++) buf_add(b, &value, sizeof value);
}

static void write_part(const struct tree *t, const char *name, const char *tensor, uint16_t no, uint16_t count, int32_t total) {
  struct buf b = {0};
  make_part(&b, tensor, no, count, total, (float)no);
  tree_write(t, name, buf_view(&b));
  buf_free(&b);
}

static void write_set(const struct tree *t) {
  write_part(t, "m-00001-of-00003.gguf", "a", 0, 3, 3);
  write_part(t, "m-00002-of-00003.gguf", "b", 1, 3, 3);
  write_part(t, "m-00003-of-00003.gguf", "c", 2, 3, 3);
}

static void expect_error(const char *path, enum error_code code, const char *part) {
  struct error err = {0};
  assert_null(file_model_open(path, &err));
  if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
  assert_int_equal(err.code, code);
}

static void names_of_parts_are_told_from_others(void **state) {
  (void)state;
  struct parts p;
  assert_true(parts_parse(SLICE("/x/m-Q4-00002-of-00010.gguf"), &p));
  assert_true(slice_eq(p.stem, SLICE("/x/m-Q4")) && p.number == 2 && p.count == 10);
  char *path = parts_path(&p, 10);
  assert_string_equal(path, "/x/m-Q4-00010-of-00010.gguf");
  free(path);
  static const char *const others[] = {"m.gguf",
                                       "-00001-of-00002.gguf",
                                       "m-00000-of-00002.gguf",
                                       "m-00003-of-00002.gguf",
                                       "m-0001-of-0002.gguf",
                                       "m-00001-of-00002.GGUF",
                                       "m-0000x-of-00002.gguf",
                                       "m-00001-of-99999.gguf"};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) assert_false(parts_parse(slice_cstr(others[i]), &p));
}

static void any_part_or_the_folder_opens_the_whole_model(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_set(&t);
  static const char *const paths[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf", ""};
  for (size_t i = 0; i < 4; i++) {
    struct error err = {0};
    struct file_model *m = file_model_open(tree_path(&t, paths[i]), &err);
    if (!m) fail_msg("%s", err.message);
    assert_string_equal(m->path + strlen(m->path) - 21, "m-00001-of-00003.gguf");
    assert_int_equal(gguf_n_parts(m->gguf), 3);
    assert_int_equal(gguf_n_tensors(m->gguf), 3);
    struct slice text;
    assert_true(gguf_str(m->gguf, "general.architecture", &text));
    static const char *const names[] = {"a", "b", "c"};
    for (int k = 0; k < 3; k++) {
      float value;
      memcpy(&value, file_model_tensor(m, names[k])->data, sizeof value);
      assert_true(value == (float)k);
    }
    assert_null(file_model_tensor(m, "d"));
    file_model_close(m);
  }
  tree_remove(&t);
}

static void a_missing_part_is_named(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_set(&t);
  unlink(tree_path(&t, "m-00002-of-00003.gguf"));
  expect_error(t.dir, ERROR_NOT_FOUND, "m-00002-of-00003.gguf");
  expect_error(tree_path(&t, "m-00003-of-00003.gguf"), ERROR_NOT_FOUND, "Part 2 of 3");
  tree_remove(&t);
}

static void what_the_parts_say_is_checked(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_set(&t);
  const char *any = "m-00001-of-00003.gguf";
  write_part(&t, "m-00002-of-00003.gguf", "b", 2, 3, 3);
  expect_error(tree_path(&t, any), ERROR_CORRUPT, "split.no");
  write_part(&t, "m-00002-of-00003.gguf", "b", 1, 4, 3);
  expect_error(tree_path(&t, any), ERROR_CORRUPT, "split.count");
  write_part(&t, "m-00002-of-00003.gguf", "b", 1, 3, 4);
  expect_error(tree_path(&t, any), ERROR_CORRUPT, "split.tensors.count says 4");
  write_part(&t, "m-00002-of-00003.gguf", "a", 1, 3, 3);
  expect_error(tree_path(&t, any), ERROR_CORRUPT, "two of the model's parts");
  tree_write(&t, "m-00002-of-00003.gguf", SLICE("GGU"));
  expect_error(tree_path(&t, any), ERROR_CORRUPT, "m-00002-of-00003.gguf");
  tree_remove(&t);
}

static void a_part_under_another_name_says_what_to_do(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_part(&t, "m.gguf", "a", 0, 3, 3);
  expect_error(tree_path(&t, "m.gguf"), ERROR_INVALID, "NAME-00001-of-00003.gguf");
  tree_remove(&t);
}

static void two_models_in_a_folder_are_no_set(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_set(&t);
  write_part(&t, "n.gguf", "a", 0, 1, 1);
  expect_error(t.dir, ERROR_INVALID, "4 .gguf files");
  tree_remove(&t);
}

static void parts_in_memory_join_too(void **state) {
  (void)state;
  struct buf a = {0}, b = {0};
  struct error err;
  make_part(&a, "a", 0, 2, 2, 1);
  make_part(&b, "b", 1, 2, 2, 2);
  struct slice both[] = {buf_view(&a), buf_view(&b)}, turned[] = {buf_view(&b), buf_view(&a)};
  struct gguf *g = gguf_open_parts_bytes(both, 2, "x", &err);
  if (!g) fail_msg("%s", err.message);
  assert_non_null(gguf_tensor(g, "b"));
  assert_int_equal(gguf_bytes(g), a.len + b.len);
  gguf_close(g);
  assert_null(gguf_open_parts_bytes(turned, 2, "x", &err));
  buf_free(&a);
  buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_of_parts_are_told_from_others),
      cmocka_unit_test(any_part_or_the_folder_opens_the_whole_model),
      cmocka_unit_test(a_missing_part_is_named),
      cmocka_unit_test(what_the_parts_say_is_checked),
      cmocka_unit_test(a_part_under_another_name_says_what_to_do),
      cmocka_unit_test(two_models_in_a_folder_are_no_set),
      cmocka_unit_test(parts_in_memory_join_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
