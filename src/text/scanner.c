/* scanner: see scanner.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/scanner.h"

#include "text/uclass.h"

enum { L = UCLASS_LETTER, N = UCLASS_NUMBER, S = UCLASS_SPACE };

/* The classes of the character at byte i and its length; 0 and 0 at the end. */
static unsigned class_at(struct slice s, size_t i, size_t *len) {
  *len = 0;
  if (i >= s.len) return 0;
  uint32_t c;
  *len = uclass_get(slice_from(s, i), &c);
  return uclass_of(c) & (L | N | S);
}

/* The end of the run of characters from byte i whose class is the wanted one; 0 stands for none of letter, number, space. */
static size_t run_end(struct slice s, size_t i, unsigned want) {
  size_t len;
  for (;;) {
    unsigned have = class_at(s, i, &len);
    if (len == 0 || have != want) return i;
    i += len;
  }
}

/* White space from 0: \s+(?!\S)|\s+. All of it at the end of the text; before something else its last character is left over
 * for that, unless it is the only one. */
static size_t spaces(struct slice s) {
  size_t end = run_end(s, 0, S);
  if (end == s.len) return end;
  uint32_t last;
  size_t n = uclass_get_last(slice_make(s.data, end), &last);
  return n == end ? end : end - n;
}

size_t scanner_gpt2(struct slice s) {
  if (s.data[0] == '\'' && s.len > 1) {
    char a = s.data[1], b = s.len > 2 ? s.data[2] : '\0';
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  }
  size_t len, begin = 0;
  unsigned class = class_at(s, 0, &len);
  if (s.data[0] == ' ') {
    begin = 1;
    class = class_at(s, 1, &len);
    if (len == 0) return 1;
  }
  return class == S ? spaces(s) : run_end(s, begin, class);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d) at the beginning of s, or 0. The long s (U+017F) is an s without its case. */
static size_t contraction(struct slice s) {
  if (s.len < 2 || s.data[0] != '\'') return 0;
  if ((unsigned char)s.data[1] == 0xC5) return s.len > 2 && (unsigned char)s.data[2] == 0xBF ? 3 : 0;
  char a = (char)(s.data[1] | 0x20), b = s.len > 2 ? (char)(s.data[2] | 0x20) : '\0';
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

static bool is_newline(char c) { return c == '\r' || c == '\n'; }

/* White space from 0: \s*[\r\n]+|\s+(?!\S)|\s+. Up to its last line end when it has one. */
static size_t lines_or_spaces(struct slice s) {
  size_t end = run_end(s, 0, S);
  for (size_t i = end; i > 0; i--)
    if (is_newline(s.data[i - 1])) return i;
  return spaces(s);
}

size_t scanner_llama3(struct slice s) {
  size_t n = contraction(s);
  if (n) return n;
  size_t len, next_len;
  unsigned class = class_at(s, 0, &len);
  if (class == L) return run_end(s, len, L);
  if (class == N) {
    for (int i = 1; i < 3 && class_at(s, len, &next_len) == N && next_len; i++) len += next_len;
    return len;
  }
  unsigned next = class_at(s, len, &next_len);
  if (next == L && !is_newline(s.data[0])) return run_end(s, len, L);
  if (class == 0 || (s.data[0] == ' ' && next == 0 && next_len)) {
    size_t end = run_end(s, len, 0);
    while (end < s.len && is_newline(s.data[end])) end++;
    return end;
  }
  return lines_or_spaces(s);
}
