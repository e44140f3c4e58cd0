/* choice: the text of one sequence as it grows: detokenized, stop strings held back, logprobs beside it. Private to api.
 * SPDX-License-Identifier: Apache-2.0
 *
 * `text` only grows by what is certain, so a stream that sends it in pieces and a reply that sends it whole are equal byte for byte.
 *
 *     text   |<-- echo -->|<-- generated, certain -->|<- suffix ->|
 *                     n_sent: where the next piece begins
 */
#ifndef API_CHOICE_H
#define API_CHOICE_H
#include "api/prompt.h"

/* A token with its logprob. It may be shown once text has grown past its start. */
struct choice_token {
  int32_t id;
  float logprob; /* NAN for the first of a prompt */
  int n_top;
  struct serving_logprob *top; /* owned */
  size_t start;                /* byte of text where its own begin */
};

struct choice {
  struct call *call;
  size_t index, prompt_index;
  uint64_t seed;
  struct generation *generation; /* NULL before and after */
  bool done;
  enum serving_finish finish;
  const struct tokenizer *tokenizer;
  struct detok detok;
  struct stop_filter filter;
  struct buf text;
  struct buf piece; /* scratch */
  size_t raw_bytes; /* what the detokenizer gave so far, echo included */
  size_t n_sent;    /* bytes of text that went out */
  struct choice_token *tokens;
  size_t n_tokens, tokens_cap, n_prompt_tokens, n_tokens_sent;
  size_t n_chars, n_chars_bytes; /* characters in the first n_chars_bytes of text: for text_offset, which counts characters */
  size_t completion_tokens;
  uint64_t first_token_ns, last_token_ns; /* 0: not yet */
  uint64_t prefill_ns;
  bool timed; /* what it waited and took was told */
};

void choice_init(struct choice *c, const struct request *q, const struct endpoint *e, const struct prompt *p);
void choice_prompt_token(struct choice *c, const struct serving_event *event);
/* The last event of a sequence has a finish; then suffix is appended. */
void choice_token(struct choice *c, const struct request *q, const struct serving_event *event);
/* Ends the text with this reason, as the last event does. */
void choice_finish(struct choice *c, const struct request *q, enum serving_finish finish);
/* A stop string was completed on this side. */
bool choice_stopped(const struct choice *c);

/* The piece of text that was not sent yet. */
struct slice choice_unsent(const struct choice *c);
/* How many of the tokens, from the first, may be shown. */
size_t choice_tokens_shown(const struct choice *c);
/* Characters before that byte of text; asked in rising order. */
size_t choice_char_offset(struct choice *c, size_t byte);
const char *choice_finish_name(enum serving_finish finish); /* "stop", "length"; NULL while it runs */
void choice_free(struct choice *c);

#endif
