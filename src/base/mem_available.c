/* mem_available: what the system could give this process; see mem.h. SPDX-License-Identifier: Apache-2.0
 *
 * The least of MemAvailable and of what the limits of its control groups leave. Either way pages of files that are only cached count as free,
 * since the system drops them when memory is asked for. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/groups.h"
#include "base/mem.h"

enum { LINE_BYTES = 256 };

static FILE *open_in(const char *dir, const char *name) {
  char path[PATH_MAX];
  return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path ? fopen(path, "re") : NULL;
}

/* The first number in a file, or UINT64_MAX ("max", or no such file). */
static uint64_t number_in(const char *dir, const char *name) {
  FILE *f = open_in(dir, name);
  unsigned long long value;
  if (!f) return UINT64_MAX;
  int n = fscanf(f, "%llu", &value);
  fclose(f);
  return n == 1 ? value : UINT64_MAX;
}

/* The sum of the lines "key value" with one of two keys. */
static uint64_t sum_in(const char *dir, const char *name, const char *key, const char *other_key) {
  FILE *f = open_in(dir, name);
  char line[LINE_BYTES], word[LINE_BYTES];
  unsigned long long value;
  uint64_t sum = 0;
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "%255s %llu", word, &value) == 2 && (strcmp(word, key) == 0 || strcmp(word, other_key) == 0)) sum += value;
  if (f) fclose(f);
  return sum;
}

static void take_least(void *ctx, const char *dir, bool v2) {
  uint64_t *least = ctx;
  uint64_t limit = number_in(dir, v2 ? "memory.max" : "memory.limit_in_bytes");
  uint64_t used = number_in(dir, v2 ? "memory.current" : "memory.usage_in_bytes");
  if (limit == UINT64_MAX || used == UINT64_MAX) return;
  uint64_t cached = v2 ? sum_in(dir, "memory.stat", "inactive_file", "active_file")
                       : sum_in(dir, "memory.stat", "total_inactive_file", "total_active_file");
  used = used > cached ? used - cached : 0;
  uint64_t left = limit > used ? limit - used : 0;
  if (left < *least) *least = left;
}

uint64_t mem_available_in(const char *root) {
  char proc[PATH_MAX];
  snprintf(proc, sizeof proc, "%s/proc", root);
  uint64_t least = sum_in(proc, "meminfo", "MemAvailable:", "") * 1024; /* KiB */
  groups_visit(root, "memory", take_least, &least);
  return least;
}

uint64_t mem_available_bytes(void) { return mem_available_in(""); }
