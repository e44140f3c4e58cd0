/* fuzz_tokenizer_gguf: a GGUF file that holds a vocabulary. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/utf8.h"
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct gguf *g = gguf_open_bytes(slice_make(data, size), "fuzz", NULL);
  struct tokenizer *t = g ? tokenizer_open_gguf(g, NULL) : NULL;
  gguf_close(g);
  if (!t) return 0;
  struct ids ids = {0};
  struct buf out = {0};
  if (tokenizer_encode(t, SLICE("ab ab<s>Playing 12\xC3\xA9"), TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, &ids, NULL) == 0) {
    for (size_t i = 0; i < ids.len; i++)
      if (ids.data[i] < 0 || ids.data[i] >= tokenizer_n_vocab(t)) abort();
    tokenizer_decode(t, ids.data, ids.len, false, &out);
    if (!utf8_valid(buf_view(&out))) abort();
  }
  ids_free(&ids);
  buf_free(&out);
  tokenizer_close(t);
  return 0;
}
