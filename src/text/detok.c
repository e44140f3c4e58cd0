/* detok: from ids to text, one token at a time; see text.h. SPDX-License-Identifier: Apache-2.0
 *
 * Byte-level: bytes that may still become a character (at most 3) wait; everything before them is certain, and the sum of
 * what is emitted equals decoding all bytes at once, because a waiting tail always begins at a lead byte.
 * Byte tokens among text (<0x0A>): the same, but what is no UTF-8 gives one U+FFFD for each byte. */
#include <assert.h>

#include "base/utf8.h"
#include "text/tokenizer.h"

void detok_init(struct detok *d, const struct tokenizer *t, bool skip_special) {
  *d = (struct detok){.tokenizer = t, .skip_special = skip_special};
}

/* Emits the certain part of the waiting bytes and these ones. */
static void push_bytes(struct detok *d, struct slice bytes, struct buf *out) {
  while (d->n_pending && bytes.len) { /* complete, or give up, the character that waits */
    d->pending[d->n_pending++] = bytes.data[0];
    bytes = slice_from(bytes, 1);
    struct slice waiting = slice_make(d->pending, d->n_pending);
    size_t tail = utf8_incomplete_tail(waiting);
    if (tail == waiting.len) continue;
    decoder_lossy(slice_make(d->pending, waiting.len - tail), out);
    memmove(d->pending, d->pending + waiting.len - tail, tail);
    d->n_pending = (unsigned)tail;
  }
  size_t tail = utf8_incomplete_tail(bytes);
  if (bytes.len == 0) return;
  decoder_lossy(slice_make(bytes.data, bytes.len - tail), out);
  memcpy(d->pending, bytes.data + bytes.len - tail, tail);
  d->n_pending = (unsigned)tail;
  assert(d->n_pending <= 3);
}

static void each_replaced(struct detok *d, unsigned n, struct buf *out) {
  for (unsigned i = 0; i < n; i++) buf_add_utf8(out, UTF8_REPLACEMENT);
  memmove(d->pending, d->pending + n, d->n_pending - n);
  d->n_pending -= n;
}

static void push_byte_token(struct detok *d, char byte, struct buf *out) {
  d->pending[d->n_pending++] = byte;
  while (d->n_pending) {
    struct slice waiting = slice_make(d->pending, d->n_pending);
    uint32_t c;
    size_t n = utf8_get(waiting, &c);
    if (n) {
      buf_add(out, d->pending, n);
      memmove(d->pending, d->pending + n, d->n_pending - n);
      d->n_pending -= (unsigned)n;
    } else if (utf8_incomplete_tail(waiting) == waiting.len) {
      return;
    } else {
      each_replaced(d, (unsigned)utf8_invalid_len(waiting), out);
    }
  }
}

/* The first token of an output: it may differ from the same one later on. */
static void push_first(struct detok *d, struct slice string, struct buf *out) {
  size_t before = out->len;
  decoder_token(&d->tokenizer->decoder, string, true, out);
  decoder_strip_start(&d->tokenizer->decoder, before, out);
}

void detok_push(struct detok *d, int32_t id, struct buf *out) {
  const struct tokenizer *t = d->tokenizer;
  if (id < 0 || id >= t->n_vocab || (d->skip_special && t->special[id])) return;
  if (t->decoder.bytes == DECODER_ALL_BYTES) {
    push_bytes(d, tokenizer_token_bytes(t, id), out);
    return;
  }
  bool exists;
  struct slice string = tokenizer__string(t, id, &exists);
  if (!exists) return;
  bool first = !d->any;
  d->any = true;
  int byte = t->decoder.bytes == DECODER_SOME_BYTES ? decoder_byte_token(string) : -1;
  if (byte >= 0 && !(first && t->decoder.strip_start && (uint32_t)byte == t->decoder.strip_character)) {
    push_byte_token(d, (char)byte, out);
    return;
  }
  each_replaced(d, d->n_pending, out);
  if (first) push_first(d, string, out);
  else buf_add_slice(out, tokenizer_token_bytes(t, id));
}

void detok_finish(struct detok *d, struct buf *out) {
  if (d->tokenizer->decoder.bytes == DECODER_SOME_BYTES) each_replaced(d, d->n_pending, out);
  decoder_lossy(slice_make(d->pending, d->n_pending), out);
  d->n_pending = 0;
}
