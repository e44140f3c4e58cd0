/* charsmap: see charsmap.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/charsmap.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/charsmap_newer.h"
#include "text/uclass.h"

enum { TABLE_BYTES_MAX = 64 << 20, WHOLE_BYTES = 6 };

struct charsmap {
  char *bytes; /* the whole table; owned */
  size_t n_units;
  struct slice replacements;
};

struct charsmap *charsmap_open(struct slice table, struct error *err) {
  uint32_t size = 0;
  if (table.len > TABLE_BYTES_MAX) {
    error_set(err, ERROR_TOO_LARGE, "The tokenizer's table of characters is longer than %d bytes.", TABLE_BYTES_MAX);
    return NULL;
  }
  for (int i = 3; i >= 0 && table.len >= 4; i--) size = size << 8 | (unsigned char)table.data[i];
  if (table.len < 4 || size > table.len - 4 || size % 4 != 0 || size == 0 || !utf8_valid(slice_from(table, 4 + size))) {
    error_set(err, ERROR_CORRUPT, "The tokenizer's table of characters (precompiled_charsmap) is broken.");
    return NULL;
  }
  struct charsmap *m = mem_zalloc(1, sizeof *m);
  m->bytes = mem_dup(table.data, table.len);
  m->n_units = size / 4;
  m->replacements = slice_make(m->bytes + 4 + size, table.len - 4 - size);
  return m;
}

void charsmap_free(struct charsmap *m) {
  if (!m) return;
  free(m->bytes);
  free(m);
}

struct slice charsmap_table(const struct charsmap *m) {
  return slice_make(m->bytes, (size_t)(m->replacements.data + m->replacements.len - m->bytes));
}

/* ---- the double array ---- */

static uint32_t unit_at(const struct charsmap *m, size_t at) {
  const unsigned char *p = (const unsigned char *)m->bytes + 4 + at * 4;
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static size_t offset_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6); }

/* The replacement of the shortest entry that key begins with; false when there is none. */
static bool find(const struct charsmap *m, struct slice key, struct slice *ret) {
  size_t at = offset_of(unit_at(m, 0));
  for (size_t i = 0; i < key.len && key.data[i]; i++) {
    unsigned char byte = (unsigned char)key.data[i];
    at ^= byte;
    if (at >= m->n_units) return false;
    uint32_t unit = unit_at(m, at);
    if ((unit & (1u << 31 | 0xFF)) != byte) return false;
    at ^= offset_of(unit);
    if (!(unit >> 8 & 1)) continue;
    if (at >= m->n_units) return false;
    uint32_t begin = unit_at(m, at) & 0x7FFFFFFF;
    if (begin >= m->replacements.len) return false;
    struct slice rest = slice_from(m->replacements, begin);
    *ret = slice_make(rest.data, strnlen(rest.data, rest.len));
    return utf8_valid(*ret); /* a broken table may point into a character */
  }
  return false;
}

/* ---- at work ---- */

static void apply_chars(const struct charsmap *m, struct slice text, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    uint32_t c;
    n = uclass_get(text, &c);
    struct slice part = slice_make(text.data, n), replacement;
    buf_add_slice(out, find(m, part, &replacement) ? replacement : part);
  }
}

/* utf8proc has Unicode 14; a mark that is newer stands for an older one. */
static uint32_t known_mark(uint32_t c) {
  enum { ACUTE = 0x301, N = sizeof newer_marks / sizeof newer_marks[0] };
  for (size_t i = 0; i < N && c >= newer_marks[i].first; i++)
    if (c <= newer_marks[i].last) return ACUTE;
  return c;
}

/* The length of the first stretch of text that a reader sees as one character. */
static size_t grapheme(struct slice text) {
  uint32_t before, c;
  utf8proc_int32_t state = 0;
  size_t len = uclass_get(text, &before), n;
  for (; len < text.len; len += n) {
    n = uclass_get(slice_from(text, len), &c);
    c = known_mark(c);
    if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)c, &state)) break;
    before = c;
  }
  return len;
}

void charsmap_apply(const struct charsmap *m, struct slice text, struct buf *out) {
  for (size_t n; text.len; text = slice_from(text, n)) {
    n = grapheme(text);
    struct slice part = slice_make(text.data, n), replacement;
    if (n < WHOLE_BYTES && find(m, part, &replacement)) buf_add_slice(out, replacement);
    else apply_chars(m, part, out);
  }
}
