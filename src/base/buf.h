/* buf: bytes that grow. SPDX-License-Identifier: Apache-2.0
 *
 * Zero-initialize to start ({0}); buf_free at the end. Running out of memory aborts (base/mem.h says why). The bytes are
 * always followed by a NUL that is not counted, so buf.data is a C string once anything was written. */
#ifndef BASE_BUF_H
#define BASE_BUF_H
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf {
  char *data; /* owned; NULL while nothing was written */
  size_t len; /* bytes in use */
  size_t cap; /* bytes allocated, the NUL's included */
};

void buf_free(struct buf *b); /* leaves b as {0} */
static inline void buf_clear(struct buf *b) {
  b->len = 0;
  if (b->data) b->data[0] = '\0';
}
/* Room for extra more bytes; returns where they go. Follow with buf_advance. */
char *buf_reserve(struct buf *b, size_t extra);
static inline void buf_advance(struct buf *b, size_t n) {
  b->len += n;
  b->data[b->len] = '\0';
}
void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_slice(struct buf *b, struct slice s);
void buf_add_cstr(struct buf *b, const char *text);
void buf_add_byte(struct buf *b, unsigned char byte);
void buf_add_utf8(struct buf *b, uint32_t codepoint); /* a surrogate or out-of-range value becomes U+FFFD */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first n bytes (n <= len). */
void buf_drop_front(struct buf *b, size_t n);
/* A borrowed view, valid until the next change of b. */
static inline struct slice buf_view(const struct buf *b) { return slice_make(b->data, b->len); }

#endif
