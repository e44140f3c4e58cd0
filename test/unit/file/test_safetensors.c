/* Tests of file/safetensors. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "file/file.h"
#include "tree.h"

/* A file: the header's length, the header, and data_bytes bytes 0, 1, 2, … */
static struct buf make_file(const char *header, size_t data_bytes) {
  struct buf b = {0};
  uint64_t len = strlen(header);
  buf_add(&b, &len, sizeof len);
  buf_add_cstr(&b, header);
  for (size_t i = 0; i < data_bytes; i++) buf_add_byte(&b, (unsigned char)i);
  return b;
}

static struct safetensors *open_exact(struct buf *b, char **ret_bytes, struct error *err) {
  *ret_bytes = malloc(b->len ? b->len : 1);
  if (b->len) memcpy(*ret_bytes, b->data, b->len);
  return safetensors_open_bytes(slice_make(*ret_bytes, b->len), "x.safetensors", err);
}

static void expect_bytes_error(struct buf b, enum error_code code, const char *part) {
  struct error err = {0};
  char *bytes;
  assert_null(open_exact(&b, &bytes, &err));
  if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
  assert_int_equal(err.code, code);
  assert_non_null(strstr(err.message, "x.safetensors"));
  free(bytes);
  buf_free(&b);
}

static void expect_error(const char *header, size_t data_bytes, const char *part) {
  expect_bytes_error(make_file(header, data_bytes), ERROR_CORRUPT, part);
}

static void tensors_are_found_with_their_bytes(void **state) {
  (void)state;
  struct buf b = make_file(
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
      "\"none\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[16,16]},"
      "\"\\u00e9\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[16,17]}}     ",
      17);
  struct error err;
  char *bytes;
  struct safetensors *s = open_exact(&b, &bytes, &err);
  assert_non_null(s);
  assert_int_equal(safetensors_n_tensors(s), 4);
  const struct file_tensor *t = safetensors_tensor(s, "b");
  assert_int_equal(t->dtype, DTYPE_BF16);
  assert_int_equal(t->rank, 2);
  assert_int_equal(t->shape[0], 2);
  assert_int_equal(t->shape[1], 3);
  assert_int_equal(t->n_elements, 6);
  assert_int_equal(t->n_bytes, 12);
  assert_int_equal(*(const unsigned char *)t->data, 4);
  assert_int_equal(safetensors_tensor(s, "a")->rank, 0);
  assert_int_equal(safetensors_tensor(s, "a")->n_elements, 1);
  assert_int_equal(safetensors_tensor(s, "none")->n_bytes, 0);
  assert_non_null(safetensors_tensor(s, "\303\251"));
  assert_null(safetensors_tensor(s, "c"));
  assert_null(safetensors_tensor(s, "__metadata__"));
  safetensors_close(s);
  free(bytes);
  buf_free(&b);
}

static void a_file_without_tensors_is_valid(void **state) {
  (void)state;
  struct buf b = make_file("{}", 0);
  char *bytes;
  struct safetensors *s = open_exact(&b, &bytes, NULL);
  assert_non_null(s);
  assert_int_equal(safetensors_n_tensors(s), 0);
  assert_null(safetensors_tensor(s, "a"));
  safetensors_close(s);
  free(bytes);
  buf_free(&b);
}

static void the_frame_is_checked(void **state) {
  (void)state;
  struct buf b = {0};
  expect_bytes_error(b, ERROR_CORRUPT, "is empty");
  buf_add(&b, "\2\0\0\0", 4);
  expect_bytes_error(b, ERROR_CORRUPT, "truncated");
  b = make_file("{}", 0);
  b.data[0] = 3;
  expect_bytes_error(b, ERROR_CORRUPT, "truncated: its header has 3 bytes, but only 2");
  b = make_file("{}", 0);
  memset(b.data, 0xFF, 8);
  expect_bytes_error(b, ERROR_CORRUPT, "the format allows 100000000");
  expect_bytes_error(make_file(" {}", 0), ERROR_CORRUPT, "not a safetensors file");
  expect_bytes_error(make_file("[]", 0), ERROR_CORRUPT, "not a safetensors file");
  b = (struct buf){0};
  buf_add_cstr(&b, "version https://git-lfs.github.com/spec/v1\n");
  expect_bytes_error(b, ERROR_UNSUPPORTED, "git lfs pull");
  expect_error("{\"a\"", 0, "broken in its header");
  expect_error("{}x", 0, "broken in its header");
}

static void headers_that_break_the_rules_are_refused(void **state) {
  (void)state;
  expect_error(
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2,
      "duplicate");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "duplicate");
  expect_error("{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "empty name");
  expect_error("{\"__metadata__\":{\"n\":1}}", 0, "object of strings");
  expect_error("{\"__metadata__\":[]}", 0, "object of strings");
  expect_error("{\"a\":1}", 0, "tensor \"a\": its entry is no object");
  expect_error("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "\"dtype\" is missing");
  expect_error("{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "\"F31\" is no type");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "\"shape\" is missing");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "dimension 0");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, "dimension 0");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "\"data_offsets\" is missing");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "\"data_offsets\"");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "\"data_offsets\"");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, "\"data_offsets\"");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775807,3],\"data_offsets\":[0,1]}}", 1, "63 bits");
  expect_error("{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "64 bits");
  expect_bytes_error(make_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,1]}}", 1), ERROR_UNSUPPORTED,
                     "5 dimensions");
  expect_bytes_error(make_file("{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1), ERROR_UNSUPPORTED, "type F4");
}

static void data_is_tiled_without_hole_overlap_or_rest(void **state) {
  (void)state;
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1, "needs 2 bytes");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 1, "truncated or broken");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3, "take 2 bytes, but 3");
  expect_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "a hole");
  expect_error(
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3,
      "overlap");
  expect_error(
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}", 3,
      "tensor \"b\": its data begins at byte 2 of the data section, but that of the one before ends at 1 (a hole)");
  expect_error("{}", 1, "take 0 bytes, but 1");
}

static void every_cut_of_a_good_file_is_noticed(void **state) {
  (void)state;
  struct buf b = make_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
  for (size_t len = 0; len < b.len; len++) {
    struct buf part = {.data = b.data, .len = len};
    char *bytes;
    assert_null(open_exact(&part, &bytes, NULL));
    free(bytes);
  }
  buf_free(&b);
}

/* ---- folders ---- */

static void write_file(const struct tree *t, const char *name, const char *header, size_t data_bytes) {
  struct buf b = make_file(header, data_bytes);
  tree_write(t, name, buf_view(&b));
  buf_free(&b);
}

static const char shard_1[] =
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"extra\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}";
static const char shard_2[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}";

static void shards_are_read_through_their_index(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  write_file(&t, "model-00001-of-00002.safetensors", shard_1, 2);
  write_file(&t, "model-00002-of-00002.safetensors", shard_2, 3);
  write_file(&t, "model.safetensors", "{}", 0); /* the index wins */
  tree_write(&t, "model.safetensors.index.json",
             SLICE("{\"metadata\":{\"total_size\":4},\"weight_map\":{\"b\":\"model-00002-of-00002.safetensors\",\"a\":\"model-00001-of-"
                   "00002.safetensors\"}}"));
  const char *paths[] = {t.dir, tree_path(&t, "model.safetensors.index.json")};
  for (int i = 0; i < 2; i++) {
    struct error err = {0};
    struct safetensors *s = safetensors_open(paths[i], &err);
    if (!s) fail_msg("%s", err.message);
    assert_int_equal(safetensors_n_tensors(s), 2);
    assert_int_equal(safetensors_tensor(s, "a")->n_bytes, 1);
    assert_int_equal(((const unsigned char *)safetensors_tensor(s, "b")->data)[2], 2);
    assert_null(safetensors_tensor(s, "extra"));
    assert_int_equal(safetensors_bytes(s), 8 + sizeof shard_1 - 1 + 2 + 8 + sizeof shard_2 - 1 + 3); /* headers too */
    safetensors_close(s);
  }
  struct safetensors *single = safetensors_open(tree_path(&t, "model-00001-of-00002.safetensors"), NULL);
  assert_int_equal(safetensors_n_tensors(single), 2);
  safetensors_close(single);
  tree_remove(&t);
}

static void expect_index_error(const struct tree *t, const char *index, const char *part) {
  struct error err = {0};
  tree_write(t, "model.safetensors.index.json", slice_cstr(index));
  assert_null(safetensors_open(t->dir, &err));
  if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void an_index_names_only_files_beside_it(void **state) {
  (void)state;
  static const char *const bad[] = {"../model.safetensors",
                                    "/etc/model.safetensors",
                                    "sub/model.safetensors",
                                    "a\\\\b.safetensors",
                                    "..",
                                    "",
                                    ".hidden.safetensors",
                                    "model.bin",
                                    "a\\nb.safetensors"};
  struct tree t;
  tree_make(&t);
  write_file(&t, "m.safetensors", shard_2, 3);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char index[256];
    snprintf(index, sizeof index, "{\"weight_map\":{\"b\":\"%s\"}}", bad[i]);
    expect_index_error(&t, index, "is no name of a .safetensors file beside the index");
  }
  expect_index_error(&t, "{\"weight_map\":{\"b\":7}}", "is no string");
  expect_index_error(&t, "{\"weight_map\":{}}", "no \"weight_map\"");
  expect_index_error(&t, "[]", "no \"weight_map\"");
  expect_index_error(&t, "{", "is broken");
  expect_index_error(&t, "{\"weight_map\":{\"b\":\"n.safetensors\"}}", "n.safetensors");
  expect_index_error(&t, "{\"weight_map\":{\"c\":\"m.safetensors\"}}", "tensor \"c\": the index places it in m.safetensors");
  tree_remove(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tensors_are_found_with_their_bytes),
      cmocka_unit_test(a_file_without_tensors_is_valid),
      cmocka_unit_test(the_frame_is_checked),
      cmocka_unit_test(headers_that_break_the_rules_are_refused),
      cmocka_unit_test(data_is_tiled_without_hole_overlap_or_rest),
      cmocka_unit_test(every_cut_of_a_good_file_is_noticed),
      cmocka_unit_test(shards_are_read_through_their_index),
      cmocka_unit_test(an_index_names_only_files_beside_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
