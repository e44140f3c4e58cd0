/* gguf_build: makes small GGUF files for tests, byte by byte. SPDX-License-Identifier: Apache-2.0
 * Everything goes: a test says exactly which bytes it wants to be wrong. */
#ifndef TEST_FILE_GGUF_BUILD_H
#define TEST_FILE_GGUF_BUILD_H
#include <stdint.h>

#include "base/buf.h"
#include "file/file.h"

static inline void put_u32(struct buf *b, uint32_t v) { buf_add(b, &v, sizeof v); }
static inline void put_u64(struct buf *b, uint64_t v) { buf_add(b, &v, sizeof v); }
static inline void put_str(struct buf *b, const char *text) {
  put_u64(b, strlen(text));
  buf_add_cstr(b, text);
}
static inline void put_header(struct buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_values) {
  buf_add_cstr(b, "GGUF");
  put_u32(b, version);
  put_u64(b, n_tensors);
  put_u64(b, n_values);
}
/* A key and a type; the value follows. */
static inline void put_key(struct buf *b, const char *key, uint32_t type) {
  put_str(b, key);
  put_u32(b, type);
}
static inline void put_array(struct buf *b, const char *key, uint32_t element, uint64_t count) {
  put_key(b, key, GGUF_ARRAY);
  put_u32(b, element);
  put_u64(b, count);
}
static inline void put_tensor(struct buf *b, const char *name, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset) {
  put_str(b, name);
  put_u32(b, rank);
  for (uint32_t i = 0; i < rank; i++) put_u64(b, dims[i]);
  put_u32(b, type);
  put_u64(b, offset);
}
static inline void put_zeros(struct buf *b, size_t n) {
  memset(buf_reserve(b, n), 0, n);
  buf_advance(b, n);
}
static inline void put_padding(struct buf *b, size_t alignment) { put_zeros(b, (alignment - b->len % alignment) % alignment); }

#endif
