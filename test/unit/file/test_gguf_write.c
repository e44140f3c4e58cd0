/* Tests of file/gguf_write: what is written is read back. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "file/file.h"
#include "gguf_build.h"
#include "tree.h"

static void every_value_and_tensor_comes_back(void **state) {
  (void)state;
  struct tree t;
  struct error err = {0};
  tree_make(&t);
  const char *path = tree_path(&t, "m.gguf");
  for (int copy = 0; copy < 2; copy++) { /* the second time out of the first file */
    struct gguf *from = copy ? gguf_open(path, &err) : NULL;
    struct gguf_writer *w = gguf_writer_create(path, &err);
    if (!w) fail_msg("%s", err.message);
    for (size_t i = 0; from && i < gguf_n_values(from); i++) gguf_writer_copy(w, gguf_value_at(from, i));
    if (!from) {
      gguf_writer_u32(w, "u", 4000000000u);
      gguf_writer_f32(w, "f", 0.5f);
      gguf_writer_bool(w, "b", true);
      gguf_writer_str(w, "s", SLICE("h\303\251"));
      gguf_writer_strs(w, "ss", (struct slice[]){SLICE("a"), SLICE(""), SLICE("bc")}, 3);
      gguf_writer_i32s(w, "is", (int32_t[]){-1, 2}, 2);
      gguf_writer_f32s(w, "fs", (float[]){1.5f}, 1);
    }
    gguf_writer_tensor(w, SLICE("odd"), DTYPE_F32, 1, (uint64_t[]){3});
    gguf_writer_tensor(w, SLICE("matrix"), DTYPE_F16, 2, (uint64_t[]){2, 5});
    assert_int_equal(gguf_writer_data(w, (float[]){1, 2, 3}, 12, &err), 0);
    assert_int_equal(gguf_writer_data(w, "0123456789", 10, &err), 0);
    assert_int_equal(gguf_writer_data(w, "abcdefghij", 10, &err), 0);
    gguf_close(from);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
  }
  struct gguf *g = gguf_open(path, &err);
  if (!g) fail_msg("%s", err.message);
  uint64_t u;
  double f;
  bool b;
  struct slice s;
  assert_true(gguf_u64(g, "u", &u) && u == 4000000000u);
  assert_true(gguf_f64(g, "f", &f) && f == 0.5);
  assert_true(gguf_bool(g, "b", &b) && b);
  assert_true(gguf_str(g, "s", &s) && slice_eq(s, SLICE("h\303\251")));
  size_t cursor = 0;
  for (int i = 0; i < 3; i++) assert_true(gguf_next_str(gguf_find(g, "ss"), &cursor, &s));
  assert_true(slice_eq(s, SLICE("bc")));
  assert_int_equal(gguf_array_i64(gguf_find(g, "is"), 0), -1);
  assert_true(gguf_array_f64(gguf_find(g, "fs"), 0) == 1.5);
  const struct file_tensor *m = gguf_tensor(g, "matrix");
  assert_true(m->rank == 2 && m->shape[0] == 2 && m->shape[1] == 5 && m->dtype == DTYPE_F16);
  assert_memory_equal(m->data, "0123456789abcdefghij", 20);
  assert_int_equal(gguf_bytes(g) % 32, 0);
  gguf_close(g);
  tree_remove(&t);
}

static void what_is_given_up_leaves_nothing(void **state) {
  (void)state;
  struct tree t;
  tree_make(&t);
  struct gguf_writer *w = gguf_writer_create(tree_path(&t, "m.gguf"), NULL);
  gguf_writer_tensor(w, SLICE("x"), DTYPE_F32, 1, (uint64_t[]){2});
  assert_int_equal(gguf_writer_data(w, "1234", 4, NULL), 0);
  assert_false(fs_exists(tree_path(&t, "m.gguf")));
  gguf_writer_abandon(w);
  gguf_writer_abandon(NULL);
  assert_int_equal(rmdir(t.dir), 0); /* empty */
}

static void a_place_that_cannot_be_written_is_told(void **state) {
  (void)state;
  struct error err = {0};
  assert_null(gguf_writer_create("/nowhere/m.gguf", &err));
  assert_non_null(strstr(err.message, "/nowhere/m.gguf"));
}

static void types_that_only_memory_has_have_no_number(void **state) {
  (void)state;
  uint32_t id;
  assert_true(gguf_dtype_id(DTYPE_BF16, &id) && id == 30);
  assert_false(gguf_dtype_id(DTYPE_Q8_F32, &id) || gguf_dtype_id(DTYPE_F8_E4M3, &id));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_value_and_tensor_comes_back),
      cmocka_unit_test(what_is_given_up_leaves_nothing),
      cmocka_unit_test(a_place_that_cannot_be_written_is_told),
      cmocka_unit_test(types_that_only_memory_has_have_no_number),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
