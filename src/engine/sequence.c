/* sequence: see sequence.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/sequence.h"

#include <stdlib.h>

#include "base/mem.h"
#include "engine/sampler.h"

static void copy_stops(struct sequence *s, const struct engine_request *r) {
  s->stops = mem_zalloc(r->n_stops, sizeof *s->stops);
  for (size_t i = 0; i < r->n_stops; i++) {
    s->stops[i] = slice_make(mem_dup(r->stops[i].data, r->stops[i].len), r->stops[i].len);
    if (r->stops[i].len > s->stop_bytes_max) s->stop_bytes_max = r->stops[i].len;
  }
  s->request.stops = s->stops;
}

static void copy_end_ids(struct sequence *s, const struct engine_request *r, const int32_t *eos_ids, size_t n_eos_ids) {
  size_t n_eos = r->ignore_eos ? 0 : n_eos_ids;
  s->n_end_ids = n_eos + r->n_stop_ids;
  s->end_ids = mem_alloc(s->n_end_ids * sizeof *s->end_ids);
  for (size_t i = 0; i < s->n_end_ids; i++) s->end_ids[i] = i < n_eos ? eos_ids[i] : r->stop_ids[i - n_eos];
  s->request.stop_ids = NULL; /* the caller's; end_ids is ours */
}

static void begin_tally(struct sequence *s) {
  const struct engine_sampling *g = &s->request.sampling;
  bool repetition = g->repetition_penalty != 0 && g->repetition_penalty != 1;
  s->penalized = sampler_penalizes(g);
  for (size_t i = 0; i < s->n_prompt && repetition; i++) tally_add(&s->tally, s->tokens[i], 0);
  for (size_t i = s->n_prompt; i < s->n_tokens && s->penalized; i++) tally_add(&s->tally, s->tokens[i], 1);
}

struct sequence *sequence_create(const struct engine_request *r, size_t context_tokens, const int32_t *eos_ids, size_t n_eos_ids) {
  struct sequence *s = mem_zalloc(1, sizeof *s);
  s->request = *r;
  s->n_tokens = s->cap_tokens = r->n_prompt;
  s->tokens = mem_dup(r->prompt, r->n_prompt * sizeof *r->prompt);
  s->request.prompt = NULL; /* the caller's; tokens is ours */
  s->n_prompt = r->n_prompt - r->n_done;
  s->n_tokens_max = context_tokens;
  if (r->max_tokens && r->max_tokens < context_tokens - s->n_prompt) s->n_tokens_max = s->n_prompt + r->max_tokens;
  s->n_reported = r->n_done ? s->n_prompt : 0;
  const struct engine_sampling *g = &r->sampling;
  s->request.sampling.biases = mem_dup(g->biases, g->n_biases * sizeof *g->biases);
  copy_stops(s, r);
  copy_end_ids(s, r, eos_ids, n_eos_ids);
  begin_tally(s);
  return s;
}

void sequence_destroy(struct sequence *s) {
  for (size_t i = 0; i < s->request.n_stops; i++) free((void *)s->stops[i].data);
  free(s->stops);
  free(s->end_ids);
  free((void *)s->request.sampling.biases);
  tally_deinit(&s->tally);
  free(s->tokens);
  free(s->pages);
  free(s->nodes);
  speculate_deinit(&s->speculation);
  buf_free(&s->tail);
  free(s);
}

void sequence_add_token(struct sequence *s, int32_t token) {
  if (s->n_tokens == s->cap_tokens) {
    s->cap_tokens += s->cap_tokens / 2 + 64;
    s->tokens = mem_realloc(s->tokens, s->cap_tokens, sizeof *s->tokens);
  }
  s->tokens[s->n_tokens++] = token;
  if (s->penalized) tally_add(&s->tally, token, 1);
}

bool sequence_may_end(const struct sequence *s) { return s->n_tokens - s->n_prompt >= s->request.min_tokens; }

/* Of the tokens that were added, whether the last may end the sequence. */
static bool last_may_end(const struct sequence *s) { return s->n_tokens - s->n_prompt > s->request.min_tokens; }

bool sequence_ended_by(const struct sequence *s, int32_t token) {
  for (size_t i = 0; i < s->n_end_ids && last_may_end(s); i++)
    if (s->end_ids[i] == token) return true;
  return false;
}

/* Whether stop ends anywhere in the last n_new bytes of text. */
static bool ends_within(struct slice text, size_t n_new, struct slice stop) {
  if (text.len < stop.len) return false;
  size_t first_end = text.len - n_new + 1;
  if (first_end < stop.len) first_end = stop.len;
  for (size_t end = first_end; end <= text.len; end++)
    if (memcmp(text.data + end - stop.len, stop.data, stop.len) == 0) return true;
  return false;
}

bool sequence_completes_stop(struct sequence *s, struct slice bytes) {
  if (!s->request.n_stops || !bytes.len) return false;
  buf_add_slice(&s->tail, bytes);
  bool found = false;
  for (size_t i = 0; i < s->request.n_stops && !found && last_may_end(s); i++)
    found = ends_within(buf_view(&s->tail), bytes.len, s->stops[i]);
  if (s->tail.len >= s->stop_bytes_max) buf_drop_front(&s->tail, s->tail.len - (s->stop_bytes_max - 1));
  return found;
}

size_t sequence_pages_for(size_t n_positions) { return (n_positions + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS; }

int32_t sequence_token_at(const struct sequence *s, size_t position) {
  return position < s->n_tokens ? s->tokens[position] : s->draft[position - s->n_tokens];
}

bool sequence_reports(const struct sequence *s, size_t p) {
  return s->request.prompt_logprobs && p + 1 >= s->n_reported && p + 1 < s->n_prompt;
}

/* ---- lists ---- */

void sequence_list_append(struct sequence_list *l, struct sequence *s) {
  s->prev = l->last;
  s->next = NULL;
  *(l->last ? &l->last->next : &l->first) = s;
  l->last = s;
  l->n++;
}

void sequence_list_prepend(struct sequence_list *l, struct sequence *s) {
  s->prev = NULL;
  s->next = l->first;
  *(l->first ? &l->first->prev : &l->last) = s;
  l->first = s;
  l->n++;
}

void sequence_list_remove(struct sequence_list *l, struct sequence *s) {
  *(s->prev ? &s->prev->next : &l->first) = s->next;
  *(s->next ? &s->next->prev : &l->last) = s->prev;
  s->next = s->prev = NULL;
  l->n--;
}
