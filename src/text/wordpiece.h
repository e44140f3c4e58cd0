/* wordpiece: the longest token first, from the left. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_WORDPIECE_H
#define TEXT_WORDPIECE_H
#include "base/error.h"
#include "base/slice.h"
#include "text/text.h"
#include "text/vocab.h"

struct wordpiece {
  const struct vocab *vocab; /* borrowed */
  struct slice prefix;       /* in front of what continues a word, "##"; owned */
  size_t word_chars_max;     /* a longer word is unknown */
  int32_t unknown;           /* -1: none */
};

void wordpiece_deinit(struct wordpiece *w);
struct archive;
void wordpiece_archive(struct archive *a, struct wordpiece *w); /* archive.h; without its vocabulary */
/* Appends the ids of one word, which is not empty; the unknown token when it cannot be put together. text is scratch. Fails only
 * where the unknown token is needed and there is none. */
int wordpiece_encode(const struct wordpiece *w, struct buf *text, struct slice word, struct ids *out, struct error *err);

#endif
