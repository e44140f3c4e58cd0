/* Tests of app/variants. SPDX-License-Identifier: Apache-2.0 */
#include "app/variants.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

struct fixture {
  struct pool *pool;
  char folder[64];
};

static int set_up(void **state) {
  struct fixture *f = mem_zalloc(1, sizeof *f);
  unsetenv("PLINTH_ISA");
  f->pool = pool_create(1, NULL);
  strcpy(f->folder, "/tmp/plinth-variants-XXXXXX");
  *state = f;
  return f->pool && mkdtemp(f->folder) ? 0 : -1;
}

static struct compute *make(const struct fixture *f) {
  struct error err = {0};
  struct compute *c = variants_compute(COMPUTE_FAST, f->pool, "auto", &err);
  if (!c) fail_msg("%s", err.message);
  return c;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  struct compute *c = make(f);
  char *path = variants_path(c, f->folder);
  unlink(path);
  free(path);
  compute_destroy(c);
  assert_int_equal(rmdir(f->folder), 0); /* nothing else was left there */
  pool_destroy(f->pool);
  free(f);
  return 0;
}

static void put_record(const struct fixture *f, const struct compute *c, struct slice text) {
  char *path = variants_path(c, f->folder);
  assert_int_equal(fs_write_atomic(path, text, 0600, NULL), 0);
  free(path);
}

static void get_record(const struct fixture *f, const struct compute *c, struct buf *text) {
  char *path = variants_path(c, f->folder);
  buf_clear(text);
  assert_int_equal(fs_read(path, 1 << 16, text, NULL), 0);
  free(path);
}

static void what_was_measured_is_used_at_the_next_start(void **state) {
  const struct fixture *f = *state;
  struct compute *first = make(f), *next = make(f);
  assert_false(variants_read(first, f->folder));
  variants_settle(first, f->folder);
  assert_false(compute_choice_is_open(first));
  assert_true(variants_read(next, f->folder));
  for (size_t i = 0; compute_choice_family(i); i++) assert_string_equal(compute_choice_name(next, i), compute_choice_name(first, i));
  compute_destroy(first), compute_destroy(next);
}

/* Told apart from a measurement: no measurement takes the plain C where there is something else, nor this tile by rule. */
static void a_record_decides(void **state) {
  const struct fixture *f = *state;
  struct compute *first = make(f), *next = make(f);
  assert_true(compute_choice_set(first, "rows", "ref"));
  assert_true(compute_choice_set(first, "attention", "ref"));
  assert_true(compute_choice_set(first, "tile", "64 KiB"));
  variants_settle(first, f->folder);
  assert_true(variants_read(next, f->folder));
  for (size_t i = 0; compute_choice_family(i); i++) {
    const char *family = compute_choice_family(i);
    if (strcmp(family, "rows") == 0 || strcmp(family, "attention") == 0) assert_string_equal(compute_choice_name(next, i), "ref");
    if (strcmp(family, "tile") == 0) assert_string_equal(compute_choice_name(next, i), "64 KiB");
  }
  struct buf told = {0};
  compute_choice_tell(next, &told);
  assert_non_null(strstr(told.data, "tile 64 KiB"));
  buf_free(&told);
  compute_destroy(first), compute_destroy(next);
}

static void a_damaged_record_is_measured_again(void **state) {
  const struct fixture *f = *state;
  struct compute *first = make(f);
  struct buf good = {0}, text = {0};
  variants_settle(first, f->folder);
  get_record(f, first, &good);
  for (size_t cut = 0; cut < good.len; cut += 7) { /* any beginning of it, and zeros as after a power loss */
    struct compute *c = make(f);
    put_record(f, c, slice_make(good.data, cut));
    if (cut + 2 < good.len) assert_false(variants_read(c, f->folder));
    compute_destroy(c);
  }
  struct compute *c = make(f);
  char zeros[200] = {0};
  put_record(f, c, slice_make(zeros, sizeof zeros));
  assert_false(variants_read(c, f->folder));
  variants_settle(c, f->folder);
  get_record(f, c, &text);
  assert_true(slice_starts(buf_view(&text), SLICE("{\"machine\":")));
  buf_free(&good), buf_free(&text);
  compute_destroy(c), compute_destroy(first);
}

static void a_record_of_another_machine_is_not_used(void **state) {
  const struct fixture *f = *state;
  struct compute *first = make(f), *next = make(f);
  struct buf text = {0};
  variants_settle(first, f->folder);
  get_record(f, first, &text);
  char *machine = strstr(text.data, "\"machine\":\"") + strlen("\"machine\":\"");
  machine[0] = machine[0] == 'a' ? 'b' : 'a';
  put_record(f, first, buf_view(&text));
  assert_false(variants_read(next, f->folder));
  buf_free(&text);
  compute_destroy(first), compute_destroy(next);
}

/* Names that this program does not know, or that are no names, leave their family to be measured. */
static void an_unknown_variant_in_a_record_is_passed_over(void **state) {
  const struct fixture *f = *state;
  struct compute *first = make(f), *next = make(f);
  struct buf text = {0};
  assert_true(compute_choice_set(first, "rows", "ref"));
  variants_settle(first, f->folder);
  get_record(f, first, &text);
  char *rows = strstr(text.data, "\"rows\":\"ref\"");
  assert_non_null(rows);
  memcpy(rows, "\"rows\":\"fer\"", strlen("\"rows\":\"fer\""));
  put_record(f, first, buf_view(&text));
  assert_false(variants_read(next, f->folder));
  buf_free(&text);
  compute_destroy(first), compute_destroy(next);
}

/* A folder that cannot be made: below what is no folder, so that root too cannot. */
static void a_folder_that_cannot_be_written_does_not_hinder(void **state) {
  const struct fixture *f = *state;
  struct compute *c = make(f);
  put_record(f, c, SLICE("{}"));
  char *path = variants_path(c, f->folder), *below = fs_join(path, "cache");
  assert_false(variants_read(c, below));
  variants_settle(c, below);
  assert_false(compute_choice_is_open(c));
  free(path), free(below);
  compute_destroy(c);
}

static void kernels_can_be_forced_and_what_is_not_there_is_an_error(void **state) {
  const struct fixture *f = *state;
  struct error err = {0};
  struct compute *c = variants_compute(COMPUTE_FAST, f->pool, "ref", &err);
  assert_non_null(c);
  assert_string_equal(compute_isa_name(c), "ref");
  compute_destroy(c);
#if defined(__aarch64__)
  assert_null(variants_compute(COMPUTE_FAST, f->pool, "avx2", &err));
#else
  assert_null(variants_compute(COMPUTE_FAST, f->pool, "neon", &err));
#endif
  assert_int_equal(err.code, ERROR_INVALID);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  log_setup(LOG_ERROR, LOG_TEXT);
  const struct CMUnitTest tests[] = {
      CASE(what_was_measured_is_used_at_the_next_start),
      CASE(a_record_decides),
      CASE(a_damaged_record_is_measured_again),
      CASE(a_record_of_another_machine_is_not_used),
      CASE(an_unknown_variant_in_a_record_is_passed_over),
      CASE(a_folder_that_cannot_be_written_does_not_hinder),
      CASE(kernels_can_be_forced_and_what_is_not_there_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
