/* prompt: see prompt.h. SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is cut unless the request asks for it (error_behavior "truncate", truncate_prompt_tokens); a fault has both counts. */
#include "api/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"

/* ---- text to ids ---- */

static int text_fault(struct fault *f, const struct error *err, const char *param) {
  fault_from_error(f, err);
  snprintf(f->param, sizeof f->param, "%s", param);
  return -1;
}

static int encode(const struct endpoint *e, struct slice text, unsigned flags, const char *param, struct ids *out, struct fault *f) {
  struct error err;
  if (tokenizer_encode(e->tokenizer, text, flags, out, &err) == 0) return 0;
  return text_fault(f, &err, param);
}

static int render(const struct request *q, const struct endpoint *e, struct slice context_json, const char *param, struct ids *out,
                  struct fault *f) {
  struct error err;
  unsigned flags = (q->continue_final ? CHAT_TEMPLATE_CONTINUE : 0) | (q->trust_content ? CHAT_TEMPLATE_TRUST : 0);
  struct js *context = js_parse(context_json, &err);
  int result = context ? chat_template_encode(e->chat_template, context, flags, out, &err) : -1;
  js_free(context);
  return result == 0 ? 0 : text_fault(f, &err, param);
}

/* A prompt of a completion as the only message of a chat. */
static int render_prompt(const struct request *q, const struct endpoint *e, struct slice prompt, struct ids *out, struct fault *f) {
  struct buf context = {0};
  struct jsonw w = {.out = &context};
  jsonw_object_begin(&w);
  jsonw_key(&w, "messages");
  jsonw_array_begin(&w);
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "role", "user");
  jsonw_key_str(&w, "content", prompt);
  jsonw_object_end(&w);
  jsonw_array_end(&w);
  jsonw_key_bool(&w, "add_generation_prompt", true);
  jsonw_object_end(&w);
  int result = render(q, e, buf_view(&context), "prompt", out, f);
  buf_free(&context);
  return result;
}

static void add_all(struct ids *out, const int32_t *ids, size_t n) {
  for (size_t i = 0; i < n; i++) ids_add(out, ids[i]);
}

/* ---- does it fit ---- */

/* " …" behind a refusal where the server, not the model, sets the limit; else "". */
static void tell_cut(const struct endpoint *e, char *note, size_t size) {
  *note = '\0';
  if (e->context_tokens < e->whole_context_tokens)
    snprintf(note, size, " The model itself takes %zu tokens; the KV memory of this server (--kv-mib) holds %zu.", e->whole_context_tokens,
             e->context_tokens);
}

static int too_long(const struct request *q, const struct endpoint *e, const struct prompt *p, enum dialect dialect, struct fault *f) {
  const char *param = q->kind == REQUEST_CHAT ? "messages" : "prompt", *code = "context_length_exceeded";
  size_t n_prompt = p->ids.len, max_tokens = p->max_tokens, context = e->context_tokens;
  char note[192];
  tell_cut(e, note, sizeof note);
  if (dialect == DIALECT_OPENAI && max_tokens > 0)
    return fault_field(f, code, param,
                       "This model's maximum context length is %zu tokens. However, you requested %zu tokens (%zu in the %s, %zu in the "
                       "completion). Please "
                       "reduce the length of the %s or completion.%s",
                       context, n_prompt + max_tokens, n_prompt, param, max_tokens, param, note);
  if (dialect == DIALECT_OPENAI)
    return fault_field(f, code, param,
                       "This model's maximum context length is %zu tokens, one of them for the reply. However, your %s resulted in %zu "
                       "tokens. Please reduce the "
                       "length of the %s.%s",
                       context, param, n_prompt, param, note);
  if (n_prompt < context)
    return fault_field(f, code, param,
                       "Bad request: prompt token count (%zu) plus max_tokens (%zu) cannot exceed %zu. Please reduce the length of "
                       "either.%s",
                       n_prompt, max_tokens, context, note);
  return fault_field(f, code, param, "Bad request: prompt token count (%zu) cannot exceed %zu. Please reduce the length of the prompt.%s",
                     n_prompt, context - 1, note);
}

/* Drops tokens from the front until n are left; a BOS stays where it is. */
static void keep_last(const struct endpoint *e, struct ids *ids, size_t n) {
  size_t bos = ids->len > 1 && n > 1 && ids->data[0] >= 0 && ids->data[0] == tokenizer_bos(e->tokenizer) ? 1 : 0;
  size_t tail = n - bos;
  memmove(ids->data + bos, ids->data + ids->len - tail, tail * sizeof *ids->data);
  ids->len = n;
}

/* error_behavior "truncate": first max_tokens gives way, then the beginning of the prompt, down to half of the context. */
static void truncate_to_fit(const struct endpoint *e, struct prompt *p) {
  size_t context = e->context_tokens;
  if (p->ids.len >= context) {
    size_t room = p->max_tokens && p->max_tokens < context / 2 ? p->max_tokens : context / 2;
    keep_last(e, &p->ids, context - (room ? room : 1));
  }
  if (p->max_tokens > context - p->ids.len) p->max_tokens = context - p->ids.len;
}

/* A reply that ends before min_tokens because the context is full would not be what was asked for. */
static int fit_min_tokens(const struct request *q, const struct endpoint *e, const struct prompt *p, struct fault *f) {
  if (p->ids.len + q->min_tokens <= e->context_tokens) return 0;
  return fault_field(f, "context_length_exceeded", "min_tokens",
                     "The prompt has %zu tokens and `min_tokens` is %zu: together they are more than the context of %zu tokens.",
                     p->ids.len, q->min_tokens, e->context_tokens);
}

static int fit(const struct request *q, const struct endpoint *e, enum dialect dialect, struct prompt *p, struct fault *f) {
  if (p->ids.len == 0)
    return fault_field(f, "invalid_value", q->kind == REQUEST_CHAT ? "messages" : "prompt",
                       "The prompt is empty: it has no token to begin from.");
  p->max_tokens = q->prompt_only ? 1 : q->max_tokens;
  size_t needed = p->ids.len + (p->max_tokens ? p->max_tokens : 1);
  if (needed <= e->context_tokens) return q->truncate ? 0 : fit_min_tokens(q, e, p, f);
  if (!q->truncate) return too_long(q, e, p, dialect, f);
  truncate_to_fit(e, p);
  return 0;
}

/* ---- completions ---- */

static int make_completion(const struct request *q, const struct endpoint *e, size_t i, struct prompt *p, struct fault *f) {
  const struct request_text *t = &q->texts[i];
  bool wrap = !q->raw_prompt && !t->is_ids && e->chat_template;
  int result = 0;
  if (t->is_ids) add_all(&p->ids, t->ids, t->n_ids);
  else if (wrap) result = render_prompt(q, e, t->text, &p->ids, f);
  else result = encode(e, t->text, TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, "prompt", &p->ids, f);
  return result;
}

/* After the fit, so that what was cut is not echoed. */
static void make_echo(const struct request *q, const struct endpoint *e, size_t i, size_t n_before, struct prompt *p) {
  if (!q->echo) return;
  const struct request_text *t = &q->texts[i];
  bool cut = p->ids.len < n_before;
  if (t->is_ids || cut) tokenizer_decode(e->tokenizer, p->ids.data, p->ids.len, true, &p->echo);
  else buf_add_slice(&p->echo, t->text);
}

/* ---- embeddings ---- */

static int input_too_long(size_t n, size_t max, struct fault *f) {
  return fault_field(f, "context_length_exceeded", "input",
                     "The input token count (%zu) cannot exceed %zu. Shorten it, or send truncate_prompt_tokens.", n, max);
}

/* The first tokens of the text between the special tokens that the tokenizer puts around it. */
static int cut_text(const struct endpoint *e, struct slice text, size_t max, struct ids *ids, struct fault *f) {
  struct ids plain = {0};
  if (encode(e, text, TOKENIZER_MATCH_SPECIAL, "input", &plain, f) != 0) {
    ids_free(&plain);
    return -1;
  }
  size_t around = ids->len > plain.len ? ids->len - plain.len : 0, before = 0;
  while (before < around && memcmp(ids->data + before, plain.data, plain.len * sizeof *plain.data) != 0) before++;
  size_t after = around - before;
  ids_free(&plain);
  if (max <= around)
    return fault_field(f, "invalid_value", "truncate_prompt_tokens",
                       "`truncate_prompt_tokens` must be more than %zu, the special tokens of an input.", around);
  memmove(ids->data + max - after, ids->data + ids->len - after, after * sizeof *ids->data);
  ids->len = max;
  return 0;
}

static int fit_input(const struct request *q, const struct endpoint *e, const struct request_text *t, struct slice text, struct ids *ids,
                     struct fault *f) {
  size_t window = e->context_tokens;
  if (ids->len == 0) return fault_field(f, "invalid_value", "input", "An input is empty: it has no token to embed.");
  if (q->truncate_tokens == 0) return ids->len <= window ? 0 : input_too_long(ids->len, window, f);
  size_t max = q->truncate_tokens < 0 ? window : (size_t)q->truncate_tokens;
  if (max > window)
    return fault_field(f, "invalid_value", "truncate_prompt_tokens",
                       "`truncate_prompt_tokens` (%zu) cannot exceed the window of the model (%zu).", max, window);
  if (ids->len <= max) return 0;
  if (!t->is_ids) return cut_text(e, text, max, ids, f);
  ids->len = max;
  return 0;
}

static int make_input(const struct request *q, const struct endpoint *e, size_t i, struct prompt *p, struct fault *f) {
  const struct request_text *t = &q->texts[i];
  if (t->is_ids) {
    add_all(&p->ids, t->ids, t->n_ids);
    return fit_input(q, e, t, t->text, &p->ids, f);
  }
  struct buf instructed = {0};
  struct slice text = t->text;
  if (q->instruction.len) {
    buf_add_slice(&instructed, q->instruction);
    char last = q->instruction.data[q->instruction.len - 1];
    if (last != ' ' && last != '\n') buf_add_byte(&instructed, ' ');
    buf_add_slice(&instructed, t->text);
    text = buf_view(&instructed);
  }
  int result = encode(e, text, TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, "input", &p->ids, f);
  if (result == 0) result = fit_input(q, e, t, text, &p->ids, f);
  buf_free(&instructed);
  return result;
}

/* ---- all of them ---- */

static int make_one(const struct request *q, const struct endpoint *e, enum dialect dialect, size_t i, struct prompt *p, struct fault *f) {
  if (q->kind == REQUEST_EMBEDDING) return make_input(q, e, i, p, f);
  int result = q->kind == REQUEST_CHAT ? render(q, e, q->context, "messages", &p->ids, f) : make_completion(q, e, i, p, f);
  if (result != 0) return -1;
  size_t n_before = p->ids.len;
  if (fit(q, e, dialect, p, f) != 0) return -1;
  make_echo(q, e, i, n_before, p);
  return 0;
}

/* Of several the one that is wrong is named. */
static void name_item(struct fault *f, size_t i) {
  if (strcmp(f->param, "prompt") != 0 && strcmp(f->param, "input") != 0) return;
  char message[sizeof f->message];
  size_t n = strlen(f->param);
  snprintf(f->param + n, sizeof f->param - n, "[%zu]", i);
  snprintf(message, sizeof message, "`%s`: %.880s", f->param, f->message);
  memcpy(f->message, message, sizeof message);
}

int prompt_make(const struct request *q, const struct endpoint *e, enum dialect dialect, struct prompts *out, struct fault *f) {
  size_t n = q->kind == REQUEST_CHAT ? 1 : q->n_texts;
  *out = (struct prompts){.list = mem_zalloc(n, sizeof *out->list), .n = n};
  for (size_t i = 0; i < n; i++)
    if (make_one(q, e, dialect, i, &out->list[i], f) != 0) {
      if (n > 1) name_item(f, i);
      return -1;
    }
  return 0;
}

void prompt_free(struct prompts *p) {
  for (size_t i = 0; i < p->n; i++) {
    ids_free(&p->list[i].ids);
    buf_free(&p->list[i].echo);
  }
  free(p->list);
  *p = (struct prompts){0};
}
