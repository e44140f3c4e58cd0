/* Tokenizers from SentencePiece models that are written here, and from the files beside them. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "text/text.h"

/* ---- a writer of models ---- */

static void put_varint(struct buf *b, uint64_t v) {
  for (; v >= 0x80; v >>= 7) buf_add_byte(b, (unsigned char)(v | 0x80));
  buf_add_byte(b, (unsigned char)v);
}

static void put_int(struct buf *b, unsigned number, uint64_t v) {
  put_varint(b, number << 3);
  put_varint(b, v);
}

static void put_bytes(struct buf *b, unsigned number, struct slice bytes) {
  put_varint(b, number << 3 | 2);
  put_varint(b, bytes.len);
  buf_add_slice(b, bytes);
}

static void put_piece(struct buf *file, const char *text, float score, unsigned type) {
  struct buf piece = {0};
  put_bytes(&piece, 1, slice_cstr(text));
  put_varint(&piece, 2 << 3 | 5);
  buf_add(&piece, &score, 4);
  if (type != 1) put_int(&piece, 3, type);
  put_bytes(file, 1, buf_view(&piece));
  buf_free(&piece);
}

#define MARK "\xE2\x96\x81"

enum { UNKNOWN = 2, CONTROL, USER_DEFINED, UNUSED, BYTE, BPE = 2 };

/* <unk> <s> </s> 256 bytes, then: a b ▁ ab ▁a <u> s> */
static void put_pieces(struct buf *file) {
  put_piece(file, "<unk>", 0, UNKNOWN);
  put_piece(file, "<s>", 0, CONTROL);
  put_piece(file, "</s>", 0, CONTROL);
  for (int i = 0; i < 256; i++) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
    put_piece(file, name, 0, BYTE);
  }
  static const char *const normal[] = {"a", "b", MARK, "ab", MARK "a", "<", "s>", "s", ">"};
  for (size_t i = 0; i < sizeof normal / sizeof normal[0]; i++) put_piece(file, normal[i], -(float)i, 1);
  put_piece(file, "<u>", 0, USER_DEFINED);
}
enum { A = 259, B, SPACE, AB, SPACE_A, LESS, S_GREATER, S, GREATER, U };

/* trainer and normalizer: pairs of a field's number and its value, ended by 0. */
static void put_specs(struct buf *file, const unsigned *trainer, const unsigned *normalizer) {
  struct buf spec = {0};
  for (; *trainer; trainer += 2) put_int(&spec, trainer[0], trainer[1]);
  put_bytes(file, 2, buf_view(&spec));
  buf_clear(&spec);
  for (; *normalizer; normalizer += 2) put_int(&spec, normalizer[0], normalizer[1]);
  put_bytes(file, 3, buf_view(&spec));
  buf_free(&spec);
}

static void llama(struct buf *file) {
  put_pieces(file);
  put_specs(file, (const unsigned[]){3, BPE, 35, 1, 0}, (const unsigned[]){3, 1, 4, 0, 0});
}

static struct tokenizer *open_llama(const char *config) {
  struct buf file = {0};
  struct error err = {0};
  llama(&file);
  struct tokenizer *t = tokenizer_open_vocabulary(buf_view(&file), slice_cstr(config), &err);
  if (!t) fail_msg("%s", err.message);
  buf_free(&file);
  return t;
}

static void expect_ids(const struct tokenizer *t, const char *text, unsigned flags, const int32_t *want, size_t n) {
  struct ids ids = {0};
  assert_int_equal(tokenizer_encode(t, slice_cstr(text), flags, &ids, NULL), 0);
  if (ids.len != n || memcmp(ids.data, want, n * sizeof want[0]) != 0) fail_msg("other ids for '%s'", text);
  ids_free(&ids);
}
#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)
enum { ALL = TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL };

/* ---- */

static void the_prefix_stands_before_every_segment_or_the_first_one(void **state) {
  (void)state;
  struct tokenizer *t = open_llama("");
  expect_ids(t, "a<u>ab</s>b", ALL, IDS(1, SPACE_A, U, SPACE, AB, 2, SPACE, B));
  tokenizer_close(t);
  t = open_llama("{\"legacy\":false}");
  expect_ids(t, "a<u>ab</s>b", ALL, IDS(1, SPACE_A, U, AB, 2, B));
  expect_ids(t, " a", ALL, IDS(1, SPACE_A)); /* a text that begins with a space gets no other one */
  tokenizer_close(t);
  t = open_llama("{\"add_prefix_space\":false}");
  expect_ids(t, "a", ALL, IDS(1, A));
  tokenizer_close(t);
}

static void the_config_says_what_goes_around_a_text(void **state) {
  (void)state;
  struct tokenizer *t = open_llama("{\"add_bos_token\":false,\"add_eos_token\":true}");
  expect_ids(t, "a", ALL, IDS(SPACE_A, 2));
  tokenizer_close(t);
  t = open_llama("{\"add_eos_token\":true}");
  expect_ids(t, "a", ALL, IDS(1, SPACE_A, 2));
  tokenizer_close(t);
}

static void control_pieces_never_come_out_of_plain_text(void **state) {
  (void)state;
  struct tokenizer *t = open_llama("");
  expect_ids(t, "<s>", TOKENIZER_ADD_SPECIAL, IDS(1, SPACE, LESS, S_GREATER));
  expect_ids(t, "<u>", 0, IDS(U)); /* user-defined symbols always match */
  tokenizer_close(t);
}

static void streams_join_bytes_and_drop_the_first_space(void **state) {
  (void)state;
  struct tokenizer *t = open_llama("");
  static const int32_t ids[] = {1, SPACE_A, 3 + 0xE4, 3 + 0xBD, 3 + 0xA0, SPACE_A, 3 + '\n', 3 + 0xC3, B};
  static const char *const after[] = {
      "", "a", "a", "a", "a\xE4\xBD\xA0", "a\xE4\xBD\xA0 a", "a\xE4\xBD\xA0 a\n", "a\xE4\xBD\xA0 a\n", "a\xE4\xBD\xA0 a\n\uFFFDb"};
  struct detok d;
  struct buf out = {0}, whole = {0};
  detok_init(&d, t, true);
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
    detok_push(&d, ids[i], &out);
    assert_string_equal(out.data ? out.data : "", after[i]);
  }
  detok_finish(&d, &out);
  tokenizer_decode(t, ids, 7, true, &whole);
  assert_string_equal(whole.data, after[6]);
  buf_free(&out);
  buf_free(&whole);
  tokenizer_close(t);
}

/* ---- the files beside it ---- */

static void write_file(const char *dir, const char *name, struct slice bytes) {
  struct error err = {0};
  char *path = fs_join(dir, name);
  if (fs_write_atomic(path, bytes, 0600, &err) < 0) fail_msg("%s", err.message);
  free(path);
}

static void remove_file(const char *dir, const char *name) {
  char *path = fs_join(dir, name);
  unlink(path);
  free(path);
}

static void a_fault_of_a_directory_names_it_once(void **state) {
  (void)state;
  char dir[] = "/tmp/plinth-spm-XXXXXX";
  struct error err = {0};
  assert_non_null(mkdtemp(dir));
  char *path = fs_join(dir, "tokenizer.json");
  assert_int_equal(mkdir(path, 0700), 0);
  for (int broken = 0; broken < 2; broken++) { /* cannot be read; cannot be understood */
    assert_null(tokenizer_open_dir(dir, &err));
    const char *first = strstr(err.message, dir);
    assert_non_null(first);
    assert_null(strstr(first + 1, dir));
    assert_non_null(strstr(err.message, "tokenizer.json"));
    if (!broken) rmdir(path), write_file(dir, "tokenizer.json", SLICE("{"));
  }
  unlink(path);
  free(path);
  rmdir(dir);
}

static void a_directory_needs_only_its_model_and_takes_what_is_beside_it(void **state) {
  (void)state;
  char dir[] = "/tmp/plinth-spm-XXXXXX";
  struct buf file = {0};
  struct error err = {0};
  assert_non_null(mkdtemp(dir));
  assert_null(tokenizer_open_dir(dir, &err));
  assert_non_null(strstr(err.message, "There is no tokenizer"));
  llama(&file);
  write_file(dir, "tokenizer.model", buf_view(&file));
  struct tokenizer *t = tokenizer_open_dir(dir, &err);
  if (!t) fail_msg("%s", err.message);
  assert_int_equal(tokenizer_bos(t), 1);
  assert_int_equal(tokenizer_eos(t), 2);
  assert_int_equal(tokenizer_n_vocab(t), U + 1);
  tokenizer_close(t);
  write_file(dir, "added_tokens.json", SLICE("{\"<pad>\":270,\"<word>\":269}"));
  write_file(dir, "special_tokens_map.json", SLICE("{\"pad_token\":\"<pad>\",\"additional_special_tokens\":[\"<next>\"]}"));
  write_file(dir, "tokenizer_config.json", SLICE("{\"legacy\":false}"));
  t = tokenizer_open_dir(dir, &err);
  if (!t) fail_msg("%s", err.message);
  assert_true(tokenizer_is_special(t, 270));
  assert_false(tokenizer_is_special(t, 269));
  assert_int_equal(tokenizer_find(t, SLICE("<next>")), 271); /* the next id that is free */
  expect_ids(t, "a<word><pad>", ALL, IDS(1, SPACE_A, 269, 270));
  tokenizer_close(t);
  write_file(dir, "added_tokens.json", SLICE("{\"<pad>\":259}"));
  assert_null(tokenizer_open_dir(dir, &err));
  assert_non_null(strstr(err.message, "which the vocabulary gives to 'a'"));
  static const char *const names[] = {"tokenizer.model", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"};
  for (size_t i = 0; i < 4; i++) remove_file(dir, names[i]);
  rmdir(dir);
  buf_free(&file);
}

/* ---- refusals ---- */

static void expect_refusal(struct buf *file, const char *why) {
  struct error err = {0};
  assert_null(tokenizer_open_vocabulary(buf_view(file), SLICE(""), &err));
  if (!strstr(err.message, why)) fail_msg("'%s' is not in: %s", why, err.message);
  buf_clear(file);
}

static void what_is_not_supported_is_refused_by_its_name(void **state) {
  (void)state;
  struct buf file = {0};
  const unsigned none[] = {0};
  put_pieces(&file);
  put_specs(&file, (const unsigned[]){3, 3, 0}, none);
  expect_refusal(&file, "SentencePiece WORD");
  put_pieces(&file);
  put_specs(&file, (const unsigned[]){3, 4, 0}, none);
  expect_refusal(&file, "SentencePiece CHAR");
  put_pieces(&file);
  put_specs(&file, (const unsigned[]){3, BPE, 0}, (const unsigned[]){5, 0, 0});
  expect_refusal(&file, "'escape_whitespaces'");
  put_pieces(&file);
  put_specs(&file, (const unsigned[]){3, BPE, 24, 1, 0}, none);
  expect_refusal(&file, "'treat_whitespace_as_suffix'");
  put_piece(&file, "\xFF", 0, 1);
  expect_refusal(&file, "no UTF-8");
  put_piece(&file, "", 0, 1);
  expect_refusal(&file, "is empty");
  put_piece(&file, "a", 0.0f / 0.0f, 1);
  expect_refusal(&file, "is no number");
  llama(&file);
  buf_add_byte(&file, 0x0A);
  expect_refusal(&file, "breaks the format");
  buf_free(&file);
}

/* ---- the listing for GGUF ---- */

static void the_listing_keeps_scores_and_tells_types(void **state) {
  (void)state;
  struct error err = {0};
  struct tokenizer_listing l;
  struct tokenizer *t = open_llama(
      "{\"legacy\":false,\"added_tokens_decoder\":{\"0\":{\"content\":\"<unk>\",\"special\":true},"
      "\"270\":{\"content\":\"<plain>\"},\"272\":{\"content\":\"<ctl>\",\"special\":true,\"rstrip\":true}}}");
  assert_int_equal(tokenizer_list(t, &l, &err), 0);
  assert_string_equal(l.model, "llama");
  assert_int_equal(l.n, 273);
  static const struct {
    int id, type;
    float score;
  } want[] = {{0, 2, 0}, {1, 3, 0}, {3, 6, 0}, {258, 6, 0}, {A, 1, 0}, {AB, 1, -3}, {U, 4, 0}, {270, 4, 0}, {271, 0, 0}, {272, 3, 0}};
  for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
    assert_int_equal(l.types[want[i].id], want[i].type);
    assert_true(l.scores[want[i].id] == want[i].score);
  }
  assert_null(l.tokens[271].data);
  assert_true(slice_eq(l.tokens[AB], SLICE("ab")));
  assert_true(l.space_prefix && !l.space_every);
  tokenizer_listing_free(&l);
  int32_t id = 0;
  struct slice name;
  assert_true(tokenizer_next_odd(t, &id, &name) && id == 272 && slice_eq(name, SLICE("<ctl>")));
  id++;
  assert_false(tokenizer_next_odd(t, &id, &name));
  tokenizer_close(t);
}

static void expect_no_listing(const unsigned *trainer, const unsigned *normalizer, const char *why) {
  struct buf file = {0};
  struct error err = {0};
  struct tokenizer_listing l;
  put_pieces(&file);
  put_specs(&file, trainer, normalizer);
  struct tokenizer *t = tokenizer_open_vocabulary(buf_view(&file), SLICE(""), &err);
  if (!t) fail_msg("%s", err.message);
  assert_int_equal(tokenizer_list(t, &l, &err), -1);
  if (!strstr(err.message, why)) fail_msg("'%s' is not in: %s", why, err.message);
  tokenizer_listing_free(&l);
  tokenizer_close(t);
  buf_free(&file);
}

static void what_gguf_cannot_say_has_no_listing(void **state) {
  (void)state;
  expect_no_listing((const unsigned[]){3, 1, 0}, (const unsigned[]){4, 0, 0}, "Unigram");
  expect_no_listing((const unsigned[]){3, BPE, 35, 1, 0}, (const unsigned[]){4, 1, 0}, "remove_extra_whitespaces");
  expect_no_listing((const unsigned[]){3, BPE, 0}, (const unsigned[]){3, 1, 4, 0, 0}, "byte_fallback");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_prefix_stands_before_every_segment_or_the_first_one),
      cmocka_unit_test(the_config_says_what_goes_around_a_text),
      cmocka_unit_test(control_pieces_never_come_out_of_plain_text),
      cmocka_unit_test(streams_join_bytes_and_drop_the_first_space),
      cmocka_unit_test(a_fault_of_a_directory_names_it_once),
      cmocka_unit_test(a_directory_needs_only_its_model_and_takes_what_is_beside_it),
      cmocka_unit_test(what_is_not_supported_is_refused_by_its_name),
      cmocka_unit_test(the_listing_keeps_scores_and_tells_types),
      cmocka_unit_test(what_gguf_cannot_say_has_no_listing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
