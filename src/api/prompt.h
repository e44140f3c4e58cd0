/* prompt: the text work of a request: template, tokens, and whether they fit. Private to api. SPDX-License-Identifier: Apache-2.0
 *
 * Any thread; reads only what is immutable of an endpoint. */
#ifndef API_PROMPT_H
#define API_PROMPT_H
#include "api/request.h"

struct prompt {
  struct ids ids;
  size_t max_tokens; /* for the engine: 0 up to the context */
  struct buf echo;   /* the text in front of the completion; empty without echo */
};

struct prompts {
  struct prompt *list; /* one for each text of the request, one for a chat */
  size_t n;
};

/* On a fault *out needs prompt_free too. */
int prompt_make(const struct request *q, const struct endpoint *e, enum dialect dialect, struct prompts *out, struct fault *f);
void prompt_free(struct prompts *p); /* leaves {0} */

#endif
