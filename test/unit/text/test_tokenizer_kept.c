/* Tests of tokenizers whose tables are kept for the next start. SPDX-License-Identifier: Apache-2.0
 * Each case makes a model's folder around a tokenizer of test/vector/tokenizer and opens it, with an empty folder to keep in, and again. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "text/text.h"

static char model_dir[] = "/tmp/plinth-tokenizer-XXXXXX", kept_dir[64];
static struct error err;

static void put(const char *name, struct slice bytes) {
  char *path = fs_join(model_dir, name);
  if (fs_write_atomic(path, bytes, 0600, &err) < 0) fail_msg("%s", err.message);
  free(path);
}

static void put_file(const char *name, const char *source) {
  struct buf bytes = {0};
  char *path = fs_join(VECTOR_DIR "/tokenizer", source);
  if (fs_read(path, 64 << 20, &bytes, &err) < 0) fail_msg("%s", err.message);
  put(name, buf_view(&bytes));
  buf_free(&bytes);
  free(path);
}

static void clear(const char *dir) {
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));) {
    char *path = fs_join(dir, e->d_name);
    if (e->d_type == DT_REG) unlink(path);
    free(path);
  }
  if (d) closedir(d);
}

static size_t count(const char *dir) {
  size_t n = 0;
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));) n += e->d_type == DT_REG;
  if (d) closedir(d);
  return n;
}

static void begin(const char *as, const char *source) {
  clear(kept_dir);
  clear(model_dir);
  put_file(as, source);
  put("config.json", SLICE("{\"model_type\":\"llama\",\"eos_token_id\":[2,3]}"));
}

static struct tokenizer *open_kept(bool keep) {
  struct file_model *m = file_model_open_text(model_dir, &err);
  if (!m) fail_msg("%s", err.message);
  struct tokenizer *t = tokenizer_open_kept(m, kept_dir, keep, &err);
  if (!t) fail_msg("%s", err.message);
  file_model_close(m);
  return t;
}

/* ---- two tokenizers are one ---- */

static void same_text(const struct tokenizer *a, const struct tokenizer *b, struct slice text, unsigned flags) {
  struct ids x = {0}, y = {0};
  struct buf s = {0}, t = {0};
  int first = tokenizer_encode(a, text, flags, &x, &err), second = tokenizer_encode(b, text, flags, &y, &err);
  assert_int_equal(first, second);
  assert_int_equal(x.len, y.len);
  if (x.len) assert_memory_equal(x.data, y.data, x.len * sizeof *x.data);
  tokenizer_decode(a, x.data, x.len, true, &s);
  tokenizer_decode(b, y.data, y.len, true, &t);
  assert_true(slice_eq(buf_view(&s), buf_view(&t)));
  ids_free(&x);
  ids_free(&y);
  buf_free(&s);
  buf_free(&t);
}

static void same_tables(const struct tokenizer *a, const struct tokenizer *b) {
  size_t n_a, n_b;
  assert_int_equal(tokenizer_n_vocab(a), tokenizer_n_vocab(b));
  assert_int_equal(tokenizer_bos(a), tokenizer_bos(b));
  assert_int_equal(tokenizer_eos(a), tokenizer_eos(b));
  assert_string_equal(tokenizer_kind(a), tokenizer_kind(b));
  const int32_t *stops_a = tokenizer_stop_ids(a, &n_a), *stops_b = tokenizer_stop_ids(b, &n_b);
  assert_int_equal(n_a, n_b);
  if (n_a) assert_memory_equal(stops_a, stops_b, n_a * sizeof *stops_a);
  for (int32_t id = -1; id <= tokenizer_n_vocab(a); id++) {
    assert_true(slice_eq(tokenizer_token_bytes(a, id), tokenizer_token_bytes(b, id)));
    assert_int_equal(tokenizer_is_special(a, id), tokenizer_is_special(b, id));
    assert_int_equal(tokenizer_find(a, tokenizer_token_bytes(a, id)), tokenizer_find(b, tokenizer_token_bytes(a, id)));
  }
}

static void same(const struct tokenizer *a, const struct tokenizer *b) {
  static const char *const texts[] = {"",
                                      " ",
                                      "Hello, world!  It's 12345 o'clock.",
                                      "  two  spaces ",
                                      "\xC3\x84rger \xE6\xBC\xA2\xE5\xAD\x97 \xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD",
                                      "<s> a </s> <|endoftext|> [CLS] <mask>\n\n\tx",
                                      "e\xCC\x81\xCC\x81 \xEF\xAC\x81 \xFF\xFE broken",
                                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
  same_tables(a, b);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    for (unsigned flags = 0; flags < 4; flags++) same_text(a, b, slice_cstr(texts[i]), flags);
}

/* Whether the mark of Metaspace's first goes in front depends on what the normalizer took away. */
static void a_mark_before_the_first_character_comes_back(void **state) {
  (void)state;
  clear(kept_dir);
  clear(model_dir);
  put("config.json", SLICE("{\"model_type\":\"llama\"}"));
  put("tokenizer.json", SLICE("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\u2581\":2},\"merges\":[]},"
                              "\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},"
                              "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\"}}"));
  struct tokenizer *built = open_kept(true), *kept = open_kept(false);
  struct ids ids = {0};
  assert_int_equal(tokenizer_encode(kept, SLICE(" ab"), 0, &ids, &err), 0);
  assert_int_equal(ids.len, 2); /* no mark */
  ids_free(&ids);
  same(built, kept);
  tokenizer_close(built);
  tokenizer_close(kept);
}

static void every_kind_of_tokenizer_comes_back_as_it_was(void **state) {
  (void)state;
  static const char *const sources[] = {"bert_cased.json",       "fused_bpe.json",      "gpt2.json",    "llama2_legacy.json",
                                        "llama2_metaspace.json", "llama3.json",         "neox.json",    "odd_added.json",
                                        "roberta.json",          "split_isolated.json", "unigram.json", "spm_bpe.model",
                                        "spm_fallback.model",    "spm_unigram.model"};
  for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
    begin(slice_ends(slice_cstr(sources[i]), SLICE(".json")) ? "tokenizer.json" : "tokenizer.model", sources[i]);
    struct tokenizer *built = open_kept(true);
    assert_int_equal(count(kept_dir), 1);
    struct tokenizer *kept = open_kept(false);
    same(built, kept);
    tokenizer_close(kept);
    tokenizer_close(built);
  }
}

static char *the_file(void) {
  DIR *d = opendir(kept_dir);
  struct dirent *e;
  while ((e = readdir(d)) && e->d_type != DT_REG) {}
  assert_non_null(e);
  char *path = fs_join(kept_dir, e->d_name);
  closedir(d);
  return path;
}

/* What is kept is used: a file that says something else, under the right name, would be noticed. Here it is that of another vocabulary. */
static void the_kept_tables_are_those_that_are_read(void **state) {
  (void)state;
  begin("tokenizer.json", "gpt2.json");
  struct tokenizer *other = open_kept(true);
  struct buf bytes = {0};
  char *path = the_file();
  assert_int_equal(fs_read(path, 64 << 20, &bytes, &err), 0);
  free(path);
  begin("tokenizer.json", "llama3.json");
  tokenizer_close(open_kept(true));
  path = the_file();
  assert_int_equal(fs_write_atomic(path, buf_view(&bytes), 0600, &err), 0);
  struct tokenizer *t = open_kept(false);
  same(other, t);
  tokenizer_close(t);
  tokenizer_close(other);
  buf_free(&bytes);
  free(path);
}

static void a_damaged_or_short_file_is_built_again(void **state) {
  (void)state;
  begin("tokenizer.json", "unigram.json");
  struct tokenizer *built = open_kept(true);
  struct buf good = {0}, now = {0};
  char *path = the_file();
  assert_int_equal(fs_read(path, 64 << 20, &good, &err), 0);
  for (size_t cut = 0; cut < good.len; cut += good.len / 50 + 1) {
    assert_int_equal(fs_write_atomic(path, slice_make(good.data, cut), 0600, &err), 0);
    struct tokenizer *t = open_kept(true);
    same(built, t);
    tokenizer_close(t);
    buf_clear(&now);
    assert_int_equal(fs_read(path, 64 << 20, &now, &err), 0);
    assert_int_equal(now.len, good.len); /* written anew */
    now.data[cut] ^= 1;
    assert_int_equal(fs_write_atomic(path, buf_view(&now), 0600, &err), 0);
    t = open_kept(false);
    same(built, t);
    tokenizer_close(t);
  }
  tokenizer_close(built);
  buf_free(&good);
  buf_free(&now);
  free(path);
}

static void a_changed_source_is_read_and_the_old_tables_are_removed(void **state) {
  (void)state;
  begin("tokenizer.json", "gpt2.json");
  tokenizer_close(open_kept(true));
  put_file("tokenizer.json", "neox.json");
  struct tokenizer *t = open_kept(true), *again = open_kept(false);
  assert_int_equal(count(kept_dir), 1);
  same(t, again);
  struct file_model *m = file_model_open_text(model_dir, &err);
  struct tokenizer *plain = tokenizer_open(m, &err);
  same(plain, t);
  tokenizer_close(plain);
  file_model_close(m);
  tokenizer_close(t);
  tokenizer_close(again);
  put("config.json", SLICE("{\"model_type\":\"llama\",\"eos_token_id\":7}")); /* it names the stop ids */
  t = open_kept(true);
  size_t n;
  assert_int_equal(tokenizer_stop_ids(t, &n)[0], 7);
  tokenizer_close(t);
}

static void a_folder_that_cannot_be_written_costs_only_time(void **state) {
  (void)state;
  begin("tokenizer.json", "gpt2.json");
  char *path = fs_join(model_dir, "config.json/kept"); /* below a file */
  struct file_model *m = file_model_open_text(model_dir, &err);
  struct tokenizer *t = tokenizer_open_kept(m, path, true, &err);
  assert_non_null(t);
  tokenizer_close(t);
  file_model_close(m);
  free(path);
}

static int set_up(void **state) {
  (void)state;
  if (!mkdtemp(model_dir)) return -1;
  snprintf(kept_dir, sizeof kept_dir, "%s/kept", model_dir);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  clear(kept_dir);
  rmdir(kept_dir);
  clear(model_dir);
  return rmdir(model_dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_of_tokenizer_comes_back_as_it_was),
      cmocka_unit_test(a_mark_before_the_first_character_comes_back),
      cmocka_unit_test(the_kept_tables_are_those_that_are_read),
      cmocka_unit_test(a_damaged_or_short_file_is_built_again),
      cmocka_unit_test(a_changed_source_is_read_and_the_old_tables_are_removed),
      cmocka_unit_test(a_folder_that_cannot_be_written_costs_only_time),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
