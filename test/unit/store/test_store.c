/* The store: what it keeps, what it refuses, what it leaves alone. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/fs.h"
#include "store/store.h"

struct place {
  char dir[64], db[96];
};

static int make_place(void **state) {
  struct place *p = calloc(1, sizeof *p);
  strcpy(p->dir, "/tmp/plinth-store-XXXXXX");
  if (!p || !mkdtemp(p->dir)) return -1;
  snprintf(p->db, sizeof p->db, "%s/plinth.db", p->dir);
  *state = p;
  return 0;
}

static int drop_place(void **state) {
  struct place *p = *state;
  const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s%s", p->db, suffixes[i]);
    unlink(path);
  }
  rmdir(p->dir);
  free(p);
  return 0;
}

static struct store_token make_token(const char *name, int fill) {
  struct store_token t = {.created_s = 1700000000 + fill};
  snprintf(t.name, sizeof t.name, "%s", name);
  memset(t.hash, fill, sizeof t.hash);
  return t;
}

/* Runs SQL on the file as another program would. */
static void sql(const struct place *p, const char *text) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(p->db, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static void a_token_survives_the_process(void **state) {
  struct place *p = *state;
  struct error err;
  struct store *s = store_open(p->dir, &err);
  assert_non_null(s);
  struct store_token in = make_token("admin", 7), out;
  assert_int_equal(store_token_get(s, "admin", &out, &err), 0);
  assert_int_equal(store_token_put(s, &in, &err), 0);
  store_close(s);
  s = store_open(p->dir, &err);
  assert_non_null(s);
  assert_int_equal(store_token_get(s, "admin", &out, &err), 1);
  assert_memory_equal(&in, &out, sizeof in);
  store_close(s);
}

static void putting_a_name_again_replaces_it(void **state) {
  struct place *p = *state;
  struct error err;
  struct store *s = store_open(p->dir, &err);
  struct store_token first = make_token("admin", 1), second = make_token("admin", 2), out;
  assert_int_equal(store_token_put(s, &first, &err), 0);
  assert_int_equal(store_token_put(s, &second, &err), 0);
  assert_int_equal(store_token_get(s, "admin", &out, &err), 1);
  assert_memory_equal(&second, &out, sizeof second);
  store_close(s);
}

static void collect(void *arg, const struct store_token *t) {
  char *names = arg;
  strcat(names, t->name);
  strcat(names, " ");
}

static void each_visits_every_token_once(void **state) {
  struct place *p = *state;
  struct error err;
  struct store *s = store_open(p->dir, &err);
  struct store_token a = make_token("zoe", 1), b = make_token("admin", 2);
  assert_int_equal(store_token_put(s, &a, &err), 0);
  assert_int_equal(store_token_put(s, &b, &err), 0);
  char names[64] = "";
  assert_int_equal(store_token_each(s, collect, names, &err), 0);
  assert_string_equal(names, "admin zoe ");
  store_close(s);
}

static void only_the_owner_can_read_the_files(void **state) {
  struct place *p = *state;
  struct error err;
  struct store *s = store_open(p->dir, &err);
  struct store_token t = make_token("admin", 1);
  assert_int_equal(store_token_put(s, &t, &err), 0);
  struct stat st;
  assert_int_equal(stat(p->db, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  char wal[128];
  snprintf(wal, sizeof wal, "%s-wal", p->db);
  assert_int_equal(stat(wal, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  store_close(s);
}

static void two_processes_may_use_it_at_once(void **state) {
  struct place *p = *state;
  struct error err;
  struct store *server = store_open(p->dir, &err), *reset = store_open(p->dir, &err);
  assert_non_null(server);
  assert_non_null(reset);
  struct store_token t = make_token("admin", 3), out;
  assert_int_equal(store_token_put(reset, &t, &err), 0);
  assert_int_equal(store_token_get(server, "admin", &out, &err), 1);
  store_close(server);
  store_close(reset);
}

static void a_newer_schema_is_refused_and_left_alone(void **state) {
  struct place *p = *state;
  struct error err;
  store_close(store_open(p->dir, &err));
  sql(p, "pragma user_version = 999");
  assert_null(store_open(p->dir, &err));
  assert_int_equal(err.code, ERROR_UNSUPPORTED);
  assert_non_null(strstr(err.message, "newer Plinth"));
}

static void a_database_of_another_program_is_refused_and_left_alone(void **state) {
  struct place *p = *state;
  struct error err;
  sql(p, "create table theirs (x)");
  assert_null(store_open(p->dir, &err));
  assert_int_equal(err.code, ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "another program"));
  sql(p, "insert into theirs values (1)");
}

static void a_file_that_is_no_database_is_refused_and_left_alone(void **state) {
  struct place *p = *state;
  struct error err;
  char text[4096];
  memset(text, 'x', sizeof text);
  assert_int_equal(fs_write_atomic(p->db, slice_make(text, sizeof text), 0600, &err), 0);
  assert_null(store_open(p->dir, &err));
  assert_int_equal(err.code, ERROR_CORRUPT);
  struct buf after = {0};
  assert_int_equal(fs_read(p->db, 1 << 20, &after, &err), 0);
  assert_int_equal(after.len, sizeof text);
  assert_memory_equal(after.data, text, sizeof text);
  buf_free(&after);
}

static void a_token_edited_into_a_wrong_form_is_an_error(void **state) {
  struct place *p = *state;
  struct error err;
  struct store *s = store_open(p->dir, &err);
  sql(p, "pragma ignore_check_constraints = on; insert into token values ('admin', x'00', 1)");
  struct store_token out;
  assert_int_equal(store_token_get(s, "admin", &out, &err), -1);
  assert_int_equal(err.code, ERROR_CORRUPT);
  char names[64] = "";
  assert_int_equal(store_token_each(s, collect, names, &err), -1);
  store_close(s);
}

static void a_folder_that_cannot_be_made_is_named(void **state) {
  (void)state;
  struct error err;
  assert_null(store_open("/dev/null/data", &err));
  assert_non_null(strstr(err.message, "/dev/null"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_place, drop_place)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(a_token_survives_the_process),
      CASE(putting_a_name_again_replaces_it),
      CASE(each_visits_every_token_once),
      CASE(only_the_owner_can_read_the_files),
      CASE(two_processes_may_use_it_at_once),
      CASE(a_newer_schema_is_refused_and_left_alone),
      CASE(a_database_of_another_program_is_refused_and_left_alone),
      CASE(a_file_that_is_no_database_is_refused_and_left_alone),
      CASE(a_token_edited_into_a_wrong_form_is_an_error),
      CASE(a_folder_that_cannot_be_made_is_named),
  };
  return cmocka_run_group_tests_name("store/store", tests, NULL, NULL);
}
