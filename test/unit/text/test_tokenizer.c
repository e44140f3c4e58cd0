/* Tokenizers against the vectors of test/vector/tokenizer. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/fs.h"
#include "base/utf8.h"
#include "text/text.h"

static char *model_path(const char *name) {
  const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  struct buf path = {0};
  if (data && *data) buf_printf(&path, "%s/plinth/models/%s", data, name);
  else buf_printf(&path, "%s/.local/share/plinth/models/%s", home ? home : "", name);
  return path.data;
}

static void read_file(const char *path, struct buf *out) {
  struct error err = {0};
  if (fs_read(path, 64 << 20, out, &err) < 0) fail_msg("%s", err.message);
}

static struct tokenizer *open_json_at(const char *path) {
  struct error err = {0};
  struct buf json = {0};
  read_file(path, &json);
  struct tokenizer *t = tokenizer_open_json(buf_view(&json), SLICE(""), &err);
  if (!t) fail_msg("%s", err.message);
  buf_free(&json);
  return t;
}

static struct tokenizer *open_vocabulary_at(const char *path) {
  struct error err = {0};
  struct buf bytes = {0};
  read_file(path, &bytes);
  struct tokenizer *t = tokenizer_open_vocabulary(buf_view(&bytes), SLICE(""), &err);
  if (!t) fail_msg("%s", err.message);
  buf_free(&bytes);
  return t;
}

static char *vector_path(const char *name, const char *ending) {
  struct buf path = {0};
  buf_printf(&path, "%s/tokenizer/%s%s", VECTOR_DIR, name, ending);
  return path.data;
}

/* ---- one line of vectors ---- */

static void read_ids(const struct js *list, struct ids *out) {
  for (size_t i = 0; i < js_len(list); i++) {
    int64_t id = -1;
    assert_true(js_int(js_at(list, i), &id));
    ids_add(out, (int32_t)id);
  }
}

static void assert_ids(const struct js *want, const struct ids *got, const char *line) {
  struct ids ids = {0};
  read_ids(want, &ids);
  bool same = ids.len == got->len && (ids.len == 0 || memcmp(ids.data, got->data, ids.len * sizeof ids.data[0]) == 0);
  if (!same) fail_msg("other ids for %s", line);
  ids_free(&ids);
}

static void assert_text(const struct js *want, struct slice fallback, const struct buf *got, const char *line) {
  struct slice text = fallback;
  js_str(want, &text);
  if (!slice_eq(text, buf_view(got))) fail_msg("decoded to '%s': %s", got->data ? got->data : "", line);
}

/* Token by token must give the same as all at once. */
static void assert_stream(const struct tokenizer *t, const struct ids *ids, bool skip, const struct buf *whole, const char *line) {
  struct detok d;
  struct buf out = {0};
  detok_init(&d, t, skip);
  for (size_t i = 0; i < ids->len; i++) {
    detok_push(&d, ids->data[i], &out);
    if (!utf8_valid(buf_view(&out))) fail_msg("half a character after token %zu: %s", i, line);
  }
  detok_finish(&d, &out);
  if (!slice_eq(buf_view(&out), buf_view(whole))) fail_msg("a stream decoded to '%s': %s", out.data ? out.data : "", line);
  buf_free(&out);
}

/* Where a run of byte tokens is no text, the whole of it becomes U+FFFD, byte by byte, when all is decoded at once; a stream has emitted
 * the characters that were complete. Everywhere else a stream gives the same. */
enum stream { STREAM, STREAM_OF_BYTE_TOKENS };

static void check_decode(const struct tokenizer *t, const struct ids *ids, const struct js *want, struct slice fallback, bool skip,
                         enum stream stream, const char *line) {
  struct buf out = {0};
  tokenizer_decode(t, ids->data, ids->len, skip, &out);
  assert_text(want, fallback, &out, line);
  bool broken = out.data && strstr(out.data, "\xEF\xBF\xBD");
  if (stream == STREAM || !broken) assert_stream(t, ids, skip, &out, line);
  buf_free(&out);
}

static void check_encode(const struct tokenizer *t, const struct js *json, struct slice text, enum stream stream, const char *line) {
  struct error err = {0};
  struct ids ids = {0}, plain = {0};
  if (tokenizer_encode(t, text, TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, &ids, &err) < 0) fail_msg("%s: %s", err.message, line);
  assert_ids(js_get(json, "ids"), &ids, line);
  assert_int_equal(tokenizer_encode(t, text, TOKENIZER_ADD_SPECIAL, &plain, &err), 0);
  assert_ids(js_get(json, js_get(json, "plain") ? "plain" : "ids"), &plain, line);
  check_decode(t, &ids, js_get(json, "decoded"), text, false, stream, line);
  ids_free(&ids);
  ids_free(&plain);
}

static void check_line(const struct tokenizer *t, struct slice line, enum stream stream) {
  struct error err = {0};
  char *shown = strndup(line.data, line.len);
  struct js *json = js_parse(line, &err);
  if (!json) fail_msg("%s", err.message);
  struct slice text, hex, decoded = SLICE("");
  struct buf bytes = {0};
  struct ids ids = {0};
  if (js_str(js_get(json, "text"), &text)) {
    check_encode(t, json, text, stream, shown);
  } else if (js_str(js_get(json, "hex"), &hex)) {
    for (size_t i = 0; i + 1 < hex.len; i += 2) {
      char digits[3] = {hex.data[i], hex.data[i + 1]};
      buf_add_byte(&bytes, (unsigned char)strtoul(digits, NULL, 16));
    }
    check_encode(t, json, buf_view(&bytes), stream, shown);
  } else {
    read_ids(js_get(json, "decode"), &ids);
    js_str(js_get(json, "decoded"), &decoded);
    check_decode(t, &ids, js_get(json, "decoded"), decoded, false, stream, shown);
    check_decode(t, &ids, js_get(json, "skipped"), decoded, true, stream, shown);
  }
  buf_free(&bytes);
  ids_free(&ids);
  js_free(json);
  free(shown);
}

static void check_vectors(const struct tokenizer *t, const char *name, enum stream stream) {
  char *path = vector_path(name, ".jsonl");
  struct buf file = {0};
  read_file(path, &file);
  size_t n = 0;
  for (struct slice rest = buf_view(&file); rest.len; n++) {
    const char *end = memchr(rest.data, '\n', rest.len);
    assert_non_null(end);
    check_line(t, slice_make(rest.data, (size_t)(end - rest.data)), stream);
    rest = slice_from(rest, (size_t)(end - rest.data) + 1);
  }
  assert_true(n > 100);
  buf_free(&file);
  free(path);
}

static void check_trained(const char *name, enum stream stream) {
  char *path = vector_path(name, ".json");
  struct tokenizer *t = open_json_at(path);
  check_vectors(t, name, stream);
  tokenizer_close(t);
  free(path);
}

static void check_file(const char *name, const char *ending, const char *kind, enum stream stream) {
  char *path = vector_path(name, ending);
  struct tokenizer *t = open_vocabulary_at(path);
  assert_string_equal(tokenizer_kind(t), kind);
  check_vectors(t, name, stream);
  tokenizer_close(t);
  free(path);
}

static void gpt2_equals_the_reference(void **state) { (void)state, check_trained("gpt2", STREAM); }
static void llama3_equals_the_reference(void **state) { (void)state, check_trained("llama3", STREAM); }
static void neox_with_nfc_and_space_tokens_equals_the_reference(void **state) { (void)state, check_trained("neox", STREAM); }
static void roberta_equals_the_reference(void **state) { (void)state, check_trained("roberta", STREAM); }
static void llama2_legacy_equals_the_reference(void **state) { (void)state, check_trained("llama2_legacy", STREAM_OF_BYTE_TOKENS); }
static void llama2_metaspace_equals_the_reference(void **state) { (void)state, check_trained("llama2_metaspace", STREAM_OF_BYTE_TOKENS); }
static void bpe_with_suffix_and_unknown_equals_the_reference(void **state) { (void)state, check_trained("unk_bpe", STREAM); }
static void bpe_with_prefix_and_fused_unknown_equals_the_reference(void **state) { (void)state, check_trained("fused_bpe", STREAM); }
static void cased_bert_equals_the_reference(void **state) { (void)state, check_trained("bert_cased", STREAM); }
static void overlapping_added_tokens_equal_the_reference(void **state) { (void)state, check_trained("odd_added", STREAM); }
static void patterns_by_pcre2_equal_the_reference(void **state) { (void)state, check_trained("split_isolated", STREAM); }

static void unigram_with_a_table_equals_the_reference(void **state) { (void)state, check_trained("unigram", STREAM); }
static void sentencepiece_bpe_equals_the_reference(void **state) {
  (void)state, check_file("spm_bpe", ".model", "BPE", STREAM_OF_BYTE_TOKENS);
}
static void sentencepiece_unigram_equals_the_reference(void **state) {
  (void)state, check_file("spm_unigram", ".model", "Unigram", STREAM);
}
static void sentencepiece_unigram_with_bytes_equals_the_reference(void **state) {
  (void)state, check_file("spm_fallback", ".model", "Unigram", STREAM_OF_BYTE_TOKENS);
}
static void tiktoken_ranks_equal_the_reference(void **state) { (void)state, check_file("ranks", ".tiktoken", "BPE", STREAM); }

static struct tokenizer *open_model(const char *name) {
  struct error err = {0};
  char *path = model_path(name);
  if (!fs_exists(path)) {
    print_message("%s is not installed (./dev build fetches it)\n", path);
    free(path);
    skip();
  }
  struct file_model *m = file_model_open_text(path, &err);
  if (!m) fail_msg("%s", err.message);
  struct tokenizer *t = tokenizer_open(m, &err);
  if (!t) fail_msg("%s", err.message);
  file_model_close(m);
  free(path);
  return t;
}

static void smollm2_from_gguf_equals_the_reference(void **state) {
  (void)state;
  struct tokenizer *t = open_model("smollm2-135m-instruct");
  check_vectors(t, "smollm2", STREAM);
  size_t n;
  const int32_t *stop = tokenizer_stop_ids(t, &n);
  assert_int_equal(tokenizer_n_vocab(t), 49152);
  assert_int_equal(tokenizer_bos(t), 1);
  assert_int_equal(tokenizer_eos(t), 2);
  assert_int_equal(n, 2); /* <|im_end|> and <|endoftext|> */
  assert_int_equal(stop[0], 2);
  assert_int_equal(stop[1], 0);
  assert_true(tokenizer_is_special(t, 2));
  assert_false(tokenizer_is_special(t, 19556));
  assert_true(slice_eq(tokenizer_token_bytes(t, 905), SLICE(" world")));
  assert_int_equal(tokenizer_find(t, SLICE("<|im_start|>")), 1);
  assert_string_equal(tokenizer_kind(t), "BPE");
  tokenizer_close(t);
}

static void minilm_equals_the_reference_without_its_padding_and_truncation(void **state) {
  (void)state;
  struct tokenizer *t = open_model("all-minilm-l6-v2");
  check_vectors(t, "minilm", STREAM);
  assert_int_equal(tokenizer_n_vocab(t), 30522);
  assert_string_equal(tokenizer_kind(t), "WordPiece");
  assert_true(slice_eq(tokenizer_token_bytes(t, 2088), SLICE(" world")));
  tokenizer_close(t);
}

/* ---- properties ---- */

static uint32_t next_random(uint32_t *x) { return *x = *x * 1664525u + 1013904223u; }

static void streams_of_random_ids_equal_the_whole(void **state) {
  (void)state;
  static const char *const names[] = {"gpt2", "llama3", "neox", "bert_cased", "fused_bpe"};
  uint32_t x = 1;
  for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
    char *path = vector_path(names[k], ".json");
    struct tokenizer *t = open_json_at(path);
    for (int round = 0; round < 2000; round++) {
      struct ids ids = {0};
      struct buf whole = {0};
      size_t n = next_random(&x) >> 16 & 15;
      for (size_t i = 0; i < n; i++) ids_add(&ids, (int32_t)((next_random(&x) >> 8) % (unsigned)tokenizer_n_vocab(t)));
      bool skip_special = next_random(&x) >> 31;
      tokenizer_decode(t, ids.data, ids.len, skip_special, &whole);
      assert_stream(t, &ids, skip_special, &whole, names[k]);
      ids_free(&ids);
      buf_free(&whole);
    }
    tokenizer_close(t);
    free(path);
  }
}

static void ids_out_of_range_are_skipped(void **state) {
  (void)state;
  char *path = vector_path("gpt2", ".json");
  struct tokenizer *t = open_json_at(path);
  int32_t ids[] = {-1, tokenizer_find(t, SLICE("a")), INT32_MAX, tokenizer_n_vocab(t)};
  struct buf out = {0};
  tokenizer_decode(t, ids, 4, false, &out);
  assert_string_equal(out.data, "a");
  assert_int_equal(tokenizer_token_bytes(t, -1).len, 0);
  assert_int_equal(tokenizer_token_bytes(t, tokenizer_n_vocab(t)).len, 0);
  assert_false(tokenizer_is_special(t, -5));
  buf_free(&out);
  tokenizer_close(t);
  free(path);
}

/* Splits nothing, so the whole text is one piece: time must not be quadratic in it. Checked by reaching the end. */
static void a_long_piece_is_encoded_and_comes_back(void **state) {
  (void)state;
  char *path = vector_path("llama2_legacy", ".json");
  struct tokenizer *t = open_json_at(path);
  static const char *const units[] = {"a", "ab", " ", "\xCC\x81", "e\xCC\x81"};
  for (size_t k = 0; k < sizeof units / sizeof units[0]; k++) {
    struct buf text = {0}, out = {0};
    struct ids ids = {0};
    while (text.len < 1000000) buf_add_cstr(&text, units[k]);
    assert_int_equal(tokenizer_encode(t, buf_view(&text), 0, &ids, NULL), 0);
    tokenizer_decode(t, ids.data, ids.len, false, &out);
    assert_true(slice_eq(buf_view(&out), buf_view(&text)));
    ids_free(&ids);
    buf_free(&text);
    buf_free(&out);
  }
  tokenizer_close(t);
  free(path);
}

/* A draft model's ids must be the model's own. */
static void two_tokenizers_have_the_same_ids_or_say_which_differs_first(void **state) {
  (void)state;
  static const char head[] = "{\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {\"a\": 0, ";
  static const char *const tails[] = {"\"b\": 1}}}", "\"c\": 1}}}", "\"b\": 1, \"c\": 2}}}",
                                      "\"b\": 1}}, \"added_tokens\": [{\"id\": 1, \"content\": \"b\", \"special\": true}]}"};
  struct tokenizer *t[5];
  int32_t first = -1;
  for (int i = 0; i < 5; i++) {
    char json[256];
    struct error err;
    snprintf(json, sizeof json, "%s%s", head, tails[i % 4]);
    t[i] = tokenizer_open_json(slice_cstr(json), SLICE(""), &err);
    if (!t[i]) fail_msg("%s", err.message);
  }
  assert_true(tokenizer_same_ids(t[0], t[4], &first));
  const int32_t differs[] = {0, 1, 2, 1};
  for (int i = 1; i < 4; i++) {
    assert_false(tokenizer_same_ids(t[0], t[i], &first));
    assert_int_equal(first, differs[i]);
  }
  for (int i = 0; i < 5; i++) tokenizer_close(t[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gpt2_equals_the_reference),
      cmocka_unit_test(llama3_equals_the_reference),
      cmocka_unit_test(neox_with_nfc_and_space_tokens_equals_the_reference),
      cmocka_unit_test(roberta_equals_the_reference),
      cmocka_unit_test(llama2_legacy_equals_the_reference),
      cmocka_unit_test(llama2_metaspace_equals_the_reference),
      cmocka_unit_test(bpe_with_suffix_and_unknown_equals_the_reference),
      cmocka_unit_test(bpe_with_prefix_and_fused_unknown_equals_the_reference),
      cmocka_unit_test(cased_bert_equals_the_reference),
      cmocka_unit_test(overlapping_added_tokens_equal_the_reference),
      cmocka_unit_test(patterns_by_pcre2_equal_the_reference),
      cmocka_unit_test(unigram_with_a_table_equals_the_reference),
      cmocka_unit_test(sentencepiece_bpe_equals_the_reference),
      cmocka_unit_test(sentencepiece_unigram_equals_the_reference),
      cmocka_unit_test(sentencepiece_unigram_with_bytes_equals_the_reference),
      cmocka_unit_test(tiktoken_ranks_equal_the_reference),
      cmocka_unit_test(smollm2_from_gguf_equals_the_reference),
      cmocka_unit_test(minilm_equals_the_reference_without_its_padding_and_truncation),
      cmocka_unit_test(streams_of_random_ids_equal_the_whole),
      cmocka_unit_test(ids_out_of_range_are_skipped),
      cmocka_unit_test(two_tokenizers_have_the_same_ids_or_say_which_differs_first),
      cmocka_unit_test(a_long_piece_is_encoded_and_comes_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
