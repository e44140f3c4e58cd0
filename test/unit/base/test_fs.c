/* Tests of base/fs: whole files, maps, atomic replacement. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/plinth-fs-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

static void a_written_file_reads_back_and_has_its_mode(void **state) {
  (void)state;
  char *path = fs_join(folder, "token");
  struct error err = {0};
  assert_int_equal(fs_write_atomic(path, SLICE("first"), 0600, &err), 0);
  assert_int_equal(fs_write_atomic(path, SLICE("a\0b"), 0600, &err), 0);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  struct buf text = {0};
  assert_int_equal(fs_read(path, 3, &text, &err), 0);
  assert_true(slice_eq(buf_view(&text), SLICE("a\0b")));
  buf_free(&text);
  free(path);
}

static void a_file_over_the_limit_is_refused_and_nothing_is_appended(void **state) {
  (void)state;
  char *path = fs_join(folder, "large");
  struct error err = {0};
  assert_int_equal(fs_write_atomic(path, SLICE("12345"), 0644, &err), 0);
  struct buf text = {0};
  assert_int_equal(fs_read(path, 4, &text, &err), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  assert_int_equal(text.len, 0);
  buf_free(&text);
  free(path);
}

static void what_is_missing_is_named(void **state) {
  (void)state;
  char *path = fs_join(folder, "no-such-file");
  struct error err = {0};
  struct buf text = {0};
  struct fs_map map;
  assert_int_equal(fs_read(path, 100, &text, &err), -1);
  assert_non_null(strstr(err.message, path));
  assert_int_equal(fs_map_open(&map, path, &err), -1);
  assert_non_null(strstr(err.message, path));
  assert_false(fs_exists(path));
  free(path);
}

static void a_failed_replacement_leaves_the_old_file_and_no_scrap(void **state) {
  (void)state;
  char *path = fs_join(folder, "no/such/folder/file");
  struct error err = {0};
  assert_int_equal(fs_write_atomic(path, SLICE("x"), 0644, &err), -1);
  assert_true(strlen(err.message) > 10);
  free(path);
}

static void an_empty_file_can_be_mapped(void **state) {
  (void)state;
  char *path = fs_join(folder, "empty");
  struct error err = {0};
  struct fs_map map;
  assert_int_equal(fs_write_atomic(path, SLICE(""), 0644, &err), 0);
  assert_int_equal(fs_map_open(&map, path, &err), 0);
  assert_int_equal(map.size, 0);
  fs_map_close(&map);
  free(path);
}

static void a_folder_is_no_file(void **state) {
  (void)state;
  struct error err = {0};
  struct buf text = {0};
  struct fs_map map;
  assert_true(fs_is_dir(folder));
  assert_int_equal(fs_read(folder, 100, &text, &err), -1);
  assert_int_equal(fs_map_open(&map, folder, &err), -1);
  buf_free(&text);
}

static void folders_are_made_with_their_parents_and_again(void **state) {
  (void)state;
  char *path = fs_join(folder, "a/b/c");
  struct error err = {0};
  assert_int_equal(fs_mkdirs(path, 0755, &err), 0);
  assert_int_equal(fs_mkdirs(path, 0755, &err), 0);
  assert_true(fs_is_dir(path));
  free(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_written_file_reads_back_and_has_its_mode),
      cmocka_unit_test(a_file_over_the_limit_is_refused_and_nothing_is_appended),
      cmocka_unit_test(what_is_missing_is_named),
      cmocka_unit_test(a_failed_replacement_leaves_the_old_file_and_no_scrap),
      cmocka_unit_test(an_empty_file_can_be_mapped),
      cmocka_unit_test(a_folder_is_no_file),
      cmocka_unit_test(folders_are_made_with_their_parents_and_again),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
