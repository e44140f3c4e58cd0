/* fields: one function for each field of a body (fields.c, fields_text.c). Private to request.c. SPDX-License-Identifier: Apache-2.0
 *
 * Each reads v, which is not null, into r->out, or fills r->fault and returns -1. */
#ifndef API_FIELDS_H
#define API_FIELDS_H
#include "api/request.h"

struct reader {
  const struct request_rules *rules;
  struct request *out;
  struct fault *fault;
  struct buf ignored;
  bool strict;
  bool stream_options; /* was there */
  bool has_max_tokens;
  int64_t max_tokens;
  const char *max_tokens_name;      /* the spelling that was used first */
  int64_t top_logprobs;             /* of a chat; -1: absent */
  const struct js *template_kwargs; /* borrowed from the body; NULL: absent */
  bool has_generation_prompt, generation_prompt;
};

typedef int fields_fn(struct reader *r, const char *name, const struct js *v);

fields_fn fields_model, fields_strict, fields_user, fields_noted_string, fields_noted_map;
fields_fn fields_stream, fields_stream_options, fields_n, fields_temperature, fields_top_p, fields_top_k, fields_max_tokens, fields_stop;
fields_fn fields_min_p, fields_presence_penalty, fields_frequency_penalty, fields_repetition_penalty, fields_logit_bias;
fields_fn fields_min_tokens, fields_stop_token_ids, fields_seed, fields_ignore_eos, fields_return_sampling, fields_response_format;
fields_fn fields_chat_logprobs, fields_top_logprobs, fields_completion_logprobs, fields_tools, fields_tool_choice, fields_text_messages;
fields_fn fields_template_kwargs, fields_generation_prompt, fields_continue_final, fields_trust_content;
fields_fn fields_text_list, fields_suffix, fields_echo, fields_error_behavior, fields_raw_prompt;
fields_fn fields_instruction, fields_encoding_format, fields_dimensions, fields_truncate_tokens;

/* Once all members are read: makes the template's context of the messages and what belongs to them. */
int fields_text_context(struct reader *r);

/* A field that nobody knows: name alone for strict mode, path (e.g. "messages.name") for the list. */
int fields_unknown(struct reader *r, struct slice name, struct slice path);

#endif
