/* step: one batched forward pass of a generating model: the scheduler's plan (sched.h) carried out. See engine.h for the promises.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a sequence that choose tokens are looked at in order by one thread: the row of its last token, then those of its draft as long as
 * the draft says what was chosen. So each token is chosen from the logits, and knowing the tokens, that it would have been without a draft. */
#include <assert.h>
#include <math.h>

#include "base/mem.h"
#include "engine/state.h"

/* ---- rows ---- */

struct batch {
  size_t n_rows, n_segments, n_out, n_runs;
  bool adapts; /* a segment has an adapter */
};

static void add_scored(struct engine *e, struct batch *b, struct sequence *s, size_t row, size_t position, bool prompt) {
  struct scored *x = &e->scored[b->n_out];
  x->sequence = s;
  x->prompt = prompt;
  x->position = position;
  x->token = prompt ? s->tokens[position] : -1;
  x->finish = ENGINE_RUNNING;
  x->is_eos = false;
  x->logits = e->logits + b->n_out * e->info->n_vocab;
  bool goes_on = position > s->n_tokens; /* of a draft: the run of the row before */
  if (goes_on) e->runs[b->n_runs - 1].n++;
  else e->runs[b->n_runs++] = (struct score_run){b->n_out, 1};
  e->out_rows[b->n_out++] = (int32_t)row;
}

static void add_rows(struct engine *e, struct batch *b, struct sequence *s) {
  e->adapters[b->n_segments] = s->request.adapter;
  b->adapts |= s->request.adapter != NULL;
  e->segments[b->n_segments++] =
      (struct kv_segment){.row_begin = b->n_rows, .n_rows = s->n_rows, .pos_begin = s->n_computed, .pages = s->pages};
  for (size_t i = 0; i < s->n_rows; i++) {
    size_t position = s->n_computed + i;
    e->tokens[b->n_rows + i] = sequence_token_at(s, position);
    if (position + 1 >= s->n_tokens) add_scored(e, b, s, b->n_rows + i, position + 1, false);
    else if (sequence_reports(s, position)) add_scored(e, b, s, b->n_rows + i, position + 1, true);
  }
  b->n_rows += s->n_rows;
}

static struct batch make_batch(struct engine *e) {
  const struct sched_plan *p = &e->sched.plan;
  struct batch b = {0};
  for (size_t i = 0; i < p->n; i++) add_rows(e, &b, p->items[i]);
  assert(b.n_rows == p->n_rows && b.n_out == p->n_out);
  return b;
}

/* ---- tokens ---- */

static enum engine_finish finish_of(const struct engine *e, struct sequence *s, int32_t token, bool is_eos) {
  if (is_eos) return ENGINE_STOP;
  if (s->request.n_stops && sequence_completes_stop(s, e->config.token_bytes(e->config.token_bytes_ctx, token))) return ENGINE_STOP;
  return s->n_tokens >= s->n_tokens_max ? ENGINE_LENGTH : ENGINE_RUNNING;
}

static int32_t choose(const struct scored *x, struct sampler *sampler) {
  const struct sequence *s = x->sequence;
  return sampler_choose(sampler, x->logits,
                        &(struct sampler_choice){.sampling = &s->request.sampling,
                                                 .tally = s->penalized ? &s->tally : NULL,
                                                 .banned = s->end_ids,
                                                 .n_banned = sequence_may_end(s) ? 0 : s->n_end_ids,
                                                 .position = x->position});
}

static void score(const struct engine *e, struct scored *x, struct sampler *sampler) {
  const struct engine_request *r = &x->sequence->request;
  if (!x->prompt) x->token = choose(x, sampler);
  x->n_top = r->top_logprobs > 0 ? r->top_logprobs : 0;
  if ((size_t)x->n_top > e->info->n_vocab) x->n_top = (int)e->info->n_vocab;
  x->logprob = NAN;
  if (r->top_logprobs >= 0 || x->prompt) x->logprob = sampler_logprobs(sampler, x->logits, x->token, x->top, x->n_top);
}

/* The sequence has its next token. */
static void take_token(const struct engine *e, struct scored *x) {
  struct sequence *s = x->sequence;
  sequence_add_token(s, x->token);
  x->is_eos = sequence_ended_by(s, x->token);
  s->n_new++;
  s->finish = x->finish = finish_of(e, s, x->token, x->is_eos);
}

static void score_run(void *job, int tile, int worker) {
  struct engine *e = job;
  struct score_run *run = &e->runs[tile];
  for (size_t i = 0; i < run->n; i++) {
    struct scored *x = &e->scored[run->first + i];
    score(e, x, e->samplers[worker]);
    if (x->prompt) return;
    take_token(e, x);
    if (x->finish == ENGINE_RUNNING && i + 1 < run->n && x->token == x->sequence->draft[i]) continue;
    run->n = i + 1;
  }
}

/* ---- events ---- */

static struct engine_event *add_scored_event(struct engine *e, const struct scored *x, enum engine_event_kind kind) {
  struct engine_event *event = engine__add_event(e);
  event->id = x->sequence->request.id;
  event->kind = kind;
  event->token = x->token;
  event->is_eos = x->is_eos;
  event->finish = x->finish;
  event->logprob = x->logprob;
  event->n_top = x->n_top;
  event->top = x->top;
  return event;
}

/* The first token of a prompt has nothing in front of it, but it is reported all the same. */
static void report_first_token(struct engine *e, struct sequence *s) {
  if (!s->request.prompt_logprobs || s->n_reported) return;
  struct scored first = {.sequence = s, .token = s->tokens[0], .logprob = NAN};
  add_scored_event(e, &first, ENGINE_PROMPT_TOKEN)->top = NULL;
  s->n_reported = 1;
}

static void tell(struct engine *e, const struct scored *x) {
  report_first_token(e, x->sequence);
  struct engine_event *event = add_scored_event(e, x, x->prompt ? ENGINE_PROMPT_TOKEN : ENGINE_TOKEN);
  if (!x->prompt) engine__time(e, x->sequence, event);
  if (x->prompt) x->sequence->n_reported = x->position + 1;
}

static void finish_step(struct engine *e, const struct batch *b) {
  struct sched_plan *p = &e->sched.plan;
  for (size_t i = 0; i < b->n_runs; i++)
    for (size_t k = 0; k < e->runs[i].n; k++) tell(e, &e->scored[e->runs[i].first + k]);
  for (size_t i = 0; i < p->n; i++) {
    sched_commit(&e->sched, p->items[i]);
    if (p->items[i]->finish != ENGINE_RUNNING) engine__finish(e, p->items[i]);
  }
}

/* Bytes of KV pages that the rows of s look at. */
static double kv_bytes(const struct engine *e, const struct sequence *s) {
  size_t positions = s->n_computed + s->n_rows, window = e->info->window_tokens;
  if (window && positions > window + s->n_rows) positions = window + s->n_rows;
  return (double)positions * (double)e->kv.page_bytes / KV_PAGE_TOKENS;
}

static void count_pass(struct engine *e, uint64_t begin_ns) {
  const struct sched_plan *p = &e->sched.plan;
  double bytes = model_read_bytes(e->model, p->n_rows);
  for (size_t i = 0; i < p->n; i++) bytes += kv_bytes(e, p->items[i]);
  engine__count_pass(e, begin_ns, p->n_prompt == 0, bytes, model_operations(e->model, p->n_rows, p->n_out));
}

void step_generate(struct engine *e) {
  sched_plan(&e->sched, engine__clock_ns(e));
  if (e->sched.plan.n_rows == 0) return; /* all that waited has expired */
  struct batch b = make_batch(e);
  struct model_batch batch = {.n_rows = b.n_rows,
                              .tokens = e->tokens,
                              .segments = e->segments,
                              .n_segments = b.n_segments,
                              .adapters = b.adapts ? e->adapters : NULL,
                              .out_rows = e->out_rows,
                              .n_out_rows = b.n_out,
                              .logits = e->logits};
  uint64_t begin_ns = engine__clock_ns(e);
  model_forward(e->model, &batch);
  pool_run(compute_pool(model_compute(e->model)), score_run, e, (int)b.n_runs);
  count_pass(e, begin_ns);
  sched_took(&e->sched, e->computed_ns - begin_ns);
  finish_step(e, &b);
}
