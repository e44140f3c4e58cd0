/* bpe: byte-pair encoding of one piece. SPDX-License-Identifier: Apache-2.0
 *
 * A piece begins as its characters (or bytes, in the byte-level alphabet); the adjacent pair whose merge has the lowest rank is
 * merged, leftmost first, until no pair has one. Time is linearithmic in the piece. */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "text/text.h"
#include "text/vocab.h"

struct bpe_merge {
  int32_t left, right; /* ids */
  uint32_t rank;       /* BPE_NO_RANK: the slot is empty */
  int32_t merged;      /* the id that the merge makes */
};

#define BPE_NO_RANK UINT32_MAX

struct bpe {
  const struct vocab *vocab; /* borrowed */
  struct bpe_merge *merges;  /* hash table of n_slots; owned */
  uint32_t n_slots;          /* 0: no merges */
  uint32_t n_merges;         /* different pairs */
  uint64_t seed;
  uint32_t n_ranks;
  int32_t byte_ids[256];     /* of the byte-level alphabet; -1 where the vocabulary lacks the character */
  int32_t fallback_ids[256]; /* of <0x00> to <0xFF>; -1 likewise */
  int32_t unknown;           /* -1: none */
  bool bytes;                /* pieces are raw bytes, each a character of the byte-level alphabet */
  bool fuse_unknown, byte_fallback, ignore_merges;
  struct slice continuing_prefix, end_suffix; /* owned; usually empty */
};

/* For about n_merges merges over a vocabulary that is complete (vocab is read here) and outlives b. Set the options afterwards. */
void bpe_init(struct bpe *b, const struct vocab *vocab, size_t n_merges);
void bpe_deinit(struct bpe *b);
struct archive;
void bpe_archive(struct archive *a, struct bpe *b); /* archive.h; without its vocabulary */
/* The next merge in rank. left and right are token strings; both and what they make must be in the vocabulary. */
int bpe_add_merge(struct bpe *b, struct slice left, struct slice right, struct error *err);
/* Another way to the same table, for vocabularies whose merges are not written down: every pair of tokens that makes this token
 * gets the rank. May be called once for each token; pairs of equal rank are merged leftmost first. id must be in the vocabulary,
 * its string at most BPE_TOKEN_BYTES_MAX. part says which tokens may be parts (by id); NULL: all. */
enum { BPE_TOKEN_BYTES_MAX = 1024 };
void bpe_add_splits(struct bpe *b, int32_t id, uint32_t rank, const unsigned char *part);

/* The two tokens whose merge ends the way from the characters of a token to the token itself. False when that way does not lead there (a
 * single character; a token that only ignore_merges gives). No text makes the token out of another pair: until it is made, what lies
 * beyond its ends takes no part. */
bool bpe_last_pair(const struct bpe *b, int32_t id, int32_t *ret_left, int32_t *ret_right);

/* Working memory of one caller; {0} to start. */
struct bpe_scratch {
  struct bpe_symbol *symbols;
  size_t n_symbols, symbols_cap;
  uint64_t *heap;
  size_t n_heap, heap_cap;
  struct buf text;
  uint64_t n_pushes; /* pairs that went into the heap, ever: what the time of a long piece grows with */
};
void bpe_scratch_free(struct bpe_scratch *s);

/* Appends the ids of a piece that is not empty. A character that is not in the vocabulary becomes its byte tokens (byte_fallback),
 * else the unknown token; where there is none it is left out, as in the reference. */
void bpe_encode(const struct bpe *b, struct bpe_scratch *s, struct slice piece, struct ids *out);

#endif
