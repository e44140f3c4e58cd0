/* names: see names.h. SPDX-License-Identifier: Apache-2.0 */
#include "file/names.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"

static struct slice name_at(const struct names *names, size_t i) {
  return *(const struct slice *)(const void *)((const char *)names->first + i * names->stride);
}

static int compare(struct slice a, struct slice b) {
  size_t shorter = a.len < b.len ? a.len : b.len;
  int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_items(const void *a, const void *b, void *ctx) {
  uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
  int order = compare(name_at(ctx, i), name_at(ctx, j));
  return order ? order : (i > j) - (i < j);
}

bool names_build(struct names *names, const struct slice *first, size_t stride, size_t n, size_t *ret_twice) {
  assert(n <= UINT32_MAX);
  *names = (struct names){.first = first, .stride = stride, .n = n, .order = mem_zalloc(n, sizeof *names->order)};
  for (size_t i = 0; i < n; i++) names->order[i] = (uint32_t)i;
  qsort_r(names->order, n, sizeof *names->order, compare_items, names);
  for (size_t i = 1; i < n; i++) {
    if (!slice_eq(name_at(names, names->order[i - 1]), name_at(names, names->order[i]))) continue;
    *ret_twice = names->order[i];
    return false;
  }
  return true;
}

bool names_find(const struct names *names, struct slice name, size_t *ret_index) {
  size_t low = 0, high = names->n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = compare(name, name_at(names, names->order[middle]));
    if (order == 0) {
      *ret_index = names->order[middle];
      return true;
    }
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return false;
}

void names_free(struct names *names) {
  free(names->order);
  *names = (struct names){0};
}

const char *names_quoted(struct slice name, char out[NAMES_QUOTED_MAX]) {
  static const char ellipsis[] = "…";
  size_t used = 0;
  while (name.len) {
    uint32_t codepoint;
    size_t len = utf8_get(name, &codepoint), skip = len ? len : utf8_invalid_len(name);
    bool plain = len && codepoint >= 0x20 && (codepoint < 0x7F || codepoint >= 0xA0);
    size_t out_len = plain ? len : 1;
    if (used + out_len + sizeof ellipsis > NAMES_QUOTED_MAX) {
      memcpy(out + used, ellipsis, sizeof ellipsis);
      return out;
    }
    if (plain) memcpy(out + used, name.data, len);
    else out[used] = '?';
    used += out_len;
    name = slice_from(name, skip);
  }
  out[used] = '\0';
  return out;
}
