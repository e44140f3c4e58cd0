/* tokenizer_config: what the files beside tokenizer.json say about special tokens. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_TOKENIZER_CONFIG_H
#define TEXT_TOKENIZER_CONFIG_H
#include "text/tokenizer.h"

/* Sets bos, eos and the stop set of a finished t from tokenizer_config.json, config.json and generation_config.json; each may be
 * NULL. "add_bos_token": false takes the BOS token away that the post-processor would add. */
void tokenizer_config_apply(struct tokenizer *t, const struct js *config, const struct js *model, const struct js *generation);

#endif
