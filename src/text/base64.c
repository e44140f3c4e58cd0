/* base64: see base64.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/base64.h"

#include <stdint.h>

static int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct slice text, struct buf *out) {
  if (text.len % 4 != 0) return false;
  size_t padding = 0, before = out->len;
  while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=') padding++;
  uint32_t bits = 0;
  unsigned n_bits = 0;
  for (size_t i = 0; i < text.len - padding; i++) {
    int value = value_of(text.data[i]);
    if (value < 0) {
      out->len = before;
      return false;
    }
    bits = bits << 6 | (uint32_t)value;
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    buf_add_byte(out, (unsigned char)(bits >> n_bits));
  }
  if ((bits & ((1u << n_bits) - 1)) == 0) return true; /* what is left over must be zero */
  out->len = before;
  return false;
}
