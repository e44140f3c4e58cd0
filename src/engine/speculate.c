/* speculate: see speculate.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/speculate.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { SLOTS_MIN = 256, MATCH_MAX = 32 };

/* Chances before anything was seen, and how much one observation moves them. */
static const float RIGHT_AT_FIRST[SPECULATE_LENGTHS] = {0.2f, 0.3f, 0.4f, 0.6f, 0.7f}, LEARN = 0.1f;

void speculate_deinit(struct speculation *s) {
  for (int g = 0; g < SPECULATE_GRAMS; g++) free(s->slots[g]);
  *s = (struct speculation){0};
}

/* ---- the index ---- */

static size_t slot_of(const struct speculation *s, const int32_t *last, size_t gram) {
  uint64_t h = gram;
  for (size_t i = 0; i < gram; i++) h = (h ^ (uint32_t)last[i]) * 0x9E3779B97F4A7C15u;
  return (size_t)(h >> 32) & (s->n_slots - 1);
}

/* What ends in front of token `end`. */
static void index_end(struct speculation *s, const int32_t *tokens, size_t end) {
  for (size_t gram = SPECULATE_GRAM_MIN; gram <= SPECULATE_GRAM_MAX && gram <= end; gram++)
    s->slots[gram - SPECULATE_GRAM_MIN][slot_of(s, tokens + end - gram, gram)] = (uint32_t)end;
}

/* At least as many slots as tokens, up to the bound: grown by doubling, so that a token is indexed a constant number of times on the average. */
static void grow(struct speculation *s, size_t n) {
  if (s->n_slots >= n || s->n_slots == SPECULATE_SLOTS_MAX) return;
  if (s->n_slots == 0) s->n_slots = SLOTS_MIN;
  while (s->n_slots < 2 * n && s->n_slots < SPECULATE_SLOTS_MAX) s->n_slots *= 2;
  for (int g = 0; g < SPECULATE_GRAMS; g++) {
    free(s->slots[g]);
    s->slots[g] = mem_zalloc(s->n_slots, sizeof *s->slots[g]);
  }
  s->n_indexed = 0;
}

/* Everything but the end itself, which is what is looked for. */
static void catch_up(struct speculation *s, const int32_t *tokens, size_t n) {
  grow(s, n);
  for (size_t end = s->n_indexed + 1; end < n; end++) index_end(s, tokens, end);
  if (n) s->n_indexed = n - 1;
}

/* Where the tokens after an earlier occurrence of the last ones begin, of the longest kind; 0: nowhere. */
static size_t find(const struct speculation *s, const int32_t *tokens, size_t n) {
  for (size_t gram = SPECULATE_GRAM_MAX; gram >= SPECULATE_GRAM_MIN; gram--) {
    if (n <= gram) continue;
    size_t end = s->slots[gram - SPECULATE_GRAM_MIN][slot_of(s, tokens + n - gram, gram)];
    if (end >= gram && memcmp(tokens + end - gram, tokens + n - gram, gram * sizeof *tokens) == 0) return end;
  }
  return 0;
}

static size_t match_length(const int32_t *tokens, size_t n, size_t end) {
  size_t length = 0;
  while (length < MATCH_MAX && length < end && tokens[end - 1 - length] == tokens[n - 1 - length]) length++;
  return length;
}

/* ---- chances ---- */

static int class_of(size_t n_match) { return n_match >= 16 ? 4 : n_match >= 8 ? 3 : n_match >= 4 ? 2 : n_match >= 3 ? 1 : 0; }

size_t speculate_draft(struct speculation *s, const int32_t *tokens, size_t n, size_t most, double row_cost) {
  if (!s->learns) memcpy(s->right, RIGHT_AT_FIRST, sizeof s->right);
  s->learns = true;
  s->n_guess = 0;
  s->expected = 0;
  catch_up(s, tokens, n);
  size_t end = find(s, tokens, n);
  if (end == 0) return 0;
  s->n_match = match_length(tokens, n, end);
  s->n_guess = SPECULATE_ROWS_MAX;
  for (size_t i = 0; i < s->n_guess; i++) s->guess[i] = end + i < n ? tokens[end + i] : s->guess[end + i - n];
  size_t worth = 0;
  double chance = 1;
  if (most > s->n_guess) most = s->n_guess;
  for (; worth < most; worth++) {
    chance *= s->right[class_of(s->n_match + worth)];
    if (chance <= row_cost) break;
    s->expected += chance;
  }
  return worth;
}

void speculate_learn(struct speculation *s, const int32_t *came, size_t n) {
  for (size_t i = 0; i < n && i < s->n_guess; i++) {
    float *right = &s->right[class_of(s->n_match + i)];
    bool hit = came[i] == s->guess[i];
    *right += LEARN * ((hit ? 1.0f : 0.0f) - *right);
    if (!hit) return;
  }
}
