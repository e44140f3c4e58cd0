/* tokenizer_json: builds a tokenizer from tokenizer.json. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_TOKENIZER_JSON_H
#define TEXT_TOKENIZER_JSON_H
#include "text/tokenizer.h"

/* Fills the components of a fresh t. Format: doc/format/tokenizer.md. */
int tokenizer_json_read(struct tokenizer *t, const struct js *json, struct error *err);

#endif
