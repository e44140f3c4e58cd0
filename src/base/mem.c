/* mem: see mem.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t mem_page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void *or_abort(void *p, size_t size) {
  if (p) return p;
  fprintf(stderr, "plinth: out of memory (asked for %zu bytes)\n", size);
  abort();
}

void *mem_alloc(size_t size) { return or_abort(malloc(size ? size : 1), size); }

void *mem_zalloc(size_t count, size_t size) { return or_abort(calloc(count ? count : 1, size ? size : 1), count * size); }

void *mem_realloc(void *old, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return or_abort(NULL, SIZE_MAX);
  return or_abort(realloc(old, bytes ? bytes : 1), bytes);
}

void *mem_dup(const void *data, size_t len) {
  char *copy = mem_alloc(len + 1);
  if (len) memcpy(copy, data, len);
  copy[len] = '\0';
  return copy;
}

char *mem_strdup(const char *text) { return mem_dup(text, strlen(text)); }

void *mem_aligned(size_t alignment, size_t size) {
  void *p = NULL;
  if (posix_memalign(&p, alignment, size ? size : alignment) != 0) p = NULL;
  return or_abort(p, size);
}
