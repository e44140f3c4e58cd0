/* test_sampler: from logits to tokens. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

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

static void greedy_takes_the_largest_and_the_lowest_id_on_ties(void **state) {
  (void)state;
  float *x = logits(1);
  x[700] = x[300] = 100;
  struct sampler *s = sampler_create(VOCAB);
  assert_int_equal(sampler_choose(s, x, &(struct engine_sampling){.temperature = 0, .top_p = 1}, 5), 300);
  assert_int_equal(sampler_choose(s, x, &(struct engine_sampling){.temperature = 2, .top_p = 1, .top_k = 1}, 5), 300);
  assert_int_equal(sampler_choose(s, x, &(struct engine_sampling){.temperature = 1e-42f, .top_p = 1}, 5), 300);
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
    int32_t first = sampler_choose(a, x, &g, i);
    sampler_choose(b, x, &g, i + 1000);
    assert_int_equal(first, sampler_choose(b, x, &g, i));
    differs += first != sampler_choose(a, x, &g, i + 1);
  }
  assert_true(differs > 20);
  sampler_destroy(a), sampler_destroy(b);
  free(x);
}

/* The distribution of many draws against the exact one. */
static void check_shares(const struct engine_sampling *g, const float *x, const double *share) {
  enum { DRAWS = 40000 };
  struct sampler *s = sampler_create(VOCAB);
  int *count = mem_zalloc(VOCAB, sizeof *count);
  for (uint64_t i = 0; i < DRAWS; i++) count[sampler_choose(s, x, g, i)]++;
  for (size_t i = 0; i < VOCAB; i++) {
    double expected = share[i] * DRAWS;
    if (share[i] == 0) assert_int_equal(count[i], 0);
    assert_true(fabs(count[i] - expected) < 6 * sqrt(expected + 1) + 2);
  }
  free(count);
  sampler_destroy(s);
}

static int rank(const float *x, size_t i) {
  int n = 0;
  for (size_t k = 0; k < VOCAB; k++) n += x[k] > x[i] || (x[k] == x[i] && k < i);
  return n;
}

/* Exact shares after temperature, top_k and top_p, by definition. */
static double *exact(const float *x, double temperature, int top_k, double top_p) {
  double *p = mem_zalloc(VOCAB, sizeof *p), total = 0, kept = 0, sum = 0;
  size_t *order = mem_alloc(VOCAB * sizeof *order);
  for (size_t i = 0; i < VOCAB; i++) order[rank(x, i)] = i;
  size_t n = top_k ? (size_t)top_k : VOCAB;
  for (size_t i = 0; i < n; i++) total += p[order[i]] = exp(x[order[i]] / temperature);
  for (size_t i = 0; i < n; i++) {
    double before = kept;
    kept += p[order[i]];
    if (before >= top_p * total) p[order[i]] = 0;
    sum += p[order[i]];
  }
  for (size_t i = 0; i < VOCAB; i++) p[i] /= sum;
  free(order);
  return p;
}

static void draws_follow_the_distribution(void **state) {
  (void)state;
  static const struct {
    float temperature, top_p;
    int top_k;
  } cases[] = {{1, 1, 0}, {0.5f, 1, 0}, {1, 1, 10}, {1, 0.5f, 0}, {1.5f, 0.8f, 100}, {1, 0.999f, 0}};
  float *x = logits(3);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    double *share = exact(x, cases[i].temperature, cases[i].top_k, cases[i].top_p);
    check_shares(
        &(struct engine_sampling){.temperature = cases[i].temperature, .top_p = cases[i].top_p, .top_k = cases[i].top_k, .seed = 11}, x,
        share);
    free(share);
  }
  free(x);
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
  for (int i = 0; i < 20; i++) {
    assert_int_equal(rank(x, (size_t)top[i].id), i);
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
      cmocka_unit_test(logprobs_are_those_of_the_softmax_most_likely_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
