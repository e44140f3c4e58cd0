/* choice: see choice.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/choice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

void choice_init(struct choice *c, const struct request *q, const struct endpoint *e, const struct prompt *p) {
  c->tokenizer = e->tokenizer;
  detok_init(&c->detok, e->tokenizer, true);
  stop_filter_init(&c->filter, q->stops, q->n_stops);
  buf_add_slice(&c->text, buf_view(&p->echo));
  c->raw_bytes = c->text.len;
}

static void keep(struct choice *c, const struct serving_event *event, size_t start) {
  if (c->n_tokens == c->tokens_cap) {
    c->tokens_cap = c->tokens_cap ? c->tokens_cap * 2 : 16;
    c->tokens = mem_realloc(c->tokens, c->tokens_cap, sizeof *c->tokens);
  }
  struct choice_token *t = &c->tokens[c->n_tokens++];
  *t = (struct choice_token){.id = event->token, .logprob = event->logprob, .n_top = event->n_top, .start = start};
  if (event->n_top > 0) t->top = mem_dup(event->top, (size_t)event->n_top * sizeof *event->top);
}

/* Bytes of text from at on that a token of the prompt stands for. A special one has its place there when the caller wrote it, and none when
 * the tokenizer added it. */
static size_t echo_bytes(const struct choice *c, int32_t id, size_t at) {
  struct slice bytes = tokenizer_token_bytes(c->tokenizer, id);
  bool shown = !tokenizer_is_special(c->tokenizer, id) || slice_starts(slice_from(buf_view(&c->text), at), bytes);
  return shown ? bytes.len : 0;
}

/* Prompt tokens stand in the echo, whose text is the caller's own; their starts come from their bytes. */
void choice_prompt_token(struct choice *c, const struct serving_event *event) {
  size_t start = 0;
  if (c->n_tokens > 0) {
    const struct choice_token *last = &c->tokens[c->n_tokens - 1];
    start = last->start + echo_bytes(c, last->id, last->start);
  }
  keep(c, event, start < c->text.len ? start : c->text.len);
  c->n_prompt_tokens = c->n_tokens;
}

static void end_text(struct choice *c, const struct request *q) {
  buf_clear(&c->piece);
  detok_finish(&c->detok, &c->piece);
  if (c->piece.len) stop_filter_push(&c->filter, buf_view(&c->piece), &c->text);
  stop_filter_finish(&c->filter, &c->text);
  size_t shown = choice_tokens_shown(c);
  /* What the stop string took away has no place in the logprobs; without one, tokens without text stay. */
  if (!c->filter.stopped) shown = c->n_tokens;
  while (c->n_tokens > shown) free(c->tokens[--c->n_tokens].top);
  buf_add_slice(&c->text, q->suffix);
}

void choice_finish(struct choice *c, const struct request *q, enum serving_finish finish) {
  if (c->done) return;
  end_text(c, q);
  c->finish = c->filter.stopped ? SERVING_STOP : finish;
  c->done = true;
}

/* Where a token begins that was pushed behind n pending bytes: inside the character that it goes on with, or behind what now stands for
 * those bytes, which became none. */
static size_t start_of(const struct choice *c, const char *pending, size_t n, int32_t id) {
  struct slice bytes = tokenizer_token_bytes(c->tokenizer, id);
  if (n == 0 || bytes.len == 0) return c->raw_bytes + n;
  char joined[sizeof c->detok.pending + 1];
  memcpy(joined, pending, n);
  joined[n] = bytes.data[0];
  struct slice both = slice_make(joined, n + 1);
  if (utf8_valid(both) || utf8_incomplete_tail(both) == both.len) return c->raw_bytes + n;
  size_t own = bytes.len - c->detok.n_pending; /* bytes of the piece that are the token's */
  return c->raw_bytes + (c->piece.len > own ? c->piece.len - own : 0);
}

void choice_token(struct choice *c, const struct request *q, const struct serving_event *event) {
  c->completion_tokens++;
  if (!event->is_eos && !c->filter.stopped) {
    const struct detok before = c->detok;
    buf_clear(&c->piece);
    detok_push(&c->detok, event->token, &c->piece);
    if (q->top_logprobs >= 0) keep(c, event, start_of(c, before.pending, before.n_pending, event->token));
    c->raw_bytes += c->piece.len;
    c->filter.dormant = c->completion_tokens <= q->min_tokens;
    if (c->piece.len) stop_filter_push(&c->filter, buf_view(&c->piece), &c->text);
  }
  if (event->finish != SERVING_RUNNING) choice_finish(c, q, event->finish);
}

bool choice_stopped(const struct choice *c) { return c->filter.stopped; }

struct slice choice_unsent(const struct choice *c) { return slice_make(c->text.data + c->n_sent, c->text.len - c->n_sent); }

size_t choice_tokens_shown(const struct choice *c) {
  if (c->done) return c->n_tokens;
  size_t n = c->n_tokens_sent;
  while (n < c->n_tokens && (n < c->n_prompt_tokens || c->tokens[n].start < c->text.len)) n++;
  return n;
}

size_t choice_char_offset(struct choice *c, size_t byte) {
  if (byte > c->text.len) byte = c->text.len;
  if (byte < c->n_chars_bytes) c->n_chars = c->n_chars_bytes = 0;
  for (; c->n_chars_bytes < byte; c->n_chars_bytes++)
    if (((unsigned char)c->text.data[c->n_chars_bytes] & 0xc0) != 0x80) c->n_chars++;
  /* Inside a character: the offset of that one. */
  bool inside = byte < c->text.len && ((unsigned char)c->text.data[byte] & 0xc0) == 0x80;
  return c->n_chars - (inside && c->n_chars > 0 ? 1 : 0);
}

const char *choice_finish_name(enum serving_finish finish) {
  if (finish == SERVING_RUNNING) return NULL;
  return finish == SERVING_STOP ? "stop" : "length";
}

void choice_free(struct choice *c) {
  stop_filter_free(&c->filter);
  buf_free(&c->text);
  buf_free(&c->piece);
  for (size_t i = 0; i < c->n_tokens; i++) free(c->tokens[i].top);
  free(c->tokens);
}
