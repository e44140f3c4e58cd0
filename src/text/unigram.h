/* unigram: the cut of a piece into tokens whose scores have the highest sum. SPDX-License-Identifier: Apache-2.0
 *
 * Time is linear in the piece, times the length of the tokens that match. */
#ifndef TEXT_UNIGRAM_H
#define TEXT_UNIGRAM_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "text/text.h"
#include "text/vocab.h"

struct unigram {
  const struct vocab *vocab; /* borrowed */
  double *scores;            /* [vocab->n_ids]; owned */
  double min_score;
  struct unigram_edge *edges; /* the tokens as a tree of bytes: hash table of n_slots; owned */
  uint32_t n_slots, n_edges, n_nodes;
  int32_t *token_of_node; /* [nodes_cap] -1: none ends there; owned */
  uint32_t nodes_cap;
  uint64_t seed;
  int32_t fallback_ids[256]; /* of <0x00> to <0xFF>; -1 where there is none */
  int32_t unknown;           /* -1: none */
  bool byte_fallback;
};

/* For a vocabulary that is complete and outlives u; scores ([vocab->n_ids]) becomes u's. Every id must have a string. */
void unigram_init(struct unigram *u, const struct vocab *vocab, double *scores);
void unigram_deinit(struct unigram *u);
struct archive;
void unigram_archive(struct archive *a, struct unigram *u); /* archive.h; u->vocab is set already */

/* Working memory of one caller; {0} to start. */
struct unigram_scratch {
  struct unigram_node *nodes;
  size_t cap;
};
void unigram_scratch_free(struct unigram_scratch *s);

/* Appends the ids of a piece that is not empty. A run of characters that no token covers becomes its byte tokens (byte_fallback)
 * or one unknown token; fails where that is needed and there is none. */
int unigram_encode(const struct unigram *u, struct unigram_scratch *s, struct slice piece, struct ids *out, struct error *err);

#endif
