/* Tests of plinth.json. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "base/fs.h"
#include "file/manifest.h"

static const char hash[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char print[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void what_is_written_reads_back(void **state) {
  (void)state;
  struct manifest m = {.adapter = true, .imported_s = 1700000000, .verdict = MANIFEST_VERIFIED}, back;
  m.source = strdup("hf:org/repo \"x\"");
  m.revision = strdup("main");
  m.commit = strdup("abc");
  m.base = strdup("tiny");
  m.verified_by = strdup("vectors");
  m.weights = strdup(print);
  struct manifest_file *f = manifest_add_file(&m, "1_Pooling/config.json");
  f->bytes = 5;
  f->mtime_ns = 1700000000123456789;
  memcpy(f->sha256, hash, sizeof hash);
  manifest_add_check(&m, "tokenizer", "passed", "BPE.");
  struct buf text = {0};
  struct error err = {0};
  manifest_format(&m, &text);
  assert_int_equal(manifest_parse(buf_view(&text), &back, &err), 0);
  assert_true(back.adapter && back.verdict == MANIFEST_VERIFIED && back.imported_s == m.imported_s);
  assert_string_equal(back.source, m.source);
  assert_string_equal(back.base, "tiny");
  assert_string_equal(back.weights, print);
  assert_null(back.tokenizer);
  assert_int_equal(back.n_files, 1);
  assert_string_equal(back.files[0].path, "1_Pooling/config.json");
  assert_true(back.files[0].mtime_ns == 1700000000123456789 && strcmp(back.files[0].sha256, hash) == 0);
  assert_string_equal(back.checks[0].detail, "BPE.");
  manifest_free(&back);
  manifest_free(&m);
  buf_free(&text);
}

static void what_an_import_would_not_write_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      "",
      "[]",
      "{}",
      "{\"plinth_manifest\":2}",
      "{\"plinth_manifest\":\"1\"}",
      "{\"plinth_manifest\":1,\"files\":[{}]}",
      "{\"plinth_manifest\":1,\"files\":[{\"path\":\"../x\",\"bytes\":1,\"mtime_ns\":1,\"sha256\":"
      "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}]}",
      "{\"plinth_manifest\":1,\"files\":[{\"path\":\"x\",\"bytes\":-1,\"mtime_ns\":1,\"sha256\":"
      "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}]}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    struct manifest m;
    struct error err = {0};
    assert_int_equal(manifest_parse(slice_cstr(texts[i]), &m, &err), -1);
    assert_true(err.code != ERROR_NONE && m.n_files == 0);
  }
}

static void a_fingerprint_that_is_none_is_left_out(void **state) {
  (void)state;
  struct manifest m;
  struct error err = {0};
  assert_int_equal(manifest_parse(SLICE("{\"plinth_manifest\":1,\"fingerprints\":{\"weights\":\"sha256:zz\",\"tokenizer\":3}}"), &m, &err),
                   0);
  assert_null(m.weights);
  assert_null(m.tokenizer);
  assert_int_equal(m.verdict, MANIFEST_UNVERIFIED);
  manifest_free(&m);
}

static void paths_stay_inside(void **state) {
  (void)state;
  static const char *const good[] = {"a", "a/b.json", "1_Pooling/config.json", "a..b", "...", ".x", "é"};
  static const char *const bad[] = {"",       "/", "/a",  "a/",   "a//b", "..",    "../a", "a/..",
                                    "a/../b", ".", "./a", "a\\b", "a\nb", "a\x7f", "\xff"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_true(manifest_safe_path(slice_cstr(good[i])));
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(manifest_safe_path(slice_cstr(bad[i])));
  char longest[300];
  memset(longest, 'a', sizeof longest);
  assert_true(manifest_safe_path(slice_make(longest, 255)));
  assert_false(manifest_safe_path(slice_make(longest, 256)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_reads_back),
      cmocka_unit_test(what_an_import_would_not_write_is_refused),
      cmocka_unit_test(a_fingerprint_that_is_none_is_left_out),
      cmocka_unit_test(paths_stay_inside),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
