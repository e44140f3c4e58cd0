/* normalizer: text to text, before it is cut into pieces. SPDX-License-Identifier: Apache-2.0
 *
 * A normalizer is a list of steps that run one after the other on a whole segment (the text between two added tokens). */
#ifndef TEXT_NORMALIZER_H
#define TEXT_NORMALIZER_H
#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/js.h"
#include "base/slice.h"
#include "text/charsmap.h"
#include "text/regex.h"

enum normalizer_kind {
  NORMALIZER_BERT,
  NORMALIZER_NFC,
  NORMALIZER_NFD,
  NORMALIZER_NFKC,
  NORMALIZER_NFKD,
  NORMALIZER_LOWERCASE,
  NORMALIZER_STRIP,
  NORMALIZER_STRIP_ACCENTS,
  NORMALIZER_PREPEND,
  NORMALIZER_REPLACE,
  NORMALIZER_BYTE_LEVEL,
  NORMALIZER_NMT,
  NORMALIZER_PRECOMPILED,
};

struct normalizer_step {
  enum normalizer_kind kind;
  bool clean_text, cjk, strip_accents, lowercase; /* BERT */
  bool strip_left, strip_right;                   /* STRIP */
  struct regex *pattern;                          /* REPLACE */
  struct slice content;                           /* PREPEND, REPLACE; owned */
  struct charsmap *map;                           /* PRECOMPILED; owned */
};

struct normalizer {
  struct normalizer_step *steps; /* owned */
  size_t n_steps;
};

/* Appends the steps of a tokenizer.json normalizer; null adds none. An unknown type is refused by name. */
int normalizer_add_json(struct normalizer *n, const struct js *json, struct error *err);
/* Appends a step; its pattern, content and map become n's. */
void normalizer_add(struct normalizer *n, struct normalizer_step step);
void normalizer_deinit(struct normalizer *n);
struct archive;
void normalizer_archive(struct archive *a, struct normalizer *n); /* archive.h */

/* Normalizes valid UTF-8; budget: of the patterns. Fails when one runs into its limits, or the text grows beyond all measure. *ret is text itself when nothing is to do, else a view of out[0] or out[1], which are overwritten. */
int normalizer_apply(const struct normalizer *n, struct slice text, struct regex_budget *budget, struct buf out[2], struct slice *ret,
                     struct error *err);

/* The same; *ret_start: whether the result begins with what the first character of text became, and not with something behind it. */
int normalizer_apply_start(const struct normalizer *n, struct slice text, struct regex_budget *budget, struct buf out[2], struct slice *ret,
                           bool *ret_start, struct error *err);

/* One Unicode form (NORMALIZER_NFC to NORMALIZER_NFKD) of valid UTF-8, appended to out. Time is linear. */
void normalizer_unicode(enum normalizer_kind form, struct slice text, struct buf *out);

#endif
