/* pretok: see pretok.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/pretok.h"

#include <stdlib.h>

#include "base/mem.h"
#include "text/archive.h"
#include "base/utf8.h"
#include "text/bytelevel.h"
#include "text/uclass.h"

static bool looks_at_start(const struct pretok_step *step) {
  return step->kind == PRETOK_METASPACE && step->prepend == PRETOK_PREPEND_FIRST;
}

void pretok_add(struct pretok *p, struct pretok_step step) {
  p->steps = mem_realloc(p->steps, p->n_steps + 1, sizeof p->steps[0]);
  p->steps[p->n_steps++] = step;
  p->asks_start |= looks_at_start(&step);
}

void pretok_deinit(struct pretok *p) {
  for (size_t i = 0; i < p->n_steps; i++) regex_free(p->steps[i].pattern);
  free(p->steps);
  *p = (struct pretok){0};
}

/* One run of a pre-tokenizer: what every step needs to hand its pieces on. */
struct flow {
  const struct pretok *pretok;
  struct buf *scratch;
  struct regex_budget *budget;
  pretok_sink *sink;
  void *arg;
  struct error *err;
};

static int run_step(struct flow *f, size_t i, struct slice piece, bool at_start);

/* A piece leaves step i. */
static int pass_on(struct flow *f, size_t i, struct slice piece, bool at_start) {
  if (piece.len == 0) return 0;
  if (i + 1 == f->pretok->n_steps) return f->sink(f->arg, piece, f->err);
  return run_step(f, i + 1, piece, at_start);
}

/* ---- splitting: stretches of text, matching or not, become pieces by the behaviour of the step ---- */

struct splitter {
  struct flow *flow;
  size_t step;
  struct slice text;
  bool at_start;
  enum pretok_behavior behavior;
  size_t begin, end; /* the piece that may still grow */
  bool open;         /* there is one */
  bool last_match;   /* the stretch before was a match */
};

static int emit(struct splitter *s, size_t begin, size_t end) {
  return pass_on(s->flow, s->step, slice_make(s->text.data + begin, end - begin), s->at_start && begin == 0);
}

/* Hands on the open piece and opens another one. */
static int reopen(struct splitter *s, size_t begin, size_t end) {
  int rc = s->open ? emit(s, s->begin, s->end) : 0;
  s->begin = begin;
  s->end = end;
  s->open = true;
  return rc;
}

static int stretch(struct splitter *s, size_t begin, size_t end, bool match) {
  bool before = s->last_match;
  s->last_match = match;
  switch (s->behavior) {
    case PRETOK_ISOLATED: return emit(s, begin, end);
    case PRETOK_REMOVED: return match ? 0 : emit(s, begin, end);
    case PRETOK_CONTIGUOUS: /* stretches of one kind grow together */
      if (!s->open || match != before) return reopen(s, begin, end);
      s->end = end;
      return 0;
    case PRETOK_MERGED_PREVIOUS: /* a match joins what stands before it, unless that is a match */
      if (!s->open || !match || before) return reopen(s, begin, end);
      s->end = end;
      return 0;
    case PRETOK_MERGED_NEXT: /* a match waits for what follows, and stays alone before another match */
      if (!s->open || match || !before) return reopen(s, begin, end);
      s->end = end;
      return 0;
  }
  return 0;
}

static int close_splitter(struct splitter *s) { return s->open ? emit(s, s->begin, s->end) : 0; }

static int split_pattern(struct splitter *s, const struct pretok_step *step) {
  struct regex_walk walk;
  size_t begin, end, done = 0;
  int rc, fed = 0;
  regex_begin(&walk, step->pattern, s->text, s->flow->budget);
  while (fed == 0 && (rc = regex_next(&walk, &begin, &end, s->flow->err)) > 0) {
    if (begin > done) fed = stretch(s, done, begin, step->invert);
    if (fed == 0) fed = stretch(s, begin, end, !step->invert);
    done = end;
  }
  regex_finish(&walk);
  if (fed < 0 || rc < 0) return -1;
  if (done < s->text.len && stretch(s, done, s->text.len, step->invert) < 0) return -1;
  return close_splitter(s);
}

static bool is_delimiter(const struct pretok_step *step, uint32_t c) {
  return step->kind == PRETOK_CLASS ? (uclass_of(c) & step->classes) != 0 : c == step->character;
}

/* Every delimiter is a match of its own. */
static int split_chars(struct splitter *s, const struct pretok_step *step) {
  size_t done = 0, n;
  for (size_t at = 0; at < s->text.len; at += n) {
    uint32_t c;
    n = uclass_get(slice_from(s->text, at), &c);
    if (!is_delimiter(step, c)) continue;
    if (at > done && stretch(s, done, at, false) < 0) return -1;
    if (stretch(s, at, at + n, true) < 0) return -1;
    done = at + n;
  }
  if (done < s->text.len && stretch(s, done, s->text.len, false) < 0) return -1;
  return close_splitter(s);
}

static int split_words(struct splitter *s) {
  size_t begin = 0, n;
  unsigned kind = UCLASS_SPACE;
  for (size_t at = 0; at < s->text.len; at += n) {
    uint32_t c;
    n = uclass_get(slice_from(s->text, at), &c);
    unsigned here = uclass_of(c) & (UCLASS_WORD | UCLASS_SPACE);
    if (here == kind) continue;
    if (kind != UCLASS_SPACE && emit(s, begin, at) < 0) return -1;
    begin = at;
    kind = here;
  }
  return kind == UCLASS_SPACE ? 0 : emit(s, begin, s->text.len);
}

static int split_length(struct splitter *s, int64_t length) {
  size_t begin = 0, n;
  int64_t count = 0;
  for (size_t at = 0; at < s->text.len; at += n) {
    uint32_t c;
    if (count == length) {
      if (emit(s, begin, at) < 0) return -1;
      begin = at;
      count = 0;
    }
    n = uclass_get(slice_from(s->text, at), &c);
    count++;
  }
  return emit(s, begin, s->text.len);
}

/* ---- rewriting ---- */

static void prefix_space(struct slice piece, struct buf *out) {
  if (piece.data[0] != ' ') buf_add_byte(out, ' ');
  buf_add_slice(out, piece);
}

static void metaspace(const struct pretok_step *step, struct slice piece, bool at_start, struct buf *out) {
  char mark[4];
  size_t n = utf8_put(mark, step->character);
  bool has = piece.data[0] == ' ' || slice_starts(piece, slice_make(mark, n));
  bool wanted = step->prepend == PRETOK_PREPEND_ALWAYS || (step->prepend == PRETOK_PREPEND_FIRST && at_start);
  if (wanted && !has) buf_add(out, mark, n);
  for (size_t i = 0; i < piece.len; i++) {
    if (piece.data[i] == ' ') buf_add(out, mark, n);
    else buf_add_byte(out, (unsigned char)piece.data[i]);
  }
}

static int run_step(struct flow *f, size_t i, struct slice piece, bool at_start) {
  const struct pretok_step *step = &f->pretok->steps[i];
  struct buf *out = &f->scratch[i];
  struct splitter s = {.flow = f, .step = i, .text = piece, .at_start = at_start, .behavior = step->behavior};
  buf_clear(out);
  switch (step->kind) {
    case PRETOK_SPLIT: return split_pattern(&s, step);
    case PRETOK_CLASS:
    case PRETOK_CHAR: return split_chars(&s, step);
    case PRETOK_WORDS: return split_words(&s);
    case PRETOK_LENGTH: return split_length(&s, step->length);
    case PRETOK_PREFIX_SPACE: prefix_space(piece, out); break;
    case PRETOK_METASPACE: metaspace(step, piece, at_start, out); break;
    case PRETOK_BYTE_MAP: bytelevel_map(piece, out); break;
  }
  return pass_on(f, i, buf_view(out), at_start);
}

int pretok_run(const struct pretok *p, struct buf *scratch, struct regex_budget *budget, struct slice text, bool at_start,
               pretok_sink *sink, void *arg, struct error *err) {
  if (text.len == 0) return 0;
  if (p->n_steps == 0) return sink(arg, text, err);
  struct flow flow = {.pretok = p, .scratch = scratch, .budget = budget, .sink = sink, .arg = arg, .err = err};
  return run_step(&flow, 0, text, at_start);
}

void pretok_archive(struct archive *a, struct pretok *p) {
  archive_count(a, &p->n_steps);
  if (!a->out) p->steps = mem_zalloc(p->n_steps, sizeof p->steps[0]);
  for (size_t i = 0; i < p->n_steps; i++) {
    struct pretok_step *s = &p->steps[i];
    ARCHIVE(a, s->kind);
    ARCHIVE(a, s->behavior);
    ARCHIVE(a, s->invert);
    archive_regex(a, &s->pattern);
    ARCHIVE(a, s->classes);
    ARCHIVE(a, s->character);
    ARCHIVE(a, s->length);
    ARCHIVE(a, s->prepend);
    p->asks_start |= looks_at_start(s);
  }
}
