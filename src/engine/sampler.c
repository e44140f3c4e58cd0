/* sampler: see sampler.h. SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary is looked at in blocks of BLOCK ids. Their largest logits give a bound that the k most likely reach, and their sums of
 * weights lead a draw to its block, so that only few ids are looked at one by one. All sums have a fixed order of their own, whatever
 * the instructions. */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BLOCK = 64, BUNCH = 16, LANES = 4 };

/* Four sums or maxima side by side; what a comparison of two gives. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t lane_masks __attribute__((vector_size(LANES * sizeof(int32_t))));

struct candidate {
  float logit;
  int32_t id;
};

/* A logit that was changed for the choice at hand. */
struct edit {
  int32_t id;
  float was;
};

struct sampler {
  size_t n_vocab, n_blocks;
  float *weights;               /* [n_vocab] exp((logit - max) / temperature) */
  float *blocks;                /* [n_blocks] a figure of each block */
  struct candidate *candidates; /* [n_vocab], of which n_candidates are used and the first n_sorted are in order */
  size_t n_candidates, n_sorted;
  struct edit *edits; /* [n_edits] in the order in which they were made */
  size_t n_edits, cap_edits;
};

struct sampler *sampler_create(size_t n_vocab) {
  struct sampler *s = mem_zalloc(1, sizeof *s);
  s->n_vocab = n_vocab;
  s->n_blocks = (n_vocab + BLOCK - 1) / BLOCK;
  s->weights = mem_aligned(64, n_vocab * sizeof *s->weights);
  s->blocks = mem_alloc(s->n_blocks * sizeof *s->blocks);
  s->candidates = mem_alloc(n_vocab * sizeof *s->candidates);
  return s;
}

void sampler_destroy(struct sampler *s) {
  if (!s) return;
  free(s->weights);
  free(s->blocks);
  free(s->candidates);
  free(s->edits);
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

/* ---- 1 to 4: bans, bias and penalties ---- */

bool sampler_penalizes(const struct engine_sampling *g) {
  return (g->repetition_penalty != 0 && g->repetition_penalty != 1) || g->presence_penalty != 0 || g->frequency_penalty != 0;
}

static void change(struct sampler *s, float *logits, int32_t id, float value) {
  s->edits[s->n_edits++] = (struct edit){id, logits[id]};
  logits[id] = value;
}

static float penalized(const struct engine_sampling *g, float x, uint32_t n_generated) {
  float r = g->repetition_penalty;
  if (r != 0 && r != 1) x = x > 0 ? x / r : x * r;
  if (n_generated == 0) return x;
  x -= g->frequency_penalty * (float)n_generated;
  return x - g->presence_penalty;
}

static void edit(struct sampler *s, float *logits, const struct sampler_choice *c) {
  const struct engine_sampling *g = c->sampling;
  size_t n = c->n_banned + g->n_biases + (c->tally ? c->tally->n : 0);
  if (n > s->cap_edits) {
    s->cap_edits = n + n / 2;
    s->edits = mem_realloc(s->edits, s->cap_edits, sizeof *s->edits);
  }
  for (size_t i = 0; i < c->n_banned; i++) change(s, logits, c->banned[i], -INFINITY);
  for (size_t i = 0; i < g->n_biases; i++) change(s, logits, g->biases[i].id, logits[g->biases[i].id] + g->biases[i].bias);
  for (size_t i = 0; c->tally && i < c->tally->n; i++) {
    const struct tally_entry *t = &c->tally->entries[i];
    change(s, logits, t->id, penalized(g, logits[t->id], t->n_generated));
  }
}

/* Backwards: an id that was changed twice gets its first value. */
static void undo(struct sampler *s, float *logits) {
  while (s->n_edits) {
    const struct edit *e = &s->edits[--s->n_edits];
    logits[e->id] = e->was;
  }
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

/* Sorts so many of the candidates to the front; what is sorted already stays. */
static void sort_first(struct sampler *s, size_t n) {
  size_t done = s->n_sorted;
  if (n > s->n_candidates) n = s->n_candidates;
  if (n <= done) return;
  select_first(s->candidates + done, s->n_candidates - done, n - done);
  qsort(s->candidates + done, n - done, sizeof *s->candidates, by_likelihood);
  s->n_sorted = n;
}

static size_t block_len(const struct sampler *s, size_t b) { return b + 1 < s->n_blocks ? BLOCK : s->n_vocab - b * BLOCK; }

/* NaN is not the largest. */
static float block_max(const float *x, size_t n) {
  lanes a, max = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    memcpy(&a, x + i, sizeof a);
    lane_masks larger = a > max;
    max = (lanes)(((lane_masks)a & larger) | ((lane_masks)max & ~larger));
  }
  for (; i < n; i++)
    if (x[i] > max[0]) max[0] = x[i];
  float left = max[0] > max[1] ? max[0] : max[1], right = max[2] > max[3] ? max[2] : max[3];
  return left > right ? left : right;
}

/* The k-th of the blocks' largest logits: k ids or more reach it. −∞ when there are too few blocks to tell. */
static float reached_by(struct sampler *s, size_t k) {
  if (k >= s->n_blocks) return -INFINITY;
  for (size_t b = 0; b < s->n_blocks; b++) s->candidates[b] = (struct candidate){s->blocks[b], (int32_t)b};
  select_first(s->candidates, s->n_blocks, k);
  float least = INFINITY;
  for (size_t i = 0; i < k; i++)
    if (s->candidates[i].logit < least) least = s->candidates[i].logit;
  return least;
}

/* The candidates become the k most likely ids, sorted. NaN counts as −∞. */
static void most_likely(struct sampler *s, const float *logits, size_t k) {
  for (size_t b = 0; b < s->n_blocks; b++) s->blocks[b] = block_max(logits + b * BLOCK, block_len(s, b));
  float least = reached_by(s, k);
  s->n_candidates = s->n_sorted = 0;
  for (size_t b = 0; b < s->n_blocks; b++) {
    if (s->blocks[b] < least) continue;
    for (size_t i = b * BLOCK, end = i + block_len(s, b); i < end; i++) {
      float x = isnan(logits[i]) ? -INFINITY : logits[i];
      if (x >= least) s->candidates[s->n_candidates++] = (struct candidate){x, (int32_t)i};
    }
  }
  sort_first(s, k);
  s->n_candidates = s->n_sorted;
}

/* Whether one of BUNCH weights is at least `least`. */
static bool any_reaches(const float *w, float least) {
  lane_masks any = {0};
  for (size_t i = 0; i < BUNCH; i += LANES) {
    lanes a;
    memcpy(&a, w + i, sizeof a);
    any |= a >= least;
  }
  uint64_t bits[sizeof any / sizeof(uint64_t)];
  memcpy(bits, &any, sizeof any);
  return bits[0] | bits[1];
}

/* The candidates become the ids whose weight is at least `least`, unsorted. */
static void heavy_enough(struct sampler *s, const float *logits, float least) {
  s->n_candidates = s->n_sorted = 0;
  for (size_t begin = 0; begin < s->n_vocab; begin += BUNCH) {
    size_t end = begin + BUNCH < s->n_vocab ? begin + BUNCH : s->n_vocab;
    if (end - begin == BUNCH && !any_reaches(s->weights + begin, least)) continue;
    for (size_t i = begin; i < end; i++)
      if (s->weights[i] >= least) s->candidates[s->n_candidates++] = (struct candidate){logits[i], (int32_t)i};
  }
}

/* ---- 6 to 10: weights, filters and the draw ---- */

static double sum_of(const struct sampler *s, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += s->weights[s->candidates[i].id];
  return sum;
}

/* Leaves the fewest candidates, sorted, whose weights reach that much: a few are sorted, then more, until it is enough. */
static void cut_to_mass(struct sampler *s, double mass) {
  double sum = 0;
  size_t n = 0;
  for (size_t tried = 64; n < s->n_candidates && sum < mass; tried *= 4) {
    sort_first(s, tried);
    while (n < s->n_sorted && sum < mass) sum += s->weights[s->candidates[n++].id];
  }
  s->n_candidates = n;
}

/* top_k ids at most, then top_p of them. */
static void keep_most_likely(struct sampler *s, const float *logits, const struct engine_sampling *g) {
  most_likely(s, logits, (size_t)g->top_k);
  while (s->n_candidates > 1 && s->weights[s->candidates[s->n_candidates - 1].id] < g->min_p) s->n_candidates--;
  if (g->top_p < 1) cut_to_mass(s, (double)g->top_p * sum_of(s, s->n_candidates));
}

/* The candidates become ids among which are all that top_p keeps: where those above a bound weigh enough, none below it is needed. The
 * bound is half of what top_p may drop, shared among n ids; with n all of the vocabulary, what is below weighs too little together. */
static void gather_nucleus(struct sampler *s, const float *logits, double top_p, double total) {
  for (size_t n = 256;; n *= 16) {
    if (n > s->n_vocab) n = s->n_vocab;
    heavy_enough(s, logits, (float)(0.5 * (1 - top_p) * total / (double)n));
    if (n == s->n_vocab || sum_of(s, s->n_candidates) >= top_p * total) return;
  }
}

/* top_p without top_k. */
static void keep_nucleus(struct sampler *s, const float *logits, const struct engine_sampling *g, double total) {
  if (g->min_p > 0) {
    heavy_enough(s, logits, g->min_p);
    total = sum_of(s, s->n_candidates);
  } else {
    gather_nucleus(s, logits, (double)g->top_p, total);
  }
  cut_to_mass(s, (double)g->top_p * total);
}

static int32_t draw_candidates(const struct sampler *s, double u) {
  double target = u * sum_of(s, s->n_candidates), sum = 0;
  for (size_t i = 0; i < s->n_candidates; i++) {
    sum += s->weights[s->candidates[i].id];
    if (sum > target) return s->candidates[i].id;
  }
  return s->candidates[0].id;
}

static float block_sum(const float *w, size_t n) {
  lanes a, sum = {0};
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    memcpy(&a, w + i, sizeof a);
    sum += a;
  }
  for (; i < n; i++) sum[0] += w[i];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* The first id at which the running sum, which is `before` in front of the block, passes target. What was rounded away between the two
 * ways of summing is the last one's that weighs anything. */
static int32_t draw_in_block(const struct sampler *s, size_t b, double before, double target) {
  size_t last = b * BLOCK;
  for (size_t i = b * BLOCK, end = i + block_len(s, b); i < end; i++) {
    if (s->weights[i] > 0) last = i;
    before += s->weights[i];
    if (before > target) return (int32_t)i;
  }
  return (int32_t)last;
}

static int32_t draw_all(struct sampler *s, double u) {
  double total = 0, sum = 0;
  for (size_t b = 0; b < s->n_blocks; b++) total += s->blocks[b] = block_sum(s->weights + b * BLOCK, block_len(s, b));
  size_t last = 0; /* the last block that weighs anything: u · total may round to total */
  for (size_t b = 0; b < s->n_blocks; b++) {
    if (s->blocks[b] <= 0) continue;
    last = b;
    if (sum + s->blocks[b] > u * total) break;
    sum += s->blocks[b];
  }
  return draw_in_block(s, last, sum, u * total);
}

static int32_t pick(struct sampler *s, const float *logits, const struct engine_sampling *g, uint64_t position) {
  if (g->temperature <= 0 || g->top_k == 1) return (int32_t)op_argmax(logits, s->n_vocab);
  float scale = 1.0f / g->temperature;
  if (!isfinite(scale)) return (int32_t)op_argmax(logits, s->n_vocab);
  float total = op_softmax_weights(s->weights, logits, scale, s->n_vocab);
  if (!isfinite(total)) return (int32_t)op_argmax(logits, s->n_vocab);
  double u = sampler_uniform(g->seed, position);
  if (g->top_k > 0 && (size_t)g->top_k < s->n_vocab) {
    keep_most_likely(s, logits, g);
    return draw_candidates(s, u);
  }
  if (g->top_p < 1) {
    keep_nucleus(s, logits, g, (double)total);
    return draw_candidates(s, u);
  }
  if (g->min_p > 0)
    for (size_t i = 0; i < s->n_vocab; i++) s->weights[i] = s->weights[i] >= g->min_p ? s->weights[i] : 0;
  return draw_all(s, u);
}

int32_t sampler_choose(struct sampler *s, float *logits, const struct sampler_choice *c) {
  edit(s, logits, c);
  int32_t id = pick(s, logits, c->sampling, c->position);
  undo(s, logits);
  return id;
}

float sampler_logprobs(struct sampler *s, const float *logits, int32_t id, struct engine_logprob *top, int n_top) {
  float norm = op_log_sum_exp(logits, s->n_vocab);
  if (n_top > 0) {
    most_likely(s, logits, (size_t)n_top);
    for (int i = 0; i < n_top; i++) top[i] = (struct engine_logprob){s->candidates[i].id, s->candidates[i].logit - norm};
  }
  return logits[id] - norm;
}
