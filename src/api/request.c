/* request: see request.h. SPDX-License-Identifier: Apache-2.0
 *
 * A table names every field with the kinds of body it belongs to and the function that reads it. Each member of the body is looked
 * up there once; what concerns several fields is checked at the end. */
#include "api/request.h"

#include <assert.h>
#include <string.h>

#include "api/fields.h"
#include "base/jsonw.h"

enum { ANY = REQUEST_CHAT | REQUEST_COMPLETION | REQUEST_EMBEDDING, GENERATES = REQUEST_CHAT | REQUEST_COMPLETION };

struct field {
  const char *name;
  unsigned kinds;
  int (*read)(struct reader *r, const char *name, const struct js *v);
};

static const struct field fields[] = {
    {"model", ANY, fields_model},
    {"strict_fields", ANY, fields_strict},
    {"user", ANY, fields_user},
    {"client_request_id", ANY, fields_noted_string},
    {"usage_context", ANY, fields_noted_map},
    {"extra_params", ANY, fields_noted_map},
    {"stream", ANY, fields_stream},
    {"stream_options", GENERATES, fields_stream_options},
    {"n", GENERATES, fields_n},
    {"temperature", GENERATES, fields_temperature},
    {"top_p", GENERATES, fields_top_p},
    {"top_k", GENERATES, fields_top_k},
    {"min_p", GENERATES, fields_min_p},
    {"presence_penalty", GENERATES, fields_presence_penalty},
    {"frequency_penalty", GENERATES, fields_frequency_penalty},
    {"repetition_penalty", GENERATES, fields_repetition_penalty},
    {"logit_bias", GENERATES, fields_logit_bias},
    {"max_tokens", GENERATES, fields_max_tokens},
    {"max_completion_tokens", GENERATES, fields_max_tokens},
    {"min_tokens", GENERATES, fields_min_tokens},
    {"stop", GENERATES, fields_stop},
    {"stop_token_ids", GENERATES, fields_stop_token_ids},
    {"seed", GENERATES, fields_seed},
    {"ignore_eos", GENERATES, fields_ignore_eos},
    {"return_sampling", GENERATES, fields_return_sampling},
    {"response_format", GENERATES, fields_response_format},
    {"logprobs", REQUEST_CHAT, fields_chat_logprobs},
    {"top_logprobs", REQUEST_CHAT, fields_top_logprobs},
    {"tools", REQUEST_CHAT, fields_tools},
    {"functions", REQUEST_CHAT, fields_tools},
    {"tool_choice", REQUEST_CHAT, fields_tool_choice},
    {"function_call", REQUEST_CHAT, fields_tool_choice},
    {"messages", REQUEST_CHAT, fields_text_messages},
    {"chat_template_kwargs", REQUEST_CHAT, fields_template_kwargs},
    {"add_generation_prompt", REQUEST_CHAT, fields_generation_prompt},
    {"continue_final_message", REQUEST_CHAT, fields_continue_final},
    {"allow_special_tokens_in_content", GENERATES, fields_trust_content},
    {"prompt", REQUEST_COMPLETION, fields_text_list},
    {"logprobs", REQUEST_COMPLETION, fields_completion_logprobs},
    {"suffix", REQUEST_COMPLETION, fields_suffix},
    {"echo", REQUEST_COMPLETION, fields_echo},
    {"error_behavior", REQUEST_COMPLETION, fields_error_behavior},
    {"use_raw_prompt", REQUEST_COMPLETION, fields_raw_prompt},
    {"input", REQUEST_EMBEDDING, fields_text_list},
    {"instruction", REQUEST_EMBEDDING, fields_instruction},
    {"encoding_format", REQUEST_EMBEDDING, fields_encoding_format},
    {"dimensions", REQUEST_EMBEDDING, fields_dimensions},
    {"truncate_prompt_tokens", REQUEST_EMBEDDING, fields_truncate_tokens},
};

static const struct field *find(struct slice name, enum request_kind kind) {
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if ((fields[i].kinds & kind) && slice_eq(name, slice_cstr(fields[i].name))) return &fields[i];
  return NULL;
}

static bool present(const struct js *body, const char *key) { return js_type(js_get(body, key)) > JS_NULL; }

int request_model(const struct js *body, struct slice *ret_name, struct fault *f) {
  const struct js *v = js_get(body, "model");
  if (js_type(v) <= JS_NULL) return 0;
  if (js_str(v, ret_name)) return 1;
  return fault_field(f, "invalid_type", "model", "`model` must be a string, not %s.", js_type_name(v));
}

static int mismatch(const struct request_rules *rules, const char *asked, struct fault *f) {
  return fault_field(f, "unsupported_task", "model", "Endpoint '%.*s' has the task %s and cannot answer %s.", SLICE_ARG(rules->endpoint),
                     serving_task_name(rules->task), asked);
}

static int read_invocations_kind(const struct js *body, const struct request_rules *rules, enum request_kind *ret_kind, struct fault *f) {
  bool messages = present(body, "messages"), prompt = present(body, "prompt"), input = present(body, "input");
  const char *task = serving_task_name(rules->task);
  if (rules->task == SERVING_EMBEDDINGS) {
    if (messages || prompt) return mismatch(rules, messages ? "a chat (`messages`)" : "a completion (`prompt`)", f);
    *ret_kind = REQUEST_EMBEDDING;
    return 0;
  }
  if (messages && prompt) return fault_field(f, "invalid_value", "prompt", "The body has both `messages` and `prompt`. Send one of them.");
  if (messages && rules->task == SERVING_COMPLETIONS) return mismatch(rules, "a chat (`messages`): its model has no chat template", f);
  if (!messages && !prompt && input) return mismatch(rules, "an embedding request (`input`)", f);
  if (!messages && !prompt)
    return fault_field(f, "missing_required_parameter", rules->task == SERVING_CHAT ? "messages" : "prompt",
                       "The body has neither `messages` nor `prompt`. Endpoint '%.*s' has the task %s and needs one of them.",
                       SLICE_ARG(rules->endpoint), task);
  *ret_kind = messages ? REQUEST_CHAT : REQUEST_COMPLETION;
  return 0;
}

int request_read_kind(const struct js *body, const struct request_rules *rules, enum request_kind *ret_kind, struct fault *f) {
  if (js_type(body) != JS_OBJECT)
    return fault_field(f, "invalid_type", NULL, "The body must be a JSON object, not %s.", js_type_name(body));
  bool embeds = rules->task == SERVING_EMBEDDINGS;
  switch (rules->route) {
    case ROUTE_CHAT:
      if (rules->task != SERVING_CHAT) return mismatch(rules, "a chat request", f);
      *ret_kind = REQUEST_CHAT;
      return 0;
    case ROUTE_COMPLETIONS:
      if (embeds) return mismatch(rules, "a completion request", f);
      *ret_kind = REQUEST_COMPLETION;
      return 0;
    case ROUTE_EMBEDDINGS:
      if (!embeds) return mismatch(rules, "an embedding request", f);
      *ret_kind = REQUEST_EMBEDDING;
      return 0;
    case ROUTE_INVOCATIONS: break;
  }
  return read_invocations_kind(body, rules, ret_kind, f);
}

/* ---- the members one by one ---- */

static int read_members(struct reader *r, const struct js *body) {
  for (void *it = js_iter(body); it; it = js_iter_next(body, it)) {
    struct slice key;
    const struct js *v;
    js_iter_get(it, &key, &v);
    const struct field *field = find(key, r->out->kind);
    if (!field) {
      if (fields_unknown(r, key, key) != 0) return -1;
    } else if (js_type(v) != JS_NULL && field->read(r, field->name, v) != 0) {
      return -1;
    }
  }
  return 0;
}

/* ---- what concerns several fields ---- */

static int check_required(const struct reader *r) {
  const struct request *q = r->out;
  const char *name = q->kind == REQUEST_CHAT ? "messages" : q->kind == REQUEST_COMPLETION ? "prompt" : "input";
  if (q->context.len || q->n_texts) return 0;
  return fault_field(r->fault, "missing_required_parameter", name, "The field `%s` is required.", name);
}

static int check_max_tokens(const struct reader *r) {
  struct request *q = r->out;
  if (!r->has_max_tokens || r->max_tokens > 0) {
    q->max_tokens = (size_t)r->max_tokens;
    return 0;
  }
  if (!q->echo)
    return fault_field(r->fault, "invalid_value", r->max_tokens_name, "`%s` must be at least 1 (0 is for `echo` alone).",
                       r->max_tokens_name);
  q->prompt_only = true;
  return 0;
}

static int check_min_tokens(const struct reader *r) {
  const struct request *q = r->out;
  if (!r->has_max_tokens || q->min_tokens <= (size_t)r->max_tokens) return 0;
  return fault_field(r->fault, "invalid_value", "min_tokens", "`min_tokens` (%zu) must be at most `%s` (%lld).", q->min_tokens,
                     r->max_tokens_name, (long long)r->max_tokens);
}

static int check_logprobs(const struct reader *r) {
  if (r->out->kind != REQUEST_CHAT || r->top_logprobs < 0) return 0;
  if (r->out->top_logprobs < 0) return fault_field(r->fault, "invalid_value", "top_logprobs", "`top_logprobs` needs \"logprobs\": true.");
  r->out->top_logprobs = (int)r->top_logprobs;
  return 0;
}

static int check_batch(const struct reader *r) {
  const struct request *q = r->out;
  if (q->n * q->n_texts > REQUEST_BATCH_MAX)
    return fault_field(r->fault, "invalid_value", "n", "%zu prompts with `n` = %zu make more than %d choices. Send fewer at a time.",
                       q->n_texts, q->n, (int)REQUEST_BATCH_MAX);
  if (q->kind == REQUEST_COMPLETION && q->stream && q->n_texts > 1 && r->rules->dialect == DIALECT_DATABRICKS)
    return fault_field(r->fault, "invalid_value", "prompt", "With \"stream\": true there can be one prompt, not %zu.", q->n_texts);
  return 0;
}

static int check_embedding(const struct reader *r) {
  const struct request *q = r->out;
  if (q->instruction.len == 0) return 0;
  for (size_t i = 0; i < q->n_texts; i++)
    if (q->texts[i].is_ids)
      return fault_field(r->fault, "invalid_value", "instruction",
                         "`instruction` goes before text; it cannot be combined with token ids in `input`.");
  return 0;
}

static int check_completion(const struct reader *r) {
  const struct request *q = r->out;
  if (!q->echo || q->top_logprobs < 0 || q->raw_prompt) return 0;
  return fault_field(
      r->fault, "invalid_value", "logprobs",
      "`echo` with `logprobs` needs \"use_raw_prompt\": true, because the chat template adds tokens that are not in the prompt.");
}

static int check_together(struct reader *r) {
  struct request *q = r->out;
  if (r->stream_options && !q->stream)
    return fault_field(r->fault, "invalid_value", "stream_options", "`stream_options` is only for \"stream\": true.");
  if (check_required(r) != 0 || check_max_tokens(r) != 0 || check_logprobs(r) != 0) return -1;
  if (check_min_tokens(r) != 0 || check_batch(r) != 0) return -1;
  if (q->kind == REQUEST_EMBEDDING) return check_embedding(r);
  if (q->kind == REQUEST_COMPLETION) return check_completion(r);
  if (q->kind == REQUEST_CHAT) return fields_text_context(r);
  return 0;
}

int request_read(const struct js *body, const struct request_rules *rules, struct request *out, struct fault *f) {
  *out = (struct request){.n = 1, .temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_logprobs = -1};
  if (request_read_kind(body, rules, &out->kind, f) != 0) return -1;
  /* On the routes of completions the prompt is taken as it is; invocations follow databricks' default and wrap it. */
  out->raw_prompt = rules->route != ROUTE_INVOCATIONS || rules->task != SERVING_CHAT;
  struct reader r = {.rules = rules, .out = out, .fault = f, .top_logprobs = -1};
  js_bool(js_get(body, "strict_fields"), &r.strict);
  int result = read_members(&r, body);
  if (result == 0) result = check_together(&r);
  if (result == 0 && r.ignored.len) out->ignored = arena_cstr(&out->arena, buf_view(&r.ignored));
  buf_free(&r.ignored);
  return result;
}

void request_free(struct request *r) {
  arena_free(&r->arena);
  *r = (struct request){0};
}
