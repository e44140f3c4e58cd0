/* speculate: drafts of the tokens that come next, guessed from what the sequence already holds. Private to the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A draft only proposes: its rows go through the model in the step of the sequence, and each position's token is chosen from its own logits as
 * always. So what comes out has the same bits with any draft or none; a good draft only makes several tokens come out of one step.
 *
 * The guess is what followed when the last tokens last occurred (the longest of 4, 3 or 2 tokens that did): an index of the sequence's own
 * prompt and output, brought up to date as it grows, in bounded memory and constant time a token. How often guesses were right is counted for
 * each length of match, also while nothing is drafted: so a sequence whose text begins to repeat is noticed at no cost, and one that does not
 * repeat costs nothing. The other source of drafts is a small model (drafter.h). */
#ifndef ENGINE_SPECULATE_H
#define ENGINE_SPECULATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  SPECULATE_ROWS_MAX = 12, /* tokens of a draft */
  SPECULATE_GRAM_MIN = 2,
  SPECULATE_GRAM_MAX = 4,
  SPECULATE_GRAMS = SPECULATE_GRAM_MAX - SPECULATE_GRAM_MIN + 1,
  SPECULATE_LENGTHS = 5,        /* classes of match: 2, 3, 4 … 7, 8 … 15, 16 and more tokens */
  SPECULATE_SLOTS_MAX = 1 << 16 /* of an index: 256 KiB for each length */
};

struct speculation {
  uint32_t *slots[SPECULATE_GRAMS]; /* [n_slots] where what follows the tokens with this hash begins; 0: none */
  size_t n_slots;
  size_t n_indexed; /* tokens whose ends are in the index */
  float right[SPECULATE_LENGTHS];
  bool learns; /* right was set to its first values */
  /* the last guess */
  int32_t guess[SPECULATE_ROWS_MAX];
  size_t n_guess, n_match; /* n_match: tokens that were found again */
  double expected;         /* of those that are worth a row, how many should be right */
};

void speculate_deinit(struct speculation *s); /* fine on {0} */
/* Guesses up to `most` (at most SPECULATE_ROWS_MAX) tokens behind tokens[0 … n), and says how many of them are worth a row: those whose chance
 * to be right is above row_cost, the time of a row over the time that a token takes (below 0: all; 1 or more: none). They lie in s->guess. */
size_t speculate_draft(struct speculation *s, const int32_t *tokens, size_t n, size_t most, double row_cost);
/* What came in the place of the guess: n tokens, the last of which was the first to differ, if any did. */
void speculate_learn(struct speculation *s, const int32_t *came, size_t n);

#endif
