/* parts: see parts.h. SPDX-License-Identifier: Apache-2.0 */
#include "file/parts.h"

#include "base/buf.h"

/* Five digits. */
static bool read_number(const char *text, unsigned *out) {
  unsigned value = 0;
  for (int i = 0; i < 5; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    value = 10 * value + (unsigned)(text[i] - '0');
  }
  *out = value;
  return true;
}

bool parts_parse(struct slice path, struct parts *out) {
  static const char ending[] = "-00001-of-00001.gguf";
  enum { ENDING = sizeof ending - 1 };
  struct parts p;
  if (path.len <= ENDING || !slice_ends(path, SLICE(".gguf"))) return false;
  const char *at = path.data + path.len - ENDING;
  if (at[0] != '-' || memcmp(at + 6, "-of-", 4) != 0 || !read_number(at + 1, &p.number) || !read_number(at + 10, &p.count)) return false;
  if (p.number == 0 || p.number > p.count || p.count > PARTS_MAX) return false;
  p.stem = slice_make(path.data, path.len - ENDING);
  *out = p;
  return true;
}

char *parts_path(const struct parts *p, unsigned number) {
  struct buf path = {0};
  buf_add_slice(&path, p->stem);
  buf_printf(&path, "-%05u-of-%05u.gguf", number, p->count);
  return path.data;
}
