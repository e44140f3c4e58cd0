/* tokenizer_tiktoken: builds a tokenizer from a tiktoken file. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_TOKENIZER_TIKTOKEN_H
#define TEXT_TOKENIZER_TIKTOKEN_H
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

/* Whether these bytes begin like such a file: with a line of base64, a space and a number. */
bool tokenizer_tiktoken_is(struct slice file);
/* Fills the components of a fresh t. Format: doc/format/tokenizer.md. */
int tokenizer_tiktoken_read(struct tokenizer *t, struct slice file, const struct tokenizer_files *beside, struct error *err);

#endif
