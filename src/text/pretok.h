/* pretok: pre-tokenizers, which cut a segment into the pieces that the model sees. SPDX-License-Identifier: Apache-2.0
 *
 * A pre-tokenizer is a list of steps; each one cuts, and may rewrite, every piece of the one before. Pieces flow through one
 * at a time, so memory does not grow with their number. Empty pieces vanish. */
#ifndef TEXT_PRETOK_H
#define TEXT_PRETOK_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/js.h"
#include "base/slice.h"
#include "text/regex.h"

enum pretok_kind {
  PRETOK_SPLIT,        /* by a pattern */
  PRETOK_CLASS,        /* by a character class (bits of uclass.h) */
  PRETOK_CHAR,         /* by one character */
  PRETOK_WORDS,        /* runs of word characters, runs of others, without white space */
  PRETOK_LENGTH,       /* every so many characters */
  PRETOK_PREFIX_SPACE, /* a space in front of a piece that has none */
  PRETOK_METASPACE,    /* spaces become a visible character, which may be put in front too */
  PRETOK_BYTE_MAP,     /* bytes become characters (bytelevel.h) */
};
/* What becomes of the matches of a split. */
enum pretok_behavior { PRETOK_REMOVED, PRETOK_ISOLATED, PRETOK_MERGED_PREVIOUS, PRETOK_MERGED_NEXT, PRETOK_CONTIGUOUS };
enum pretok_prepend { PRETOK_PREPEND_ALWAYS, PRETOK_PREPEND_FIRST, PRETOK_PREPEND_NEVER };

struct pretok_step {
  enum pretok_kind kind;
  enum pretok_behavior behavior; /* SPLIT, CLASS, CHAR */
  bool invert;                   /* SPLIT: what does not match counts as the match */
  struct regex *pattern;         /* SPLIT; owned */
  unsigned classes;              /* CLASS */
  uint32_t character;            /* CHAR, METASPACE */
  int64_t length;                /* LENGTH */
  enum pretok_prepend prepend;   /* METASPACE */
};

struct pretok {
  struct pretok_step *steps; /* owned */
  size_t n_steps;
  bool asks_start; /* a step looks at at_start */
};

/* Appends the steps of a tokenizer.json pre-tokenizer; null adds none. An unknown type is refused by name. */
int pretok_add_json(struct pretok *p, const struct js *json, struct error *err);
void pretok_add(struct pretok *p, struct pretok_step step); /* its pattern becomes p's */
void pretok_deinit(struct pretok *p);
struct archive;
void pretok_archive(struct archive *a, struct pretok *p); /* archive.h */

/* Takes a piece, which is never empty and dies with the call. Returns 0, or -1 to stop. */
typedef int pretok_sink(void *arg, struct slice piece, struct error *err);
/* scratch: n_steps buffers. budget: of the patterns. at_start: text is at the very beginning of the input. */
int pretok_run(const struct pretok *p, struct buf *scratch, struct regex_budget *budget, struct slice text, bool at_start,
               pretok_sink *sink, void *arg, struct error *err);

#endif
