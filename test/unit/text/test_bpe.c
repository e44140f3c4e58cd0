/* Byte-pair encoding against a plain search for the lowest pair. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/bpe.h"

enum { N_LETTERS = 3, N_MERGES = 60, N_TOKENS = N_LETTERS + N_MERGES };

static uint32_t next_random(uint32_t *x) { return (*x = *x * 1664525u + 1013904223u) >> 8; }

/* A vocabulary of words over three letters: token N_LETTERS + i is what merge i makes. */
struct model {
  struct vocab vocab;
  struct bpe bpe;
  int32_t left[N_MERGES], right[N_MERGES];
};

static void make_model(struct model *m, uint32_t seed) {
  uint32_t x = seed;
  struct buf text = {0};
  vocab_init(&m->vocab, N_TOKENS, 1024);
  for (uint32_t i = 0; i < N_LETTERS; i++) assert_int_equal(vocab_put(&m->vocab, slice_make(&"abc"[i], 1), i, NULL), 0);
  for (uint32_t i = 0; i < N_MERGES;) {
    int32_t have = N_LETTERS + (int32_t)i;
    m->left[i] = (int32_t)(next_random(&x) % (uint32_t)have);
    m->right[i] = (int32_t)(next_random(&x) % (uint32_t)have);
    buf_clear(&text);
    buf_add_slice(&text, vocab_string(&m->vocab, m->left[i]));
    buf_add_slice(&text, vocab_string(&m->vocab, m->right[i]));
    if (text.len > 12 || vocab_find(&m->vocab, buf_view(&text)) >= 0) continue;
    assert_int_equal(vocab_put(&m->vocab, buf_view(&text), (uint32_t)have, NULL), 0);
    i++;
  }
  bpe_init(&m->bpe, &m->vocab, N_MERGES);
  for (uint32_t i = 0; i < N_MERGES; i++)
    assert_int_equal(bpe_add_merge(&m->bpe, vocab_string(&m->vocab, m->left[i]), vocab_string(&m->vocab, m->right[i]), NULL), 0);
  buf_free(&text);
}

static void free_model(struct model *m) {
  bpe_deinit(&m->bpe);
  vocab_deinit(&m->vocab);
}

/* The definition: of all adjacent pairs the one with the lowest rank, leftmost first, until there is none. */
static size_t plain_search(const struct model *m, int32_t *ids, size_t n) {
  for (;;) {
    size_t best = n, best_rank = N_MERGES;
    for (size_t i = 0; i + 1 < n; i++)
      for (size_t r = 0; r < best_rank; r++)
        if (m->left[r] == ids[i] && m->right[r] == ids[i + 1]) best = i, best_rank = r;
    if (best == n) return n;
    ids[best] = N_LETTERS + (int32_t)best_rank;
    for (size_t i = best + 1; i + 1 < n; i++) ids[i] = ids[i + 1];
    n--;
  }
}

static void short_and_long_pieces_merge_as_defined(void **state) {
  (void)state;
  uint32_t x = 99;
  struct bpe_scratch scratch = {0};
  for (uint32_t seed = 1; seed <= 20; seed++) {
    struct model m;
    make_model(&m, seed);
    for (int round = 0; round < 60; round++) {
      char text[200];
      int32_t want[200];
      struct ids got = {0};
      size_t n = 1 + next_random(&x) % (round % 3 ? 32 : 199); /* both ways of merging */
      for (size_t i = 0; i < n; i++) text[i] = "abc"[want[i] = (int32_t)(next_random(&x) % N_LETTERS)];
      bpe_encode(&m.bpe, &scratch, slice_make(text, n), &got);
      size_t n_want = plain_search(&m, want, n);
      assert_int_equal(got.len, n_want);
      assert_memory_equal(got.data, want, n_want * sizeof want[0]);
      ids_free(&got);
    }
    free_model(&m);
  }
  bpe_scratch_free(&scratch);
}

/* ---- merges by splits ---- */

/* a, b, aa, ab, ba, aaa, aab with the ranks of equals: pairs of one rank, leftmost first. */
static void pairs_of_equal_rank_merge_leftmost_first(void **state) {
  (void)state;
  static const char *const tokens[] = {"a", "b", "aa", "ab", "ba", "aaa", "aab"};
  static const uint32_t ranks[] = {0, 0, 1, 1, 1, 0, 2};
  struct vocab v;
  struct bpe b;
  struct bpe_scratch scratch = {0};
  vocab_init(&v, 8, 64);
  for (uint32_t i = 0; i < 7; i++) assert_int_equal(vocab_put(&v, slice_cstr(tokens[i]), i, NULL), 0);
  bpe_init(&b, &v, 0);
  for (int32_t i = 2; i < 7; i++) bpe_add_splits(&b, i, ranks[i], NULL);
  static const struct {
    const char *text;
    int32_t ids[4];
    size_t n;
  } cases[] = {{"ba", {4}, 1}, {"aba", {3, 0}, 2}, {"baa", {4, 0}, 2}, {"aaab", {5, 1}, 2}, {"aab", {6}, 1}, {"bab", {4, 1}, 2}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct ids got = {0};
    bpe_encode(&b, &scratch, slice_cstr(cases[i].text), &got);
    if (got.len != cases[i].n || memcmp(got.data, cases[i].ids, got.len * sizeof got.data[0]) != 0) fail_msg("%s", cases[i].text);
    ids_free(&got);
  }
  bpe_scratch_free(&scratch);
  bpe_deinit(&b);
  vocab_deinit(&v);
}

static void a_part_that_may_not_be_merged_stays_out(void **state) {
  (void)state;
  struct vocab v;
  struct bpe b;
  struct bpe_scratch scratch = {0};
  struct ids got = {0};
  static const char *const tokens[] = {"<", "s", ">", "s>", "<s>"};
  static const unsigned char part[] = {1, 1, 1, 1, 0};
  vocab_init(&v, 8, 64);
  for (uint32_t i = 0; i < 5; i++) assert_int_equal(vocab_put(&v, slice_cstr(tokens[i]), i, NULL), 0);
  bpe_init(&b, &v, 0);
  for (int32_t i = 3; i < 5; i++)
    if (part[i]) bpe_add_splits(&b, i, (uint32_t)i, part);
  bpe_encode(&b, &scratch, SLICE("<s>"), &got);
  assert_int_equal(got.len, 2);
  assert_int_equal(got.data[1], 3);
  ids_free(&got);
  bpe_scratch_free(&scratch);
  bpe_deinit(&b);
  vocab_deinit(&v);
}

/* Runs of every length up to 64 are tokens, as runs of spaces are in many vocabularies: the worst that merging meets. */
static void a_long_run_takes_at_most_three_pushes_a_character(void **state) {
  (void)state;
  enum { LEN = 300000, RUN = 64 };
  struct vocab v;
  struct bpe b;
  char *text = malloc(LEN);
  memset(text, 'a', LEN);
  vocab_init(&v, RUN, RUN * RUN);
  for (uint32_t i = 0; i < RUN; i++) assert_int_equal(vocab_put(&v, slice_make(text, i + 1), i, NULL), 0);
  for (int by_length = 0; by_length < 2; by_length++) {
    struct bpe_scratch scratch = {0};
    struct ids got = {0};
    bpe_init(&b, &v, 0);
    for (int32_t i = 1; i < RUN; i++) bpe_add_splits(&b, i, by_length ? (uint32_t)i : 0, NULL);
    bpe_encode(&b, &scratch, slice_make(text, LEN), &got);
    size_t covered = 0;
    for (size_t i = 0; i < got.len; i++) covered += (size_t)got.data[i] + 1;
    assert_int_equal(covered, LEN);
    assert_true(scratch.n_pushes <= 3 * LEN);
    ids_free(&got);
    bpe_scratch_free(&scratch);
    bpe_deinit(&b);
  }
  vocab_deinit(&v);
  free(text);
}

static void a_merge_of_tokens_that_are_not_there_is_refused(void **state) {
  (void)state;
  struct vocab v;
  struct bpe b;
  struct error err = {0};
  vocab_init(&v, 4, 16);
  assert_int_equal(vocab_put(&v, SLICE("a"), 0, NULL), 0);
  assert_int_equal(vocab_put(&v, SLICE("b"), 1, NULL), 0);
  bpe_init(&b, &v, 2);
  assert_int_equal(bpe_add_merge(&b, SLICE("a"), SLICE("z"), &err), -1);
  assert_non_null(strstr(err.message, "'z'"));
  assert_int_equal(bpe_add_merge(&b, SLICE("a"), SLICE("b"), &err), -1);
  assert_non_null(strstr(err.message, "'ab'"));
  bpe_deinit(&b);
  vocab_deinit(&v);
}

static void characters_without_token_fall_back_to_bytes_or_unknown(void **state) {
  (void)state;
  struct vocab v;
  struct bpe b;
  struct bpe_scratch scratch = {0};
  struct ids got = {0};
  vocab_init(&v, 8, 64);
  static const char *const tokens[] = {"<unk>", "a", "<0xC3>", "<0xA9>"};
  for (uint32_t i = 0; i < 4; i++) assert_int_equal(vocab_put(&v, slice_cstr(tokens[i]), i, NULL), 0);
  bpe_init(&b, &v, 0);
  bpe_encode(&b, &scratch, SLICE("xay"), &got); /* no unknown token: left out */
  assert_int_equal(got.len, 1);
  b.unknown = 0;
  b.byte_fallback = b.fuse_unknown = true;
  got.len = 0;
  bpe_encode(&b, &scratch, SLICE("xxa\xC3\xA9xx"), &got);
  static const int32_t want[] = {0, 1, 2, 3, 0};
  assert_int_equal(got.len, 5);
  assert_memory_equal(got.data, want, sizeof want);
  ids_free(&got);
  bpe_scratch_free(&scratch);
  bpe_deinit(&b);
  vocab_deinit(&v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(short_and_long_pieces_merge_as_defined),
      cmocka_unit_test(pairs_of_equal_rank_merge_leftmost_first),
      cmocka_unit_test(a_part_that_may_not_be_merged_stays_out),
      cmocka_unit_test(a_long_run_takes_at_most_three_pushes_a_character),
      cmocka_unit_test(a_merge_of_tokens_that_are_not_there_is_refused),
      cmocka_unit_test(characters_without_token_fall_back_to_bytes_or_unknown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
