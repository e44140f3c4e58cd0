/* utf8: see utf8.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <string.h>

/* What may follow a lead byte: how many bytes in all, and the range of the second (RFC 3629, section 4). */
struct lead {
  unsigned len, low, high;
};

static struct lead lead_of(unsigned char byte) {
  if (byte < 0x80) return (struct lead){1, 0, 0};
  if (byte < 0xC2) return (struct lead){0, 0, 0};
  if (byte < 0xE0) return (struct lead){2, 0x80, 0xBF};
  if (byte == 0xE0) return (struct lead){3, 0xA0, 0xBF};
  if (byte == 0xED) return (struct lead){3, 0x80, 0x9F};
  if (byte < 0xF0) return (struct lead){3, 0x80, 0xBF};
  if (byte == 0xF0) return (struct lead){4, 0x90, 0xBF};
  if (byte < 0xF4) return (struct lead){4, 0x80, 0xBF};
  if (byte == 0xF4) return (struct lead){4, 0x80, 0x8F};
  return (struct lead){0, 0, 0};
}

/* How many bytes from the start of s fit the pattern of its lead byte; *want is the pattern's whole length, 0 when no
 * character begins with that byte. */
static size_t matching(struct slice s, unsigned *want) {
  const unsigned char *p = (const unsigned char *)s.data;
  struct lead lead = lead_of(p[0]);
  *want = lead.len;
  if (lead.len == 0) return 0;
  size_t n = 1;
  while (n < lead.len && n < s.len) {
    unsigned low = n == 1 ? lead.low : 0x80, high = n == 1 ? lead.high : 0xBF;
    if (p[n] < low || p[n] > high) break;
    n++;
  }
  return n;
}

size_t utf8_get(struct slice s, uint32_t *codepoint) {
  if (s.len == 0) return 0;
  const unsigned char *p = (const unsigned char *)s.data;
  if (p[0] < 0x80) {
    *codepoint = p[0];
    return 1;
  }
  unsigned want;
  if (matching(s, &want) != want || want == 0) return 0;
  uint32_t value = p[0] & (0x7Fu >> want);
  for (unsigned i = 1; i < want; i++) value = value << 6 | (p[i] & 0x3Fu);
  *codepoint = value;
  return want;
}

size_t utf8_put(char out[4], uint32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = UTF8_REPLACEMENT;
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  unsigned len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (unsigned i = len - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
  out[0] = (char)((0xF00u >> len & 0xFF) | c);
  return len;
}

bool utf8_valid(struct slice s) {
  uint32_t ignored;
  while (s.len) {
    size_t n = utf8_get(s, &ignored);
    if (n == 0) return false;
    s = slice_from(s, n);
  }
  return true;
}

size_t utf8_invalid_len(struct slice s) {
  if (s.len == 0) return 0;
  unsigned want;
  size_t n = matching(s, &want);
  return n ? n : 1;
}

size_t utf8_incomplete_tail(struct slice s) {
  for (size_t back = 1; back <= 3 && back <= s.len; back++) {
    struct slice tail = slice_from(s, s.len - back);
    if (((unsigned char)tail.data[0] & 0xC0) == 0x80) continue;
    unsigned want;
    size_t n = matching(tail, &want);
    return n == back && want > back ? back : 0;
  }
  return 0;
}

size_t utf8_make_line(char *text, size_t len) {
  size_t to = 0, n;
  for (size_t at = 0; at < len; at += n) {
    uint32_t c = 0; /* an invalid subpart is shown like a control character */
    struct slice rest = slice_make(text + at, len - at);
    n = utf8_get(rest, &c);
    if (n == 0) n = utf8_invalid_len(rest);
    bool shown = c >= 0x20 && (c < 0x7F || c >= 0xA0);
    if (shown) memmove(text + to, text + at, n);
    else text[to] = '?';
    to += shown ? n : 1;
  }
  return to;
}
