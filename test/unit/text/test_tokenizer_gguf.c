/* Tokenizers from GGUF metadata that is written here. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "text/text.h"

/* ---- a writer of files that hold only metadata ---- */

struct writer {
  struct buf body;
  uint64_t n_values;
};

static void put_u32(struct buf *b, uint32_t v) { buf_add(b, &v, 4); }
static void put_u64(struct buf *b, uint64_t v) { buf_add(b, &v, 8); }

static void put_text(struct buf *b, const char *text) {
  put_u64(b, strlen(text));
  buf_add_cstr(b, text);
}

static void put_key(struct writer *w, const char *key, enum gguf_type type) {
  put_text(&w->body, key);
  put_u32(&w->body, (uint32_t)type);
  w->n_values++;
}

static void put_str(struct writer *w, const char *key, const char *value) {
  put_key(w, key, GGUF_STRING);
  put_text(&w->body, value);
}

static void put_id(struct writer *w, const char *key, uint32_t value) {
  put_key(w, key, GGUF_U32);
  put_u32(&w->body, value);
}

static void put_bool(struct writer *w, const char *key, bool value) {
  put_key(w, key, GGUF_BOOL);
  buf_add_byte(&w->body, value);
}

/* items ends with NULL. */
static void put_strs(struct writer *w, const char *key, const char *const *items) {
  uint64_t n = 0;
  while (items[n]) n++;
  put_key(w, key, GGUF_ARRAY);
  put_u32(&w->body, GGUF_STRING);
  put_u64(&w->body, n);
  for (uint64_t i = 0; i < n; i++) put_text(&w->body, items[i]);
}

static void put_types(struct writer *w, const int32_t *types, uint64_t n) {
  put_key(w, "tokenizer.ggml.token_type", GGUF_ARRAY);
  put_u32(&w->body, GGUF_I32);
  put_u64(&w->body, n);
  for (uint64_t i = 0; i < n; i++) put_u32(&w->body, (uint32_t)types[i]);
}

static struct tokenizer *open_written(struct writer *w, struct error *err) {
  struct buf file = {0};
  buf_add_cstr(&file, "GGUF");
  put_u32(&file, 3);
  put_u64(&file, 0);
  put_u64(&file, w->n_values);
  buf_add_slice(&file, buf_view(&w->body));
  struct gguf *g = gguf_open_bytes(buf_view(&file), "written.gguf", err);
  struct tokenizer *t = g ? tokenizer_open_gguf(g, err) : NULL;
  gguf_close(g);
  buf_free(&file);
  buf_free(&w->body);
  return t;
}

static void expect_ids(const struct tokenizer *t, const char *text, unsigned flags, const int32_t *want, size_t n_want) {
  struct ids ids = {0};
  struct error err = {0};
  if (tokenizer_encode(t, slice_cstr(text), flags, &ids, &err) < 0) fail_msg("%s", err.message);
  assert_int_equal(ids.len, n_want);
  assert_memory_equal(ids.data, want, n_want * sizeof want[0]);
  ids_free(&ids);
}
#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

/* A space is U+0120 in the byte-level alphabet. */
static void write_bpe(struct writer *w, const char *pre) {
  static const char *const tokens[] = {"a",
                                       "b",
                                       "\xC4\xA0",
                                       "ab",
                                       "\xC4\xA0"
                                       "ab",
                                       "<s>",
                                       "<|eot_id|>",
                                       "[user]",
                                       "1",
                                       "2",
                                       NULL};
  static const char *const merges[] = {"a b", "\xC4\xA0 ab", NULL};
  static const int32_t types[] = {1, 1, 1, 1, 1, 3, 3, 4, 1, 1};
  put_str(w, "tokenizer.ggml.model", "gpt2");
  if (pre) put_str(w, "tokenizer.ggml.pre", pre);
  put_strs(w, "tokenizer.ggml.tokens", tokens);
  put_types(w, types, 10);
  put_strs(w, "tokenizer.ggml.merges", merges);
  put_id(w, "tokenizer.ggml.bos_token_id", 5);
}

static void bpe_is_read_and_every_known_pre_tokenizer_opens(void **state) {
  (void)state;
  static const char *const pres[] = {"gpt-2",  "mpt",      "smollm", "starcoder", "refact",  "command-r", "llama-bpe",
                                     "llama3", "llama-v3", "dbrx",   "qwen2",     "default", NULL};
  for (size_t i = 0; i == 0 || pres[i - 1]; i++) {
    struct writer w = {0};
    struct error err = {0};
    write_bpe(&w, pres[i]);
    struct tokenizer *t = open_written(&w, &err);
    if (!t) fail_msg("%s: %s", pres[i] ? pres[i] : "(none)", err.message);
    expect_ids(t, "ab ab", 0, IDS(3, 4));
    tokenizer_close(t);
  }
}

static void llama3_adds_bos_and_control_tokens_match_only_when_asked(void **state) {
  (void)state;
  struct writer w = {0};
  struct error err = {0};
  write_bpe(&w, "llama-bpe");
  struct tokenizer *t = open_written(&w, &err);
  if (!t) fail_msg("%s", err.message);
  expect_ids(t, "ab<|eot_id|>[user]12", TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, IDS(5, 3, 6, 7, 8, 9));
  expect_ids(t, "b[user]b", 0, IDS(1, 7, 1)); /* user-defined tokens match always */
  size_t n;
  const int32_t *stop = tokenizer_stop_ids(t, &n);
  assert_int_equal(n, 1); /* by its name */
  assert_int_equal(stop[0], 6);
  assert_true(tokenizer_is_special(t, 5));
  assert_false(tokenizer_is_special(t, 7));
  tokenizer_close(t);
}

static void add_bos_token_false_is_obeyed(void **state) {
  (void)state;
  struct writer w = {0};
  struct error err = {0};
  write_bpe(&w, "llama-bpe");
  put_bool(&w, "tokenizer.ggml.add_bos_token", false);
  struct tokenizer *t = open_written(&w, &err);
  if (!t) fail_msg("%s", err.message);
  expect_ids(t, "ab", TOKENIZER_ADD_SPECIAL, IDS(3));
  tokenizer_close(t);
}

static void put_scores(struct writer *w, uint64_t n) {
  put_key(w, "tokenizer.ggml.scores", GGUF_ARRAY);
  put_u32(&w->body, GGUF_F32);
  put_u64(&w->body, n);
  for (uint64_t i = 0; i < n; i++) buf_add(&w->body, &(float){-(float)i}, 4);
}

static void write_spm(struct writer *w) {
  static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "\xE2\x96\x81", "a", "b", "ab", "<u>", NULL};
  static const int32_t types[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 4};
  put_str(w, "tokenizer.ggml.model", "llama");
  put_strs(w, "tokenizer.ggml.tokens", tokens);
  put_types(w, types, 10);
  put_scores(w, 10);
}

static void sentencepiece_vocabularies_merge_by_score(void **state) {
  (void)state;
  struct error err = {0};
  struct writer w = {0};
  write_spm(&w);
  struct tokenizer *t = open_written(&w, &err);
  if (!t) fail_msg("%s", err.message);
  unsigned all = TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL;
  expect_ids(t, "ab a<u>b</s>", all, IDS(1, 5, 8, 5, 6, 9, 5, 7, 2)); /* a space stands before every segment */
  expect_ids(t, "\xC3\xA9x</s>", 0, IDS(5, 3, 4, 0));                 /* bytes, and one unknown for the rest */
  assert_int_equal(tokenizer_bos(t), 1);
  assert_int_equal(tokenizer_eos(t), 2);
  tokenizer_close(t);
  w = (struct writer){0};
  write_spm(&w);
  put_bool(&w, "tokenizer.ggml.add_space_prefix", false);
  put_bool(&w, "tokenizer.ggml.add_bos_token", false);
  put_bool(&w, "tokenizer.ggml.add_eos_token", true);
  t = open_written(&w, &err);
  if (!t) fail_msg("%s", err.message);
  expect_ids(t, "ab", all, IDS(8, 2));
  tokenizer_close(t);
  w = (struct writer){0};
  write_spm(&w);
  put_str(&w, "plinth.tokenizer.space_prefix", "first");
  t = open_written(&w, &err);
  if (!t) fail_msg("%s", err.message);
  expect_ids(t, "ab a<u>b</s>", all, IDS(1, 5, 8, 5, 6, 9, 7, 2));
  tokenizer_close(t);
}

static void bert_words_lose_the_mark_that_the_format_gives_them(void **state) {
  (void)state;
  static const char *const tokens[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "\xE2\x96\x81play", "ing", "\xE2\x96\x81.", NULL};
  static const int32_t types[] = {3, 2, 3, 3, 1, 1, 1};
  struct writer w = {0};
  struct error err = {0};
  put_str(&w, "tokenizer.ggml.model", "bert");
  put_strs(&w, "tokenizer.ggml.tokens", tokens);
  put_types(&w, types, 7);
  put_id(&w, "tokenizer.ggml.seperator_token_id", 3);
  put_id(&w, "tokenizer.ggml.unknown_token_id", 1);
  struct tokenizer *t = open_written(&w, &err);
  if (!t) fail_msg("%s", err.message);
  expect_ids(t, "Playing. Pl\xC3\xA1y x", TOKENIZER_ADD_SPECIAL, IDS(2, 4, 5, 6, 4, 1, 3));
  struct buf out = {0};
  tokenizer_decode(t, IDS(2, 4, 5, 6, 3), true, &out);
  assert_string_equal(out.data, "playing.");
  buf_free(&out);
  tokenizer_close(t);
}

static void expect_refusal(struct writer *w, enum error_code code, const char *word) {
  struct error err = {0};
  assert_null(open_written(w, &err));
  if (err.code != code || !strstr(err.message, word)) fail_msg("code %d: %s", err.code, err.message);
}

static void what_is_not_known_or_missing_is_refused_by_name(void **state) {
  (void)state;
  static const char *const tokens[] = {"a", "b", NULL}, *const merges[] = {"a b", NULL}, *const bad[] = {"ab", NULL};
  static const int32_t types[] = {1};
  struct writer w = {0};
  expect_refusal(&w, ERROR_NOT_FOUND, "tokenizer.ggml.model");
  w = (struct writer){0};
  put_str(&w, "tokenizer.ggml.model", "rwkv");
  expect_refusal(&w, ERROR_UNSUPPORTED, "'rwkv'");
  w = (struct writer){0};
  write_bpe(&w, "frob-7");
  expect_refusal(&w, ERROR_UNSUPPORTED, "'frob-7'");
  w = (struct writer){0};
  put_str(&w, "tokenizer.ggml.model", "gpt2");
  expect_refusal(&w, ERROR_CORRUPT, "tokenizer.ggml.tokens");
  w = (struct writer){0};
  put_str(&w, "tokenizer.ggml.model", "gpt2");
  put_strs(&w, "tokenizer.ggml.tokens", tokens);
  put_types(&w, types, 1);
  expect_refusal(&w, ERROR_CORRUPT, "token_type");
  w = (struct writer){0};
  put_str(&w, "tokenizer.ggml.model", "gpt2");
  put_strs(&w, "tokenizer.ggml.tokens", tokens);
  put_strs(&w, "tokenizer.ggml.merges", merges);
  expect_refusal(&w, ERROR_CORRUPT, "'ab'");
  w = (struct writer){0};
  put_str(&w, "tokenizer.ggml.model", "gpt2");
  put_strs(&w, "tokenizer.ggml.tokens", tokens);
  put_strs(&w, "tokenizer.ggml.merges", bad);
  expect_refusal(&w, ERROR_CORRUPT, "no space");
  w = (struct writer){0};
  write_spm(&w);
  put_str(&w, "plinth.tokenizer.space_prefix", "last");
  expect_refusal(&w, ERROR_UNSUPPORTED, "plinth.tokenizer.space_prefix 'last'");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bpe_is_read_and_every_known_pre_tokenizer_opens),
      cmocka_unit_test(llama3_adds_bos_and_control_tokens_match_only_when_asked),
      cmocka_unit_test(add_bos_token_false_is_obeyed),
      cmocka_unit_test(sentencepiece_vocabularies_merge_by_score),
      cmocka_unit_test(bert_words_lose_the_mark_that_the_format_gives_them),
      cmocka_unit_test(what_is_not_known_or_missing_is_refused_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
