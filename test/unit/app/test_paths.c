/* Tests of app/paths: where models lie and what they are called. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/paths.h"
#include "base/fs.h"

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
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static void expect_text(char *got, const char *want) {
  assert_string_equal(got, want);
  free(got);
}

static void the_data_folder_follows_xdg(void **state) {
  (void)state;
  setenv("HOME", "/home/ann", 1);
  setenv("XDG_DATA_HOME", "/data", 1);
  expect_text(paths_data_dir(), "/data/plinth");
  expect_text(paths_models_dir(), "/data/plinth/models");
  setenv("XDG_DATA_HOME", "relative", 1);
  expect_text(paths_data_dir(), "/home/ann/.local/share/plinth");
  setenv("XDG_DATA_HOME", "", 1);
  expect_text(paths_models_dir(), "/home/ann/.local/share/plinth/models");
  unsetenv("XDG_DATA_HOME");
  unsetenv("HOME");
  char *path = paths_data_dir(); /* from the password file */
  assert_int_equal(path[0], '/');
  free(path);
}

static void an_endpoint_is_named_as_its_folder_or_file(void **state) {
  (void)state;
  expect_text(paths_model_name("/m/all-minilm-l6-v2"), "all-minilm-l6-v2");
  expect_text(paths_model_name("/m/big-00002-of-00003.gguf"), "big");
  expect_text(paths_model_name("/m/all-minilm-l6-v2//"), "all-minilm-l6-v2");
  expect_text(paths_model_name("Model.Q4_1.gguf"), "Model.Q4_1");
  expect_text(paths_model_name("dir/Model.gguf"), "Model");
  expect_text(paths_model_name(".gguf"), ".gguf");
  expect_text(paths_model_name("/"), "/");
  expect_text(paths_model_name("/m"), "m");
  expect_text(paths_model_name(""), "");
  expect_text(paths_model_name("/usr/."), "usr");
  expect_text(paths_model_name("/usr/bin/.."), "usr");
}

static void a_models_folder_is_listed_by_name(void **state) {
  (void)state;
  struct paths_models models;
  struct error err;
  assert_int_equal(fs_mkdirs(in("zebra"), 0700, NULL), 0);
  assert_int_equal(fs_mkdirs(in(".hidden"), 0700, NULL), 0);
  assert_int_equal(fs_write_atomic(in("ant.gguf"), SLICE(""), 0600, NULL), 0);
  assert_int_equal(fs_write_atomic(in("zebra.gguf"), SLICE(""), 0600, NULL), 0);
  assert_int_equal(fs_write_atomic(in("notes.txt"), SLICE(""), 0600, NULL), 0);
  assert_int_equal(paths_list(dir, &models, &err), 0);
  assert_int_equal(models.n, 3);
  assert_string_equal(models.items[0].name, "ant");
  assert_string_equal(models.items[0].path, in("ant.gguf"));
  assert_string_equal(models.items[1].path, in("zebra"));
  assert_string_equal(models.items[2].path, in("zebra.gguf"));
  paths_list_free(&models);
  assert_int_equal(paths_list(in("none"), &models, &err), -1);
  assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static void a_model_is_found_by_name_and_by_path(void **state) {
  (void)state;
  struct error err;
  expect_text(paths_find_model(dir, in("notes.txt"), &err), in("notes.txt"));
  expect_text(paths_find_model(dir, "ant", &err), in("ant.gguf"));
  expect_text(paths_find_model(dir, "zebra", &err), in("zebra"));
  assert_null(paths_find_model(dir, "zbera", &err));
  assert_int_equal(err.code, ERROR_NOT_FOUND);
  assert_non_null(strstr(err.message, "did you mean \"zebra\"?"));
  assert_null(paths_find_model(dir, "something else", &err));
  assert_non_null(strstr(err.message, dir));
  assert_null(paths_find_model(in("none"), "ant", &err));
  assert_non_null(strstr(err.message, "does not exist"));
}

/* What lies about in the working directory does not stand in for an installed model. */
static void a_name_means_the_same_in_every_working_directory(void **state) {
  (void)state;
  struct error err;
  char *before = getcwd(NULL, 0);
  assert_int_equal(fs_mkdirs(in("work/zebra"), 0700, NULL), 0);
  assert_int_equal(fs_mkdirs(in("work/Ant"), 0700, NULL), 0);
  assert_int_equal(chdir(in("work")), 0);
  expect_text(paths_find_model(dir, "zebra", &err), in("zebra"));
  expect_text(paths_find_model(dir, "./zebra", &err), "./zebra");
  expect_text(paths_find_model(dir, "zebra/", &err), "zebra/");
  expect_text(paths_find_model(dir, "Ant", &err), "Ant"); /* it is there as written; the installed one is not */
  assert_int_equal(chdir(before), 0);
  expect_text(paths_find_model(dir, "Ant", &err), in("ant.gguf"));
  free(before);
}

static void a_model_in_parts_is_listed_once(void **state) {
  (void)state;
  static const char *const files[] = {"parts/big-00001-of-00002.gguf", "parts/big-00002-of-00002.gguf", "parts/small.gguf"};
  struct paths_models models;
  assert_int_equal(fs_mkdirs(in("parts"), 0700, NULL), 0);
  for (size_t i = 0; i < 3; i++) assert_int_equal(fs_write_atomic(in(files[i]), SLICE("x"), 0600, NULL), 0);
  assert_int_equal(paths_list(in("parts"), &models, NULL), 0);
  assert_int_equal(models.n, 2);
  assert_string_equal(models.items[0].name, "big");
  assert_non_null(strstr(models.items[0].path, "00001-of-00002"));
  assert_string_equal(models.items[1].name, "small");
  paths_list_free(&models);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_data_folder_follows_xdg),       cmocka_unit_test(an_endpoint_is_named_as_its_folder_or_file),
      cmocka_unit_test(a_models_folder_is_listed_by_name), cmocka_unit_test(a_model_is_found_by_name_and_by_path),
      cmocka_unit_test(a_model_in_parts_is_listed_once),   cmocka_unit_test(a_name_means_the_same_in_every_working_directory),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
