/* vocab: token strings and their ids, compact. SPDX-License-Identifier: Apache-2.0
 *
 * All strings lie in one block; a hash table of ids finds them. Ids may have holes. */
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

struct vocab {
  struct buf text; /* the strings, one behind the other; at most 4 GiB */
  uint32_t *begin; /* [n_ids] where string id begins */
  uint32_t *len;   /* [n_ids]; VOCAB_HOLE when id has no string */
  uint32_t n_ids;  /* one above the highest id */
  uint32_t ids_cap;
  uint32_t ids_max;   /* ids from here on are refused: far beyond the number of strings */
  uint32_t n_strings; /* different strings */
  uint32_t len_max;   /* bytes of the longest string */
  uint32_t *slots;    /* [slots_mask + 1] id + 1, 0 for empty */
  uint32_t slots_mask;
  uint64_t seed; /* of the hash, so that a file cannot prepare collisions */
};

#define VOCAB_HOLE UINT32_MAX

/* Room for about n_strings of text_bytes in all; {0} is an empty vocabulary that can be used as it is. */
void vocab_init(struct vocab *v, size_t n_strings, size_t text_bytes);
void vocab_deinit(struct vocab *v);
/* Gives id the string. A string that has an id already gets the new one (the old id keeps its text). An id that has a
 * string already, or lies far beyond the number of strings expected, is refused. */
int vocab_put(struct vocab *v, struct slice string, uint32_t id, struct error *err);
/* The id of a string, or -1. */
int32_t vocab_find(const struct vocab *v, struct slice string);
/* The string of an id; {NULL, 0} when it has none. */
struct slice vocab_string(const struct vocab *v, int32_t id);
bool vocab_has(const struct vocab *v, int32_t id);
struct archive;
void vocab_archive(struct archive *a, struct vocab *v); /* archive.h */

#endif
