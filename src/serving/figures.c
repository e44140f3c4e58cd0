/* figures: what the engine counts, kept over its deaths; see serving.h. SPDX-License-Identifier: Apache-2.0
 *
 * An engine process counts from its own start. When it ends, what it had counted is added to `past`, so that no figure ever goes back. */
#include <math.h>

#include "serving/state.h"

static const double token_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
static const double sequence_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

/* A speed is the mean over about so much time of the steps that it is of. */
static const double RECENT_NS = 10e9;

#define COUNT(array) (sizeof(array) / sizeof *(array))

void figures_init(struct figures *f) {
  *f = (struct figures){0};
  histogram_init(&f->step_tokens, token_bounds, COUNT(token_bounds));
  histogram_init(&f->step_sequences, sequence_bounds, COUNT(sequence_bounds));
}

static void follow(struct recent *r, uint64_t ns, uint64_t amount) {
  if (ns == 0) return;
  double keep = exp(-(double)ns / RECENT_NS);
  r->ns = r->ns * keep + (double)ns;
  r->amount = r->amount * keep + (double)amount;
}

static double speed(const struct recent *r) { return r->ns > 0 ? r->amount / r->ns * 1e9 : 0; }

void figures_take(struct figures *f, const struct wire_stats *stats) {
  const uint64_t *was = f->now.counts, *is = stats->counts;
  bool goes_on = is[WIRE_COUNT_DECODE_NS] >= was[WIRE_COUNT_DECODE_NS] && is[WIRE_COUNT_PREFILL_NS] >= was[WIRE_COUNT_PREFILL_NS] &&
                 is[WIRE_COUNT_DECODE_BYTES] >= was[WIRE_COUNT_DECODE_BYTES] &&
                 is[WIRE_COUNT_PREFILL_OPERATIONS] >= was[WIRE_COUNT_PREFILL_OPERATIONS];
  if (goes_on) {
    follow(&f->decode, is[WIRE_COUNT_DECODE_NS] - was[WIRE_COUNT_DECODE_NS], is[WIRE_COUNT_DECODE_BYTES] - was[WIRE_COUNT_DECODE_BYTES]);
    follow(&f->prefill, is[WIRE_COUNT_PREFILL_NS] - was[WIRE_COUNT_PREFILL_NS],
           is[WIRE_COUNT_PREFILL_OPERATIONS] - was[WIRE_COUNT_PREFILL_OPERATIONS]);
  }
  f->now = *stats;
  if (stats->step_tokens) histogram_add(&f->step_tokens, stats->step_tokens);
  if (stats->step_sequences) histogram_add(&f->step_sequences, stats->step_sequences);
}

void figures_forget_engine(struct figures *f) {
  for (int i = 0; i < WIRE_COUNTS; i++) f->past[i] += f->now.counts[i];
  f->now = (struct wire_stats){.waiting = 0};
}

/* ---- the door ---- */

void serving_stats(const struct serving *s, struct serving_stats *out) {
  *out = (struct serving_stats){.engine_alive = s->engine.running,
                                .engine_pid = s->engine.process.pid,
                                .engine_restarts = s->engine.n_starts ? s->engine.n_starts - 1 : 0,
                                .generations = s->generations.n,
                                .kv_bytes = s->kv_bytes,
                                .read_bytes_s = s->machine.read_bytes_s,
                                .operations_s = s->machine.operations_s};
}

/* Generations for m that the engine has not been given. */
static size_t waiting_here(const struct serving *s, const struct model *m) {
  size_t n = 0;
  for (const struct generation *g = s->generations.first; g; g = g->next)
    n += g->model == m && g->state == GENERATION_WAITING && !g->internal;
  return n;
}

static struct serving_drafts drafts_of(const uint64_t *counts, enum wire_count first) {
  return (struct serving_drafts){.n = counts[first], .drafted = counts[first + 1], .accepted = counts[first + 2]};
}

static double kv_usage(const struct wire_stats *now) {
  return now->kv_bytes ? (double)now->pages_used * (double)now->page_bytes / (double)now->kv_bytes : 0;
}

void serving_model_stats(const struct serving *s, const struct endpoint *e, struct serving_model_stats *out) {
  const struct model *m = s->models.slots[e->index];
  const struct figures *f = &m->figures;
  uint64_t n[WIRE_COUNTS];
  for (int i = 0; i < WIRE_COUNTS; i++) n[i] = f->past[i] + f->now.counts[i];
  *out = (struct serving_model_stats){.shares_engine = m->base != NULL,
                                      .waiting_here = waiting_here(s, m),
                                      .waiting = f->now.waiting,
                                      .running = f->now.running,
                                      .pages_used = f->now.pages_used,
                                      .pages_cached = f->now.pages_cached,
                                      .page_bytes = f->now.page_bytes,
                                      .kv_usage = kv_usage(&f->now),
                                      .steps = n[WIRE_COUNT_STEPS],
                                      .prefill_tokens = n[WIRE_COUNT_PREFILL_TOKENS],
                                      .decode_tokens = n[WIRE_COUNT_DECODE_TOKENS],
                                      .embed_tokens = n[WIRE_COUNT_EMBED_TOKENS],
                                      .preemptions = n[WIRE_COUNT_PREEMPTIONS],
                                      .prefix_query_tokens = n[WIRE_COUNT_PREFIX_QUERY_TOKENS],
                                      .prefix_hit_tokens = n[WIRE_COUNT_PREFIX_HIT_TOKENS],
                                      .started = n[WIRE_COUNT_STARTED],
                                      .expired = n[WIRE_COUNT_EXPIRED],
                                      .queue_ns = n[WIRE_COUNT_QUEUE_NS],
                                      .text_drafts = drafts_of(n, WIRE_COUNT_TEXT_DRAFTS),
                                      .model_drafts = drafts_of(n, WIRE_COUNT_MODEL_DRAFTS),
                                      .decode_ns = n[WIRE_COUNT_DECODE_NS],
                                      .decode_bytes = n[WIRE_COUNT_DECODE_BYTES],
                                      .prefill_ns = n[WIRE_COUNT_PREFILL_NS],
                                      .prefill_operations = n[WIRE_COUNT_PREFILL_OPERATIONS],
                                      .decode_bytes_s = speed(&f->decode),
                                      .prefill_operations_s = speed(&f->prefill),
                                      .step_tokens = &f->step_tokens,
                                      .step_sequences = &f->step_sequences};
}
