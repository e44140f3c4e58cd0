/* The best cut into scored tokens against every cut there is. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "text/unigram.h"

enum { N_TOKENS = 24 };

static uint32_t next_random(uint32_t *x) { return (*x = *x * 1664525u + 1013904223u) >> 8; }

struct model {
  struct vocab vocab;
  struct unigram unigram;
};

static void make_model(struct model *m, const char *const *tokens, const double *scores, uint32_t n) {
  vocab_init(&m->vocab, n, 256);
  double *own = mem_alloc(n * sizeof own[0]);
  for (uint32_t i = 0; i < n; i++) {
    assert_int_equal(vocab_put(&m->vocab, slice_cstr(tokens[i]), i, NULL), 0);
    own[i] = scores[i];
  }
  unigram_init(&m->unigram, &m->vocab, own);
}

static void free_model(struct model *m) {
  unigram_deinit(&m->unigram);
  vocab_deinit(&m->vocab);
}

static double sum(const struct model *m, const struct ids *ids) {
  double total = 0;
  for (size_t i = 0; i < ids->len; i++) total += m->unigram.scores[ids->data[i]];
  return total;
}

/* The highest sum over every cut of text; all of its characters are tokens. */
static double best_of_all(const struct model *m, struct slice text) {
  double best = text.len ? -1e9 : 0;
  for (size_t n = 1; n <= text.len && n <= 4; n++) {
    int32_t id = vocab_find(&m->vocab, slice_make(text.data, n));
    if (id < 0) continue;
    double total = m->unigram.scores[id] + best_of_all(m, slice_from(text, n));
    if (total > best) best = total;
  }
  return best;
}

static void the_cut_has_the_highest_sum(void **state) {
  (void)state;
  uint32_t x = 7;
  struct unigram_scratch scratch = {0};
  for (int round = 0; round < 40; round++) {
    struct model m;
    char text[N_TOKENS][5];
    const char *tokens[N_TOKENS];
    double scores[N_TOKENS];
    uint32_t n = 0;
    while (n < N_TOKENS) {
      size_t len = n < 2 ? 1 : 2 + next_random(&x) % 3;
      for (size_t i = 0; i < len; i++) text[n][i] = n < 2 ? (char)('a' + n) : (char)('a' + (next_random(&x) & 1));
      text[n][len] = '\0';
      bool known = false;
      for (uint32_t i = 0; i < n; i++) known = known || strcmp(text[i], text[n]) == 0;
      if (known) continue;
      tokens[n] = text[n];
      scores[n++] = -(double)(next_random(&x) % 1000) / 100;
    }
    make_model(&m, tokens, scores, N_TOKENS);
    for (int k = 0; k < 20; k++) {
      char word[12];
      struct ids got = {0};
      size_t len = 1 + next_random(&x) % 12;
      for (size_t i = 0; i < len; i++) word[i] = (char)('a' + (next_random(&x) & 1));
      assert_int_equal(unigram_encode(&m.unigram, &scratch, slice_make(word, len), &got, NULL), 0);
      double best = best_of_all(&m, slice_make(word, len)), have = sum(&m, &got);
      assert_true(have > best - 1e-9 && have < best + 1e-9);
      ids_free(&got);
    }
    free_model(&m);
  }
  unigram_scratch_free(&scratch);
}

static void unknown_characters_fuse_or_become_bytes_or_fail(void **state) {
  (void)state;
  static const char *const tokens[] = {"<unk>", "a", "<0xC3>", "<0xA9>"};
  static const double scores[] = {0, -1, -2, -3};
  static const int32_t fused[] = {0, 1, 0}, bytes[] = {2, 3, 1, 0};
  struct model m;
  struct unigram_scratch scratch = {0};
  struct ids got = {0};
  struct error err = {0};
  make_model(&m, tokens, scores, 4);
  assert_int_equal(unigram_encode(&m.unigram, &scratch, SLICE("xa"), &got, &err), -1);
  assert_non_null(strstr(err.message, "'x'"));
  m.unigram.unknown = 0;
  assert_int_equal(unigram_encode(&m.unigram, &scratch, SLICE("\xC3\xA9xa\xC3\xA9"), &got, &err), 0);
  assert_int_equal(got.len, 3);
  assert_memory_equal(got.data, fused, sizeof fused);
  got.len = 0;
  m.unigram.byte_fallback = true;
  assert_int_equal(unigram_encode(&m.unigram, &scratch,
                                  SLICE("\xC3\xA9"
                                        "axy"),
                                  &got, &err),
                   0);
  assert_int_equal(got.len, 4);
  assert_memory_equal(got.data, bytes, sizeof bytes);
  ids_free(&got);
  unigram_scratch_free(&scratch);
  free_model(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_cut_has_the_highest_sum),
      cmocka_unit_test(unknown_characters_fuse_or_become_bytes_or_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
