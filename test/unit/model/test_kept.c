/* Tests of packed weights that are kept for the next load. SPDX-License-Identifier: Apache-2.0
 * Each case loads a tiny checkpoint with an empty folder for them, and again. The argument is the folder of the checkpoints. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/model.h"

enum { WAIT_MS = 20000, N_TOKENS = 12 };

static const char *tiny;
static char dir[64], model_path[128], kept_dir[128];

static void shell(const char *format, const char *a, const char *b) {
  struct buf command = {0};
  buf_printf(&command, format, a, b);
  assert_int_equal(system(command.data), 0);
  buf_free(&command);
}

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-kept-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  snprintf(model_path, sizeof model_path, "%s/model", dir);
  snprintf(kept_dir, sizeof kept_dir, "%s/cache", dir);
  return 0;
}

static int remove_dir(void **state) {
  (void)state;
  shell("chmod -R u+w '%s'; rm -rf '%s'", dir, dir);
  return 0;
}

static void use(const char *name) {
  struct buf from = {0};
  buf_printf(&from, "%s/%s", tiny, name);
  shell("cp -rL '%s' '%s'", from.data, model_path);
  buf_free(&from);
}

/* ---- what lies in the folder ---- */

/* The files whose names have that ending; *ret_name (may be NULL) is the last one's path. */
static size_t count_files(const char *ending, char *ret_name) {
  size_t n = 0;
  DIR *d = opendir(kept_dir);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.' && slice_ends(slice_cstr(e->d_name), slice_cstr(ending))) {
      n++;
      if (ret_name) snprintf(ret_name, 512, "%s/%s", kept_dir, e->d_name);
    }
  if (d) closedir(d);
  return n;
}

static void wait_for_file(char *ret_name) {
  for (int i = 0; i < WAIT_MS && count_files(".safetensors", ret_name) == 0; i++) usleep(1000);
  if (count_files(".safetensors", ret_name) != 1) fail_msg("%zu files are kept", count_files(".safetensors", NULL));
}

/* ---- a loaded model and what it computes ---- */

struct result {
  float *values;
  size_t n;
};

static void compute_logits(struct model *m, const int32_t *tokens, struct result *r) {
  struct kv_layout kv = model_kv_layout(m);
  int32_t out_row = N_TOKENS - 1;
  void *page = mem_aligned(64, kv.page_bytes), *pages[] = {page};
  struct kv_segment segment = {.n_rows = N_TOKENS, .pages = pages};
  r->n = model_info(m)->n_vocab;
  r->values = mem_zalloc(r->n, sizeof(float));
  memset(page, 0, kv.page_bytes);
  model_forward(m, &(struct model_batch){.n_rows = N_TOKENS,
                                         .tokens = tokens,
                                         .segments = &segment,
                                         .n_segments = 1,
                                         .out_rows = &out_row,
                                         .n_out_rows = 1,
                                         .logits = r->values});
  free(page);
}

static bool maps_kept_file(void) {
  FILE *f = fopen("/proc/self/maps", "r");
  char line[1024];
  bool found = false;
  while (f && fgets(line, sizeof line, f)) found = found || strstr(line, kept_dir);
  if (f) fclose(f);
  return found;
}

static struct model_mapped mapped;
static void (*before_it_computes)(void);

/* Loads, computes, and goes on while `meanwhile` (may be NULL) looks at the folder. */
static struct result load(enum compute_mode mode, void (*meanwhile)(void)) {
  struct error err = {0};
  int32_t tokens[N_TOKENS];
  struct result r = {0};
  struct pool *pool = pool_create(2, &err);
  struct compute *c = compute_create(mode, pool, COMPUTE_ISA_ALL, &err);
  struct file_model *file = file_model_open(model_path, &err);
  if (!file) fail_msg("%s", err.message);
  struct model *m = model_load(file, c, &(struct model_options){.kept_dir = kept_dir, .mapped = &mapped}, &err);
  if (!m) fail_msg("%s", err.message);
  file_model_close(file);
  if (before_it_computes) before_it_computes();
  for (int32_t i = 0; i < N_TOKENS; i++) tokens[i] = 1 + i;
  if (model_info(m)->task == MODEL_EMBED) {
    r.n = model_info(m)->n_embd;
    r.values = mem_zalloc(r.n, sizeof(float));
    model_embed(m, tokens, (size_t[]){0, N_TOKENS}, 1, r.values);
  } else {
    compute_logits(m, tokens, &r);
  }
  if (meanwhile) meanwhile();
  model_free(m);
  assert_int_equal(mapped.bytes, 0);
  compute_destroy(c);
  pool_destroy(pool);
  return r;
}

static void expect_equal(struct result a, struct result b) {
  assert_int_equal(a.n, b.n);
  assert_memory_equal(a.values, b.values, a.n * sizeof(float));
  free(a.values);
  free(b.values);
}

static void until_kept(void) { wait_for_file(NULL); }

/* Until one file is kept and it is not the one that was. */
static char not_this[512];
static void until_another_is_kept(void) {
  char path[512] = "";
  for (int i = 0; i < WAIT_MS && (count_files(".safetensors", path) != 1 || strcmp(path, not_this) == 0); i++) usleep(1000);
  wait_for_file(path);
  assert_string_not_equal(path, not_this);
}

static void until_whole(void) {
  char path[512];
  struct stat st;
  wait_for_file(path);
  for (int i = 0; i < WAIT_MS && (stat(path, &st) < 0 || st.st_size <= 1000); i++) usleep(1000);
}

static uint64_t inode_of(const char *path) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  return st.st_ino;
}

/* ---- cases ---- */

static void second_load_is_the_same(const char *name, enum compute_mode mode) {
  char before[512], after[512];
  use(name);
  struct result first = load(mode, until_kept);
  wait_for_file(before);
  uint64_t inode = inode_of(before);
  struct result second = load(mode, NULL);
  wait_for_file(after);
  assert_string_equal(before, after);
  assert_int_equal(inode, inode_of(after)); /* it was read, and not written again */
  expect_equal(first, second);
}

static void a_kept_model_computes_the_same_bits(void **state) {
  (void)state;
  second_load_is_the_same("llama-llama3-rope", COMPUTE_FAST);
}

static void until_copied(void) {
  assert_true(maps_kept_file());
  for (int i = 0; i < WAIT_MS && (atomic_load(&mapped.copying) || atomic_load(&mapped.bytes)); i++) usleep(1000);
  assert_int_equal(mapped.bytes, 0);
  assert_true(maps_kept_file()); /* until the next pass */
}

static void is_not_mapped(void) { assert_false(maps_kept_file()); }

static void moves_to_memory(const char *name, enum compute_mode mode) {
  use(name);
  struct result first = load(mode, until_kept);
  before_it_computes = until_copied;
  struct result second = load(mode, is_not_mapped);
  before_it_computes = NULL;
  expect_equal(first, second);
}

static void a_mapped_model_moves_to_memory_of_its_own_before_a_pass(void **state) {
  (void)state;
  moves_to_memory("mixtral", COMPUTE_FAST);
}

static void a_mapped_encoder_moves_to_memory_of_its_own(void **state) {
  (void)state;
  moves_to_memory("bert-mean", COMPUTE_F32);
}

static void a_mapped_order_of_columns_moves_with_its_matrix(void **state) {
  (void)state;
  moves_to_memory("../../checkpoint/gptq-4bit-act-order", COMPUTE_FAST);
}

static void kept_experts_compute_the_same_bits(void **state) {
  (void)state;
  second_load_is_the_same("mixtral", COMPUTE_FAST);
}

static void a_kept_order_of_columns_computes_the_same_bits(void **state) {
  (void)state;
  second_load_is_the_same("../../checkpoint/gptq-4bit-act-order", COMPUTE_FAST);
}

static void a_kept_encoder_computes_the_same_bits_in_fp32(void **state) {
  (void)state;
  second_load_is_the_same("bert-mean", COMPUTE_F32);
}

/* The kept file itself says whether it is read: with one bit turned in it the result is another one. */
static void the_kept_bytes_are_what_computes(void **state) {
  (void)state;
  char path[512];
  use("llama-llama3-rope");
  struct result first = load(COMPUTE_F32, until_kept);
  wait_for_file(path);
  int fd = open(path, O_RDWR);
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  float huge = 1e6f;
  for (off_t at = st.st_size / 2 / 4 * 4; at < st.st_size / 2 / 4 * 4 + 4096; at += 4) assert_int_equal(pwrite(fd, &huge, 4, at), 4);
  close(fd);
  struct result second = load(COMPUTE_F32, NULL);
  assert_memory_not_equal(first.values, second.values, first.n * sizeof(float));
  free(first.values);
  free(second.values);
}

static void truncate_kept(const char *path) { assert_int_equal(truncate(path, 1000), 0); }

static void a_broken_kept_file_is_written_anew(void **state) {
  (void)state;
  char path[512], again[512];
  use("llama-llama3-rope");
  struct result first = load(COMPUTE_FAST, until_kept);
  wait_for_file(path);
  truncate_kept(path);
  struct result second = load(COMPUTE_FAST, until_whole);
  expect_equal(first, second);
  wait_for_file(again);
  struct stat st;
  assert_int_equal(stat(again, &st), 0);
  assert_true(st.st_size > 1000);
}

static void touch_config(void) {
  shell("sed -i 's/\"rms_norm_eps\": [0-9e.-]*/\"rms_norm_eps\": 0.01/' '%s/config.json'; : '%s'", model_path, "");
}

static void a_changed_model_is_packed_again_and_its_old_file_goes(void **state) {
  (void)state;
  use("llama-llama3-rope");
  struct result first = load(COMPUTE_FAST, until_kept);
  wait_for_file(not_this);
  touch_config();
  shell("touch '%s'/model.safetensors '%s'", model_path, model_path);
  struct result second = load(COMPUTE_FAST, until_another_is_kept);
  assert_memory_not_equal(first.values, second.values, first.n * sizeof(float)); /* the config's new epsilon counts */
  free(first.values);
  free(second.values);
}

static void modes_are_kept_apart(void **state) {
  (void)state;
  use("llama-llama3-rope");
  free(load(COMPUTE_FAST, until_kept).values);
  for (int i = 0; i < 1000 && count_files(".safetensors", NULL) < 2; i++) free(load(COMPUTE_F32, NULL).values);
  assert_int_equal(count_files(".safetensors", NULL), 2);
}

/* Where the folder cannot be written the model works all the same. */
static void a_folder_that_cannot_be_made_costs_nothing_but_time(void **state) {
  (void)state;
  use("llama-llama3-rope");
  assert_int_equal(fs_write_atomic(kept_dir, SLICE("a file"), 0600, NULL), 0);
  struct result first = load(COMPUTE_FAST, NULL), second = load(COMPUTE_FAST, NULL);
  expect_equal(first, second);
}

static void no_second_writer_while_one_has_the_folder(void **state) {
  (void)state;
  use("llama-llama3-rope");
  assert_int_equal(mkdir(kept_dir, 0700), 0);
  int fd = open(kept_dir, O_RDONLY | O_DIRECTORY);
  assert_int_equal(flock(fd, LOCK_EX), 0);
  free(load(COMPUTE_FAST, NULL).values); /* its writer waits, and gives up when the model goes */
  assert_int_equal(count_files("", NULL), 0);
  close(fd);
  free(load(COMPUTE_FAST, until_kept).values);
}

static void what_a_killed_writer_left_is_removed(void **state) {
  (void)state;
  char path[512], leftover[600], other[600], precise[600], older[600];
  use("llama-llama3-rope");
  free(load(COMPUTE_FAST, until_kept).values);
  wait_for_file(path);
  snprintf(leftover, sizeof leftover, "%s.77-0.tmp", path);
  snprintf(other, sizeof other, "%s/notes.fast.1.safetensors", kept_dir);
  snprintf(precise, sizeof precise, "%s/0123456789abcdef01234567.precise.1.safetensors", kept_dir);
  assert_int_equal(fs_write_atomic(leftover, SLICE("half"), 0600, NULL), 0);
  assert_int_equal(fs_write_atomic(other, SLICE("somebody's"), 0600, NULL), 0);
  snprintf(older, sizeof older, "%s/0123456789abcdef01234567.fast.0.safetensors", kept_dir);
  assert_int_equal(fs_write_atomic(older, SLICE("of an earlier layout"), 0600, NULL), 0);
  assert_int_equal(fs_write_atomic(precise, SLICE("another mode's"), 0600, NULL), 0);
  assert_int_equal(unlink(path), 0);
  for (int i = 0; i < 1000 && !fs_exists(path); i++) free(load(COMPUTE_FAST, NULL).values);
  assert_false(fs_exists(leftover) || fs_exists(older));
  assert_true(fs_exists(other) && fs_exists(precise));
}

int main(int argc, char **argv) {
  assert_int_equal(argc, 2);
  tiny = argv[1];
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
  const struct CMUnitTest tests[] = {
      CASE(a_kept_model_computes_the_same_bits),
      CASE(a_mapped_model_moves_to_memory_of_its_own_before_a_pass),
      CASE(a_mapped_encoder_moves_to_memory_of_its_own),
      CASE(a_mapped_order_of_columns_moves_with_its_matrix),
      CASE(kept_experts_compute_the_same_bits),
      CASE(a_kept_order_of_columns_computes_the_same_bits),
      CASE(a_kept_encoder_computes_the_same_bits_in_fp32),
      CASE(the_kept_bytes_are_what_computes),
      CASE(a_broken_kept_file_is_written_anew),
      CASE(a_changed_model_is_packed_again_and_its_old_file_goes),
      CASE(modes_are_kept_apart),
      CASE(a_folder_that_cannot_be_made_costs_nothing_but_time),
      CASE(no_second_writer_while_one_has_the_folder),
      CASE(what_a_killed_writer_left_is_removed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
