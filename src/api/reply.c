/* reply: see reply.h. SPDX-License-Identifier: Apache-2.0
 *
 * Streams: OpenAI's dialect names the role once and ends a choice with an empty delta; usage comes only when asked for, in one last
 * event without choices. Databricks' repeats role, content and the usage so far in every event. */
#include "api/reply.h"

#include "api/logprobs.h"
#include "api/sampling.h"
#include "base/jsonw.h"

static bool openai(const struct call *c) { return c->dialect == DIALECT_OPENAI; }
static bool chat(const struct call *c) { return c->request.kind == REQUEST_CHAT; }

static void write_usage(const struct call *c, struct jsonw *w) {
  size_t completion = 0;
  for (size_t i = 0; i < c->n_choices; i++) completion += c->choices[i].completion_tokens;
  if (c->request.prompt_only) completion = 0; /* the engine's one token is not part of the reply */
  jsonw_key(w, "usage");
  jsonw_object_begin(w);
  jsonw_key_int(w, "prompt_tokens", (int64_t)c->prompt_tokens);
  jsonw_key_int(w, "completion_tokens", (int64_t)completion);
  jsonw_key_int(w, "total_tokens", (int64_t)(c->prompt_tokens + completion));
  jsonw_object_end(w);
}

static void write_head(const struct call *c, const char *object, struct jsonw *w) {
  jsonw_key_cstr(w, "id", c->id);
  jsonw_key_cstr(w, "object", object);
  jsonw_key_int(w, "created", c->created_s);
  jsonw_key_cstr(w, "model", c->model.name);
}

/* first and end: which tokens of the choice. */
static void write_logprobs(struct call *c, struct choice *ch, size_t first, size_t end, struct jsonw *w) {
  jsonw_key(w, "logprobs");
  if (c->request.top_logprobs < 0) jsonw_null(w);
  else if (chat(c)) logprobs_chat(ch, first, end, w);
  else logprobs_completion(ch, first, end, c->request.top_logprobs, w);
}

/* ---- whole replies ---- */

static void write_choice(struct call *c, struct choice *ch, struct jsonw *w) {
  jsonw_object_begin(w);
  jsonw_key_int(w, "index", (int64_t)ch->index);
  if (chat(c)) {
    jsonw_key(w, "message");
    jsonw_object_begin(w);
    jsonw_key_cstr(w, "role", "assistant");
    jsonw_key_str(w, "content", buf_view(&ch->text));
    jsonw_object_end(w);
  } else {
    jsonw_key_str(w, "text", buf_view(&ch->text));
  }
  write_logprobs(c, ch, 0, ch->n_tokens, w);
  jsonw_key_cstr(w, "finish_reason", choice_finish_name(ch->finish));
  sampling_write(c, ch, w);
  jsonw_object_end(w);
}

void reply_generation(struct call *c, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  write_head(c, chat(c) ? "chat.completion" : "text_completion", &w);
  jsonw_key(&w, "choices");
  jsonw_array_begin(&w);
  for (size_t i = 0; i < c->n_choices; i++) write_choice(c, &c->choices[i], &w);
  jsonw_array_end(&w);
  write_usage(c, &w);
  jsonw_object_end(&w);
}

/* ---- embeddings ---- */

static void write_base64(const float *v, size_t n, struct buf *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t n_bytes = n * sizeof *v;
  char *to = buf_reserve(out, (n_bytes + 2) / 3 * 4);
  size_t at = 0;
  for (size_t i = 0; i < n_bytes; i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; k++) {
      size_t byte = i + k;
      uint32_t bits = 0;
      if (byte < n_bytes) memcpy(&bits, &v[byte / 4], sizeof bits);
      group = group << 8 | ((bits >> (8 * (byte % 4))) & 0xff); /* little-endian on any machine */
    }
    for (size_t k = 0; k < 4; k++) to[at++] = i + k > n_bytes ? '=' : digits[(group >> (18 - 6 * k)) & 63];
  }
  buf_advance(out, at);
}

static void write_vector(const struct call *c, const float *v, struct jsonw *w) {
  size_t n = c->model.n_embd;
  jsonw_key(w, "embedding");
  if (c->request.base64) {
    struct buf text = {0};
    buf_add_byte(&text, '"');
    write_base64(v, n, &text);
    buf_add_byte(&text, '"');
    jsonw_raw(w, buf_view(&text));
    buf_free(&text);
    return;
  }
  jsonw_array_begin(w);
  for (size_t i = 0; i < n; i++) jsonw_float(w, v[i]);
  jsonw_array_end(w);
}

void reply_embeddings(const struct call *c, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  if (!openai(c)) jsonw_key_cstr(&w, "id", c->id);
  jsonw_key_cstr(&w, "object", "list");
  jsonw_key_cstr(&w, "model", c->model.name);
  jsonw_key(&w, "data");
  jsonw_array_begin(&w);
  for (size_t i = 0; i < c->n_choices; i++) {
    jsonw_object_begin(&w);
    jsonw_key_int(&w, "index", (int64_t)i);
    jsonw_key_cstr(&w, "object", "embedding");
    write_vector(c, c->vectors + i * c->model.n_embd, &w);
    jsonw_object_end(&w);
  }
  jsonw_array_end(&w);
  jsonw_key(&w, "usage");
  jsonw_object_begin(&w);
  jsonw_key_int(&w, "prompt_tokens", (int64_t)c->prompt_tokens);
  jsonw_key_int(&w, "total_tokens", (int64_t)c->prompt_tokens);
  jsonw_object_end(&w);
  jsonw_object_end(&w);
}

/* ---- streams ---- */

static void event_begin(struct call *c, struct jsonw *w) {
  buf_add_cstr(w->out, "data: ");
  jsonw_object_begin(w);
  write_head(c, chat(c) ? "chat.completion.chunk" : "text_completion", w);
}

static void event_end(struct call *c, struct jsonw *w) {
  if (!openai(c)) write_usage(c, w);
  else if (c->request.include_usage) jsonw_key_null(w, "usage");
  jsonw_object_end(w);
  buf_add_cstr(w->out, "\n\n");
}

static void write_delta(struct call *c, struct slice text, bool role, bool content, struct jsonw *w) {
  if (!chat(c)) {
    jsonw_key_str(w, "text", text);
    return;
  }
  jsonw_key(w, "delta");
  jsonw_object_begin(w);
  if (role) jsonw_key_cstr(w, "role", "assistant");
  if (content) jsonw_key_str(w, "content", text);
  jsonw_object_end(w);
}

/* One event of one choice; tokens [first, end) go with it. */
static void write_event(struct call *c, struct choice *ch, struct slice text, bool role, bool content, size_t first, size_t end,
                        enum serving_finish finish, struct buf *out) {
  struct jsonw w = {.out = out};
  event_begin(c, &w);
  jsonw_key(&w, "choices");
  jsonw_array_begin(&w);
  jsonw_object_begin(&w);
  jsonw_key_int(&w, "index", (int64_t)ch->index);
  write_delta(c, text, role, content, &w);
  if (first < end) write_logprobs(c, ch, first, end, &w);
  else jsonw_key_null(&w, "logprobs");
  jsonw_key_cstr(&w, "finish_reason", choice_finish_name(finish));
  if (finish != SERVING_RUNNING) sampling_write(c, ch, &w);
  jsonw_object_end(&w);
  jsonw_array_end(&w);
  event_end(c, &w);
}

void reply_stream_begin(struct call *c, struct buf *out) {
  if (!openai(c) || !chat(c)) return;
  for (size_t i = 0; i < c->n_choices; i++) write_event(c, &c->choices[i], SLICE(""), true, true, 0, 0, SERVING_RUNNING, out);
}

void reply_stream_piece(struct call *c, struct choice *ch, struct buf *out) {
  struct slice text = choice_unsent(ch);
  size_t shown = choice_tokens_shown(ch);
  if (text.len == 0 && shown == ch->n_tokens_sent) return;
  write_event(c, ch, text, !openai(c), true, ch->n_tokens_sent, shown, SERVING_RUNNING, out);
  ch->n_sent = ch->text.len;
  ch->n_tokens_sent = shown;
}

void reply_stream_finish(struct call *c, struct choice *ch, struct buf *out) {
  write_event(c, ch, SLICE(""), !openai(c), !openai(c), 0, 0, ch->finish, out);
}

void reply_stream_end(struct call *c, struct buf *out) {
  if (openai(c) && c->request.include_usage) {
    struct jsonw w = {.out = out};
    event_begin(c, &w);
    jsonw_key(&w, "choices");
    jsonw_array_begin(&w);
    jsonw_array_end(&w);
    write_usage(c, &w);
    jsonw_object_end(&w);
    buf_add_cstr(out, "\n\n");
  }
  buf_add_cstr(out, "data: [DONE]\n\n");
}
