/* Tests of base/fs. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "check.h"

static char dir[64];

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-test-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  return system(command);
}

static const char *in(const char *name) {
  static char paths[4][256];
  static unsigned turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", dir, name);
  return path;
}

static void what_is_written_is_read(void **state) {
  (void)state;
  struct buf b = {0};
  struct error err = {0};
  assert_int_equal(fs_write_atomic(in("a"), SLICE("one\0two"), 0640, &err), 0);
  assert_int_equal(fs_read(in("a"), 7, &b, &err), 0);
  assert_true(slice_eq(buf_view(&b), SLICE("one\0two")));
  assert_int_equal(fs_read(in("a"), 100, &b, &err), 0); /* appends */
  assert_int_equal(b.len, 14);
  struct stat st;
  assert_int_equal(stat(in("a"), &st), 0);
  assert_int_equal(st.st_mode & 0777 & ~(unsigned)0640, 0);
  assert_int_equal(fs_write_atomic(in("a"), SLICE(""), 0600, &err), 0);
  buf_clear(&b);
  assert_int_equal(fs_read(in("a"), 0, &b, &err), 0);
  assert_int_equal(b.len, 0);
  assert_int_equal(stat(in("a"), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  buf_free(&b);
}

static void a_file_over_the_limit_is_refused(void **state) {
  (void)state;
  struct buf b = {0};
  struct error err = {0};
  assert_int_equal(fs_write_atomic(in("large"), SLICE("12345678"), 0600, NULL), 0);
  assert_int_equal(fs_read(in("large"), 7, &b, &err), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  assert_int_equal(fs_read_any("/dev/zero", 200000, &b, &err), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  assert_int_equal(b.len, 0); /* nothing was appended */
  buf_free(&b);
}

static void a_pipe_in_a_folder_holds_no_reader_up(void **state) {
  (void)state;
  struct buf b = {0};
  struct error err = {0};
  assert_int_equal(mkfifo(in("config.json"), 0600), 0);
  assert_int_equal(fs_read(in("config.json"), 100, &b, &err), -1);
  assert_int_equal(err.code, ERROR_INVALID);
  assert_non_null(strstr(err.message, "config.json is not a regular file"));
  int both = open(in("config.json"), O_RDWR); /* somebody could write, and does not */
  assert_true(both >= 0);
  assert_int_equal(fs_read(in("config.json"), 100, &b, &err), -1);
  assert_int_equal(fs_read("/dev/zero", 100, &b, &err), -1);
  assert_int_equal(b.len, 0);
  close(both);
  buf_free(&b);
}

/* `--input <(command)` */
static void a_pipe_that_a_person_names_is_read_to_its_end(void **state) {
  (void)state;
  struct buf b = {0};
  struct error err = {0};
  char path[64];
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], "words", 5), 5);
  close(ends[1]);
  snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
  assert_int_equal(fs_read_any(path, 100, &b, &err), 0);
  assert_true(slice_eq(buf_view(&b), SLICE("words")));
  close(ends[0]);
  buf_free(&b);
}

static void failures_name_the_path_and_the_reason(void **state) {
  (void)state;
  struct buf b = {0};
  struct error err = {0};
  assert_int_equal(fs_read(in("none"), 10, &b, &err), -1);
  assert_int_equal(err.code, ERROR_NOT_FOUND);
  assert_non_null(strstr(err.message, in("none")));
  assert_non_null(strstr(err.message, "No such file"));
  assert_int_equal(fs_read(dir, 10, &b, &err), -1);
  assert_int_equal(err.code, ERROR_IO);
  assert_int_equal(fs_write_atomic(in("no/such/dir"), SLICE("x"), 0600, &err), -1);
  assert_int_equal(err.code, ERROR_NOT_FOUND);
  buf_free(&b);
}

static void a_failed_write_leaves_the_old_file_and_no_other(void **state) {
  (void)state;
  struct error err = {0};
  assert_int_equal(fs_mkdirs(in("keep/target"), 0700, NULL), 0);
  assert_int_equal(fs_write_atomic(in("keep/target"), SLICE("x"), 0600, &err), -1); /* a folder of that name is in the way */
  assert_true(fs_is_dir(in("keep/target")));
  assert_int_equal(rmdir(in("keep/target")), 0);
  assert_int_equal(rmdir(in("keep")), 0); /* empty: no temporary file was left */
}

static void folders_are_made_with_their_parents(void **state) {
  (void)state;
  struct error err = {0};
  assert_int_equal(fs_mkdirs(in("x/y//z/"), 0700, &err), 0);
  assert_true(fs_is_dir(in("x/y/z")));
  assert_int_equal(fs_mkdirs(in("x/y/z"), 0700, &err), 0);
  assert_int_equal(fs_write_atomic(in("x/file"), SLICE("x"), 0600, NULL), 0);
  assert_int_equal(fs_mkdirs(in("x/file/sub"), 0700, &err), -1);
  assert_true(fs_exists(in("x/file")));
  assert_false(fs_is_dir(in("x/file")));
  assert_false(fs_exists(in("x/other")));
}

static void names_are_joined_with_one_slash(void **state) {
  (void)state;
  static const char *const want[3] = {"a/b", "a/b", "/b"};
  static const char *const dirs[3] = {"a", "a/", ""};
  for (int i = 0; i < 3; i++) {
    char *path = fs_join(dirs[i], "b");
    assert_string_equal(path, want[i]);
    free(path);
  }
}

static void maps_show_the_bytes_of_regular_files_only(void **state) {
  (void)state;
  struct fs_map m;
  struct error err = {0};
  assert_int_equal(fs_write_atomic(in("m"), SLICE("mapped"), 0600, NULL), 0);
  assert_int_equal(fs_map_open(&m, in("m"), &err), 0);
  assert_int_equal(m.size, 6);
  assert_memory_equal(m.data, "mapped", 6);
  fs_map_close(&m);
  assert_null(m.data);
  fs_map_close(&m);
  assert_int_equal(fs_write_atomic(in("m"), SLICE(""), 0600, NULL), 0);
  assert_int_equal(fs_map_open(&m, in("m"), &err), 0);
  assert_null(m.data);
  fs_map_close(&m);
  assert_int_equal(fs_map_open(&m, dir, &err), -1);
  assert_int_equal(fs_map_open(&m, in("none"), &err), -1);
  assert_int_equal(err.code, ERROR_NOT_FOUND);
  assert_int_equal(mkfifo(in("fifo"), 0600), 0);
  assert_int_equal(fs_map_open(&m, in("fifo"), &err), -1); /* and does not wait for a writer */
  assert_non_null(strstr(err.message, "not a regular file"));
}

static void a_file_written_in_pieces_appears_whole_or_not_at_all(void **state) {
  (void)state;
  struct error err = {0};
  struct buf text = {0};
  assert_int_equal(fs_mkdirs(in("w"), 0700, &err), 0);
  struct fs_writer *w = fs_writer_open(in("w/f"), 0600, &err);
  assert_int_equal(fs_writer_put(w, "one ", 4, &err), 0);
  assert_int_equal(fs_writer_put(w, "two", 3, &err), 0);
  assert_false(fs_exists(in("w/f")));
  assert_int_equal(fs_writer_commit(w, &err), 0);
  assert_int_equal(fs_read(in("w/f"), 100, &text, &err), 0);
  assert_string_equal(text.data, "one two");
  w = fs_writer_open(in("w/g"), 0600, &err);
  assert_int_equal(fs_writer_put(w, "x", 1, &err), 0);
  fs_writer_abandon(w);
  assert_int_equal(unlink(in("w/f")), 0);
  assert_int_equal(rmdir(in("w")), 0); /* nothing else was left */
  assert_null(fs_writer_open(in("no/such/file"), 0600, &err));
  buf_free(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(a_file_over_the_limit_is_refused),
      cmocka_unit_test(a_pipe_in_a_folder_holds_no_reader_up),
      cmocka_unit_test(a_pipe_that_a_person_names_is_read_to_its_end),
      cmocka_unit_test(failures_name_the_path_and_the_reason),
      cmocka_unit_test(a_failed_write_leaves_the_old_file_and_no_other),
      cmocka_unit_test(folders_are_made_with_their_parents),
      cmocka_unit_test(names_are_joined_with_one_slash),
      cmocka_unit_test(a_file_written_in_pieces_appears_whole_or_not_at_all),
      cmocka_unit_test(maps_show_the_bytes_of_regular_files_only),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
