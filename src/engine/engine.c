/* engine: the door: creation, admission, lists. A step is in step.c. See engine.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/drafter.h"
#include "engine/memory.h"
#include "engine/state.h"

enum { RUNNING_DEFAULT = 64, PREFILL_ROWS_DEFAULT = 256 };
enum { CONTEXT_MIN = 128 }; /* tokens of a context that is worth serving */
static const double SLOWDOWN_DEFAULT = 2;

/* ---- creation ---- */

static size_t held_positions(const struct engine *e, size_t n) { return (size_t)model_kv_positions(e->info, model_rows_max(e->model), n); }

static uint64_t context_bytes(const struct engine *e, size_t n_tokens) {
  return sequence_pages_for(held_positions(e, n_tokens)) * (uint64_t)e->page_bytes;
}

static unsigned long long mib_up(uint64_t bytes) { return (unsigned long long)((bytes + (1 << 20) - 1) >> 20); }

/* The model's context is cut to what the memory can hold of one sequence: a longer request is refused when it comes. */
static int init_context(struct engine *e, uint64_t kv_bytes, struct error *err) {
  size_t whole = e->info->context_tokens, least = whole < CONTEXT_MIN ? whole : CONTEXT_MIN;
  if (kv_bytes < context_bytes(e, least))
    return error_set(err, ERROR_NO_MEMORY,
                     "The KV memory of %llu MiB is too small: a context of %zu tokens needs %llu MiB, the model's whole context of %zu "
                     "tokens %llu MiB. Raise --kv-mib, or free memory.",
                     (unsigned long long)(kv_bytes >> 20), least, mib_up(context_bytes(e, least)), whole, mib_up(context_bytes(e, whole)));
  uint64_t fits = kv_bytes / e->page_bytes * KV_PAGE_TOKENS;
  e->context_tokens = context_bytes(e, whole) <= kv_bytes ? whole : (size_t)fits;
  return 0;
}

static int init_pages(struct engine *e, struct error *err) {
  struct engine_memory *m = e->config.memory;
  e->kv = model_kv_layout(e->model);
  e->page_bytes = e->kv.page_bytes + (e->config.draft ? model_kv_layout(e->config.draft).page_bytes : 0);
  if (!m) m = e->own_memory = engine_memory_create(e->config.kv_bytes_max);
  uint64_t kv_bytes = memory_grow(m, context_bytes(e, e->info->context_tokens));
  if (init_context(e, kv_bytes, err) < 0) return -1;
  uint64_t range = kv_bytes > m->bytes_usual ? kv_bytes : m->bytes_usual; /* it may grow again */
  return pages_init(&e->pages, m, e->page_bytes, (size_t)(range / e->page_bytes), err);
}

static void init_step(struct engine *e) {
  size_t rows = model_rows_max(e->model), out_rows = model_out_rows_max(e->model);
  bool embeds = e->info->task == MODEL_EMBED;
  e->tokens = mem_alloc(rows * sizeof *e->tokens);
  e->segments = mem_alloc(rows * sizeof *e->segments);
  e->adapters = mem_alloc(rows * sizeof(struct adapter *));
  e->offsets = mem_alloc((rows + 1) * sizeof *e->offsets);
  e->out_rows = mem_alloc(out_rows * sizeof *e->out_rows);
  e->scored = mem_alloc(out_rows * sizeof *e->scored);
  e->runs = mem_alloc(out_rows * sizeof *e->runs);
  e->logits = mem_aligned(64, (embeds ? rows * e->info->n_embd : out_rows * e->info->n_vocab) * sizeof *e->logits);
  int threads = pool_threads(compute_pool(model_compute(e->model)));
  e->samplers = mem_zalloc((size_t)threads + 1, sizeof(struct sampler *)); /* ends with NULL */
  for (int i = 0; i < threads && !embeds; i++) e->samplers[i] = sampler_create(e->info->n_vocab);
}

/* A tokenizer may know more ids than the model has rows. */
static void copy_stop_ids(struct engine *e, const struct engine_config *config) {
  int32_t *ids = mem_alloc(config->n_stop_ids * sizeof *ids);
  size_t n = 0;
  for (size_t i = 0; i < config->n_stop_ids; i++)
    if (config->stop_ids[i] >= 0 && (size_t)config->stop_ids[i] < e->info->n_vocab) ids[n++] = config->stop_ids[i];
  e->config.stop_ids = ids;
  e->config.n_stop_ids = n;
}

static uint64_t clock_of(void *ctx) { return engine__clock_ns(ctx); }

static int init_draft(struct engine *e, struct error *err) {
  if (!e->config.draft || e->config.speculation == ENGINE_SPECULATE_OFF) {
    e->config.draft = NULL;
    return 0;
  }
  if (drafter_check(e->config.draft, e->model, err) < 0) return -1;
  struct drafter_config config = {.model = e->config.draft,
                                  .target = e->model,
                                  .page_offset = model_kv_layout(e->model).page_bytes,
                                  .clock_ns = clock_of,
                                  .clock_ctx = e};
  e->drafter = drafter_create(&config);
  return 0;
}

static void guess(void *ctx, struct draft_ask *asks, size_t n) {
  struct engine *e = ctx;
  drafter_guess(e->drafter, asks, n, &e->sched.draft_cost);
}

static void init_sched(struct engine *e) {
  const struct engine_config *from = &e->config;
  struct sched_config config = {.running_max = from->running_max ? from->running_max : RUNNING_DEFAULT,
                                .rows_max = model_rows_max(e->model),
                                .out_rows_max = model_out_rows_max(e->model),
                                .prefill_rows_max = from->prefill_rows_max ? from->prefill_rows_max : PREFILL_ROWS_DEFAULT,
                                .slowdown = from->slowdown > 0 ? from->slowdown : SLOWDOWN_DEFAULT,
                                .window = e->info->window_tokens,
                                .held_max = held_positions(e, SIZE_MAX),
                                .speculation = from->speculation};
  if (e->info->task == MODEL_GENERATE) {
    config.context_bytes = context_bytes(e, e->context_tokens);
    config.whole_context_bytes = context_bytes(e, e->info->context_tokens);
  }
  if (e->drafter) {
    config.guess = guess;
    config.guess_ctx = e;
    config.draft_context = model_info(from->draft)->context_tokens;
    config.draft_weight = drafter_weight(e->drafter);
  }
  if (config.running_max > config.out_rows_max) config.running_max = config.out_rows_max;
  if (config.running_max > config.rows_max) config.running_max = config.rows_max;
  for (int i = 0; i < ENGINE_CLASSES; i++) config.weights[i] = from->class_weights[i] > 0 ? from->class_weights[i] : 1 << i;
  sched_init(&e->sched, &config, e->info->task == MODEL_GENERATE ? &e->pages : NULL);
}

struct engine *engine_create(const struct engine_config *config, struct error *err) {
  struct engine *e = mem_zalloc(1, sizeof *e);
  e->config = *config;
  e->model = config->model;
  e->info = model_info(config->model);
  e->context_tokens = e->info->context_tokens;
  copy_stop_ids(e, config);
  if (init_draft(e, err) < 0 || (e->info->task == MODEL_GENERATE && init_pages(e, err) < 0)) {
    engine_destroy(e);
    return NULL;
  }
  init_sched(e);
  init_step(e);
  return e;
}

void engine_destroy(struct engine *e) {
  if (!e) return;
  sched_deinit(&e->sched);
  drafter_destroy(e->drafter);
  for (size_t i = 0; e->samplers && e->samplers[i]; i++) sampler_destroy(e->samplers[i]);
  pages_deinit(&e->pages);
  engine_memory_destroy(e->own_memory);
  void *memory[] = {(void *)e->config.stop_ids,
                    e->tokens,
                    e->out_rows,
                    e->segments,
                    e->adapters,
                    e->offsets,
                    e->logits,
                    e->scored,
                    e->runs,
                    e->samplers,
                    e->events};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  free(e);
}

size_t engine_context_tokens(const struct engine *e) { return e->context_tokens; }

/* ---- requests ---- */

static int check_length(const struct engine *e, size_t n, struct error *err) {
  bool generates = e->info->task == MODEL_GENERATE; /* one more token at least */
  if (n == 0) return error_set(err, ERROR_INVALID, "The prompt has no tokens; send at least one.");
  if (n + generates <= e->context_tokens) return 0;
  if (e->context_tokens == e->info->context_tokens)
    return error_set(err, ERROR_TOO_LARGE, "The prompt has %zu tokens, but the model's window holds %zu.", n, e->context_tokens);
  return error_set(err, ERROR_TOO_LARGE,
                   "The prompt has %zu tokens, but the KV memory holds %zu of the model's context of %zu tokens, which takes %llu MiB in "
                   "all. Shorten it, or raise --kv-mib.",
                   n, e->context_tokens, e->info->context_tokens, mib_up(context_bytes(e, e->info->context_tokens)));
}

static int check_tokens(const struct engine *e, const struct engine_request *r, struct error *err) {
  if (check_length(e, r->n_prompt, err) < 0) return -1;
  for (size_t i = 0; i < r->n_prompt; i++)
    if (r->prompt[i] < 0 || (size_t)r->prompt[i] >= e->info->n_vocab)
      return error_set(err, ERROR_INVALID, "Token %zu of the prompt is %d, but the model's vocabulary has %zu tokens.", i, r->prompt[i],
                       e->info->n_vocab);
  return 0;
}

static int check_id(const struct engine *e, int32_t id, const char *what, struct error *err) {
  if (id >= 0 && (size_t)id < e->info->n_vocab) return 0;
  return error_set(err, ERROR_INVALID, "%s names the token %d, but the model's vocabulary has %zu tokens.", what, id, e->info->n_vocab);
}

static int check_sampling(const struct engine *e, const struct engine_request *r, struct error *err) {
  const struct engine_sampling *g = &r->sampling;
  const float values[] = {g->temperature, g->top_p, g->min_p, g->repetition_penalty, g->presence_penalty, g->frequency_penalty};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
    if (!isfinite(values[i]))
      return error_set(err, ERROR_INVALID, "A sampling value is %g, which is no number to compute with.", (double)values[i]);
  if (g->repetition_penalty < 0)
    return error_set(err, ERROR_INVALID, "repetition_penalty is %g; it must be above 0.", (double)g->repetition_penalty);
  if (g->n_biases > ENGINE_BIASES_MAX)
    return error_set(err, ERROR_INVALID, "logit_bias names %zu tokens; at most %d are taken.", g->n_biases, ENGINE_BIASES_MAX);
  for (size_t i = 0; i < g->n_biases; i++) {
    if (check_id(e, g->biases[i].id, "logit_bias", err) < 0) return -1;
    if (!isfinite(g->biases[i].bias)) return error_set(err, ERROR_INVALID, "A value of logit_bias is %g.", (double)g->biases[i].bias);
  }
  if (r->n_stop_ids > ENGINE_STOP_IDS_MAX)
    return error_set(err, ERROR_INVALID, "There are %zu stop ids; at most %d are taken.", r->n_stop_ids, ENGINE_STOP_IDS_MAX);
  for (size_t i = 0; i < r->n_stop_ids; i++)
    if (check_id(e, r->stop_ids[i], "stop_token_ids", err) < 0) return -1;
  return 0;
}

static int check_generation(const struct engine *e, const struct engine_request *r, struct error *err) {
  if (r->n_done >= r->n_prompt || (r->max_tokens && r->n_done >= r->max_tokens))
    return error_set(err, ERROR_INVALID, "A resumed request has %zu generated tokens among %zu, with a limit of %zu.", r->n_done,
                     r->n_prompt, r->max_tokens);
  if (r->n_stops && !e->config.token_bytes)
    return error_set(err, ERROR_UNSUPPORTED, "This engine was started without token texts, so it takes no stop strings.");
  if (r->n_stops > ENGINE_STOPS_MAX)
    return error_set(err, ERROR_INVALID, "There are %zu stop strings; at most %d are taken.", r->n_stops, ENGINE_STOPS_MAX);
  for (size_t i = 0; i < r->n_stops; i++)
    if (r->stops[i].len == 0) return error_set(err, ERROR_INVALID, "A stop string is empty.");
  if (r->top_logprobs > ENGINE_TOP_LOGPROBS_MAX)
    return error_set(err, ERROR_INVALID, "top_logprobs is %d; at most %d are given.", r->top_logprobs, ENGINE_TOP_LOGPROBS_MAX);
  return check_sampling(e, r, err);
}

/* A resumed sequence's stop strings may have begun in what was generated before. */
static void replay_tail(struct engine *e, struct sequence *s) {
  for (size_t i = s->n_prompt; i < s->n_tokens && s->request.n_stops; i++)
    sequence_completes_stop(s, e->config.token_bytes(e->config.token_bytes_ctx, s->tokens[i]));
}

static int check_place(const struct engine *e, const struct engine_request *r, struct error *err) {
  if (r->class >= ENGINE_CLASSES) return error_set(err, ERROR_INVALID, "The class is %u; %d is the highest.", r->class, ENGINE_CLASSES - 1);
  if (sched_find(&e->sched, r->id))
    return error_set(err, ERROR_INVALID, "There is a request with the id %llu already.", (unsigned long long)r->id);
  return 0;
}

int engine_submit(struct engine *e, const struct engine_request *r, struct error *err) {
  if (check_tokens(e, r, err) < 0 || check_place(e, r, err) < 0) return -1;
  if (e->info->task == MODEL_GENERATE && check_generation(e, r, err) < 0) return -1;
  struct sequence *s = sequence_create(r, e->context_tokens, e->config.stop_ids, e->config.n_stop_ids);
  replay_tail(e, s);
  sched_add(&e->sched, s, engine__clock_ns(e));
  return 0;
}

void engine__finish(struct engine *e, struct sequence *s) {
  e->finished++;
  sched_remove(&e->sched, s);
  sequence_destroy(s);
}

void engine_cancel(struct engine *e, uint64_t id) {
  struct sequence *s = sched_find(&e->sched, id);
  if (!s) return;
  sched_remove(&e->sched, s);
  sequence_destroy(s);
}

void engine_flush(struct engine *e) { sched_flush(&e->sched); }

void engine_forget_adapter(struct engine *e, const struct adapter *a) {
  for (struct sequence *s; (s = sched_find_adapter(&e->sched, a));) {
    sched_remove(&e->sched, s);
    sequence_destroy(s);
  }
  sched_flush(&e->sched);
}

/* ---- steps ---- */

struct engine_event *engine__add_event(struct engine *e) {
  if (e->n_events == e->cap_events) {
    e->cap_events = e->cap_events * 2 + 64;
    e->events = mem_realloc(e->events, e->cap_events, sizeof *e->events);
  }
  struct engine_event *event = &e->events[e->n_events++];
  *event = (struct engine_event){0};
  return event;
}

void engine__time(const struct engine *e, struct sequence *s, struct engine_event *event) {
  if (s->timed) return;
  s->timed = event->timed = true;
  event->queue_ns = s->queue_ns;
  event->prefill_ns = e->computed_ns > s->started_ns ? e->computed_ns - s->started_ns : 0;
}

void engine__count_pass(struct engine *e, uint64_t begin_ns, bool decodes, double bytes, double operations) {
  e->computed_ns = engine__clock_ns(e);
  uint64_t ns = e->computed_ns > begin_ns ? e->computed_ns - begin_ns : 0;
  e->step_tokens = e->sched.plan.n_rows;
  e->step_sequences = e->sched.plan.n;
  if (decodes) e->decode_bytes += bytes;
  else e->prefill_operations += operations;
  *(decodes ? &e->decode_ns : &e->prefill_ns) += ns;
}

uint64_t engine__clock_ns(const struct engine *e) { return e->config.clock_ns ? e->config.clock_ns(e->config.clock_ctx) : clock_ns(); }

bool engine_busy(const struct engine *e) { return sched_busy(&e->sched); }

static void expire(struct engine *e) {
  uint64_t now = engine__clock_ns(e);
  for (struct sequence *s; (s = sched_expire(&e->sched, now));) {
    struct engine_event *event = engine__add_event(e);
    event->id = s->request.id;
    event->kind = ENGINE_END;
    event->finish = ENGINE_EXPIRED;
    sequence_destroy(s);
  }
}

void engine_step(struct engine *e, const struct engine_event **ret_events, size_t *ret_n) {
  e->n_events = 0;
  e->step_tokens = e->step_sequences = 0;
  if (engine_busy(e)) {
    uint64_t begin = clock_ns();
    expire(e);
    if (e->info->task == MODEL_EMBED) step_embed(e);
    else step_generate(e);
    e->steps++;
    e->step_ns_total += clock_ns() - begin;
  }
  *ret_events = e->events;
  *ret_n = e->n_events;
}

void engine_stats(const struct engine *e, struct engine_stats *out) {
  const struct sched *c = &e->sched;
  *out = c->stats;
  out->waiting = c->fair.n_waiting;
  out->running = c->running.n;
  out->kv_bytes = e->pages.shared ? e->pages.shared->bytes_max : 0;
  out->pages_cached = c->prefix.n_unused;
  out->pages_used = e->pages.n_pages - e->pages.n_free - c->prefix.n_unused;
  out->steps = e->steps;
  out->finished = e->finished;
  out->step_ns_total = e->step_ns_total;
  out->decode_ns = e->decode_ns;
  out->decode_bytes = (uint64_t)e->decode_bytes;
  out->prefill_ns = e->prefill_ns;
  out->prefill_operations = (uint64_t)e->prefill_operations;
  out->step_tokens = e->step_tokens;
  out->step_sequences = e->step_sequences;
  out->page_bytes = e->page_bytes;
}
