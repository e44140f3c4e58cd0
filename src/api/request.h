/* request: a JSON body as one typed request, or the fault that says which field is wrong. Private to api.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pure: no network, no engine, any thread. Both dialects take the union of their fields. A field that is known nowhere is named in
 * `ignored`, or refused when the body says "strict_fields": true. A field whose value is null counts as absent. */
#ifndef API_REQUEST_H
#define API_REQUEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/fault.h"
#include "base/arena.h"
#include "base/js.h"
#include "serving/serving.h"

enum request_route { ROUTE_CHAT, ROUTE_COMPLETIONS, ROUTE_EMBEDDINGS, ROUTE_INVOCATIONS };
enum request_kind { REQUEST_CHAT = 1, REQUEST_COMPLETION = 2, REQUEST_EMBEDDING = 4 };

enum {
  REQUEST_STOPS_MAX = 16,
  REQUEST_STOP_BYTES_MAX = 1024,
  REQUEST_STOP_IDS_MAX = SERVING_STOP_IDS_MAX,
  REQUEST_BIASES_MAX = SERVING_BIASES_MAX,
  REQUEST_N_MAX = 128,      /* choices of one prompt */
  REQUEST_BATCH_MAX = 2048, /* prompts or inputs, and choices in all */
  REQUEST_DATABRICKS_PROMPTS_MAX = 16,
  REQUEST_DATABRICKS_INPUTS_MAX = 150,
};

/* What the path and the endpoint say about the body. */
struct request_rules {
  enum dialect dialect;
  enum request_route route;
  struct slice endpoint; /* its name */
  enum serving_task task;
  size_t n_embd;
  int32_t n_vocab;
};

/* One prompt or input: text, or token ids. */
struct request_text {
  bool is_ids;
  struct slice text;
  const int32_t *ids; /* each in [0, n_vocab) */
  size_t n_ids;
};

struct request {
  struct arena arena; /* holds everything below; request_free */
  enum request_kind kind;
  char *ignored; /* "a, b": names of fields without effect, fit for a header; NULL when there are none */

  bool stream, include_usage;
  size_t n;
  double temperature, top_p, min_p;
  int64_t top_k; /* 0: off */
  double repetition_penalty, presence_penalty, frequency_penalty;
  const struct serving_bias *biases; /* each id once, ascending */
  size_t n_biases;
  uint64_t seed;
  bool has_seed;
  size_t max_tokens; /* 0: up to the context, unless prompt_only */
  bool prompt_only;  /* max_tokens was 0, with echo: the prompt and its logprobs, nothing more */
  size_t min_tokens; /* at most max_tokens, when that is set */
  bool ignore_eos;
  const int32_t *stop_ids; /* in [0, n_vocab) */
  size_t n_stop_ids;
  const struct slice *stops;
  size_t n_stops;
  int top_logprobs;     /* -1: no logprobs */
  bool return_sampling; /* the reply names the values that it was made with */

  struct slice context; /* REQUEST_CHAT: the template's context as JSON text */
  bool continue_final;  /* the reply goes on with the last message */
  bool trust_content;   /* control tokens written out in messages count */

  struct request_text *texts; /* REQUEST_COMPLETION: prompts; REQUEST_EMBEDDING: inputs; at least one */
  size_t n_texts;

  struct slice suffix;
  bool echo, truncate, raw_prompt; /* raw_prompt: no chat template around it */

  struct slice instruction;
  bool base64;
  int64_t truncate_tokens; /* 0: refuse what is too long; -1: cut to the window; else cut to so many */
};

/* `model` of a body. 1 when there, 0 when absent, -1 with a fault when it is no string. */
int request_model(const struct js *body, struct slice *ret_name, struct fault *f);
/* What kind of body the route takes on an endpoint of that task; a mismatch is a fault that names the task. Looks at `messages` and
 * `prompt` on ROUTE_INVOCATIONS. */
int request_read_kind(const struct js *body, const struct request_rules *rules, enum request_kind *ret_kind, struct fault *f);
/* Everything is copied out of body. On a fault *out needs request_free too. */
int request_read(const struct js *body, const struct request_rules *rules, struct request *out, struct fault *f);
void request_free(struct request *r); /* leaves {0} */

#endif
