/* tally: which tokens a sequence has so far, and how often it generated each: what penalties look at. Private to the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Adding costs the same however long the sequence is, and a walk touches each different token once, so a step never looks at the
 * whole vocabulary or the whole text. */
#ifndef ENGINE_TALLY_H
#define ENGINE_TALLY_H
#include <stddef.h>
#include <stdint.h>

struct tally_entry {
  int32_t id;
  uint32_t n_generated; /* 0: only the prompt has it */
};

struct tally {
  struct tally_entry *entries; /* [n] one for each different token, in order of appearance */
  size_t n, cap;
  uint32_t *slots; /* [n_slots] a hash table of index + 1 into entries, 0: free */
  size_t n_slots;  /* a power of two, more than n */
};

/* Zero-initialize to start. n_generated: 1 for a token that the sequence generated, 0 for one of its prompt. */
void tally_add(struct tally *t, int32_t id, uint32_t n_generated);
void tally_deinit(struct tally *t); /* fine on {0} */

#endif
