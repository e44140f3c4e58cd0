/* uclass: character classes as the reference tokenizer has them. SPDX-License-Identifier: Apache-2.0
 *
 * Token ids must equal those of the `tokenizers` package, whose parts rest on different Unicode versions; so the classes are
 * taken from its behaviour (test/vector/tokenizer/uclass.py) and not from a Unicode library. */
#ifndef TEXT_UCLASS_H
#define TEXT_UCLASS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum {
  UCLASS_LETTER = 1 << 0,     /* \p{L} of the regular expressions */
  UCLASS_NUMBER = 1 << 1,     /* \p{N} of the regular expressions */
  UCLASS_SPACE = 1 << 2,      /* White_Space: \s everywhere */
  UCLASS_NUMERIC = 1 << 3,    /* what the Digits pre-tokenizer splits */
  UCLASS_WORD = 1 << 4,       /* \w of the Whitespace pre-tokenizer and of single_word */
  UCLASS_PUNCT = 1 << 5,      /* what Punctuation and BertPreTokenizer isolate */
  UCLASS_CONTROL = 1 << 6,    /* what BertNormalizer's clean_text drops (U+0000 and U+FFFD too) */
  UCLASS_NONSPACING = 1 << 7, /* what BertNormalizer's strip_accents drops from NFD text */
  UCLASS_MARK = 1 << 8,       /* what the StripAccents normalizer drops */
  UCLASS_NORMAL = 1 << 9,     /* may change in NFC, NFD, NFKC or NFKD, alone or beside others; the rest stands still */
};

/* The classes of a code point up to U+10FFFF. */
unsigned uclass_of(uint32_t codepoint);
/* Lower case by the full mapping of one character: writes 1 or 2 code points, returns how many. */
size_t uclass_lower(uint32_t codepoint, uint32_t out[2]);
/* Reads the character at s.data; s must not be empty. A byte that begins no character counts as U+FFFD of length 1. */
size_t uclass_get(struct slice s, uint32_t *codepoint);
/* The same for the character that ends where s ends. */
size_t uclass_get_last(struct slice s, uint32_t *codepoint);

#endif
