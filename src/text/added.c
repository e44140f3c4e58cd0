/* added: see added.h. SPDX-License-Identifier: Apache-2.0
 *
 * The patterns are sorted; at each byte of the text that begins one, the range of patterns that agree with the text is narrowed
 * byte by byte. So a search takes time linear in the text, times the length of the longest pattern where it nearly matches. */
#include "text/added.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/archive.h"
#include "text/uclass.h"

int added_put(struct added *a, struct added_token token, struct error *err) {
  if (token.content.len > ADDED_BYTES_MAX)
    return error_set(err, ERROR_TOO_LARGE, "The added token with id %d is longer than %d bytes.", (int)token.id, ADDED_BYTES_MAX);
  if (a->n == ADDED_MAX) return error_set(err, ERROR_TOO_LARGE, "The tokenizer has more than %d added tokens.", ADDED_MAX);
  token.content = arena_copy(&a->text, token.content);
  int32_t at = vocab_find(&a->index, token.content);
  if (at >= 0) {
    a->tokens[at] = token;
    return 0;
  }
  if (vocab_put(&a->index, token.content, (uint32_t)a->n, err) < 0) return -1;
  if (a->n == a->cap) {
    a->cap = a->cap ? a->cap * 2 : 32;
    a->tokens = mem_realloc(a->tokens, a->cap, sizeof a->tokens[0]);
  }
  a->tokens[a->n++] = token;
  return 0;
}

const struct added_token *added_find(const struct added *a, struct slice content) {
  int32_t at = vocab_find(&a->index, content);
  return at < 0 ? NULL : &a->tokens[at];
}

const struct added_token *added_of_id(const struct added *a, int32_t id) {
  size_t low = 0, high = a->n;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (a->by_id[mid]->id < id) low = mid + 1;
    else high = mid;
  }
  return low < a->n && a->by_id[low]->id == id ? a->by_id[low] : NULL;
}

static int compare_id(const void *x, const void *y) {
  int32_t a = (*(const struct added_token *const *)x)->id, b = (*(const struct added_token *const *)y)->id;
  return (a > b) - (a < b);
}

static int compare_pattern(const void *x, const void *y) {
  struct slice a = (*(const struct added_token *const *)x)->pattern, b = (*(const struct added_token *const *)y)->pattern;
  size_t n = a.len < b.len ? a.len : b.len;
  int order = n ? memcmp(a.data, b.data, n) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

static void build(struct added_set *set, const struct added *a, bool normalized) {
  set->sorted = mem_alloc(a->n * sizeof set->sorted[0]);
  set->n = 0;
  for (size_t i = 0; i < a->n; i++) {
    if (a->tokens[i].normalized != normalized || !a->tokens[i].pattern.len) continue;
    set->sorted[set->n++] = &a->tokens[i];
    set->has_special |= a->tokens[i].special;
  }
  if (set->n) qsort(set->sorted, set->n, sizeof set->sorted[0], compare_pattern);
  size_t at = 0;
  for (unsigned byte = 0; byte < 256; byte++) {
    set->begin_of[byte] = (uint16_t)at;
    while (at < set->n && (unsigned char)set->sorted[at]->pattern.data[0] == byte) at++;
  }
  set->begin_of[256] = (uint16_t)at;
  assert(at == set->n);
}

int added_ready(struct added *a, const struct normalizer *n, struct error *err) {
  struct buf out[2] = {{0}, {0}};
  int rc = 0;
  for (size_t i = 0; i < a->n && rc == 0; i++) {
    struct added_token *token = &a->tokens[i];
    token->pattern = token->content;
    if (!token->normalized) continue;
    struct slice text;
    rc = normalizer_apply(n, token->content, NULL, out, &text, err);
    if (rc == 0) token->pattern = arena_copy(&a->text, text);
  }
  buf_free(&out[0]);
  buf_free(&out[1]);
  if (rc < 0) return -1;
  build(&a->raw, a, false);
  build(&a->normal, a, true);
  a->by_id = mem_alloc(a->n * sizeof a->by_id[0]);
  for (size_t i = 0; i < a->n; i++) a->by_id[i] = &a->tokens[i];
  if (a->n) qsort(a->by_id, a->n, sizeof a->by_id[0], compare_id);
  return 0;
}

void added_set_special(struct added *a, int32_t id) {
  const struct added_token *found = added_of_id(a, id);
  if (!found || found->special) return;
  struct added_token *token = &a->tokens[found - a->tokens];
  token->special = true;
  if (token->pattern.len) (token->normalized ? &a->normal : &a->raw)->has_special = true;
}

void added_deinit(struct added *a) {
  free(a->tokens);
  free(a->by_id);
  vocab_deinit(&a->index);
  free(a->raw.sorted);
  free(a->normal.sorted);
  arena_free(&a->text);
  *a = (struct added){0};
}

/* ---- at work ---- */

/* Where in [low, high), whose patterns agree up to depth, those with a byte of at least want at depth begin. */
static size_t lower_bound(const struct added_set *set, size_t low, size_t high, size_t depth, unsigned want) {
  while (low < high) {
    size_t mid = (low + high) / 2;
    struct slice p = set->sorted[mid]->pattern;
    if (p.len <= depth || (unsigned char)p.data[depth] < want) low = mid + 1;
    else high = mid;
  }
  return low;
}

/* The longest pattern that s begins with, a special one of at most special_max bytes; NULL when there is none. */
static const struct added_token *longest_at(const struct added_set *set, struct slice s, size_t special_max) {
  const struct added_token *best = NULL;
  unsigned first = (unsigned char)s.data[0];
  size_t low = set->begin_of[first], high = set->begin_of[first + 1];
  for (size_t depth = 1; low < high; depth++) {
    const struct added_token *shortest = set->sorted[low]; /* it sorts first */
    if (shortest->pattern.len == depth && (!shortest->special || depth <= special_max)) best = shortest;
    if (depth == s.len) break;
    unsigned want = (unsigned char)s.data[depth];
    low = lower_bound(set, low, high, depth, want);
    high = lower_bound(set, low, high, depth, want + 1);
  }
  return best;
}

/* How many bytes from byte i on no span of w->plain touches. The spans before i are dropped from w. */
static size_t free_from(struct added_walk *w, size_t i) {
  while (w->n_plain && w->plain[0].end <= i) {
    w->plain++;
    w->n_plain--;
  }
  if (w->n_plain == 0) return SIZE_MAX;
  return w->plain[0].begin > i ? w->plain[0].begin - i : 0;
}

static const struct added_token *search(const struct added_set *set, struct slice text, struct added_walk *w, size_t *at) {
  for (size_t i = *at; i < text.len; i++) {
    unsigned byte = (unsigned char)text.data[i];
    if (set->begin_of[byte] == set->begin_of[byte + 1]) continue;
    const struct added_token *token = longest_at(set, slice_from(text, i), free_from(w, i));
    if (!token) continue;
    *at = i;
    return token;
  }
  return NULL;
}

static bool is_word(struct slice s, bool at_end) {
  uint32_t c;
  if (s.len == 0) return false;
  if (at_end) uclass_get_last(s, &c);
  else uclass_get(s, &c);
  return uclass_of(c) & UCLASS_WORD;
}

/* Where the white space before byte `to` begins, but not before `from`. */
static size_t spaces_begin(struct slice text, size_t from, size_t to) {
  while (to > from) {
    uint32_t c;
    size_t n = uclass_get_last(slice_make(text.data, to), &c);
    if (!(uclass_of(c) & UCLASS_SPACE)) break;
    to -= n;
  }
  return to > from ? to : from;
}

static size_t spaces_end(struct slice text, size_t at) {
  while (at < text.len) {
    uint32_t c;
    size_t n = uclass_get(slice_from(text, at), &c);
    if (!(uclass_of(c) & UCLASS_SPACE)) break;
    at += n;
  }
  return at;
}

/* Finds the next token that counts. What is found and does not count is passed over as a whole. */
static bool find(const struct added_set *set, struct slice text, bool match_special, struct added_walk *w) {
  for (;;) {
    size_t begin = w->search;
    const struct added_token *token = search(set, text, w, &begin);
    if (!token) {
      w->search = text.len;
      return false;
    }
    size_t end = begin + token->pattern.len;
    w->search = end;
    if (token->special && !match_special) continue;
    if (token->single_word && (is_word(slice_make(text.data, begin), true) || is_word(slice_from(text, end), false))) continue;
    /* White space that the token before took already is not taken again. */
    if (token->lstrip) begin = w->at > begin ? w->at : spaces_begin(text, w->at, begin);
    if (token->rstrip) end = spaces_end(text, end);
    if (begin >= end) continue; /* it is white space, and all of it was taken */
    w->token = (struct added_part){begin, end, token->id};
    return true;
  }
}

bool added_next(const struct added_set *set, struct slice text, bool match_special, struct added_walk *w, struct added_part *part) {
  if (!w->waiting && set->n && find(set, text, match_special, w)) {
    w->waiting = true;
    if (w->at < w->token.begin) {
      *part = (struct added_part){w->at, w->token.begin, -1};
      return true;
    }
  }
  if (w->waiting) {
    w->waiting = false;
    w->at = w->token.end;
    *part = w->token;
    return true;
  }
  if (w->at >= text.len) return false;
  *part = (struct added_part){w->at, text.len, -1};
  w->at = text.len;
  return true;
}

void added_archive(struct archive *a, struct added *added) {
  size_t n = added->n;
  struct error err;
  archive_count(a, &n);
  for (size_t i = 0; i < n && !a->broken; i++) {
    struct added_token token = a->out ? added->tokens[i] : (struct added_token){0};
    archive_slice(a, &token.content);
    ARCHIVE(a, token.id);
    ARCHIVE(a, token.special);
    ARCHIVE(a, token.single_word);
    ARCHIVE(a, token.lstrip);
    ARCHIVE(a, token.rstrip);
    ARCHIVE(a, token.normalized);
    if (a->out) continue;
    struct slice content = token.content;
    a->broken |= added_put(added, token, &err) < 0;
    free((char *)content.data);
  }
}
