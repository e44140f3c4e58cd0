/* test_sampler: from logits to tokens, each step against a plain definition in double. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/sampler.h"

enum { VOCAB = 1000 };

static float *logits(uint32_t seed) {
  float *x = mem_alloc(VOCAB * sizeof *x);
  for (size_t i = 0; i < VOCAB; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(int32_t)seed * 0x1p-29f;
  }
  return x;
}

/* Vectors of the Random123 distribution (Salmon et al., kat_vectors: philox4x32 10). */
static void philox_matches_the_published_vectors(void **state) {
  (void)state;
  uint32_t out[4];
  sampler_philox((const uint32_t[4]){0}, (const uint32_t[2]){0}, out);
  assert_memory_equal(out, ((const uint32_t[4]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}), 16);
  sampler_philox((const uint32_t[4]){~0u, ~0u, ~0u, ~0u}, (const uint32_t[2]){~0u, ~0u}, out);
  assert_memory_equal(out, ((const uint32_t[4]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}), 16);
  sampler_philox((const uint32_t[4]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, (const uint32_t[2]){0xa4093822, 0x299f31d0}, out);
  assert_memory_equal(out, ((const uint32_t[4]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}), 16);
}

static void uniform_numbers_are_even_and_below_one(void **state) {
  (void)state;
  double sum = 0;
  for (uint64_t i = 0; i < 100000; i++) {
    double u = sampler_uniform(42, i);
    assert_true(u >= 0 && u < 1);
    sum += u;
  }
  assert_true(fabs(sum / 100000 - 0.5) < 0.005);
}

static int32_t choose(struct sampler *s, float *x, const struct engine_sampling *g, uint64_t position) {
  return sampler_choose(s, x, &(struct sampler_choice){.sampling = g, .position = position});
}

static void greedy_takes_the_largest_and_the_lowest_id_on_ties(void **state) {
  (void)state;
  float *x = logits(1);
  x[700] = x[300] = 100;
  struct sampler *s = sampler_create(VOCAB);
  assert_int_equal(choose(s, x, &(struct engine_sampling){.temperature = 0, .top_p = 1}, 5), 300);
  assert_int_equal(choose(s, x, &(struct engine_sampling){.temperature = 2, .top_p = 1, .top_k = 1}, 5), 300);
  assert_int_equal(choose(s, x, &(struct engine_sampling){.temperature = 1e-42f, .top_p = 1}, 5), 300);
  sampler_destroy(s);
  free(x);
}

static void a_draw_depends_on_seed_and_position_only(void **state) {
  (void)state;
  float *x = logits(2);
  struct sampler *a = sampler_create(VOCAB), *b = sampler_create(VOCAB);
  struct engine_sampling g = {.temperature = 1, .top_p = 0.9f, .top_k = 50, .seed = 7};
  int differs = 0;
  for (uint64_t i = 0; i < 200; i++) {
    int32_t first = choose(a, x, &g, i);
    choose(b, x, &g, i + 1000);
    assert_int_equal(first, choose(b, x, &g, i));
    differs += first != choose(a, x, &g, i + 1);
  }
  assert_true(differs > 20);
  sampler_destroy(a), sampler_destroy(b);
  free(x);
}

/* ---- every step by its definition ---- */

static int rank(const double *x, size_t i) {
  int n = 0;
  for (size_t k = 0; k < VOCAB; k++) n += x[k] > x[i] || (x[k] == x[i] && k < i);
  return n;
}

/* What a sequence has so far, and what is banned. */
struct history {
  const int32_t *prompt, *text, *banned;
  size_t n_prompt, n_text, n_banned;
};

static int times(const int32_t *ids, size_t n, int32_t id) {
  int count = 0;
  for (size_t i = 0; i < n; i++) count += ids[i] == id;
  return count;
}

/* Steps 1 to 4 for one id. */
static double edited(const struct engine_sampling *g, const struct history *h, double x, int32_t id) {
  int generated = times(h->text, h->n_text, id), in_prompt = times(h->prompt, h->n_prompt, id);
  double r = g->repetition_penalty ? (double)g->repetition_penalty : 1;
  if (times(h->banned, h->n_banned, id)) return -INFINITY;
  for (size_t i = 0; i < g->n_biases; i++) x += g->biases[i].id == id ? (double)g->biases[i].bias : 0;
  if (generated + in_prompt) x = x > 0 ? x / r : x * r;
  if (generated) x -= (double)g->frequency_penalty * generated + (double)g->presence_penalty;
  return x;
}

/* The exact share of every id after all steps. */
static double *exact(const float *logits, const struct engine_sampling *g, const struct history *h) {
  double *x = mem_alloc(VOCAB * sizeof *x), *p = mem_zalloc(VOCAB, sizeof *p), max = -INFINITY, mass = 0, kept = 0, sum = 0;
  size_t *order = mem_alloc(VOCAB * sizeof *order), n = g->top_k ? (size_t)g->top_k : VOCAB;
  for (size_t i = 0; i < VOCAB; i++) x[i] = edited(g, h, (double)logits[i], (int32_t)i);
  for (size_t i = 0; i < VOCAB; i++) max = fmax(max, x[i]);
  for (size_t i = 0; i < VOCAB; i++) order[rank(x, i)] = i;
  for (size_t i = 0; i < n; i++) {
    double weight = exp((x[order[i]] - max) / (double)g->temperature);
    mass += p[order[i]] = weight >= (double)g->min_p ? weight : 0;
  }
  for (size_t i = 0; i < n; i++) {
    double before = kept;
    kept += p[order[i]];
    if (before >= (double)g->top_p * mass && g->top_p < 1) p[order[i]] = 0;
    sum += p[order[i]];
  }
  for (size_t i = 0; i < VOCAB; i++) p[i] /= sum;
  free(order);
  free(x);
  return p;
}

static struct tally tally_of(const struct history *h) {
  struct tally t = {0};
  for (size_t i = 0; i < h->n_prompt; i++) tally_add(&t, h->prompt[i], 0);
  for (size_t i = 0; i < h->n_text; i++) tally_add(&t, h->text[i], 1);
  return t;
}

/* Many draws, counted, by Pearson's chi-square against the exact shares; rare ids are counted together. The seed is fixed, so the figure is
 * the same in every run; 5 standard deviations leave room for no wrong filter. */
static void check_shares(const struct engine_sampling *g, float *x, const struct history *h) {
  enum { DRAWS = 40000 };
  struct sampler *s = sampler_create(VOCAB);
  struct tally tally = tally_of(h);
  struct sampler_choice choice = {
      .sampling = g, .tally = sampler_penalizes(g) ? &tally : NULL, .banned = h->banned, .n_banned = h->n_banned};
  int *count = mem_zalloc(VOCAB, sizeof *count);
  double *share = exact(x, g, h), chi = 0, rare_share = 0, rare_count = 0;
  int bins = 0;
  for (; choice.position < DRAWS; choice.position++) count[sampler_choose(s, x, &choice)]++;
  for (size_t i = 0; i < VOCAB; i++) {
    double expected = share[i] * DRAWS;
    if (share[i] == 0 && count[i]) fail_msg("%zu was drawn", i);
    if (expected < 10) {
      rare_share += expected;
      rare_count += count[i];
      continue;
    }
    chi += (count[i] - expected) * (count[i] - expected) / expected;
    bins++;
  }
  if (rare_share > 0) {
    chi += (rare_count - rare_share) * (rare_count - rare_share) / rare_share;
    bins++;
  }
  if (chi > bins - 1 + 5 * sqrt(2.0 * bins)) fail_msg("chi-square is %g with %d bins", chi, bins);
  free(count);
  free(share);
  tally_deinit(&tally);
  sampler_destroy(s);
}

static void draws_follow_the_distribution(void **state) {
  (void)state;
  static const struct {
    float temperature, top_p, min_p;
    int top_k;
  } cases[] = {{1, 1, 0, 0},      {0.5f, 1, 0, 0},    {1, 1, 0, 10},   {1, 1, 0, 300},        {1, 0.5f, 0, 0},    {1.5f, 0.8f, 0, 100},
               {1, 0.999f, 0, 0}, {1, 0.05f, 0, 0},   {1, 1, 0.1f, 0}, {2, 1, 0.02f, 0},      {1, 0.9f, 0.1f, 0}, {1, 0.7f, 0.05f, 30},
               {1, 1, 0.3f, 200}, {1, 0.0001f, 0, 0}, {1, 1, 1, 0},    {0.01f, 0.9f, 0, 900}, {2, 0.95f, 0, 12},  {1, 1, 0.5f, 7}};
  float *x = logits(3);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct engine_sampling g = {
        .temperature = cases[i].temperature, .top_p = cases[i].top_p, .min_p = cases[i].min_p, .top_k = cases[i].top_k, .seed = 11 + i};
    check_shares(&g, x, &(struct history){0});
  }
  free(x);
}

/* A few hundred draws from logits that fall off as a model's do, where top_p looks at a few ids only. */
static void a_steep_distribution_is_cut_in_the_right_place(void **state) {
  (void)state;
  float *x = logits(6);
  for (size_t i = 0; i < VOCAB; i++) x[i] = x[i] * 2 - (float)i * 0.02f;
  for (int i = 0; i < 6; i++) {
    struct engine_sampling g = {.temperature = 1, .top_p = 0.4f + 0.1f * (float)i, .top_k = i % 2 ? 0 : 14, .seed = 3};
    check_shares(&g, x, &(struct history){0});
  }
  free(x);
}

static const int32_t prompt[] = {5, 6, 7, 7, 9, 800}, text[] = {7, 7, 7, 100, 200, 100, 999, 0};
static const struct engine_bias biases[] = {{3, 4.5f}, {7, -2}, {100, 1}, {500, -100}, {501, 100}};

static void penalties_and_bias_shift_the_distribution(void **state) {
  (void)state;
  const struct history h = {.prompt = prompt, .n_prompt = 6, .text = text, .n_text = 8};
  const struct engine_sampling cases[] = {
      {.repetition_penalty = 1.3f},
      {.repetition_penalty = 0.7f},
      {.frequency_penalty = 0.5f},
      {.frequency_penalty = -2},
      {.presence_penalty = 1.5f},
      {.presence_penalty = -1},
      {.biases = biases, .n_biases = 4},
      {.biases = biases, .n_biases = 5},
      {.repetition_penalty = 1.1f, .frequency_penalty = 0.3f, .presence_penalty = 0.4f, .biases = biases, .n_biases = 4},
      {.repetition_penalty = 1.1f, .presence_penalty = -0.4f, .biases = biases, .n_biases = 4, .top_k = 40, .min_p = 0.01f},
  };
  float *x = logits(4);
  for (size_t i = 0; i < VOCAB; i++) x[i] -= 8; /* the tokens of prompt and text have most of the weight, with logits of either sign */
  for (size_t i = 0; i < 14; i++) x[i < 6 ? prompt[i] : text[i - 6]] = 1.5f - 0.25f * (float)i;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct engine_sampling g = cases[i];
    g.temperature = 1;
    g.top_p = i % 2 ? 1 : 0.98f;
    g.seed = i;
    check_shares(&g, x, &h);
  }
  free(x);
}

static void what_is_banned_never_comes_and_no_bias_brings_it_back(void **state) {
  (void)state;
  float *x = logits(5);
  const int32_t banned[] = {501, 501, 0, 999, 42};
  struct history h = {.banned = banned, .n_banned = 5, .text = text, .n_text = 8};
  x[42] = 50;
  for (int i = 0; i < 4; i++) {
    struct engine_sampling g = {.temperature = 1,
                                .top_p = i == 1 ? 0.8f : 1,
                                .top_k = i == 2 ? 900 : 0,
                                .min_p = i == 3 ? 1e-6f : 0,
                                .repetition_penalty = 0.5f,
                                .biases = biases,
                                .n_biases = 5};
    check_shares(&g, x, &h);
  }
  struct sampler *s = sampler_create(VOCAB);
  struct engine_sampling greedy = {.top_p = 1, .biases = biases, .n_biases = 4};
  struct sampler_choice choice = {.sampling = &greedy, .banned = banned, .n_banned = 5};
  for (int i = 0; i < 2; i++) {
    int32_t id = sampler_choose(s, x, &choice);
    assert_true(id != 42 && id != 501);
  }
  sampler_destroy(s);
  free(x);
}

static void penalties_and_bias_count_for_greedy_too(void **state) {
  (void)state;
  const struct history h = {.prompt = prompt, .n_prompt = 6, .text = text, .n_text = 8};
  struct tally tally = tally_of(&h);
  struct sampler *s = sampler_create(VOCAB);
  for (uint32_t seed = 0; seed < 300; seed++) {
    float *x = logits(seed);
    for (size_t i = 0; i < 8; i++) x[text[i]] += 3; /* the likely ones are those that are penalized */
    struct engine_sampling g = {.top_p = 1,
                                .repetition_penalty = 1 + (float)(seed % 7) * 0.2f,
                                .frequency_penalty = (float)(seed % 5) * 0.4f - 0.8f,
                                .presence_penalty = (float)(seed % 3),
                                .biases = biases,
                                .n_biases = seed % 6};
    struct sampler_choice choice = {.sampling = &g, .tally = sampler_penalizes(&g) ? &tally : NULL};
    int32_t id = sampler_choose(s, x, &choice);
    double best = edited(&g, &h, (double)x[id], id);
    for (int32_t i = 0; i < VOCAB; i++) assert_true(edited(&g, &h, (double)x[i], i) <= best + 1e-5);
    free(x);
  }
  tally_deinit(&tally);
  sampler_destroy(s);
}

static void a_choice_leaves_the_logits_as_they_were(void **state) {
  (void)state;
  const struct history h = {.prompt = prompt, .n_prompt = 6, .text = text, .n_text = 8};
  const int32_t banned[] = {3, 7, 7};
  struct tally tally = tally_of(&h);
  struct sampler *s = sampler_create(VOCAB);
  float *x = logits(8), *same = logits(8);
  x[7] = same[7] = NAN;
  struct engine_sampling g = {.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.2f, .biases = biases, .n_biases = 5};
  sampler_choose(s, x, &(struct sampler_choice){.sampling = &g, .tally = &tally, .banned = banned, .n_banned = 3});
  assert_memory_equal(x, same, VOCAB * sizeof *x);
  tally_deinit(&tally);
  sampler_destroy(s);
  free(x);
  free(same);
}

static void logits_that_are_no_numbers_still_give_a_token(void **state) {
  (void)state;
  const float odd[] = {NAN, INFINITY, -INFINITY};
  const struct engine_sampling cases[] = {{.top_p = 1},
                                          {.temperature = 1, .top_p = 1},
                                          {.temperature = 1, .top_p = 0.5f},
                                          {.temperature = 1, .top_p = 0.5f, .top_k = 5},
                                          {.temperature = 1, .top_p = 1, .min_p = 0.5f}};
  struct sampler *s = sampler_create(VOCAB);
  struct engine_logprob top[20];
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (size_t k = 0; k < 3; k++) {
      float *x = logits(9);
      x[17] = odd[k];
      int32_t id = choose(s, x, &cases[i], 1);
      assert_true(id >= 0 && id < VOCAB && (k == 1) == (id == 17));
      for (size_t j = 0; j < VOCAB; j++) x[j] = odd[k];
      id = choose(s, x, &cases[i], 1);
      assert_true(id >= 0 && id < VOCAB);
      sampler_logprobs(s, x, id, top, 20);
      for (int j = 0; j < 20; j++) assert_int_equal(top[j].id, j);
      free(x);
    }
  }
  sampler_destroy(s);
}

static void a_tally_counts_each_token_once(void **state) {
  (void)state;
  struct tally t = {0};
  for (int round = 0; round < 3; round++)
    for (int32_t id = 0; id < 5000; id += 1 + round) tally_add(&t, id * 7 % 5000, round > 0);
  assert_int_equal(t.n, 5000);
  for (size_t i = 0; i < t.n; i++) {
    int32_t id = t.entries[i].id;
    uint32_t want = 0;
    for (int32_t k = 0; k < 5000; k += 2) want += k * 7 % 5000 == id;
    for (int32_t k = 0; k < 5000; k += 3) want += k * 7 % 5000 == id;
    if (i % 50 == 0) assert_int_equal(t.entries[i].n_generated, want);
  }
  tally_deinit(&t);
}

static void logprobs_are_those_of_the_softmax_most_likely_first(void **state) {
  (void)state;
  float *x = logits(4);
  struct sampler *s = sampler_create(VOCAB);
  struct engine_logprob top[20];
  double total = 0;
  for (size_t i = 0; i < VOCAB; i++) total += exp(x[i]);
  float chosen = sampler_logprobs(s, x, 123, top, 20);
  assert_true(fabs(chosen - (x[123] - log(total))) < 1e-5);
  double wide[VOCAB];
  for (size_t i = 0; i < VOCAB; i++) wide[i] = (double)x[i];
  for (int i = 0; i < 20; i++) {
    assert_int_equal(rank(wide, (size_t)top[i].id), i);
    assert_true(fabs(top[i].logprob - (x[top[i].id] - log(total))) < 1e-5);
  }
  sampler_destroy(s);
  free(x);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(philox_matches_the_published_vectors),
      cmocka_unit_test(uniform_numbers_are_even_and_below_one),
      cmocka_unit_test(greedy_takes_the_largest_and_the_lowest_id_on_ties),
      cmocka_unit_test(a_draw_depends_on_seed_and_position_only),
      cmocka_unit_test(draws_follow_the_distribution),
      cmocka_unit_test(a_steep_distribution_is_cut_in_the_right_place),
      cmocka_unit_test(penalties_and_bias_shift_the_distribution),
      cmocka_unit_test(what_is_banned_never_comes_and_no_bias_brings_it_back),
      cmocka_unit_test(penalties_and_bias_count_for_greedy_too),
      cmocka_unit_test(a_choice_leaves_the_logits_as_they_were),
      cmocka_unit_test(logits_that_are_no_numbers_still_give_a_token),
      cmocka_unit_test(a_tally_counts_each_token_once),
      cmocka_unit_test(logprobs_are_those_of_the_softmax_most_likely_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
