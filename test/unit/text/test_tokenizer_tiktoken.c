/* Tokenizers from tiktoken files that are written here. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/text.h"

static void add_token(struct buf *file, const unsigned char *bytes, unsigned n, unsigned rank) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t bits = 0;
  for (unsigned i = 0; i < 3; i++) bits = bits << 8 | (i < n ? bytes[i] : 0);
  for (unsigned i = 0; i < 4; i++) buf_add_byte(file, i <= n ? (unsigned char)digits[bits >> (18 - 6 * i) & 63] : '=');
  buf_printf(file, " %u\n", rank);
}

/* Every byte, and "ab" and "abc". */
static void add_bytes(struct buf *file) {
  for (unsigned i = 0; i < 256; i++) add_token(file, &(unsigned char){(unsigned char)i}, 1, i);
  add_token(file, (const unsigned char *)"bc", 2, 256);
  add_token(file, (const unsigned char *)"ab", 2, 257);
  add_token(file, (const unsigned char *)"abc", 3, 258);
}

static void expect_ids(const struct tokenizer *t, struct slice text, unsigned flags, const int32_t *want, size_t n) {
  struct ids ids = {0};
  assert_int_equal(tokenizer_encode(t, text, flags, &ids, NULL), 0);
  assert_int_equal(ids.len, n);
  assert_memory_equal(ids.data, want, n * sizeof want[0]);
  ids_free(&ids);
}

static void pieces_merge_by_the_rank_of_what_they_make(void **state) {
  (void)state;
  struct buf file = {0};
  struct error err = {0};
  add_bytes(&file);
  struct tokenizer *t = tokenizer_open_vocabulary(buf_view(&file), SLICE(""), &err);
  if (!t) fail_msg("%s", err.message);
  expect_ids(t, SLICE("abc"), 0, (const int32_t[]){258}, 1);
  expect_ids(t, SLICE("abcd"), 0, (const int32_t[]){258, 'd'}, 2); /* bc first, then abc */
  expect_ids(t, SLICE("abx\xFF"), 0, (const int32_t[]){257, 'x', 0xEF, 0xBF, 0xBD}, 5);
  assert_int_equal(tokenizer_n_vocab(t), 259);
  tokenizer_close(t);
  buf_free(&file);
}

static void tokens_of_the_config_are_added(void **state) {
  (void)state;
  struct buf file = {0};
  struct error err = {0};
  add_bytes(&file);
  struct slice config = SLICE(
      "{\"added_tokens_decoder\":{\"260\":{\"content\":\"<|im_end|>\",\"special\":true},"
      "\"261\":{\"content\":\"  \",\"special\":false}},\"bos_token\":\"<|im_end|>\",\"eos_token\":\"<|im_end|>\","
      "\"add_bos_token\":true,\"extra_special_tokens\":{\"image_token\":\"<|image|>\"}}");
  struct tokenizer *t = tokenizer_open_vocabulary(buf_view(&file), config, &err);
  if (!t) fail_msg("%s", err.message);
  expect_ids(t, SLICE("ab  <|im_end|>"), TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, (const int32_t[]){260, 257, 261, 260}, 4);
  assert_int_equal(tokenizer_eos(t), 260);
  assert_true(tokenizer_is_special(t, 260));
  assert_false(tokenizer_is_special(t, 261));
  assert_int_equal(tokenizer_find(t, SLICE("<|image|>")), 262);
  assert_true(tokenizer_is_special(t, 262));
  assert_int_equal(tokenizer_n_vocab(t), 263);
  tokenizer_close(t);
  struct slice wrong = SLICE("{\"added_tokens_decoder\":{\"97\":{\"content\":\"<|x|>\"}}}");
  assert_null(tokenizer_open_vocabulary(buf_view(&file), wrong, &err));
  assert_non_null(strstr(err.message, "'<|x|>' has id 97"));
  buf_free(&file);
}

static void a_file_of_llama_3s_size_brings_its_special_tokens(void **state) {
  (void)state;
  struct buf file = {0};
  struct error err = {0};
  for (unsigned i = 0; i < 256; i++) add_token(&file, &(unsigned char){(unsigned char)i}, 1, i);
  for (unsigned i = 256; i < 128000; i++)
    add_token(&file, (const unsigned char[]){(unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i}, 3, i);
  struct tokenizer *t = tokenizer_open_vocabulary(buf_view(&file), SLICE(""), &err);
  if (!t) fail_msg("%s", err.message);
  assert_int_equal(tokenizer_n_vocab(t), 128256);
  assert_int_equal(tokenizer_bos(t), 128000);
  assert_int_equal(tokenizer_find(t, SLICE("<|eot_id|>")), 128009);
  assert_int_equal(tokenizer_find(t, SLICE("<|python_tag|>")), 128010);
  assert_int_equal(tokenizer_find(t, SLICE("<|reserved_special_token_3|>")), 128011);
  assert_int_equal(tokenizer_find(t, SLICE("<|reserved_special_token_247|>")), 128255);
  expect_ids(t, SLICE("<|eot_id|>"), TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, (const int32_t[]){128000, 128009}, 2);
  tokenizer_close(t);
  buf_free(&file);
}

static void expect_listing(struct buf *file, const char *pre, const char *const *merges, size_t n) {
  struct error err = {0};
  struct tokenizer_listing l;
  struct tokenizer *t = tokenizer_open_vocabulary(buf_view(file), SLICE("{\"additional_special_tokens\":[\"<|x|>\"]}"), &err);
  if (!t) fail_msg("%s", err.message);
  assert_int_equal(tokenizer_list(t, &l, &err), 0);
  assert_string_equal(l.model, "gpt2");
  assert_string_equal(l.pre, pre);
  assert_int_equal(l.n_merges, n);
  for (size_t i = 0; i < n; i++) assert_true(slice_eq(l.merges[i], slice_cstr(merges[i])));
  assert_int_equal(l.n, tokenizer_n_vocab(t));
  assert_true(slice_eq(l.tokens[l.n - 1], SLICE("<|x|>")));
  assert_int_equal(l.types[l.n - 1], 3); /* control */
  assert_int_equal(l.types['a'], 1);
  assert_null(l.scores);
  tokenizer_listing_free(&l);
  tokenizer_close(t);
}

static void ranks_become_one_merge_for_each_token_that_merging_makes(void **state) {
  (void)state;
  static const char *const merges[] = {"b c", "a b", "a bc"};
  struct buf file = {0};
  add_bytes(&file);
  expect_listing(&file, "dbrx", merges, 3);
  add_token(&file, (const unsigned char *)"xyz", 3, 259); /* only as a whole piece */
  expect_listing(&file, "llama-bpe", merges, 3);
  buf_free(&file);
}

static void expect_refusal(struct slice text, const char *why) {
  struct error err = {0};
  assert_null(tokenizer_open_vocabulary(text, SLICE(""), &err));
  if (!strstr(err.message, why)) fail_msg("'%s' is not in: %s", why, err.message);
}

static void broken_files_are_refused(void **state) {
  (void)state;
  struct buf file = {0};
  expect_refusal(SLICE(""), "neither a SentencePiece model nor a tiktoken file");
  expect_refusal(SLICE("hello"), "neither");
  expect_refusal(SLICE("YQ== 0\nYg== 1\n"), "no token for the byte 0");
  expect_refusal(SLICE("YQ== 0\n%%%% 1\n"), "rank 1 is no base64");
  expect_refusal(SLICE("YQ== 0\nYg==\n"), "Line 2");
  expect_refusal(SLICE("YQ== 0\nYg== 1x\n"), "Line 2");
  expect_refusal(SLICE("YQ== 0\nYQ== 1\n"), "twice");
  expect_refusal(SLICE("YQ== 0\nYg== 0\n"), "given to two tokens");
  expect_refusal(SLICE("YQ== 0\nYg== 99999999\n"), "Line 2");
  buf_free(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pieces_merge_by_the_rank_of_what_they_make),
      cmocka_unit_test(tokens_of_the_config_are_added),
      cmocka_unit_test(a_file_of_llama_3s_size_brings_its_special_tokens),
      cmocka_unit_test(ranks_become_one_merge_for_each_token_that_merging_makes),
      cmocka_unit_test(broken_files_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
