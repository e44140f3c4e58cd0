/* fake_serving: stands in for serving at link time: four endpoints on a tokenizer whose tokens are bytes, and an engine that says what the
 * test told it to, one token of every sequence a step. SPDX-License-Identifier: Apache-2.0
 *
 *     "chat"    a chat endpoint with a template that renders messages as "<role>content|" … "<assistant>"
 *     "base"    completions, no template
 *     "embed"   embeddings, 4 wide: [n_prompt, first id, last id, sum of ids]; puts [CLS] and [SEP] around a text
 *     "broken"  in SERVING_FAILED
 */
#ifndef FAKE_SERVING_H
#define FAKE_SERVING_H
#include "serving/serving.h"

enum { FAKE_CONTEXT = 64, FAKE_WINDOW = 16, FAKE_CLS = 256, FAKE_SEP = 257, FAKE_EOS = 258, FAKE_VOCAB = 259 };

struct fake_serving {
  struct loop *loop;
  const char *says;  /* the text every sequence gets, then EOS; with n > 1 each choice's seed picks where it begins */
  const char *token; /* the only one that is known; NULL: no token needed */
  bool alive, ready;
  struct error refuses; /* code not ERROR_NONE: serving_generate fails with it */
  bool drains;          /* then it does so for new calls only */
  int dies_after;       /* steps until every sequence ends with dies_with; 0: never */
  struct error dies_with;
  bool blind; /* the engine does not stop at stop strings: the api has to */
  size_t n_steps, n_alive, n_alive_max, n_cancelled, n_asked;
  struct serving_request last; /* its pointers are dead; figures only, and … */
  struct serving_bias bias;    /* … the first of its biases, */
  int32_t stop_id;             /* … the first of its stop ids */
  uint64_t seeds[256];         /* of what was asked, in order */
  struct endpoint endpoints[4];
  size_t late_figures; /* looks at "chat" or "embed" until their window is known */
};

struct serving *fake_serving_create(struct loop *loop);
void fake_serving_destroy(struct serving *s);
struct fake_serving *fake_serving(struct serving *s);
/* One token of every sequence alive; false when there is none. */
bool fake_serving_step(struct serving *s);

#endif
