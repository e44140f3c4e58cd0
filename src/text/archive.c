/* archive: see archive.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/archive.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void archive_bytes(struct archive *a, void *data, size_t n) {
  if (a->out) {
    buf_add(a->out, data, n);
  } else if (n > a->in.len) {
    a->broken = true;
    memset(data, 0, n);
  } else if (n) {
    memcpy(data, a->in.data, n);
    a->in = slice_from(a->in, n);
  }
}

void archive_count(struct archive *a, size_t *n) {
  ARCHIVE(a, *n);
  if (a->out || *n <= a->in.len) return;
  a->broken = true;
  *n = 0;
}

void *archive_array(struct archive *a, void *items, size_t n, size_t size) {
  if (n == 0) return items;
  if (!a->out) {
    if (n > a->in.len / size) {
      a->broken = true;
      return mem_zalloc(n < a->in.len ? n : 1, size);
    }
    items = mem_alloc(n * size);
  }
  archive_bytes(a, items, n * size);
  return items;
}

void archive_buf(struct archive *a, struct buf *b) {
  size_t n = b->len;
  archive_count(a, &n);
  if (a->out) {
    buf_add(a->out, b->data, n);
  } else {
    buf_add(b, a->in.data, n);
    a->in = slice_from(a->in, n);
  }
}

void archive_slice(struct archive *a, struct slice *s) {
  archive_count(a, &s->len);
  s->data = archive_array(a, (char *)s->data, s->len, 1);
}

void archive_ids(struct archive *a, struct ids *ids) {
  archive_count(a, &ids->len);
  ids->data = archive_array(a, ids->data, ids->len, sizeof ids->data[0]);
  if (!a->out) ids->cap = ids->len;
}

void archive_regex(struct archive *a, struct regex **r) {
  enum { NONE, PATTERN, LITERAL } kind = NONE;
  struct slice text = {0};
  if (a->out && *r) kind = regex_source(*r, &text) ? LITERAL : PATTERN;
  ARCHIVE(a, kind);
  archive_slice(a, &text);
  if (a->out || kind == NONE) return;
  struct error err;
  *r = kind == LITERAL ? regex_literal(text) : regex_compile(text, &err);
  a->broken |= !*r;
  free((char *)text.data);
}
