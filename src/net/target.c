/* target: see target.h. SPDX-License-Identifier: Apache-2.0
 *
 * A path that could be read in two ways is refused, not repaired: what the log, a proxy and a handler see is the same path. */
#include "net/target.h"

#include "base/utf8.h"
#include "net/http1.h"

static const char bad_escape[] = "The path has a percent sign that two hexadecimal digits do not follow.";
static const char bad_byte[] = "The path holds a control character; remove it.";
static const char bad_utf8[] = "The path is not UTF-8 after percent-decoding.";
static const char bad_dots[] = "The path holds a \".\" or \"..\" segment; send the path that is meant.";
static const char bad_form[] = "The request target must begin with \"/\" or \"http://host\".";
static const char bad_visible[] = "The request target may hold visible ASCII characters only; percent-encode the others.";
static const char bad_fragment[] = "The request target must not hold \"#\"; percent-encode it.";

/* Decodes in place; *len shrinks. */
static const char *decode(char *path, size_t *len) {
  size_t n = 0;
  for (size_t i = 0; i < *len; i++, n++) {
    unsigned char c = (unsigned char)path[i];
    if (c == '%') {
      int high = i + 2 < *len ? http1_hex(path[i + 1]) : -1, low = i + 2 < *len ? http1_hex(path[i + 2]) : -1;
      if (high < 0 || low < 0) return bad_escape;
      c = (unsigned char)(high * 16 + low);
      i += 2;
    }
    if (c < 0x20 || c == 0x7f) return bad_byte;
    path[n] = (char)c;
  }
  *len = n;
  return NULL;
}

/* A segment "." or ".." anywhere, whatever the escapes it was written with. */
static bool has_dots(struct slice path) {
  for (size_t i = 0; i < path.len; i++) {
    if (path.data[i] != '/') continue;
    size_t end = i + 1;
    while (end < path.len && path.data[end] == '.') end++;
    size_t dots = end - i - 1;
    if ((dots == 1 || dots == 2) && (end == path.len || path.data[end] == '/')) return true;
  }
  return false;
}

/* The length of "http://host" in front of an absolute target; 0 when the form is another. */
static size_t authority_end(struct slice t) {
  size_t at = 0;
  if (t.len >= 7 && http1_same(slice_make(t.data, 7), SLICE("http://"))) at = 7;
  if (t.len >= 8 && http1_same(slice_make(t.data, 8), SLICE("https://"))) at = 8;
  if (at == 0) return 0;
  size_t end = at;
  while (end < t.len && t.data[end] != '/' && t.data[end] != '?') {
    if (t.data[end] == '@') return 0; /* a user name in a URL is a phisher's tool: RFC 9110, 4.2.4 */
    end++;
  }
  return end > at ? end : 0;
}

const char *target_parse(char *text, size_t len, struct target *ret) {
  for (size_t i = 0; i < len; i++) {
    if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f) return bad_visible;
    if (text[i] == '#') return bad_fragment;
  }
  struct target t = {0};
  if (len == 1 && text[0] == '*') {
    *ret = (struct target){.path_len = 1, .query_at = 1};
    return NULL;
  }
  if (len == 0 || text[0] != '/') {
    t.path_at = authority_end(slice_make(text, len));
    if (t.path_at == 0) return bad_form;
  }
  const char *mark = memchr(text + t.path_at, '?', len - t.path_at);
  size_t path_end = mark ? (size_t)(mark - text) : len;
  t.query_at = mark ? path_end + 1 : len;
  t.query_len = len - t.query_at;
  t.path_len = path_end - t.path_at;
  if (t.path_len == 0) { /* "http://host": its path is "/", and the byte in front of it is a slash of ours to use */
    text[--t.path_at] = '/';
    t.path_len = 1;
  }
  const char *why = decode(text + t.path_at, &t.path_len);
  if (why) return why;
  struct slice path = slice_make(text + t.path_at, t.path_len);
  if (!utf8_valid(path)) return bad_utf8;
  if (has_dots(path)) return bad_dots;
  *ret = t;
  return NULL;
}
