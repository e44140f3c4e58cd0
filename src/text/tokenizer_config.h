/* tokenizer_config: what the files beside a tokenizer's own file say. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_TOKENIZER_CONFIG_H
#define TEXT_TOKENIZER_CONFIG_H
#include "text/tokenizer.h"

/* Parsed files, borrowed; each may be NULL. */
struct tokenizer_files {
  const struct js *config;     /* tokenizer_config.json */
  const struct js *special;    /* special_tokens_map.json */
  const struct js *added;      /* added_tokens.json */
  const struct js *model;      /* config.json */
  const struct js *generation; /* generation_config.json */
  bool is_json;                /* the tokenizer's own file is tokenizer.json, which lists its added tokens itself */
};

/* Adds the tokens of "added_tokens_decoder", else of added_tokens.json, then those that are only named (bos_token, …,
 * additional_special_tokens), which become special where they are there already. Those that tokenizer.json lists stay as they are otherwise.
 * An id that belongs to another token is refused; a token beyond "vocab_size" of config.json is left out: it has no row. */
int tokenizer_config_added(struct tokenizer *t, const struct tokenizer_files *files, struct error *err);
/* Sets bos, eos and the stop set of a finished t; added tokens that stop become special. Where add_bos_token (add_eos_token) stands in tokenizer_config.json, it alone says what
 * goes in front of (behind) a text. */
void tokenizer_config_apply(struct tokenizer *t, const struct tokenizer_files *files);

#endif
