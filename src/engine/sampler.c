/* sampler: see sampler.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

struct candidate {
  float logit;
  int32_t id;
};

struct sampler {
  size_t n_vocab;
  float *weights;               /* [n_vocab] exp((logit - max) / temperature) */
  struct candidate *candidates; /* [n_vocab] */
};

struct sampler *sampler_create(size_t n_vocab) {
  struct sampler *s = mem_zalloc(1, sizeof *s);
  s->n_vocab = n_vocab;
  s->weights = mem_aligned(64, n_vocab * sizeof *s->weights);
  s->candidates = mem_alloc(n_vocab * sizeof *s->candidates);
  return s;
}

void sampler_destroy(struct sampler *s) {
  if (!s) return;
  free(s->weights);
  free(s->candidates);
  free(s);
}

/* ---- Philox 4x32-10 ---- */

void sampler_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)b;
    c3 = (uint32_t)a;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

double sampler_uniform(uint64_t seed, uint64_t position) {
  const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), 0, 0};
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint32_t out[4];
  sampler_philox(counter, key, out);
  uint64_t bits = ((uint64_t)out[0] << 32 | out[1]) >> 11;
  return (double)bits * 0x1p-53;
}

/* ---- the most likely candidates ---- */

/* Whether a comes before b: more likely, or equally likely with a lower id. */
static bool before(struct candidate a, struct candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

static int by_likelihood(const void *a, const void *b) {
  struct candidate x = *(const struct candidate *)a, y = *(const struct candidate *)b;
  return before(x, y) ? -1 : before(y, x) ? 1 : 0;
}

/* Moves the k first of n (by `before`) to the front, in any order: quickselect with the median of three as pivot. */
static void select_first(struct candidate *c, size_t n, size_t k) {
  size_t low = 0, high = n;
  while (high - low > 1 && k > low && k < high) {
    struct candidate a = c[low], b = c[low + (high - low) / 2], d = c[high - 1];
    struct candidate pivot = before(a, b) ? (before(b, d) ? b : before(a, d) ? d : a) : (before(a, d) ? a : before(b, d) ? d : b);
    size_t i = low, j = high - 1;
    for (;;) {
      while (before(c[i], pivot)) i++;
      while (before(pivot, c[j])) j--;
      if (i >= j) break;
      struct candidate t = c[i];
      c[i++] = c[j];
      c[j--] = t;
    }
    size_t cut = i == j ? i + 1 : i; /* all before cut are not after the pivot */
    if (k < cut) high = cut == high ? high - 1 : cut;
    else low = cut == low ? low + 1 : cut;
  }
}

/* The n_first most likely ids, sorted, at the front of s->candidates. */
static size_t most_likely(struct sampler *s, const float *logits, size_t n_first) {
  size_t n = s->n_vocab;
  for (size_t i = 0; i < n; i++) s->candidates[i] = (struct candidate){isnan(logits[i]) ? -INFINITY : logits[i], (int32_t)i};
  if (n_first > n) n_first = n;
  select_first(s->candidates, n, n_first);
  qsort(s->candidates, n_first, sizeof *s->candidates, by_likelihood);
  return n_first;
}

/* The first ids, sorted, whose weights reach share · total: tried with a few, then with more, until it is enough. */
static size_t nucleus(struct sampler *s, const float *logits, double share, double total, size_t at_most) {
  for (size_t tried = 64;; tried *= 4) {
    size_t n = most_likely(s, logits, tried < at_most ? tried : at_most);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
      sum += s->weights[s->candidates[i].id];
      if (sum >= share * total) return i + 1;
    }
    if (n == at_most || n == s->n_vocab) return n;
  }
}

static double sum_of(const struct sampler *s, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += s->weights[s->candidates[i].id];
  return sum;
}

static int32_t draw_candidates(const struct sampler *s, size_t n, double u) {
  double target = u * sum_of(s, n), sum = 0;
  for (size_t i = 0; i < n; i++) {
    sum += s->weights[s->candidates[i].id];
    if (sum > target) return s->candidates[i].id;
  }
  return s->candidates[0].id;
}

static int32_t draw_all(const struct sampler *s, const float *logits, double u) {
  double total = 0, sum = 0;
  for (size_t i = 0; i < s->n_vocab; i++) total += s->weights[i];
  for (size_t i = 0; i < s->n_vocab; i++) {
    sum += s->weights[i];
    if (sum > u * total) return (int32_t)i;
  }
  return (int32_t)op_argmax(logits, s->n_vocab);
}

int32_t sampler_choose(struct sampler *s, const float *logits, const struct engine_sampling *g, uint64_t position) {
  if (g->temperature <= 0 || g->top_k == 1) return (int32_t)op_argmax(logits, s->n_vocab);
  float scale = 1.0f / g->temperature;
  if (!isfinite(scale)) return (int32_t)op_argmax(logits, s->n_vocab);
  float total = op_softmax_weights(s->weights, logits, scale, s->n_vocab);
  double u = sampler_uniform(g->seed, position);
  size_t n = g->top_k > 0 && (size_t)g->top_k < s->n_vocab ? (size_t)g->top_k : s->n_vocab;
  if (n == s->n_vocab && g->top_p >= 1) return draw_all(s, logits, u);
  if (g->top_p >= 1) return draw_candidates(s, most_likely(s, logits, n), u);
  double mass = total;
  if (n < s->n_vocab) mass = sum_of(s, most_likely(s, logits, n));
  return draw_candidates(s, nucleus(s, logits, g->top_p, mass, n), u);
}

float sampler_logprobs(struct sampler *s, const float *logits, int32_t id, struct engine_logprob *top, int n_top) {
  float norm = op_log_sum_exp(logits, s->n_vocab);
  if (n_top > 0) {
    most_likely(s, logits, (size_t)n_top);
    for (int i = 0; i < n_top; i++) top[i] = (struct engine_logprob){s->candidates[i].id, s->candidates[i].logit - norm};
  }
  return logits[id] - norm;
}
