/* Tests of file/gguf. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fs.h"
#include "file/file.h"
#include "gguf_build.h"

/* Opens and frees b; NULL with the message in text. */
static struct gguf *open_copy(struct buf *b, char **ret_bytes, struct error *err) {
  /* exactly as many bytes as the file has, in memory of their own: a sanitizer sees every step beyond */
  *ret_bytes = malloc(b->len ? b->len : 1);
  if (b->len) memcpy(*ret_bytes, b->data, b->len);
  struct gguf *g = gguf_open_bytes(slice_make(*ret_bytes, b->len), "x.gguf", err);
  return g;
}

static void expect_error(struct buf *b, enum error_code code, const char *part) {
  struct error err = {0};
  char *bytes;
  struct gguf *g = open_copy(b, &bytes, &err);
  assert_null(g);
  if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
  assert_int_equal(err.code, code);
  assert_non_null(strstr(err.message, "x.gguf"));
  free(bytes);
  buf_free(b);
}

static void every_metadata_type_is_read(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 3, 0, 13);
  put_key(&b, "u8", GGUF_U8), buf_add(&b, "\xFF", 1);
  put_key(&b, "i8", GGUF_I8), buf_add(&b, "\x80", 1);
  put_key(&b, "u16", GGUF_U16), buf_add(&b, "\xFF\xFF", 2);
  put_key(&b, "i16", GGUF_I16), buf_add(&b, "\x01\x00", 2);
  put_key(&b, "u32", GGUF_U32), put_u32(&b, 4000000000u);
  put_key(&b, "i32", GGUF_I32), put_u32(&b, (uint32_t)-5);
  put_key(&b, "f32", GGUF_F32), buf_add(&b, &(float){0.1f}, 4);
  put_key(&b, "bool", GGUF_BOOL), buf_add(&b, "\1", 1);
  put_key(&b, "string", GGUF_STRING), put_str(&b, "h\303\251");
  put_array(&b, "array", GGUF_I16, 2), buf_add(&b, "\xFF\xFF\x02\x00", 4);
  put_key(&b, "u64", GGUF_U64), put_u64(&b, UINT64_MAX);
  put_key(&b, "i64", GGUF_I64), put_u64(&b, (uint64_t)-9);
  put_key(&b, "f64", GGUF_F64), buf_add(&b, &(double){-2.5}, 8);
  struct error err;
  char *bytes;
  struct gguf *g = open_copy(&b, &bytes, &err);
  assert_non_null(g);
  assert_int_equal(gguf_version(g), 3);
  assert_int_equal(gguf_n_values(g), 13);
  assert_true(slice_eq(gguf_value_at(g, 12)->key, SLICE("f64")));
  uint64_t u = 77;
  double d;
  bool yes = false;
  struct slice s;
  assert_true(gguf_u64(g, "u8", &u) && u == 255);
  assert_true(gguf_u64(g, "u16", &u) && u == 65535);
  assert_true(gguf_u64(g, "i16", &u) && u == 1);
  assert_true(gguf_u64(g, "u32", &u) && u == 4000000000u);
  assert_true(gguf_u64(g, "u64", &u) && u == UINT64_MAX);
  u = 77;
  assert_false(gguf_u64(g, "i8", &u) || gguf_u64(g, "i32", &u) || gguf_u64(g, "i64", &u)); /* negative */
  assert_false(gguf_u64(g, "bool", &u) || gguf_u64(g, "f32", &u) || gguf_u64(g, "string", &u) || gguf_u64(g, "array", &u) ||
               gguf_u64(g, "none", &u));
  assert_int_equal(u, 77);
  assert_true(gguf_f64(g, "f32", &d) && d == (double)0.1f);
  assert_true(gguf_f64(g, "f64", &d) && d == -2.5);
  assert_false(gguf_f64(g, "u32", &d));
  assert_true(gguf_bool(g, "bool", &yes) && yes);
  assert_false(gguf_bool(g, "u8", &yes));
  assert_true(gguf_str(g, "string", &s) && slice_eq(s, SLICE("h\303\251")));
  assert_false(gguf_str(g, "array", &s));
  const struct gguf_value *a = gguf_find(g, "array");
  assert_int_equal(a->element, GGUF_I16);
  assert_int_equal(a->count, 2);
  assert_int_equal(gguf_array_i64(a, 0), -1);
  assert_true(gguf_array_f64(a, 1) == 2.0);
  assert_null(gguf_find(g, "arra"));
  gguf_close(g);
  free(bytes);
  buf_free(&b);
}

static void arrays_of_strings_are_walked_in_place(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 2, 0, 3);
  put_array(&b, "s", GGUF_STRING, 3), put_str(&b, "one"), put_str(&b, ""), put_str(&b, "\xFF");
  put_array(&b, "none", GGUF_STRING, 0);
  put_array(&b, "nested", GGUF_ARRAY, 2);
  put_u32(&b, GGUF_STRING), put_u64(&b, 1), put_str(&b, "in"), put_u32(&b, GGUF_BOOL), put_u64(&b, 0);
  struct error err;
  char *bytes;
  struct gguf *g = open_copy(&b, &bytes, &err);
  assert_non_null(g);
  const struct gguf_value *a = gguf_find(g, "s");
  size_t cursor = 0;
  struct slice s;
  assert_true(gguf_next_str(a, &cursor, &s) && slice_eq(s, SLICE("one")));
  assert_true(gguf_next_str(a, &cursor, &s) && s.len == 0);
  assert_true(gguf_next_str(a, &cursor, &s) && slice_eq(s, SLICE("\xFF")));
  assert_false(gguf_next_str(a, &cursor, &s));
  cursor = 0;
  assert_false(gguf_next_str(gguf_find(g, "none"), &cursor, &s));
  assert_int_equal(gguf_find(g, "nested")->count, 2);
  gguf_close(g);
  free(bytes);
  buf_free(&b);
}

static void tensors_have_turned_shapes_and_checked_places(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 3, 3, 1);
  put_key(&b, "general.alignment", GGUF_U32), put_u32(&b, 64);
  put_tensor(&b, "w", 2, (uint64_t[]){64, 3}, 3, 64); /* Q4_1: 120 bytes */
  put_tensor(&b, "norm", 1, (uint64_t[]){5}, 0, 0);
  put_tensor(&b, "one", 0, NULL, 1, 192);
  put_padding(&b, 64);
  size_t begin = b.len;
  put_zeros(&b, 194);
  b.data[begin] = 1;
  struct error err;
  char *bytes;
  struct gguf *g = open_copy(&b, &bytes, &err);
  assert_non_null(g);
  assert_int_equal(gguf_n_tensors(g), 3);
  const struct file_tensor *w = gguf_tensor(g, "w"), *norm = gguf_tensor(g, "norm"), *one = gguf_tensor(g, "one");
  assert_ptr_equal(w, gguf_tensor_at(g, 0));
  assert_int_equal(w->dtype, DTYPE_Q4_1);
  assert_int_equal(w->rank, 2);
  assert_int_equal(w->shape[0], 3);
  assert_int_equal(w->shape[1], 64);
  assert_int_equal(w->n_elements, 192);
  assert_int_equal(w->n_bytes, 120);
  assert_ptr_equal(w->data, bytes + begin + 64);
  assert_int_equal(*(const char *)norm->data, 1);
  assert_int_equal(one->n_elements, 1);
  assert_int_equal(one->n_bytes, 2);
  assert_null(gguf_tensor(g, "v"));
  gguf_close(g);
  free(bytes);
  buf_free(&b);
}

static void a_file_that_holds_only_a_vocabulary_opens(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 3, 0, 1);
  put_key(&b, "general.architecture", GGUF_STRING), put_str(&b, "llama");
  struct error err;
  char *bytes;
  struct gguf *g = open_copy(&b, &bytes, &err);
  assert_non_null(g);
  assert_int_equal(gguf_n_tensors(g), 0);
  gguf_close(g);
  free(bytes);
  buf_free(&b);
}

static void other_files_are_named_for_what_they_are(void **state) {
  (void)state;
  struct buf b = {0};
  expect_error(&b, ERROR_CORRUPT, "is empty");
  buf_add_cstr(&b, "hello");
  expect_error(&b, ERROR_CORRUPT, "not a GGUF file");
  buf_add_cstr(&b, "<!DOCTYPE html>");
  expect_error(&b, ERROR_UNSUPPORTED, "web page");
  buf_add_cstr(&b, "version https://git-lfs.github.com/spec/v1\n");
  expect_error(&b, ERROR_UNSUPPORTED, "git lfs pull");
  put_header(&b, 1, 0, 0);
  expect_error(&b, ERROR_UNSUPPORTED, "version 1");
  put_header(&b, 0x03000000, 0, 0);
  expect_error(&b, ERROR_UNSUPPORTED, "big-endian");
  put_header(&b, 4, 0, 0);
  expect_error(&b, ERROR_UNSUPPORTED, "version 4");
  put_header(&b, 0, 0, 0);
  expect_error(&b, ERROR_UNSUPPORTED, "version 0");
  put_header(&b, 3, 0, 1);
  put_key(&b, "split.count", GGUF_U16), buf_add(&b, "\2\0", 2);
  expect_error(&b, ERROR_UNSUPPORTED, "2 parts of a model");
}

static void counts_are_compared_with_the_bytes_that_are_left(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 3, 0, UINT64_MAX);
  expect_error(&b, ERROR_CORRUPT, "18446744073709551615 metadata values");
  put_header(&b, 3, UINT64_MAX, 0);
  expect_error(&b, ERROR_CORRUPT, "18446744073709551615 tensors");
  put_header(&b, 3, 0, 1000);
  expect_error(&b, ERROR_CORRUPT, "truncated");
  put_header(&b, 3, 0, 1);
  put_u64(&b, UINT64_MAX); /* a key's length */
  expect_error(&b, ERROR_CORRUPT, "claims 18446744073709551615 bytes");
  put_header(&b, 3, 0, 1);
  put_array(&b, "k", GGUF_F64, UINT64_MAX / 8 + 1); /* times 8 wraps to 0 */
  expect_error(&b, ERROR_CORRUPT, "values of 8 bytes");
  put_header(&b, 3, 0, 1);
  put_array(&b, "k", GGUF_STRING, 1u << 30);
  expect_error(&b, ERROR_CORRUPT, "claims 1073741824 elements");
  put_header(&b, 3, 0, 2);
  put_key(&b, "first", GGUF_U8), buf_add(&b, "\1", 1);
  put_key(&b, "second", 99);
  expect_error(&b, ERROR_CORRUPT, "Metadata after \"first\"");
}

static void broken_values_are_refused(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 3, 0, 1);
  put_key(&b, "", GGUF_U8), buf_add(&b, "\1", 1);
  expect_error(&b, ERROR_CORRUPT, "a key at byte 24 is empty");
  put_header(&b, 3, 0, 1);
  put_key(&b, "\xC0\x80", GGUF_U8), buf_add(&b, "\1", 1);
  expect_error(&b, ERROR_CORRUPT, "not UTF-8");
  put_header(&b, 3, 0, 1);
  put_u64(&b, 3), buf_add(&b, "a\0b", 3), put_u32(&b, GGUF_U8), buf_add(&b, "\1", 1);
  expect_error(&b, ERROR_CORRUPT, "NUL");
  put_header(&b, 3, 0, 1);
  put_key(&b, "b", GGUF_BOOL), buf_add(&b, "\2", 1);
  expect_error(&b, ERROR_CORRUPT, "neither 0 nor 1");
  put_header(&b, 3, 0, 1);
  put_array(&b, "b", GGUF_BOOL, 2), buf_add(&b, "\1\3", 2);
  expect_error(&b, ERROR_CORRUPT, "neither 0 nor 1");
  put_header(&b, 3, 0, 2);
  put_key(&b, "twice", GGUF_U8), buf_add(&b, "\1", 1);
  put_key(&b, "twice", GGUF_I8), buf_add(&b, "\1", 1);
  expect_error(&b, ERROR_CORRUPT, "\"twice\" stands in it twice");
  put_header(&b, 3, 0, 1);
  put_array(&b, "deep", GGUF_ARRAY, 1);
  for (int i = 0; i < 50; i++) put_u32(&b, GGUF_ARRAY), put_u64(&b, 1);
  expect_error(&b, ERROR_CORRUPT, "nested more than");
}

/* A file with one tensor and enough data behind it. */
static void one_tensor(struct buf *b, const char *name, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset) {
  put_header(b, 3, 1, 0);
  put_tensor(b, name, rank, dims, type, offset);
  put_padding(b, 32);
  put_zeros(b, 256);
}

static void broken_tensors_are_refused_by_name(void **state) {
  (void)state;
  struct buf b = {0};
  one_tensor(&b, "", 1, (uint64_t[]){4}, 0, 0);
  expect_error(&b, ERROR_CORRUPT, "is empty");
  one_tensor(&b, "t", 5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0);
  expect_error(&b, ERROR_CORRUPT, "tensor \"t\": it claims 5 dimensions");
  one_tensor(&b, "t", 2, (uint64_t[]){4, 0}, 0, 0);
  expect_error(&b, ERROR_CORRUPT, "tensor \"t\": one of its dimensions is 0");
  one_tensor(&b, "t", 2, (uint64_t[]){1ull << 32, 1ull << 32}, 0, 0);
  expect_error(&b, ERROR_CORRUPT, "63 bits");
  one_tensor(&b, "t", 1, (uint64_t[]){1ull << 62}, 0, 0);
  expect_error(&b, ERROR_CORRUPT, "64 bits");
  one_tensor(&b, "t", 1, (uint64_t[]){33}, 2, 0);
  expect_error(&b, ERROR_CORRUPT, "no multiple of 32, the block of Q4_0");
  one_tensor(&b, "t", 2, (uint64_t[]){16, 2}, 2, 0); /* 32 elements in all, but rows of 16 */
  expect_error(&b, ERROR_CORRUPT, "rows have 16 elements");
  one_tensor(&b, "t", 0, NULL, 2, 0);
  expect_error(&b, ERROR_CORRUPT, "no multiple of 32");
  one_tensor(&b, "t", 1, (uint64_t[]){4}, 0, 16);
  expect_error(&b, ERROR_CORRUPT, "no multiple of the alignment 32");
  one_tensor(&b, "t", 1, (uint64_t[]){65}, 0, 0);
  expect_error(&b, ERROR_CORRUPT, "beyond the end of the file");
  one_tensor(&b, "t", 1, (uint64_t[]){4}, 0, UINT64_MAX - 31);
  expect_error(&b, ERROR_CORRUPT, "beyond the end of the file");
  one_tensor(&b, "t", 1, (uint64_t[]){256}, 16, 0);
  expect_error(&b, ERROR_UNSUPPORTED, "tensor \"t\": its type IQ2_XXS");
  one_tensor(&b, "t", 1, (uint64_t[]){32}, 4, 0);
  expect_error(&b, ERROR_CORRUPT, "number 4");
  one_tensor(&b, "t", 1, (uint64_t[]){32}, UINT32_MAX, 0);
  expect_error(&b, ERROR_CORRUPT, "number 4294967295");
}

static void tensors_may_not_share_names_or_bytes(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 3, 2, 0);
  put_tensor(&b, "t", 1, (uint64_t[]){4}, 0, 0);
  put_tensor(&b, "t", 1, (uint64_t[]){4}, 0, 32);
  put_padding(&b, 32), put_zeros(&b, 64);
  expect_error(&b, ERROR_CORRUPT, "stands in the list twice");
  put_header(&b, 3, 2, 0);
  put_tensor(&b, "b", 1, (uint64_t[]){4}, 0, 32);
  put_tensor(&b, "a", 1, (uint64_t[]){9}, 0, 0);
  put_padding(&b, 32), put_zeros(&b, 64);
  expect_error(&b, ERROR_CORRUPT, "tensor \"b\": its data overlaps that of \"a\"");
}

static void alignment_follows_its_rules(void **state) {
  (void)state;
  const uint32_t bad[] = {0, 1, 4, 12, 33, 0x80000001u};
  struct buf b = {0};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    put_header(&b, 3, 0, 1);
    put_key(&b, "general.alignment", GGUF_U32), put_u32(&b, bad[i]);
    expect_error(&b, ERROR_CORRUPT, "general.alignment");
  }
  put_header(&b, 3, 0, 1);
  put_key(&b, "general.alignment", GGUF_STRING), put_str(&b, "32");
  expect_error(&b, ERROR_CORRUPT, "general.alignment");
  put_header(&b, 3, 1, 1);
  put_key(&b, "general.alignment", GGUF_U32), put_u32(&b, 0x80000000u);
  put_tensor(&b, "t", 1, (uint64_t[]){4}, 0, 0);
  expect_error(&b, ERROR_CORRUPT, "beyond the end");
}

/* Cuts a good file at every byte: an error each time, and with a sanitizer no step beyond the end. */
static void every_cut_of_a_good_file_is_noticed(void **state) {
  (void)state;
  struct buf b = {0};
  put_header(&b, 3, 2, 3);
  put_key(&b, "k", GGUF_STRING), put_str(&b, "value");
  put_array(&b, "s", GGUF_STRING, 2), put_str(&b, "x"), put_str(&b, "yy");
  put_array(&b, "n", GGUF_F32, 2), put_u64(&b, 0);
  put_tensor(&b, "a", 1, (uint64_t[]){8}, 0, 0);
  put_tensor(&b, "b", 2, (uint64_t[]){32, 1}, 8, 32);
  put_padding(&b, 32), put_zeros(&b, 32 + 34);
  for (size_t len = 0; len < b.len; len++) {
    struct error err = {0};
    char *bytes;
    struct buf part = {.data = b.data, .len = len};
    assert_null(open_copy(&part, &bytes, &err));
    assert_int_not_equal(err.code, ERROR_NONE);
    free(bytes);
  }
  char *bytes;
  struct gguf *g = open_copy(&b, &bytes, NULL);
  assert_non_null(g);
  gguf_close(g);
  free(bytes);
  buf_free(&b);
}

static char *default_model(void) {
  const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  static char path[4096];
  if (data && *data) snprintf(path, sizeof path, "%s", data);
  else snprintf(path, sizeof path, "%s/.local/share", home ? home : "");
  strncat(path, "/plinth/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf", sizeof path - strlen(path) - 1);
  return path;
}

static void the_default_model_is_read(void **state) {
  (void)state;
  struct error err = {0};
  if (!fs_exists(default_model())) skip();
  struct gguf *g = gguf_open(default_model(), &err);
  if (!g) fail_msg("%s", err.message);
  uint64_t layers;
  assert_true(gguf_u64(g, "llama.block_count", &layers));
  assert_int_equal(layers, 30);
  assert_int_equal(gguf_find(g, "tokenizer.ggml.tokens")->count, 49152);
  assert_int_equal(gguf_n_tensors(g), 272);
  const struct file_tensor *embedding = gguf_tensor(g, "token_embd.weight");
  assert_int_equal(embedding->dtype, DTYPE_Q8_0);
  assert_int_equal(embedding->shape[0], 49152);
  assert_int_equal(embedding->shape[1], 576);
  gguf_close(g);
}

/* Random damage to a real header (which is copied to memory that may be written; the weights are cut off, so a file that still opens
 * would be a surprise): an error each time, never a crash. */
static void damage_to_a_real_header_is_survived(void **state) {
  (void)state;
  struct fs_map map;
  struct error err = {0};
  if (fs_map_open(&map, default_model(), NULL) < 0) skip();
  size_t size = 2 * 1024 * 1024;
  assert_true(map.size > size);
  unsigned char *bytes = malloc(size);
  memcpy(bytes, map.data, size);
  fs_map_close(&map);
  uint64_t random = 88172645463325252u;
  for (int round = 0; round < 60; round++) {
    size_t at[4];
    unsigned char was[4];
    for (int i = 0; i < 4; i++) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17; /* xorshift64 */
      at[i] = (size_t)(random % (i < 2 ? 4096 : size - 1));
      was[i] = bytes[at[i]];
      bytes[at[i]] = (unsigned char)(random >> 40);
    }
    err = (struct error){0};
    assert_null(gguf_open_bytes(slice_make(bytes, size), "x.gguf", &err));
    assert_int_not_equal(err.code, ERROR_NONE);
    for (int i = 3; i >= 0; i--) bytes[at[i]] = was[i];
  }
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_metadata_type_is_read),
      cmocka_unit_test(arrays_of_strings_are_walked_in_place),
      cmocka_unit_test(tensors_have_turned_shapes_and_checked_places),
      cmocka_unit_test(a_file_that_holds_only_a_vocabulary_opens),
      cmocka_unit_test(other_files_are_named_for_what_they_are),
      cmocka_unit_test(counts_are_compared_with_the_bytes_that_are_left),
      cmocka_unit_test(broken_values_are_refused),
      cmocka_unit_test(broken_tensors_are_refused_by_name),
      cmocka_unit_test(tensors_may_not_share_names_or_bytes),
      cmocka_unit_test(alignment_follows_its_rules),
      cmocka_unit_test(every_cut_of_a_good_file_is_noticed),
      cmocka_unit_test(the_default_model_is_read),
      cmocka_unit_test(damage_to_a_real_header_is_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
