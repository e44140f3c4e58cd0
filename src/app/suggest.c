/* suggest: see suggest.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { WORD_MAX = 48 };

static unsigned min3(unsigned a, unsigned b, unsigned c) {
  unsigned least = a < b ? a : b;
  return least < c ? least : c;
}

static bool same(char a, char b) { return tolower((unsigned char)a) == tolower((unsigned char)b); }

/* Optimal string alignment: like Levenshtein's distance, and two neighbours swapped count as one. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m) {
  unsigned d[WORD_MAX + 1][WORD_MAX + 1];
  for (size_t i = 0; i <= n; i++) d[i][0] = (unsigned)i;
  for (size_t j = 0; j <= m; j++) d[0][j] = (unsigned)j;
  for (size_t i = 1; i <= n; i++) {
    for (size_t j = 1; j <= m; j++) {
      unsigned change = d[i - 1][j - 1] + (same(a[i - 1], b[j - 1]) ? 0 : 1);
      d[i][j] = min3(change, d[i - 1][j] + 1, d[i][j - 1] + 1);
      bool swapped = i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]);
      if (swapped && d[i - 2][j - 2] + 1 < d[i][j]) d[i][j] = d[i - 2][j - 2] + 1;
    }
  }
  return d[n][m];
}

const char *suggest_nearest(const char *word, const char *const *names, size_t n) {
  size_t len = strlen(word);
  const char *nearest = NULL;
  if (len == 0 || len > WORD_MAX) return NULL;
  unsigned best = len <= 3 ? 2 : 1 + (unsigned)(len / 3); /* exclusive: a third of the letters may differ */
  for (size_t i = 0; i < n; i++) {
    size_t name_len = strlen(names[i]);
    if (name_len > WORD_MAX) continue;
    unsigned d = distance(word, len, names[i], name_len);
    if (len >= 3 && d > 1 && strncasecmp(word, names[i], len) == 0) d = 1; /* a beginning of the name */
    if (d < best) {
      best = d;
      nearest = names[i];
    }
  }
  return nearest;
}
