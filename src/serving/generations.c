/* generations: what runs or waits, in order of arrival. SPDX-License-Identifier: Apache-2.0
 *
 *     WAITING --sent to the engine--> SENT --first event--> BEGUN --last event--> gone
 *        ^                              |
 *        +------- the engine died ------+      (one that had begun ends with an error, or is rewound and goes on)
 *
 * Invariants: (1) after the last event a generation is in neither list nor table; (2) while any callback runs, memory of ended generations
 * is kept, because the callback may have ended the very one whose event it got; (3) a time limit ends it in any state. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "serving/state.h"

static struct generation **bucket(struct serving *s, uint64_t id) { return &s->generations.buckets[id % GENERATION_BUCKETS]; }

static void copy_ask(struct wire_submit *to, const struct wire_submit *from) {
  *to = *from;
  to->prompt = mem_dup(from->prompt, from->n_prompt * sizeof *from->prompt);
  struct slice *stops = mem_zalloc(from->n_stops + 1, sizeof *stops);
  for (size_t i = 0; i < from->n_stops; i++) stops[i] = slice_make(mem_dup(from->stops[i].data, from->stops[i].len), from->stops[i].len);
  to->stops = stops;
  to->stop_ids = mem_dup(from->stop_ids, from->n_stop_ids * sizeof *from->stop_ids);
  to->biases = mem_dup(from->biases, from->n_biases * sizeof *from->biases);
}

static void generation_free(struct generation *g) {
  for (size_t i = 0; i < g->ask.n_stops; i++) free((void *)g->ask.stops[i].data);
  free((void *)g->ask.stops);
  free((void *)g->ask.stop_ids);
  free((void *)g->ask.biases);
  free((void *)g->ask.prompt);
  ids_free(&g->tokens);
  free(g);
}

static void fail_late(struct generation *g) {
  struct error err;
  error_set(&err, ERROR_TIMEOUT, "The request was not finished within its time limit of %.3g s.", g->timeout_ms / 1000.0);
  generations_fail(g, &err);
}

static void on_timeout(void *arg) {
  struct generation *g = arg;
  g->timer = NULL;
  supervisor_forget(g->serving, g);
  fail_late(g);
}

struct generation *generations_add(struct serving *s, struct model *model, const struct wire_submit *ask, unsigned timeout_ms) {
  struct generations *all = &s->generations;
  struct generation *g = mem_zalloc(1, sizeof *g);
  *g = (struct generation){
      .serving = s, .model = model, .id = ++all->next_id, .asked_ns = clock_ns(), .timeout_ms = timeout_ms, .prev = all->last};
  copy_ask(&g->ask, ask);
  g->ask.id = g->id;
  if (timeout_ms) g->ask.deadline_ns = clock_ns() + timeout_ms * 1000000ull;
  if (all->last) all->last->next = g;
  else all->first = g;
  all->last = g;
  g->hash_next = *bucket(s, g->id);
  *bucket(s, g->id) = g;
  all->n_waiting++;
  all->n++;
  model->n_generations++;
  if (timeout_ms) g->timer = loop_timer_start(s->loop, timeout_ms, false, on_timeout, g);
  return g;
}

struct generation *generations_find(struct serving *s, uint64_t id) {
  struct generation *g = *bucket(s, id);
  while (g && g->id != id) g = g->hash_next;
  return g;
}

void generations_set_state(struct generation *g, enum generation_state state) {
  struct generations *all = &g->serving->generations;
  if (g->state == GENERATION_WAITING) all->n_waiting--;
  else all->n_with_engine--;
  g->state = state;
  if (g->state == GENERATION_WAITING) all->n_waiting++;
  else all->n_with_engine++;
}

void generations_rewind(struct generation *g) {
  struct wire_submit *ask = &g->ask;
  if (g->tokens.len) {
    size_t n = ask->n_prompt + g->tokens.len;
    int32_t *all = mem_alloc(n * sizeof *all);
    memcpy(all, ask->prompt, ask->n_prompt * sizeof *all);
    memcpy(all + ask->n_prompt, g->tokens.data, g->tokens.len * sizeof *all);
    free((void *)ask->prompt);
    ask->prompt = all;
    ask->n_prompt = n;
    ask->n_done += (uint32_t)g->tokens.len;
    g->tokens.len = 0;
  }
  generations_set_state(g, GENERATION_WAITING);
}

static void unlink_generation(struct generation *g) {
  struct generations *all = &g->serving->generations;
  if (g->prev) g->prev->next = g->next;
  else all->first = g->next;
  if (g->next) g->next->prev = g->prev;
  else all->last = g->prev;
  struct generation **at = bucket(g->serving, g->id);
  while (*at != g) at = &(*at)->hash_next;
  *at = g->hash_next;
  if (g->state == GENERATION_WAITING) all->n_waiting--;
  else all->n_with_engine--;
  if (!g->internal) all->n--;
  if (--g->model->n_generations == 0 && g->model->leaving) roster_look_again(g->serving);
}

static void post_idle(void *arg) {
  struct serving *s = arg;
  s->idle_posted = s->generations.n == 0; /* a call may have gone on meanwhile: then its end tells */
  if (s->idle_posted && s->on_idle && !s->stopped) s->on_idle(s->on_idle_arg);
}

void generations_tell_if_idle(struct serving *s) {
  if (!s->draining || s->idle_posted || s->stopped || s->generations.n > 0) return;
  s->idle_posted = true;
  loop_post(s->loop, post_idle, s);
}

void generations_remove(struct generation *g) {
  struct serving *s = g->serving;
  struct generations *all = &s->generations;
  assert(!g->gone);
  g->gone = true;
  unlink_generation(g);
  loop_timer_cancel(s->loop, g->timer);
  g->timer = NULL;
  if (all->delivering) {
    g->next = all->kept;
    all->kept = g;
  } else {
    generation_free(g);
  }
  generations_tell_if_idle(s);
}

/* Calls back. g's memory stays until this returns to the outermost caller. */
static void call_back(struct generation *g, const struct serving_event *event) {
  struct generations *all = &g->serving->generations;
  all->delivering++;
  g->on_event(g->arg, event);
  if (--all->delivering) return;
  while (all->kept) {
    struct generation *kept = all->kept;
    all->kept = kept->next;
    generation_free(kept);
  }
}

/* The last event: taken out first, so that nothing finds it any more; freed after the call. */
static void call_back_last(struct generation *g, const struct serving_event *event) {
  g->serving->generations.delivering++;
  generations_remove(g);
  g->serving->generations.delivering--;
  call_back(g, event);
}

static enum serving_finish finish_of(const struct wire_event *e) {
  if (e->finish == WIRE_LENGTH) return SERVING_LENGTH;
  return e->finish == WIRE_STOPPED || e->kind == WIRE_EMBEDDING ? SERVING_STOP : SERVING_RUNNING;
}

void generations_deliver(struct generation *g, const struct wire_event *e) {
  if (e->kind == WIRE_END) { /* it still waited there when its time was over: a moment before our own timer says so */
    fail_late(g);
    return;
  }
  static const enum serving_event_kind kinds[] = {
      [WIRE_TOKEN] = SERVING_TOKEN, [WIRE_PROMPT_TOKEN] = SERVING_PROMPT_TOKEN, [WIRE_EMBEDDING] = SERVING_EMBEDDING};
  struct serving_logprob top[WIRE_TOP_MAX];
  for (uint32_t i = 0; i < e->n_top; i++) top[i] = (struct serving_logprob){e->top[i].id, e->top[i].logprob};
  struct serving_event event = {.kind = kinds[e->kind],
                                .token = e->token,
                                .is_eos = e->is_eos,
                                .finish = finish_of(e),
                                .logprob = e->logprob,
                                .n_top = (int)e->n_top,
                                .top = top,
                                .embedding = e->embedding,
                                .timed = e->timed,
                                .queue_ns = e->queue_us * 1000 + (g->sent_ns - g->asked_ns),
                                .prefill_ns = e->prefill_us * 1000};
  generations_set_state(g, GENERATION_BEGUN);
  if (e->kind == WIRE_TOKEN) ids_add(&g->tokens, e->token);
  if (event.finish == SERVING_RUNNING) call_back(g, &event);
  else call_back_last(g, &event);
}

void generations_fail(struct generation *g, const struct error *why) {
  call_back_last(g, &(struct serving_event){.kind = SERVING_ERROR, .error = why});
}

static bool fits(const struct generation *g, const struct model *model, enum generation_state state, uint64_t id_max) {
  return (!model || g->model == model) && g->state <= state && g->id <= id_max;
}

/* A callback may end any generation and add new ones, so the walk starts over after each; new ones are left alone. */
void generations_fail_all(struct serving *s, const struct model *model, enum generation_state state, const struct error *why) {
  uint64_t id_max = s->generations.next_id;
  struct generation *g;
  do {
    g = s->generations.first;
    while (g && !fits(g, model, state, id_max)) g = g->next;
    if (g) {
      supervisor_forget(s, g);
      generations_fail(g, why);
    }
  } while (g);
}

/* Prompt and reply, as far as it is bounded; one token of a reply at least. */
static uint64_t longest(const struct wire_submit *ask) {
  uint64_t with_limit = ask->n_prompt - ask->n_done + (uint64_t)ask->max_tokens, least = ask->n_prompt + (uint64_t)1;
  return with_limit > least ? with_limit : least;
}

void generations_refuse_longer(struct serving *s, const struct model *m) {
  const struct endpoint *door = &m->door;
  if (door->task == SERVING_EMBEDDINGS || door->context_tokens == door->whole_context_tokens) return;
  struct error why;
  struct generation *g;
  do {
    g = s->generations.first;
    while (g && (g->model != m || g->internal || g->state != GENERATION_WAITING || longest(&g->ask) <= door->context_tokens)) g = g->next;
    if (!g) break;
    error_set(&why, ERROR_TOO_LARGE,
              "The request may take %llu tokens, prompt and reply, but %zu of the model's context of %zu are served, since the KV memory "
              "(--kv-mib) holds no more. Shorten the prompt or lower max_tokens.",
              (unsigned long long)longest(&g->ask), door->context_tokens, door->whole_context_tokens);
    generations_fail(g, &why);
  } while (g);
}
