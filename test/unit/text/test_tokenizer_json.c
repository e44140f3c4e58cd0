/* What a broken or unknown tokenizer.json gets. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/text.h"

#define BPE "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static struct tokenizer *open_text(const char *json, const char *config, struct error *err) {
  return tokenizer_open_json(slice_cstr(json), slice_cstr(config), err);
}

static void expect_refusal(const char *json, enum error_code code, const char *word) {
  struct error err = {0};
  struct tokenizer *t = open_text(json, "", &err);
  if (t) fail_msg("accepted: %s", json);
  if (err.code != code || !strstr(err.message, word)) fail_msg("code %d, \"%s\" for %s", err.code, err.message, json);
}

static void an_unknown_component_is_refused_by_its_name(void **state) {
  (void)state;
  expect_refusal("{" BPE ",\"normalizer\":{\"type\":\"Frobnicate\"}}", ERROR_UNSUPPORTED, "normalizer 'Frobnicate'");
  expect_refusal("{" BPE ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Fancy\"}]}}", ERROR_UNSUPPORTED, "'Fancy'");
  expect_refusal("{" BPE ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", ERROR_UNSUPPORTED, "pre-tokenizer 'UnicodeScripts'");
  expect_refusal("{" BPE ",\"decoder\":{\"type\":\"CTC\"}}", ERROR_UNSUPPORTED, "decoder 'CTC'");
  expect_refusal("{" BPE ",\"post_processor\":{\"type\":\"Pair\"}}", ERROR_UNSUPPORTED, "post-processor 'Pair'");
  expect_refusal("{\"model\":{\"type\":\"WordLevel\",\"vocab\":[]}}", ERROR_UNSUPPORTED, "model 'WordLevel'");
  expect_refusal("{" BPE ",\"version\":\"2.0\"}", ERROR_UNSUPPORTED, "2.0");
}

static void a_broken_file_is_refused_with_what_is_wrong(void **state) {
  (void)state;
  expect_refusal("", ERROR_INVALID, "JSON");
  expect_refusal("[]", ERROR_CORRUPT, "object");
  expect_refusal("{}", ERROR_CORRUPT, "'model'");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":7}}", ERROR_CORRUPT, "'merges'");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", ERROR_CORRUPT, "'b'");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"ab\"]}}", ERROR_CORRUPT, "no space");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", ERROR_CORRUPT, "Merge 0");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", ERROR_CORRUPT, "'a'");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":16000000},\"merges\":[]}}", ERROR_CORRUPT, "16000000");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}", ERROR_CORRUPT, "two tokens");
  expect_refusal("{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}}",
                 ERROR_UNSUPPORTED, "'('");
  expect_refusal("{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Odd\"}}", ERROR_UNSUPPORTED,
                 "'Odd'");
  expect_refusal("{" BPE ",\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":3}}", ERROR_CORRUPT, "individual_digits");
  expect_refusal("{" BPE ",\"added_tokens\":[{\"id\":9,\"content\":\"x\"}]}", ERROR_CORRUPT, "'x'");
  expect_refusal("{" BPE ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"c\",50],\"sep\":[\"s\",1]}}", ERROR_CORRUPT, "50");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"dropout\":0.5,\"vocab\":{},\"merges\":[]}}", ERROR_UNSUPPORTED, "dropout");
}

static void stop_ids_come_from_the_config_and_from_known_names(void **state) {
  (void)state;
  struct error err = {0};
  struct tokenizer *t =
      open_text("{" BPE
                ",\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true},{\"id\":4,\"content\":\"</x>\",\"special\":true},"
                "{\"id\":5,\"content\":\"<|eot_id|>\",\"special\":true},{\"id\":6,\"content\":\"<|end|>\"}]}",
                "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"</x>\"}", &err);
  if (!t) fail_msg("%s", err.message);
  size_t n;
  const int32_t *stop = tokenizer_stop_ids(t, &n);
  assert_int_equal(tokenizer_bos(t), 3);
  assert_int_equal(tokenizer_eos(t), 4);
  assert_int_equal(n, 2); /* "<|end|>" is no special token here */
  assert_int_equal(stop[0], 4);
  assert_int_equal(stop[1], 5);
  tokenizer_close(t);
}

static void add_bos_token_false_takes_the_bos_away(void **state) {
  (void)state;
  static const char json[] =
      "{" BPE
      ",\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}],\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
      "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
      "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3],\"tokens\":[\"<s>\"]}}}}";
  struct error err = {0};
  for (int with = 0; with < 2; with++) {
    struct tokenizer *t = open_text(json, with ? "{\"bos_token\":\"<s>\",\"add_bos_token\":false}" : "", &err);
    struct ids ids = {0};
    if (!t) fail_msg("%s", err.message);
    assert_int_equal(tokenizer_encode(t, SLICE("ab"), TOKENIZER_ADD_SPECIAL, &ids, &err), 0);
    assert_int_equal(ids.len, with ? 1 : 2);
    assert_int_equal(ids.data[ids.len - 1], 2);
    ids_free(&ids);
    tokenizer_close(t);
  }
}

/* ---- added tokens ---- */

static void check_ids(const struct tokenizer *t, const char *text, unsigned flags, const char *wanted) {
  struct error err = {0};
  struct ids ids = {0};
  struct buf got = {0};
  if (tokenizer_encode(t, slice_cstr(text), flags, &ids, &err) < 0) fail_msg("%s", err.message);
  for (size_t i = 0; i < ids.len; i++) buf_printf(&got, i ? " %d" : "%d", (int)ids.data[i]);
  assert_string_equal(got.data ? got.data : "", wanted);
  ids_free(&ids);
  buf_free(&got);
}

/* As transformers: what tokenizer_config.json names is special, whatever tokenizer.json says of it. */
static void a_token_that_the_config_names_is_a_control_token(void **state) {
  (void)state;
  static const char json[] = "{" BPE ",\"added_tokens\":[{\"id\":3,\"content\":\"aab\",\"special\":false}]}";
  static const char *const configs[] = {"{\"eos_token\":\"aab\"}", "{\"extra_special_tokens\":[\"aab\"]}", "{\"image_token\":\"aab\"}",
                                        "{\"additional_special_tokens\":[{\"content\":\"aab\"}]}"};
  struct error err = {0};
  for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
    struct tokenizer *t = open_text(json, configs[i], &err);
    if (!t) fail_msg("%s", err.message);
    assert_true(tokenizer_is_special(t, 3));
    check_ids(t, "aab", TOKENIZER_MATCH_SPECIAL, "3");
    check_ids(t, "aab", 0, "0 2");
    tokenizer_close(t);
  }
  struct tokenizer *t = open_text(json, "", &err);
  assert_false(tokenizer_is_special(t, 3));
  check_ids(t, "aab", 0, "3");
  tokenizer_close(t);
}

static void tokens_that_only_the_config_has_get_the_next_ids(void **state) {
  (void)state;
  struct error err = {0};
  static const char config[] =
      "{\"pad_token\":\"bb\",\"added_tokens_decoder\":{\"4\":{\"content\":\"bab\",\"special\":false},\"3\":{"
      "\"content\":\"aab\",\"special\":true}}}";
  struct tokenizer *t = open_text("{" BPE ",\"added_tokens\":[{\"id\":3,\"content\":\"aab\",\"special\":false}]}", config, &err);
  if (!t) fail_msg("%s", err.message);
  check_ids(t, "aab bab bb", TOKENIZER_MATCH_SPECIAL, "3 4 5"); /* tokenizer.json says what aab is */
  check_ids(t, "aab bb", 0, "3 1 1");
  assert_int_equal(tokenizer_n_vocab(t), 6);
  tokenizer_close(t);
  assert_null(open_text("{" BPE "}", "{\"added_tokens_decoder\":{\"7\":{\"content\":\"x\"}}}", &err));
  assert_non_null(strstr(err.message, "'x' of tokenizer_config.json has id 7, is missing in tokenizer.json and would get 3"));
}

static void white_space_that_a_token_took_is_no_token_again(void **state) {
  (void)state;
  struct error err = {0};
  struct tokenizer *t =
      open_text("{" BPE ",\"added_tokens\":[{\"id\":3,\"content\":\" \",\"lstrip\":true,\"rstrip\":true,\"normalized\":false}]}", "", &err);
  if (!t) fail_msg("%s", err.message);
  check_ids(t, "a \t  b  ", 0, "0 3 1 3");
  tokenizer_close(t);
}

/* Each as tokenizers 0.23.3 has it: the mark goes in front of the text's first character, or of what that became. */
static void a_mark_goes_before_the_first_character_unless_it_was_taken_away(void **state) {
  (void)state;
#define STRIP "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}"
#define REPLACE(a, b) "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" a "\"},\"content\":\"" b "\"}"
#define PREPEND(a) "{\"type\":\"Prepend\",\"prepend\":\"" a "\"}"
#define PLAIN(a) "{\"type\":\"" a "\"}"
  static const struct {
    const char *steps, *text, *ids;
  } cases[] = {
      {PREPEND("X"), "ab", "2 4 0 1"},
      {STRIP, "ab", "2 0 1"},
      {STRIP, "  ab", "0 1"},
      {REPLACE("a", ""), "ab", "1"},
      {REPLACE("a", "X"), "abc", "2 4 1 3"},
      {REPLACE("ab", "X"), "abc", "4 3"},
      {REPLACE("aa", "b"), "aaaac", "1 1 3"},
      {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"^\"},\"content\":\"X\"}", "ab", "2 4 0 1"},
      {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a*\"},\"content\":\"X\"}", "ba", "2 4 1 4"},
      {STRIP ",{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a*\"},\"content\":\"X\"}", " ", ""},
      {PLAIN("StripAccents"), "\u0301ab", "0 1"},
      {PLAIN("Nmt"),
       "\x01"
       "ab",
       "0 1"},
      {STRIP "," PREPEND("X"), " ab", "4 0 1"},
      {STRIP "," REPLACE("a", "XY"), " ab", "4 5 1"},
      {REPLACE("a", "") "," PREPEND("X"), "ab", "4 1"},
      {REPLACE("a", "XY") "," REPLACE("X", ""), "ab", "2 5 1"},
      {PREPEND("X") "," REPLACE("X", ""), "ab", "2 0 1"},
      {PREPEND("XY") "," REPLACE("XYa", ""), "ab", "1"},
      {PLAIN("NFD") "," REPLACE("e", ""), "\u00e9ab", "2 6 0 1"},
      {PLAIN("NFD") "," PLAIN("StripAccents") "," REPLACE("e", ""), "\u00e9ab", "0 1"},
      {PLAIN("NFC") "," REPLACE("\u00e9", ""),
       "e\u0301"
       "a",
       "0"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char json[1024];
    struct error err = {0};
    snprintf(json, sizeof json,
             "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\u2581\":2,\"c\":3,\"X\":4,\"Y\":5,\"\u0301\":6},\"merges\":[]},"
             "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s]},"
             "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\",\"split\":false}}",
             cases[i].steps);
    struct tokenizer *t = open_text(json, "", &err);
    if (!t) fail_msg("%s", err.message);
    check_ids(t, cases[i].text, TOKENIZER_MATCH_SPECIAL, cases[i].ids);
    tokenizer_close(t);
  }
#undef STRIP
#undef REPLACE
#undef PREPEND
#undef PLAIN
}

static void what_runs_into_a_limit_is_refused_and_adds_nothing(void **state) {
  (void)state;
  struct error err = {0};
  struct tokenizer *t = open_text(
      "{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+a+)+c\"},\"behavior\":\"Isolated\"}}", "", &err);
  struct ids ids = {0};
  struct buf text = {0};
  if (!t) fail_msg("%s", err.message);
  for (int i = 0; i < 2000; i++) buf_add_cstr(&text, "a");
  buf_add_cstr(&text, "b");
  ids_add(&ids, 77);
  if (tokenizer_encode(t, buf_view(&text), 0, &ids, &err) < 0) {
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    assert_int_equal(ids.len, 1);
  }
  buf_free(&text);
  ids_free(&ids);
  tokenizer_close(t);
}

static void expect_too_large(const char *json, size_t letters, const char *word) {
  struct error err = {0};
  struct tokenizer *t = open_text(json, "", &err);
  struct ids ids = {0};
  struct buf text = {0};
  if (!t) fail_msg("%s", err.message);
  for (size_t i = 0; i < letters; i++) buf_add_byte(&text, 'a');
  assert_int_equal(tokenizer_encode(t, buf_view(&text), 0, &ids, &err), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  if (!strstr(err.message, word)) fail_msg("%s", err.message);
  buf_free(&text);
  ids_free(&ids);
  tokenizer_close(t);
}

/* Each match takes a step for every letter that follows; the limits of a single match say nothing. Without an end to it: minutes. */
static void a_pattern_of_quadratic_time_is_stopped(void **state) {
  (void)state;
  expect_too_large("{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a+x|a\"},\"behavior\":\"Isolated\"}}", 150000,
                   "too long");
  expect_too_large("{" BPE ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(?<=a)a*[xy]\"},\"content\":\"\"}}", 200000,
                   "too long");
}

#define A16 "aaaaaaaaaaaaaaaa"
#define TIMES_64 "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"" A16 A16 A16 A16 "\"}"
static void a_text_that_the_tokenizer_blows_up_is_refused(void **state) {
  (void)state;
  expect_too_large("{" BPE ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" TIMES_64 "," TIMES_64 "," TIMES_64 "]}}", 1000,
                   "64 times");
  expect_refusal("{" BPE ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" TIMES_64 "," TIMES_64 "," TIMES_64 "," TIMES_64 "," TIMES_64
                 "]}}",
                 ERROR_TOO_LARGE, "text of the token");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_unknown_component_is_refused_by_its_name),
      cmocka_unit_test(a_broken_file_is_refused_with_what_is_wrong),
      cmocka_unit_test(stop_ids_come_from_the_config_and_from_known_names),
      cmocka_unit_test(add_bos_token_false_takes_the_bos_away),
      cmocka_unit_test(a_token_that_the_config_names_is_a_control_token),
      cmocka_unit_test(tokens_that_only_the_config_has_get_the_next_ids),
      cmocka_unit_test(white_space_that_a_token_took_is_no_token_again),
      cmocka_unit_test(a_mark_goes_before_the_first_character_unless_it_was_taken_away),
      cmocka_unit_test(what_runs_into_a_limit_is_refused_and_adds_nothing),
      cmocka_unit_test(a_pattern_of_quadratic_time_is_stopped),
      cmocka_unit_test(a_text_that_the_tokenizer_blows_up_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
