/* wordpiece: see wordpiece.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/wordpiece.h"

#include <stdlib.h>

#include "text/archive.h"
#include "text/uclass.h"

void wordpiece_deinit(struct wordpiece *w) {
  free((char *)w->prefix.data);
  *w = (struct wordpiece){0};
}

static size_t count_chars(struct slice s) {
  size_t n = 0;
  for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.data[i] & 0xC0) != 0x80;
  return n;
}

/* The longest token that rest begins with; its length without the prefix goes to *ret_len. -1 when there is none. */
static int32_t longest(const struct wordpiece *w, struct buf *text, struct slice rest, bool first, size_t *ret_len) {
  size_t prefix = first ? 0 : w->prefix.len;
  size_t len = rest.len;
  if (len + prefix > w->vocab->len_max) len = w->vocab->len_max > prefix ? w->vocab->len_max - prefix : 0;
  buf_clear(text);
  if (!first) buf_add_slice(text, w->prefix);
  buf_add(text, rest.data, len);
  for (; len > 0; len--) {
    if (len < rest.len && ((unsigned char)rest.data[len] & 0xC0) == 0x80) continue; /* inside a character */
    int32_t id = vocab_find(w->vocab, slice_make(text->data, prefix + len));
    if (id < 0) continue;
    *ret_len = len;
    return id;
  }
  return -1;
}

int wordpiece_encode(const struct wordpiece *w, struct buf *text, struct slice word, struct ids *out, struct error *err) {
  size_t before = out->len;
  struct slice rest = word;
  if (count_chars(word) <= w->word_chars_max) {
    while (rest.len) {
      size_t len;
      int32_t id = longest(w, text, rest, rest.len == word.len, &len);
      if (id < 0) break;
      ids_add(out, id);
      rest = slice_from(rest, len);
    }
    if (rest.len == 0) return 0;
  }
  out->len = before;
  if (w->unknown < 0)
    return error_set(err, ERROR_INVALID, "The model's vocabulary cannot spell '%.*s' and has no unknown token.", SLICE_ARG(word));
  ids_add(out, w->unknown);
  return 0;
}

void wordpiece_archive(struct archive *a, struct wordpiece *w) {
  archive_slice(a, &w->prefix);
  ARCHIVE(a, w->word_chars_max);
  ARCHIVE(a, w->unknown);
}
