/* buf: see buf.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"

void buf_free(struct buf *b) {
  free(b->data);
  *b = (struct buf){0};
}

char *buf_reserve(struct buf *b, size_t extra) {
  size_t need = b->len + extra + 1;
  assert(need > extra);
  if (need > b->cap) {
    size_t cap = b->cap ? b->cap + b->cap / 2 : 64;
    if (cap < need) cap = need;
    b->data = mem_realloc(b->data, cap, 1);
    b->cap = cap;
    b->data[b->len] = '\0';
  }
  return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t len) {
  char *to = buf_reserve(b, len);
  if (len) memcpy(to, data, len);
  buf_advance(b, len);
}

void buf_add_slice(struct buf *b, struct slice s) { buf_add(b, s.data, s.len); }

void buf_add_cstr(struct buf *b, const char *text) { buf_add(b, text, strlen(text)); }

void buf_add_byte(struct buf *b, unsigned char byte) { buf_add(b, &byte, 1); }

void buf_add_utf8(struct buf *b, uint32_t codepoint) {
  char bytes[4];
  buf_add(b, bytes, utf8_put(bytes, codepoint));
}

void buf_printf(struct buf *b, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  assert(n >= 0);
  char *to = buf_reserve(b, (size_t)n);
  vsnprintf(to, (size_t)n + 1, format, again);
  va_end(again);
  buf_advance(b, (size_t)n);
}

void buf_drop_front(struct buf *b, size_t n) {
  assert(n <= b->len);
  if (n == 0) return;
  memmove(b->data, b->data + n, b->len - n);
  b->len -= n;
  b->data[b->len] = '\0';
}
