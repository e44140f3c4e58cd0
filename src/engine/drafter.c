/* drafter: see drafter.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/drafter.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/sampler.h"

/* Rows of one sequence in a pass with others: the last token, and what was accepted of the last draft but not seen by the draft model. */
enum { ROWS_TOGETHER = 4 };

struct drafter {
  struct drafter_config config;
  struct model *model;
  const struct model_info *info;
  size_t rows_max;
  int32_t *tokens; /* [rows_max] */
  int32_t out_rows[SCHED_DRAFTED_MAX];
  struct kv_segment segments[SCHED_DRAFTED_MAX];
  struct draft_ask *active[SCHED_DRAFTED_MAX]; /* of the pass under way */
  float *logits;                               /* [SCHED_DRAFTED_MAX, n_vocab] */
  struct sampler **samplers;                   /* one per compute thread, ends with NULL */
  void **pages;                                /* the draft model's parts of the pages of all asks */
  size_t cap_pages;
  size_t at; /* of the guess under way */
};

/* ---- creation ---- */

int drafter_check(const struct model *model, const struct model *target, struct error *err) {
  const struct model_info *d = model_info(model), *t = model_info(target);
  if (d->task != MODEL_GENERATE || t->task != MODEL_GENERATE)
    return error_set(err, ERROR_INVALID,
                     "A draft model and the model that it drafts for must both generate text; one of them makes embeddings.");
  if (d->n_vocab != t->n_vocab)
    return error_set(err, ERROR_INVALID, "The draft model has %zu tokens and the model %zu; a draft model must have the same vocabulary.",
                     d->n_vocab, t->n_vocab);
  if (t->window_tokens)
    return error_set(
        err, ERROR_UNSUPPORTED,
        "The model has a sliding window of %zu tokens: what a draft model has not seen yet may be gone. It takes no draft model.",
        t->window_tokens);
  if (model_compute(model) != model_compute(target))
    return error_set(err, ERROR_INVALID, "The draft model and the model were loaded under different compute modes.");
  return 0;
}

struct drafter *drafter_create(const struct drafter_config *config) {
  struct drafter *d = mem_zalloc(1, sizeof *d);
  d->config = *config;
  d->model = config->model;
  d->info = model_info(d->model);
  d->rows_max = model_rows_max(d->model);
  assert(d->rows_max >= SCHED_DRAFTED_MAX * ROWS_TOGETHER && model_out_rows_max(d->model) >= SCHED_DRAFTED_MAX);
  d->tokens = mem_alloc(d->rows_max * sizeof *d->tokens);
  d->logits = mem_aligned(64, SCHED_DRAFTED_MAX * d->info->n_vocab * sizeof *d->logits);
  int threads = pool_threads(compute_pool(model_compute(d->model)));
  d->samplers = mem_zalloc((size_t)threads + 1, sizeof(struct sampler *));
  for (int i = 0; i < threads; i++) d->samplers[i] = sampler_create(d->info->n_vocab);
  return d;
}

void drafter_destroy(struct drafter *d) {
  if (!d) return;
  for (size_t i = 0; d->samplers[i]; i++) sampler_destroy(d->samplers[i]);
  free(d->samplers);
  free(d->tokens);
  free(d->logits);
  free(d->pages);
  free(d);
}

double drafter_weight(const struct drafter *d) {
  return (double)model_stream_bytes(d->model) / (double)model_stream_bytes(d->config.target);
}

/* ---- pages ---- */

static void place_pages(struct drafter *d, struct draft_ask *asks, size_t n) {
  size_t total = 0;
  for (size_t i = 0; i < n; i++) total += asks[i].sequence->n_pages;
  if (total > d->cap_pages) {
    d->cap_pages = total + total / 2;
    d->pages = mem_realloc(d->pages, d->cap_pages, sizeof *d->pages);
  }
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    const struct sequence *s = asks[i].sequence;
    asks[i].pages = d->pages + at;
    for (size_t k = 0; k < s->n_pages; k++) d->pages[at++] = s->pages[k] ? (char *)s->pages[k] + d->config.page_offset : NULL;
  }
}

/* ---- passes ---- */

static int32_t token_of(const struct draft_ask *a, size_t position) {
  const struct sequence *s = a->sequence;
  return position < s->n_tokens ? s->tokens[position] : s->model_draft.guess[position - s->n_tokens];
}

/* The rows of a from n_kv on are appended to those of the pass. */
static size_t add_rows(struct drafter *d, size_t row, size_t segment, struct draft_ask *a, size_t n) {
  struct sequence *s = a->sequence;
  d->segments[segment] = (struct kv_segment){.row_begin = row, .n_rows = n, .pos_begin = s->model_draft.n_kv, .pages = a->pages};
  for (size_t i = 0; i < n; i++) d->tokens[row + i] = token_of(a, s->model_draft.n_kv + i);
  s->model_draft.n_kv += n;
  return row + n;
}

static uint64_t now(const struct drafter *d) { return d->config.clock_ns(d->config.clock_ctx); }

static void forward(struct drafter *d, size_t n_rows, size_t n_segments, size_t n_out) {
  model_forward(d->model, &(struct model_batch){.n_rows = n_rows,
                                                .tokens = d->tokens,
                                                .segments = d->segments,
                                                .n_segments = n_segments,
                                                .out_rows = d->out_rows,
                                                .n_out_rows = n_out,
                                                .logits = d->logits});
}

/* Rows of one sequence alone, whose logits nobody needs. */
static void catch_up(struct drafter *d, struct draft_ask *a, size_t rows, struct cost *cost) {
  while (rows > 0) {
    size_t n = rows < d->rows_max ? rows : d->rows_max;
    uint64_t begin_ns = now(d);
    add_rows(d, 0, 0, a, n);
    forward(d, n, 1, 0);
    cost_observe(cost, 0, n, now(d) - begin_ns);
    rows -= n;
  }
  sched__draft_tell(a->sequence);
}

static size_t missing(const struct sequence *s) { return s->n_tokens - 1 - s->model_draft.n_kv; }

/* Whether what a lacks may be computed in one pass with others: few rows, none in a page that others may read or write. */
static bool goes_together(const struct draft_ask *a, bool alone) {
  const struct sequence *s = a->sequence;
  return missing(s) < ROWS_TOGETHER && (alone || s->model_draft.n_kv >= s->n_shared * KV_PAGE_TOKENS);
}

static void prepare(struct drafter *d, struct draft_ask *a, bool alone, struct cost *cost) {
  struct sequence *s = a->sequence;
  sched__draft_take(s); /* one before it may have computed what they share */
  if (goes_together(a, alone)) return;
  size_t lacks = missing(s), rows = lacks < a->rows_max ? lacks : a->rows_max;
  catch_up(d, a, rows, cost);
  if (rows < lacks) a->n = 0;
}

static void choose_guess(void *job, int tile, int worker) {
  struct drafter *d = job;
  struct draft_ask *a = d->active[tile];
  struct sequence *s = a->sequence;
  s->model_draft.guess[d->at] = sampler_choose(d->samplers[worker], d->logits + (size_t)tile * d->info->n_vocab,
                                               &(struct sampler_choice){.sampling = &s->request.sampling,
                                                                        .tally = s->penalized ? &s->tally : NULL,
                                                                        .banned = s->end_ids,
                                                                        .n_banned = sequence_may_end(s) ? 0 : s->n_end_ids,
                                                                        .position = s->n_tokens + d->at});
}

/* The next guess of each that still wants one; their number. */
static size_t pass(struct drafter *d, struct draft_ask *asks, size_t n, struct cost *cost) {
  size_t n_active = 0, n_rows = 0;
  uint64_t begin_ns = now(d);
  for (size_t i = 0; i < n; i++) {
    if (d->at >= asks[i].n) continue;
    const struct sequence *s = asks[i].sequence;
    size_t rows = s->n_tokens + d->at - s->model_draft.n_kv;
    n_rows = add_rows(d, n_rows, n_active, &asks[i], rows);
    d->out_rows[n_active] = (int32_t)n_rows - 1;
    d->active[n_active++] = &asks[i];
  }
  if (n_active == 0) return 0;
  forward(d, n_rows, n_active, n_active);
  pool_run(compute_pool(model_compute(d->model)), choose_guess, d, (int)n_active);
  cost_observe(cost, n_active, 0, now(d) - begin_ns);
  return n_active;
}

/* Behind what would end the sequence nothing comes. */
static void stop_at_ends(const struct drafter *d, struct draft_ask *asks, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const struct sequence *s = asks[i].sequence;
    if (d->at >= asks[i].n) continue;
    for (size_t k = 0; k < s->n_end_ids; k++)
      if (s->end_ids[k] == s->model_draft.guess[d->at]) asks[i].n = d->at + 1;
  }
}

void drafter_guess(struct drafter *d, struct draft_ask *asks, size_t n, struct cost *cost) {
  assert(n <= SCHED_DRAFTED_MAX);
  place_pages(d, asks, n);
  for (size_t i = 0; i < n; i++) prepare(d, &asks[i], n == 1, cost);
  for (d->at = 0; pass(d, asks, n, cost); d->at++) {
    if (d->at == 0)
      for (size_t i = 0; i < n; i++) sched__draft_tell(asks[i].sequence);
    stop_at_ends(d, asks, n);
  }
}
