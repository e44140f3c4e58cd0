/* fuzz_tokenizer_vocabulary: a tokenizer.model of SentencePiece, or a tiktoken file. SPDX-License-Identifier: Apache-2.0
 * Whatever opens must encode and decode without a fault, stay inside its vocabulary, and detokenize as a stream to valid UTF-8. */
#include <stdlib.h>

#include "base/utf8.h"
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(const struct tokenizer *t, struct slice text, unsigned flags) {
  struct ids ids = {0};
  struct buf out = {0};
  struct detok d;
  if (tokenizer_encode(t, text, flags, &ids, NULL) == 0) {
    detok_init(&d, t, flags & 1);
    for (size_t i = 0; i < ids.len; i++) {
      if (ids.data[i] < 0 || ids.data[i] >= tokenizer_n_vocab(t)) abort();
      detok_push(&d, ids.data[i], &out);
    }
    detok_finish(&d, &out);
    if (!utf8_valid(buf_view(&out))) abort();
    buf_clear(&out);
    tokenizer_decode(t, ids.data, ids.len, flags & 1, &out);
    if (!utf8_valid(buf_view(&out))) abort();
  }
  buf_free(&out);
  ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const configs[] = {
      "", "{\"legacy\":false,\"add_eos_token\":true,\"eos_token\":\"</s>\",\"added_tokens_decoder\":{\"900\":{\"content\":\"<x>\"}}}"};
  struct slice text = SLICE("ab abab  the THE 12\xC3\xA9\xE4\xBD\xA0\xEF\xBC\xA1\n<s><x> the");
  for (int i = 0; i < 2; i++) {
    struct tokenizer *t = tokenizer_open_vocabulary(slice_make(data, size), slice_cstr(configs[i]), NULL);
    if (!t) return 0;
    try_text(t, text, TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL);
    try_text(t, text, 0);
    tokenizer_close(t);
  }
  return 0;
}
