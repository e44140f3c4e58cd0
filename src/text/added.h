/* added: tokens that are found in the text before anything else happens to it. SPDX-License-Identifier: Apache-2.0
 *
 * A text is parted at its added tokens, leftmost first, of those the longest. Tokens that are `normalized` are sought in the
 * normalized text, in their own normalized form; the others in the raw text, before. Special ones are control tokens. */
#ifndef TEXT_ADDED_H
#define TEXT_ADDED_H
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"
#include "text/normalizer.h"
#include "text/text.h"
#include "text/vocab.h"

struct added_token {
  struct slice content; /* as it is written in the file */
  struct slice pattern; /* as it is sought: normalized when it is normalized; else content */
  int32_t id;
  bool special, single_word, lstrip, rstrip, normalized;
};

/* The patterns of one pass, sorted. */
struct added_set {
  const struct added_token **sorted; /* owned */
  size_t n;
  bool has_special;
  uint16_t begin_of[257]; /* patterns that begin with byte b lie in [begin_of[b], begin_of[b + 1]) */
};

struct added {
  struct added_token *tokens; /* owned, in the order they came */
  size_t n, cap;
  struct vocab index;               /* content -> place in tokens */
  const struct added_token **by_id; /* [n] owned; from added_ready on */
  struct added_set raw, normal;
  struct arena text; /* of the strings */
};

enum { ADDED_MAX = 60000, ADDED_BYTES_MAX = 1024 };

/* Copies the token; one of the same content is replaced. */
int added_put(struct added *a, struct added_token token, struct error *err);
const struct added_token *added_find(const struct added *a, struct slice content); /* NULL when there is none */
const struct added_token *added_of_id(const struct added *a, int32_t id);          /* likewise; only after added_ready */
/* After the last added_put: computes patterns, sorts. */
int added_ready(struct added *a, const struct normalizer *n, struct error *err);
/* Makes the token of a ready a that has the id, where there is one, special. */
void added_set_special(struct added *a, int32_t id);
void added_deinit(struct added *a);
struct archive;
/* archive.h. Read, the tokens are as before added_ready, but with what was made special afterwards. */
void added_archive(struct archive *a, struct added *added);

/* A stretch of text: a token (id >= 0), or text between tokens (id -1). */
struct added_part {
  size_t begin, end;
  int32_t id;
};
/* Walks the parts of a text: start with {0}, or with the spans of the text where no special token may be: one that would touch them is
 * sought as if it did not exist. match_special false leaves special tokens to be text everywhere. False at the end. */
struct added_walk {
  const struct jinja_span *plain; /* borrowed; ascending, disjoint */
  size_t n_plain;
  size_t at;               /* what is not handed out yet begins here */
  size_t search;           /* the next search begins here */
  struct added_part token; /* found, to be handed out after the text before it */
  bool waiting;
};
bool added_next(const struct added_set *set, struct slice text, bool match_special, struct added_walk *w, struct added_part *part);

#endif
