/* scanner: hand-written forms of the two patterns that most families cut their text with. SPDX-License-Identifier: Apache-2.0
 *
 * Both patterns match at every position, so a text is cut into consecutive pieces without gaps. s must not be empty; each
 * returns the length in bytes of the piece at the beginning of s. Time is linear in the piece. */
#ifndef TEXT_SCANNER_H
#define TEXT_SCANNER_H
#include "base/slice.h"

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t scanner_gpt2(struct slice s);
/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t scanner_llama3(struct slice s);

#endif
