/* normalizer_unicode: NFC, NFD, NFKC and NFKD; see normalizer.h. SPDX-License-Identifier: Apache-2.0
 *
 * utf8proc decomposes and composes. Two things are ours:
 * 1. Characters without UCLASS_NORMAL stand still and part the text into runs: the reference knows an older Unicode than
 *    utf8proc, and what it does not know it leaves alone.
 * 2. Marks are put into canonical order here, because utf8proc's own sort takes quadratic time on long runs of marks. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/normalizer.h"
#include "text/uclass.h"

enum { DECOMPOSED_MAX = 18 /* code points, of U+FDFA */, SMALL = 16 };

struct run {
  utf8proc_int32_t *chars; /* owned */
  size_t len, cap;
};

static unsigned combining_class(utf8proc_int32_t c) { return (unsigned)utf8proc_get_property(c)->combining_class; }

static void decompose(struct run *r, utf8proc_int32_t c, utf8proc_option_t options) {
  if (r->cap - r->len < DECOMPOSED_MAX) {
    r->cap = r->cap ? r->cap * 2 : 64;
    r->chars = mem_realloc(r->chars, r->cap, sizeof r->chars[0]);
  }
  utf8proc_ssize_t n = utf8proc_decompose_char(c, r->chars + r->len, (utf8proc_ssize_t)(r->cap - r->len), options, NULL);
  if (n < 0 || (size_t)n > r->cap - r->len) { /* cannot be: the buffer holds the longest one */
    r->chars[r->len] = c;
    n = 1;
  }
  r->len += (size_t)n;
}

/* Stable sort of marks by their class: insertion for a few, counting for many. */
static void sort_marks(utf8proc_int32_t *marks, size_t n) {
  if (n <= SMALL) {
    for (size_t i = 1; i < n; i++) {
      utf8proc_int32_t c = marks[i];
      size_t at = i;
      for (; at > 0 && combining_class(marks[at - 1]) > combining_class(c); at--) marks[at] = marks[at - 1];
      marks[at] = c;
    }
    return;
  }
  size_t begin[257] = {0};
  for (size_t i = 0; i < n; i++) begin[(combining_class(marks[i]) & 0xFF) + 1]++;
  for (size_t k = 1; k < 257; k++) begin[k] += begin[k - 1];
  utf8proc_int32_t *sorted = mem_alloc(n * sizeof sorted[0]);
  for (size_t i = 0; i < n; i++) sorted[begin[combining_class(marks[i]) & 0xFF]++] = marks[i];
  memcpy(marks, sorted, n * sizeof sorted[0]);
  free(sorted);
}

static void reorder(struct run *r) {
  for (size_t i = 0; i < r->len;) {
    if (combining_class(r->chars[i]) == 0) {
      i++;
      continue;
    }
    size_t end = i + 1;
    while (end < r->len && combining_class(r->chars[end]) != 0) end++;
    if (end - i > 1) sort_marks(r->chars + i, end - i);
    i = end;
  }
}

static void finish_run(struct run *r, utf8proc_option_t options, struct buf *out) {
  reorder(r);
  if (options & UTF8PROC_COMPOSE) {
    utf8proc_ssize_t n = utf8proc_normalize_utf32(r->chars, (utf8proc_ssize_t)r->len, options);
    if (n >= 0) r->len = (size_t)n;
  }
  for (size_t i = 0; i < r->len; i++) buf_add_utf8(out, (uint32_t)r->chars[i]);
  r->len = 0;
}

static utf8proc_option_t options_of(enum normalizer_kind form) {
  switch (form) {
    case NORMALIZER_NFD: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case NORMALIZER_NFKD: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    case NORMALIZER_NFKC: return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    default: return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
  }
}

void normalizer_unicode(enum normalizer_kind form, struct slice text, struct buf *out) {
  utf8proc_option_t options = options_of(form);
  struct run run = {0};
  while (text.len) {
    /* ASCII before ASCII cannot change. */
    size_t plain = 0;
    while (plain < text.len && (unsigned char)text.data[plain] < 0x80) plain++;
    if (plain && plain < text.len) plain--;
    if (plain) {
      finish_run(&run, options, out);
      buf_add(out, text.data, plain);
      text = slice_from(text, plain);
      if (text.len == 0) break;
    }
    uint32_t c;
    size_t n = uclass_get(text, &c);
    if (uclass_of(c) & UCLASS_NORMAL) {
      decompose(&run, (utf8proc_int32_t)c, options);
    } else {
      finish_run(&run, options, out);
      buf_add(out, text.data, n);
    }
    text = slice_from(text, n);
  }
  finish_run(&run, options, out);
  free(run.chars);
}
