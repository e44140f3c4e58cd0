/* mem: see mem.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- what is free ---- */

/* The first number in a file, or UINT64_MAX ("max", or no such file). */
static uint64_t number_in(const char *path) {
  FILE *f = fopen(path, "r");
  unsigned long long value;
  if (!f) return UINT64_MAX;
  int n = fscanf(f, "%llu", &value);
  fclose(f);
  return n == 1 ? value : UINT64_MAX;
}

static uint64_t available_of_system(void) {
  FILE *f = fopen("/proc/meminfo", "r");
  char line[128];
  unsigned long long kib = 0;
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "MemAvailable: %llu", &kib) == 1) break;
  if (f) fclose(f);
  return (uint64_t)kib * 1024;
}

uint64_t mem_available_bytes(void) {
  uint64_t available = available_of_system();
  static const char *const groups[][2] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
  };
  for (size_t i = 0; i < 2; i++) {
    uint64_t limit = number_in(groups[i][0]), used = number_in(groups[i][1]);
    if (limit == UINT64_MAX || used == UINT64_MAX) continue;
    uint64_t left = limit > used ? limit - used : 0;
    if (left < available) available = left;
  }
  return available;
}
