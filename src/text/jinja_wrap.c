/* jinja_wrap: breaks a line into lines of a width, as Python's textwrap does. SPDX-License-Identifier: Apache-2.0
 * First the line is cut into chunks (words, white space, parts of hyphenated words, dashes), then chunks are laid out. */
#include "text/jinja_call.h"

struct wrapper {
  struct jinja_run *r;
  uint32_t *chars;   /* of the line */
  uint32_t *offsets; /* where each begins; one more at the end */
  size_t n;
  size_t chunk_begin, chunk_end; /* the chunk that was found last; what is cut off its front leaves a chunk */
  bool hyphens;
};

static uint32_t at(const struct wrapper *w, size_t i) { return i < w->n ? w->chars[i] : 0; }

static bool is_blank(uint32_t c) { return c == ' ' || (c >= 0x09 && c <= 0x0D); }
static bool is_word(uint32_t c) { return c == '_' || (c && jinja_char_alnum(c)); }
static bool is_letter(uint32_t c) { return is_word(c) && !jinja_char_decimal(c, NULL); }
static bool is_punct(uint32_t c) { return is_word(c) || (c && c < 0x80 && strchr("!\"'&.,?", (int)c)); }

/* Dashes from i on that a word follows: their number, at least two; else 0. */
static size_t em_dash(const struct wrapper *w, size_t i) {
  size_t n = 0;
  while (at(w, i + n) == '-') n++;
  return n >= 2 && is_word(at(w, i + n)) ? n : 0;
}

/* May a hyphenated word be cut behind its hyphen at i? begin: where the chunk starts. */
static bool cuts_at_hyphen(const struct wrapper *w, size_t i) {
  bool two_letters = i >= 2 && is_letter(w->chars[i - 1]) && is_letter(w->chars[i - 2]);
  bool letter_dash = i >= 2 && is_punct(w->chars[i - 1]) && w->chars[i - 2] == '-' && i >= 3 && is_letter(w->chars[i - 3]);
  bool follows = is_letter(at(w, i + 1)) && (is_letter(at(w, i + 2)) || (at(w, i + 2) == '-' && is_letter(at(w, i + 3))));
  return (two_letters || letter_dash) && follows;
}

static size_t find_chunk_end(const struct wrapper *w, size_t i) {
  size_t end = i;
  if (is_blank(at(w, i))) {
    while (end < w->n && is_blank(w->chars[end])) end++;
    return end;
  }
  if (w->hyphens && i > 0 && is_punct(w->chars[i - 1]) && em_dash(w, i)) return i + em_dash(w, i);
  for (end = i + 1; end < w->n; end++) {
    if (is_blank(w->chars[end])) return end;
    if (!w->hyphens) continue;
    if (is_punct(w->chars[end - 1]) && em_dash(w, end)) return end;
    if (w->chars[end] == '-' && cuts_at_hyphen(w, end)) return end + 1;
  }
  return end;
}

/* The end of the chunk that begins at i. */
static size_t chunk_end(struct wrapper *w, size_t i) {
  if (i < w->chunk_begin || i >= w->chunk_end) {
    w->chunk_end = find_chunk_end(w, i);
    w->chunk_begin = i;
  }
  return w->chunk_end;
}

static void push_line(struct wrapper *w, const struct jstr *line, struct jlist *out, size_t begin, size_t end, bool keep_blanks) {
  while (!keep_blanks && end > begin && is_blank(w->chars[end - 1])) end--;
  if (end > begin) jinja_val_push(w->r, out, jv_str(jinja_str_sub(w->r, line, w->offsets[begin], w->offsets[end])));
}

static void lay_out(struct wrapper *w, const struct jstr *line, int64_t width, bool break_long, struct jlist *out) {
  size_t i = 0;
  while (i < w->n && jinja_run_step(w->r, 1)) {
    size_t begin = i, end = chunk_end(w, i);
    bool keep_blanks = false;
    if (is_blank(w->chars[i]) && out->n) begin = i = end; /* a line does not begin with white space, apart from the first */
    while (i < w->n) {
      end = chunk_end(w, i);
      if ((int64_t)(end - begin) > width) break;
      i = end;
    }
    if (i < w->n && (int64_t)(end - i) > width) { /* a chunk that fits on no line */
      size_t room = (int64_t)(i - begin) < width ? (size_t)width - (i - begin) : 0;
      keep_blanks = break_long && room == 0; /* Python puts an empty piece behind them, which hides them from its clean-up */
      if (break_long) i += room;
      else if (i == begin) i = end;
    }
    push_line(w, line, out, begin, i, keep_blanks);
    if (i == begin && i < w->n) i = chunk_end(w, i); /* never stand still */
  }
}

struct jlist *jinja_wrap_line(struct jinja_run *r, const struct jstr *line, int64_t width, bool break_long_words, bool break_on_hyphens) {
  struct jlist *out = jinja_val_list(r, 0);
  struct wrapper w = {.r = r, .n = line->n_chars, .hyphens = break_on_hyphens};
  if (width <= 0) jinja_run_fail(r, "invalid width %lld (must be > 0)", (long long)width);
  w.chars = jinja_run_alloc(r, w.n + 1, sizeof *w.chars);
  w.offsets = jinja_run_alloc(r, w.n + 1, sizeof *w.offsets);
  if (r->failed || !jinja_run_bytes(r, 32 * line->len)) return out;
  size_t pos = 0;
  for (size_t i = 0; i < w.n; i++) {
    w.offsets[i] = (uint32_t)pos;
    w.chars[i] = jinja_char_next(line, &pos);
  }
  w.offsets[w.n] = (uint32_t)pos;
  lay_out(&w, line, width, break_long_words, out);
  return out;
}
