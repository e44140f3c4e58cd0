/* sequence: see sequence.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/sequence.h"

#include <stdlib.h>

#include "base/mem.h"

struct sequence *sequence_create(const struct engine_request *r, size_t context_tokens) {
  struct sequence *s = mem_zalloc(1, sizeof *s);
  s->request = *r;
  s->n_tokens = s->cap_tokens = r->n_prompt;
  s->tokens = mem_dup(r->prompt, r->n_prompt * sizeof *r->prompt);
  s->request.prompt = NULL; /* the caller's; tokens is ours */
  s->n_prompt = r->n_prompt - r->n_done;
  s->n_tokens_max = context_tokens;
  if (r->max_tokens && r->max_tokens < context_tokens - s->n_prompt) s->n_tokens_max = s->n_prompt + r->max_tokens;
  s->n_reported = r->n_done ? s->n_prompt : 0;
  s->stops = mem_zalloc(r->n_stops, sizeof *s->stops);
  for (size_t i = 0; i < r->n_stops; i++) {
    s->stops[i] = slice_make(mem_dup(r->stops[i].data, r->stops[i].len), r->stops[i].len);
    if (r->stops[i].len > s->stop_bytes_max) s->stop_bytes_max = r->stops[i].len;
  }
  s->request.stops = s->stops;
  return s;
}

void sequence_destroy(struct sequence *s) {
  for (size_t i = 0; i < s->request.n_stops; i++) free((void *)s->stops[i].data);
  free(s->stops);
  free(s->tokens);
  free(s->pages);
  buf_free(&s->tail);
  free(s);
}

void sequence_add_token(struct sequence *s, int32_t token) {
  if (s->n_tokens == s->cap_tokens) {
    s->cap_tokens += s->cap_tokens / 2 + 64;
    s->tokens = mem_realloc(s->tokens, s->cap_tokens, sizeof *s->tokens);
  }
  s->tokens[s->n_tokens++] = token;
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
  for (size_t i = 0; i < s->request.n_stops && !found; i++) found = ends_within(buf_view(&s->tail), bytes.len, s->stops[i]);
  if (s->tail.len >= s->stop_bytes_max) buf_drop_front(&s->tail, s->tail.len - (s->stop_bytes_max - 1));
  return found;
}

size_t sequence_pages_for(size_t n_positions) { return (n_positions + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS; }

/* ---- lists ---- */

void sequence_list_append(struct sequence_list *l, struct sequence *s) {
  struct sequence **at = &l->first;
  while (*at) at = &(*at)->next;
  s->next = NULL;
  *at = s;
  l->n++;
}

void sequence_list_prepend(struct sequence_list *l, struct sequence *s) {
  s->next = l->first;
  l->first = s;
  l->n++;
}

void sequence_list_remove(struct sequence_list *l, struct sequence *s) {
  struct sequence **at = &l->first;
  while (*at != s) at = &(*at)->next;
  *at = s->next;
  l->n--;
}
