/* slice: a borrowed run of bytes; never owns, need not end in NUL. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
  const char *data; /* may be NULL only when len is 0 */
  size_t len;       /* bytes */
};

/* SLICE("literal"): the literal's bytes without its NUL. */
#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
/* printf("%.*s", SLICE_ARG(s)) */
#define SLICE_ARG(s) (int)(s).len, (s).data

static inline struct slice slice_make(const void *data, size_t len) { return (struct slice){(const char *)data, len}; }
static inline struct slice slice_cstr(const char *text) { return (struct slice){text, text ? strlen(text) : 0}; }
static inline bool slice_eq(struct slice a, struct slice b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }
static inline bool slice_starts(struct slice s, struct slice prefix) {
  return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}
static inline bool slice_ends(struct slice s, struct slice suffix) {
  return s.len >= suffix.len && (suffix.len == 0 || memcmp(s.data + s.len - suffix.len, suffix.data, suffix.len) == 0);
}
/* The bytes of s from begin (clamped to len) to the end. */
static inline struct slice slice_from(struct slice s, size_t begin) {
  if (begin > s.len) begin = s.len;
  return (struct slice){begin ? s.data + begin : s.data, s.len - begin}; /* an empty slice may be NULL */
}

#endif
