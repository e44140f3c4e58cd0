/* input: see input.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { READ_BYTES = 1 << 16 };

int input_read(size_t bytes_max, struct buf *in, struct error *err) {
  for (;;) {
    size_t n = fread(buf_reserve(in, READ_BYTES), 1, READ_BYTES, stdin);
    buf_advance(in, n);
    if (ferror(stdin)) return error_set(err, ERROR_IO, "Cannot read standard input: %s.", strerror(errno));
    if (n == 0) return 0;
    if (in->len > bytes_max) return error_set(err, ERROR_TOO_LARGE, "Standard input is longer than %zu bytes.", bytes_max);
  }
}

int input_check(struct slice text, struct error *err) {
  if (utf8_valid(text)) return 0;
  uint32_t ignored;
  size_t at = 0;
  for (size_t n; (n = utf8_get(slice_from(text, at), &ignored)) > 0;) at += n;
  return error_set(err, ERROR_INVALID, "The text is not valid UTF-8: byte 0x%02X at offset %zu. Convert it first, with iconv for example.",
                   (unsigned char)text.data[at], at);
}
