/* spm: what SentencePiece vocabularies have in common, from tokenizer.model or from GGUF. SPDX-License-Identifier: Apache-2.0
 *
 * A piece has a text, a score and a type. Spaces are written U+2581. BPE merges are not written down: the adjacent pair whose
 * concatenation is the piece of the highest score is merged, leftmost first. */
#ifndef TEXT_SPM_H
#define TEXT_SPM_H
#include <stdbool.h>
#include <stdint.h>

#include "text/tokenizer.h"

enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER_DEFINED, SPM_UNUSED, SPM_BYTE };

/* Pieces as they are read; their texts go to the tokenizer's vocabulary. */
struct spm_pieces {
  float *scores;        /* [n] owned */
  unsigned char *types; /* [n] enum spm_type; owned */
  uint32_t n, cap;
};
void spm_free(struct spm_pieces *p);
/* The next piece: becomes t's token p->n, and an added token when its type says so. An unknown type counts as normal. */
int spm_add(struct tokenizer *t, struct spm_pieces *p, struct slice text, float score, int64_t type, struct error *err);

/* Once all pieces are there: makes t's model BPE by the scores. Control, unknown and byte pieces never come out of merging. */
int spm_build_bpe(struct tokenizer *t, const struct spm_pieces *p, bool byte_fallback, struct error *err);

/* How spaces become U+2581 and back in the Llama family. */
struct spm_spaces {
  bool prefix; /* a space is put in front of the text */
  bool every;  /* … and of the text behind every added token ("legacy") */
};
void spm_set_spaces(struct tokenizer *t, struct spm_spaces spaces);

#endif
