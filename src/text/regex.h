/* regex: the patterns of pre-tokenizers and normalizers. SPDX-License-Identifier: Apache-2.0
 *
 * Patterns are written for Oniguruma (Ruby syntax). The two that the families share run by hand-written scanners, which take
 * linear time and the reference's own character classes; a literal is searched for; the rest goes to PCRE2 after translation,
 * with limits, and with the characters written out that the reference knows and an older PCRE2 does not. */
#ifndef TEXT_REGEX_H
#define TEXT_REGEX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

struct regex; /* immutable; any thread */

struct regex *regex_compile(struct slice pattern, struct error *err);
struct regex *regex_literal(struct slice text); /* matches this very text; an empty one never */
void regex_free(struct regex *r);               /* NULL is fine */
/* What it was made of, borrowed: true for a literal text, false for a pattern. */
bool regex_source(const struct regex *r, struct slice *ret);
/* The same by PCRE2 even where a scanner exists: for tests that hold the scanners to it. */
struct regex *regex_compile_pcre2(struct slice pattern, struct error *err);

/* Processor time of this thread that all patterns may take for one text: half a second, and so much for its length that a pattern which takes
 * linear time never uses it up. A pattern from outside may take quadratic time on a text from outside. */
struct regex_budget {
  uint64_t end_ns;
  uint64_t looked_ns; /* when it was looked at last */
};
struct regex_budget regex_budget(size_t text_bytes);

/* Walks the matches in a text: begin, then next until it returns 0. */
struct regex_walk {
  const struct regex *regex;
  struct regex_budget *budget; /* borrowed; NULL: no limit of time */
  struct slice text;
  size_t at;               /* where the next search begins */
  void *matcher, *context; /* PCRE2's, owned */
  bool newer;              /* the text has characters that PCRE2 may not know */
  bool end;
  size_t empty_end; /* where an empty match may not stand: the end of the last match */
};
void regex_begin(struct regex_walk *w, const struct regex *r, struct slice text, struct regex_budget *budget);
/* 1: a match from *begin to *end (which may be equal); 0: no more; -1: the pattern ran into its limits or the budget is used up. */
int regex_next(struct regex_walk *w, size_t *begin, size_t *end, struct error *err);
void regex_finish(struct regex_walk *w);

/* The GPT-2 pattern and the Llama-3 pattern (also cl100k's). */
extern const char *const regex_gpt2, *const regex_llama3;

#endif
