/* decoder: from tokens back to text. SPDX-License-Identifier: Apache-2.0
 *
 * Every decoder here gives each token its text without looking at its neighbours, except for three things: the first token may
 * differ, bytes of several tokens make a character, and leading characters of the whole text may be dropped. */
#ifndef TEXT_DECODER_H
#define TEXT_DECODER_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/js.h"
#include "base/slice.h"
#include "text/regex.h"

enum decoder_bytes {
  DECODER_NO_BYTES,   /* tokens are text */
  DECODER_ALL_BYTES,  /* byte-level: tokens are bytes; what is no UTF-8 becomes U+FFFD, one for each maximal run */
  DECODER_SOME_BYTES, /* <0xNN> is a byte; a run of such tokens that is no UTF-8 becomes one U+FFFD for each byte */
};

enum decoder_kind { DECODER_REPLACE, DECODER_METASPACE, DECODER_STRIP, DECODER_WORDPIECE, DECODER_SPACE };

struct decoder_step {
  enum decoder_kind kind;
  struct regex *pattern; /* REPLACE; owned */
  struct slice content;  /* REPLACE: what comes in its place; WORDPIECE: the prefix; owned */
  uint32_t character;    /* METASPACE, STRIP */
  bool prepended;        /* METASPACE: the first token loses the character */
  int64_t start, stop;   /* STRIP: at most so many at either end */
  bool cleanup;          /* WORDPIECE: no space before punctuation, … */
};

struct decoder {
  struct decoder_step *steps; /* what happens to the text of each token; owned */
  size_t n_steps;
  enum decoder_bytes bytes;
  bool fused;               /* what follows is done to the whole text */
  uint32_t strip_character; /* dropped at the beginning of the whole text, … */
  int64_t strip_start;      /* … at most so often */
};

/* Reads a tokenizer.json decoder; null: tokens are joined by spaces. An unknown type is refused by name. */
int decoder_read_json(struct decoder *d, const struct js *json, struct error *err);
void decoder_add(struct decoder *d, struct decoder_step step); /* its pattern and content become d's */
void decoder_deinit(struct decoder *d);
struct archive;
void decoder_archive(struct archive *a, struct decoder *d); /* archive.h */

enum { DECODER_TOKEN_BYTES_MAX = 1 << 20 };
/* Appends the text (or bytes) of one token, first or not in its output. One that grows beyond DECODER_TOKEN_BYTES_MAX stays unfinished:
 * a tokenizer with such a token is refused when it is opened. */
void decoder_token(const struct decoder *d, struct slice token, bool first, struct buf *out);
/* Drops what the decoder drops at the beginning of a whole text, which begins at byte `begin` of out. */
void decoder_strip_start(const struct decoder *d, size_t begin, struct buf *out);
/* The byte that a token like <0x0A> stands for, or -1. */
int decoder_byte_token(struct slice token);
/* Appends bytes as text: each maximal invalid run becomes U+FFFD. */
void decoder_lossy(struct slice bytes, struct buf *out);

#endif
