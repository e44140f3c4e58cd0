/* uclass: see uclass.h. SPDX-License-Identifier: Apache-2.0
 *
 * The table is a sorted list of runs, code point << 11 | bits; the index says where each page of 1,024 code points begins.
 * A look-up is a binary search inside a page: a handful of steps. */
#include "text/uclass.h"

#include <assert.h>

#include "base/utf8.h"

struct uclass_lower_run {
  uint32_t first, last;
  int32_t delta;
  uint32_t step;
};

#include "text/uclass_data.h"

enum { N_RUNS = sizeof uclass_runs / sizeof uclass_runs[0], N_LOWER = sizeof uclass_lower_runs / sizeof uclass_lower_runs[0] };

unsigned uclass_of(uint32_t c) {
  if (c < 0x80) return uclass_ascii[c];
  assert(c <= 0x10FFFF);
  uint32_t page = c >> 10;
  size_t low = uclass_index[page];
  size_t high = page + 1 < sizeof uclass_index / sizeof uclass_index[0] ? uclass_index[page + 1] : N_RUNS - 1;
  while (low < high) { /* the last run that begins at or before c */
    size_t mid = (low + high + 1) / 2;
    if (uclass_runs[mid] >> 11 <= c) low = mid;
    else high = mid - 1;
  }
  return uclass_runs[low] & 0x7FF;
}

size_t uclass_lower(uint32_t c, uint32_t out[2]) {
  out[0] = c;
  if (c < 0x80) {
    if (c >= 'A' && c <= 'Z') out[0] = c + 32;
    return 1;
  }
  if (c == 0x130) { /* the only one that becomes two: i with a dot above */
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
  }
  size_t low = 0, high = N_LOWER;
  while (low < high) { /* the first run that begins behind c */
    size_t mid = (low + high) / 2;
    if (uclass_lower_runs[mid].first <= c) low = mid + 1;
    else high = mid;
  }
  /* Runs of step 2 may lie between each other's code points, so the one before may hold c too. */
  for (size_t back = 1; back <= 2 && back <= low; back++) {
    const struct uclass_lower_run *run = &uclass_lower_runs[low - back];
    if (c <= run->last && (c - run->first) % run->step == 0) {
      out[0] = (uint32_t)((int32_t)c + run->delta);
      break;
    }
  }
  return 1;
}

size_t uclass_get(struct slice s, uint32_t *codepoint) {
  size_t n = utf8_get(s, codepoint);
  if (n) return n;
  *codepoint = UTF8_REPLACEMENT;
  return 1;
}

size_t uclass_get_last(struct slice s, uint32_t *codepoint) {
  size_t back = 1;
  while (back < 4 && back < s.len && ((unsigned char)s.data[s.len - back] & 0xC0) == 0x80) back++;
  if (utf8_get(slice_from(s, s.len - back), codepoint) == back) return back;
  *codepoint = UTF8_REPLACEMENT;
  return 1;
}
