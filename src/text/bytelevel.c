/* bytelevel: see bytelevel.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/bytelevel.h"

#include "base/utf8.h"
#include "text/uclass.h"

/* The bytes that are not characters of their own, in the order of their substitutes: 0-32, 127-160, 173. */
uint32_t bytelevel_char(unsigned char byte) {
  if (byte <= 32) return 0x100u + byte;
  if (byte >= 127 && byte <= 160) return 0x100u + 33 + (byte - 127u);
  if (byte == 173) return 0x100 + 67;
  return byte;
}

int bytelevel_byte(uint32_t c) {
  if (c >= 0x100) {
    if (c < 0x100 + 33) return (int)(c - 0x100);
    if (c < 0x100 + 67) return (int)(c - 0x100 - 33 + 127);
    return c == 0x100 + 67 ? 173 : -1;
  }
  return c <= 32 || (c >= 127 && c <= 160) || c == 173 ? -1 : (int)c;
}

void bytelevel_map(struct slice raw, struct buf *out) {
  char *to = buf_reserve(out, raw.len * 2);
  size_t n = 0;
  for (size_t i = 0; i < raw.len; i++) n += utf8_put(to + n, bytelevel_char((unsigned char)raw.data[i]));
  buf_advance(out, n);
}

void bytelevel_unmap(struct slice mapped, struct buf *out) {
  size_t before = out->len;
  char *to = buf_reserve(out, mapped.len);
  size_t n = 0;
  for (size_t i = 0; i < mapped.len;) {
    uint32_t c;
    i += uclass_get(slice_from(mapped, i), &c);
    int byte = bytelevel_byte(c);
    if (byte < 0) {
      out->len = before;
      buf_add_slice(out, mapped);
      return;
    }
    to[n++] = (char)byte;
  }
  buf_advance(out, n);
}
