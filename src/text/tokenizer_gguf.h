/* tokenizer_gguf: builds a tokenizer from GGUF metadata. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_TOKENIZER_GGUF_H
#define TEXT_TOKENIZER_GGUF_H
#include "file/file.h"
#include "text/tokenizer.h"

/* Fills the components of a fresh t, as the tokenizer.json of the same model would. Keys: doc/format/tokenizer.md. */
int tokenizer_gguf_read(struct tokenizer *t, const struct gguf *g, struct error *err);
/* The stop set, once t is finished. */
void tokenizer_gguf_stops(struct tokenizer *t, const struct gguf *g);

#endif
