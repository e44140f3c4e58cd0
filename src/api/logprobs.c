/* logprobs: see logprobs.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/logprobs.h"

#include <math.h>

#include "base/utf8.h"

enum { LOWEST = -9999 }; /* stands for a probability of zero, as in OpenAI's replies */

static void write_logprob(float v, struct jsonw *w) {
  if (isnan(v)) jsonw_null(w);
  else jsonw_float(w, isinf(v) ? LOWEST : v);
}

static void write_entry(const struct tokenizer *t, int32_t id, float logprob, struct jsonw *w) {
  struct slice bytes = tokenizer_token_bytes(t, id);
  jsonw_key_str(w, "token", bytes);
  jsonw_key(w, "logprob");
  write_logprob(logprob, w);
  jsonw_key(w, "bytes");
  jsonw_array_begin(w);
  for (size_t i = 0; i < bytes.len; i++) jsonw_int(w, (unsigned char)bytes.data[i]);
  jsonw_array_end(w);
}

void logprobs_chat(const struct choice *c, size_t first, size_t end, struct jsonw *w) {
  jsonw_object_begin(w);
  jsonw_key(w, "content");
  jsonw_array_begin(w);
  for (size_t i = first; i < end; i++) {
    const struct choice_token *t = &c->tokens[i];
    jsonw_object_begin(w);
    write_entry(c->tokenizer, t->id, t->logprob, w);
    jsonw_key(w, "top_logprobs");
    jsonw_array_begin(w);
    for (int k = 0; k < t->n_top; k++) {
      jsonw_object_begin(w);
      write_entry(c->tokenizer, t->top[k].id, t->top[k].logprob, w);
      jsonw_object_end(w);
    }
    jsonw_array_end(w);
    jsonw_object_end(w);
  }
  jsonw_array_end(w);
  jsonw_object_end(w);
}

/* A token's text as a key: bytes that are no character alone are written out, so that no two tokens share U+FFFD. */
static void add_name(const struct tokenizer *t, int32_t id, struct buf *out) {
  struct slice bytes = tokenizer_token_bytes(t, id);
  if (utf8_valid(bytes)) {
    buf_add_slice(out, bytes);
    return;
  }
  buf_add_cstr(out, "bytes:");
  for (size_t i = 0; i < bytes.len; i++) buf_printf(out, "\\x%02x", (unsigned char)bytes.data[i]);
}

static bool same_name(const struct tokenizer *t, int32_t a, int32_t b) {
  return slice_eq(tokenizer_token_bytes(t, a), tokenizer_token_bytes(t, b));
}

/* The alternatives and the token itself where it is not among them; of two with one text the likelier. */
static void write_top(const struct choice *c, const struct choice_token *t, struct jsonw *w) {
  if (isnan(t->logprob)) {
    jsonw_null(w);
    return;
  }
  struct buf name = {0};
  bool chosen = false;
  jsonw_object_begin(w);
  for (int k = 0; k < t->n_top; k++) {
    bool again = false;
    for (int j = 0; j < k && !again; j++) again = same_name(c->tokenizer, t->top[j].id, t->top[k].id);
    if (again) continue;
    chosen = chosen || same_name(c->tokenizer, t->top[k].id, t->id);
    buf_clear(&name);
    add_name(c->tokenizer, t->top[k].id, &name);
    jsonw_key_slice(w, buf_view(&name));
    write_logprob(t->top[k].logprob, w);
  }
  if (!chosen) {
    buf_clear(&name);
    add_name(c->tokenizer, t->id, &name);
    jsonw_key_slice(w, buf_view(&name));
    write_logprob(t->logprob, w);
  }
  jsonw_object_end(w);
  buf_free(&name);
}

void logprobs_completion(struct choice *c, size_t first, size_t end, int n_top, struct jsonw *w) {
  struct buf name = {0};
  jsonw_object_begin(w);
  jsonw_key(w, "tokens");
  jsonw_array_begin(w);
  for (size_t i = first; i < end; i++) {
    buf_clear(&name);
    add_name(c->tokenizer, c->tokens[i].id, &name);
    jsonw_str(w, buf_view(&name));
  }
  jsonw_array_end(w);
  buf_free(&name);
  jsonw_key(w, "token_logprobs");
  jsonw_array_begin(w);
  for (size_t i = first; i < end; i++) write_logprob(c->tokens[i].logprob, w);
  jsonw_array_end(w);
  jsonw_key(w, "top_logprobs");
  if (n_top > 0) {
    jsonw_array_begin(w);
    for (size_t i = first; i < end; i++) write_top(c, &c->tokens[i], w);
    jsonw_array_end(w);
  } else {
    jsonw_null(w);
  }
  jsonw_key(w, "text_offset");
  jsonw_array_begin(w);
  for (size_t i = first; i < end; i++) jsonw_int(w, (int64_t)choice_char_offset(c, c->tokens[i].start));
  jsonw_array_end(w);
  jsonw_object_end(w);
}
