/* tokenizer_spm: builds a tokenizer from SentencePiece's tokenizer.model. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_TOKENIZER_SPM_H
#define TEXT_TOKENIZER_SPM_H
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

/* Whether these bytes begin like such a file: with a piece. */
bool tokenizer_spm_is(struct slice file);
/* Fills the components of a fresh t. Format: doc/format/tokenizer.md. */
int tokenizer_spm_read(struct tokenizer *t, struct slice file, const struct tokenizer_files *beside, struct error *err);

#endif
