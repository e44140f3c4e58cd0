/* step: one batched forward pass of a generating model. See engine.h for the promises. SPDX-License-Identifier: Apache-2.0
 *
 *   1. Every running sequence gets the pages of its next positions, oldest first; when none is free the youngest gives its own back
 *      and waits again, in front of the others. So the oldest always goes on.
 *   2. Waiting sequences start, in order, while the pages of all their tokens are free.
 *   3. Rows: one for every sequence that only lacks its last token, then prompt rows in order of admission, under the row limits.
 *   4. Forward, then every last row chooses a token; events. */
#include <assert.h>
#include <math.h>

#include "base/mem.h"
#include "engine/state.h"

/* ---- pages ---- */

static void give_pages(struct engine *e, struct sequence *s) {
  for (size_t i = 0; i < s->n_pages; i++) pages_give(&e->pages, s->pages[i]);
  s->n_pages = 0;
  s->n_computed = 0;
}

static struct sequence *youngest(struct engine *e) {
  struct sequence *s = e->running.first;
  while (s->next) s = s->next;
  return s;
}

static void preempt(struct engine *e, struct sequence *s) {
  give_pages(e, s);
  sequence_list_remove(&e->running, s);
  sequence_list_prepend(&e->waiting, s);
  e->stats.preemptions++;
}

static bool take_page(struct engine *e, struct sequence *s) {
  void *page = pages_take(&e->pages);
  if (!page) return false;
  if (s->n_pages == s->cap_pages) {
    s->cap_pages = s->cap_pages * 2 + 8;
    s->pages = mem_realloc(s->pages, s->cap_pages, sizeof *s->pages);
  }
  s->pages[s->n_pages++] = page;
  return true;
}

/* Pages for all tokens of s, taken from the youngest where none is free. False when s itself was the youngest and waits again. */
static bool secure_pages(struct engine *e, struct sequence *s) {
  while (s->n_pages < sequence_pages_for(s->n_tokens)) {
    if (take_page(e, s)) continue;
    struct sequence *victim = youngest(e);
    preempt(e, victim);
    if (victim == s) return false;
  }
  return true;
}

static void secure_running(struct engine *e) {
  for (struct sequence *s = e->running.first; s; s = s->next)
    if (!secure_pages(e, s)) return; /* the youngest is gone, so none comes after it */
}

static void admit(struct engine *e) {
  while (e->waiting.first && e->running.n < e->config.running_max) {
    struct sequence *s = e->waiting.first;
    if (sequence_pages_for(s->n_tokens) > e->pages.n_free) return;
    sequence_list_remove(&e->waiting, s);
    sequence_list_append(&e->running, s);
    bool secured = secure_pages(e, s);
    assert(secured);
    (void)secured;
  }
}

/* ---- rows ---- */

struct plan {
  size_t n_rows, n_segments, n_out;
  bool adapts; /* a segment has an adapter */
};

/* Whether the logits of the row at position p are wanted for the prompt token behind it. */
static bool reports(const struct sequence *s, size_t p) {
  return s->request.prompt_logprobs && p + 1 >= s->n_reported && p + 1 < s->n_prompt;
}

static void add_scored(struct engine *e, struct plan *plan, struct sequence *s, size_t row, size_t position, bool prompt) {
  struct scored *x = &e->scored[plan->n_out];
  x->sequence = s;
  x->prompt = prompt;
  x->position = position;
  x->token = prompt ? s->tokens[position] : -1;
  x->logits = e->logits + plan->n_out * e->info->n_vocab;
  e->out_rows[plan->n_out++] = (int32_t)row;
}

/* The next n rows of s. */
static void add_rows(struct engine *e, struct plan *plan, struct sequence *s, size_t n) {
  e->adapters[plan->n_segments] = s->request.adapter;
  plan->adapts |= s->request.adapter != NULL;
  e->segments[plan->n_segments++] =
      (struct kv_segment){.row_begin = plan->n_rows, .n_rows = n, .pos_begin = s->n_computed, .pages = s->pages};
  for (size_t i = 0; i < n; i++) {
    size_t position = s->n_computed + i;
    e->tokens[plan->n_rows + i] = s->tokens[position];
    if (position + 1 == s->n_tokens) add_scored(e, plan, s, plan->n_rows + i, position + 1, false);
    else if (reports(s, position)) add_scored(e, plan, s, plan->n_rows + i, position + 1, true);
  }
  s->n_rows = n;
  plan->n_rows += n;
}

/* How many of the next n rows of s can be taken while at most out_free rows have logits. */
static size_t rows_with_output(const struct sequence *s, size_t n, size_t out_free) {
  size_t used = 0;
  for (size_t i = 0; i < n; i++) {
    size_t position = s->n_computed + i;
    used += position + 1 == s->n_tokens || reports(s, position);
    if (used > out_free) return i;
  }
  return n;
}

static struct plan make_plan(struct engine *e) {
  struct plan plan = {0};
  size_t rows_max = model_rows_max(e->model), out_max = model_out_rows_max(e->model);
  for (struct sequence *s = e->running.first; s; s = s->next) {
    s->n_rows = 0;
    if (s->n_computed + 1 == s->n_tokens && plan.n_out < out_max && plan.n_rows < rows_max) add_rows(e, &plan, s, 1);
  }
  e->stats.decode_tokens += plan.n_rows;
  size_t limit = plan.n_rows ? plan.n_rows + e->config.prefill_rows_max : rows_max;
  if (limit > rows_max) limit = rows_max;
  for (struct sequence *s = e->running.first; s && plan.n_rows < limit; s = s->next) {
    size_t n = s->n_rows ? 0 : s->n_tokens - s->n_computed;
    if (n > limit - plan.n_rows) n = limit - plan.n_rows;
    n = rows_with_output(s, n, out_max - plan.n_out);
    if (n == 0) continue;
    add_rows(e, &plan, s, n);
    e->stats.prefill_tokens += n;
  }
  return plan;
}

/* ---- tokens ---- */

static void score_row(void *job, int tile, int worker) {
  struct engine *e = job;
  struct scored *x = &e->scored[tile];
  const struct sequence *s = x->sequence;
  const struct engine_request *r = &s->request;
  struct sampler_choice choice = {.sampling = &r->sampling,
                                  .tally = s->penalized ? &s->tally : NULL,
                                  .banned = s->end_ids,
                                  .n_banned = sequence_may_end(s) ? 0 : s->n_end_ids,
                                  .position = x->position};
  if (!x->prompt) x->token = sampler_choose(e->samplers[worker], x->logits, &choice);
  x->n_top = r->top_logprobs > 0 ? r->top_logprobs : 0;
  if ((size_t)x->n_top > e->info->n_vocab) x->n_top = (int)e->info->n_vocab;
  x->logprob = NAN;
  if (r->top_logprobs >= 0 || x->prompt) x->logprob = sampler_logprobs(e->samplers[worker], x->logits, x->token, x->top, x->n_top);
}

static enum engine_finish finish_of(struct engine *e, struct sequence *s, int32_t token, bool is_eos) {
  if (is_eos) return ENGINE_STOP;
  if (s->request.n_stops && sequence_completes_stop(s, e->config.token_bytes(e->config.token_bytes_ctx, token))) return ENGINE_STOP;
  return s->n_tokens >= s->n_tokens_max ? ENGINE_LENGTH : ENGINE_RUNNING;
}

static struct engine_event *add_scored_event(struct engine *e, const struct scored *x, enum engine_event_kind kind) {
  struct engine_event *event = engine__add_event(e);
  event->id = x->sequence->request.id;
  event->kind = kind;
  event->token = x->token;
  event->logprob = x->logprob;
  event->n_top = x->n_top;
  event->top = x->top;
  return event;
}

static void report_prompt_token(struct engine *e, const struct scored *x) {
  struct sequence *s = x->sequence;
  if (s->n_reported == 0) {
    struct scored first = {.sequence = s, .token = s->tokens[0], .logprob = NAN};
    add_scored_event(e, &first, ENGINE_PROMPT_TOKEN)->top = NULL;
  }
  add_scored_event(e, x, ENGINE_PROMPT_TOKEN);
  s->n_reported = x->position + 1;
}

/* A prompt of a single token has nothing to score, but its token is reported all the same. */
static void report_lone_token(struct engine *e, struct sequence *s) {
  if (!s->request.prompt_logprobs || s->n_reported) return;
  struct scored only = {.sequence = s, .token = s->tokens[0], .logprob = NAN};
  add_scored_event(e, &only, ENGINE_PROMPT_TOKEN)->top = NULL;
  s->n_reported = 1;
}

static void accept_token(struct engine *e, const struct scored *x) {
  struct sequence *s = x->sequence;
  report_lone_token(e, s);
  struct engine_event *event = add_scored_event(e, x, ENGINE_TOKEN);
  sequence_add_token(s, x->token);
  event->is_eos = sequence_ended_by(s, x->token);
  event->finish = finish_of(e, s, x->token, event->is_eos);
  if (event->finish == ENGINE_RUNNING) return;
  e->stats.finished++;
  engine__finish(e, &e->running, s);
}

void step_generate(struct engine *e) {
  secure_running(e);
  admit(e);
  struct plan plan = make_plan(e);
  assert(plan.n_rows > 0);
  struct model_batch batch = {.n_rows = plan.n_rows,
                              .tokens = e->tokens,
                              .segments = e->segments,
                              .n_segments = plan.n_segments,
                              .adapters = plan.adapts ? e->adapters : NULL,
                              .out_rows = e->out_rows,
                              .n_out_rows = plan.n_out,
                              .logits = e->logits};
  model_forward(e->model, &batch);
  for (struct sequence *s = e->running.first; s; s = s->next) s->n_computed += s->n_rows;
  pool_run(compute_pool(model_compute(e->model)), score_row, e, (int)plan.n_out);
  for (size_t i = 0; i < plan.n_out; i++) {
    if (e->scored[i].prompt) report_prompt_token(e, &e->scored[i]);
    else accept_token(e, &e->scored[i]);
  }
}
