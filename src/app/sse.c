/* sse: see sse.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/sse.h"

bool sse_next(const struct buf *text, size_t *from, struct slice *ret_data) {
  const char *end;
  while (*from < text->len && (end = memchr(text->data + *from, '\n', text->len - *from))) {
    struct slice line = slice_make(text->data + *from, (size_t)(end - text->data) - *from);
    *from += line.len + 1;
    if (line.len && line.data[line.len - 1] == '\r') line.len--;
    if (!slice_starts(line, SLICE("data:"))) continue;
    line = slice_from(line, 5);
    *ret_data = slice_starts(line, SLICE(" ")) ? slice_from(line, 1) : line;
    return true;
  }
  return false;
}
