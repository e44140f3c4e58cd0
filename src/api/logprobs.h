/* logprobs: tokens [first, end) of a choice as JSON, in the shape of chats or in the old one of completions. Private to api.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef API_LOGPROBS_H
#define API_LOGPROBS_H
#include "api/choice.h"
#include "base/jsonw.h"

/* {"content": [{token, logprob, bytes, top_logprobs: [...]}]} */
void logprobs_chat(const struct choice *c, size_t first, size_t end, struct jsonw *w);
/* {"tokens", "token_logprobs", "top_logprobs", "text_offset"}; top_logprobs is null when n_top is 0. */
void logprobs_completion(struct choice *c, size_t first, size_t end, int n_top, struct jsonw *w);

#endif
