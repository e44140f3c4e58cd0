/* engine_loop: see engine_loop.h. SPDX-License-Identifier: Apache-2.0
 *
 * Each round: take in what the gateway says and what the loader has done, then one step of the busy engine whose turn it is, answered by one
 * frame. An idle process sleeps in poll. A gateway that does not read stops the stepping, not the listening: what is unsent stays bounded. */
#include "app/engine_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "app/engine_slots.h"
#include "app/turns.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum { UNSENT_BYTES_MAX = 8 << 20 };
/* The machine is measured when nothing was asked for so long after a model was loaded; or between two steps, when that never is. */
enum { MEASURE_IDLE_MS = 300, MEASURE_BUSY_MS = 30000 };

struct state {
  const struct engine_loop_config *config;
  struct wire_io io;
  struct engine_slots slots;
  struct turn turns[WIRE_MODELS_MAX];
  bool stopping, measured;
  uint64_t begin_ns;
};

/* ---- frames from the gateway ---- */

static void submit(struct state *l, const struct wire_submit *m) {
  struct error err = {0};
  struct engine_bias biases[WIRE_BIASES_MAX];
  for (size_t i = 0; i < m->n_biases; i++) biases[i] = (struct engine_bias){m->biases[i].id, m->biases[i].bias};
  struct engine_request r = {.id = m->id,
                             .prompt = m->prompt,
                             .n_prompt = m->n_prompt,
                             .tenant = m->tenant,
                             .principal = m->principal,
                             .class = m->class,
                             .deadline_ns = m->deadline_ns,
                             .sampling = {.temperature = m->temperature,
                                          .top_p = m->top_p,
                                          .min_p = m->min_p,
                                          .top_k = m->top_k,
                                          .repetition_penalty = m->repetition_penalty,
                                          .presence_penalty = m->presence_penalty,
                                          .frequency_penalty = m->frequency_penalty,
                                          .biases = biases,
                                          .n_biases = m->n_biases,
                                          .seed = m->seed},
                             .max_tokens = m->max_tokens,
                             .min_tokens = m->min_tokens,
                             .ignore_eos = m->ignore_eos,
                             .stop_ids = m->stop_ids,
                             .n_stop_ids = m->n_stop_ids,
                             .stops = m->stops,
                             .n_stops = m->n_stops,
                             .top_logprobs = m->top_logprobs,
                             .prompt_logprobs = m->prompt_logprobs,
                             .n_done = m->n_done};
  struct engine *e = engine_slots_find(&l->slots, m->model, &r.adapter);
  int result = e ? engine_submit(e, &r, &err) : error_set(&err, ERROR_UNAVAILABLE, "Model %u is not loaded.", m->model);
  if (result < 0) wire_put_reject(&l->io.out, m->id, &err);
}

static void cancel(struct state *l, uint64_t id) {
  for (uint32_t i = 0; i < l->slots.n; i++) {
    struct engine_slot *slot = &l->slots.items[i];
    if (!slot->engine) continue;
    engine_cancel(slot->engine, id);
    slot->tell = true;
  }
}

static int apply(struct state *l, const struct wire_message *m, struct error *err) {
  switch (m->type) {
    case WIRE_LOAD: engine_slots_load(&l->slots, &m->load); return 0;
    case WIRE_UNLOAD: return engine_slots_unload(&l->slots, m->unload.model, err);
    case WIRE_SUBMIT: submit(l, &m->submit); return 0;
    case WIRE_CANCEL: cancel(l, m->cancel.id); return 0;
    case WIRE_STOP: l->stopping = true; return 0;
    case WIRE_MODEL_READY:
    case WIRE_MODEL_FAILED:
    case WIRE_MODEL_GONE:
    case WIRE_STEP:
    case WIRE_REJECT:
    case WIRE_MACHINE: break;
  }
  return error_set(err, ERROR_CORRUPT, "The gateway sent a frame that only an engine may send: \"%s\".", wire_type_name(m->type));
}

static int apply_all(struct state *l, struct error *err) {
  struct wire_frame frame;
  int got = 1;
  while (!l->stopping && (got = wire_io_next(&l->io, &frame, err)) == 1) {
    struct arena scratch = {0};
    struct wire_message message;
    int result = wire_decode(&frame, &scratch, &message, err);
    if (result == 0) result = apply(l, &message, err);
    arena_free(&scratch);
    if (result < 0) return -1;
  }
  return got < 0 ? -1 : 0;
}

/* A gateway that is gone is a reason to stop, not an error. */
static int receive(struct state *l, struct error *err) {
  int got = wire_io_read(&l->io, err);
  if (got < 0 && err->code == ERROR_UNAVAILABLE) {
    log_line(LOG_INFO, "engine", "The gateway is gone; the engine ends.");
    l->stopping = true;
    return 0;
  }
  return got <= 0 ? got : apply_all(l, err);
}

static void flush(struct state *l) {
  if (wire_io_flush(&l->io, NULL) < 0) l->stopping = true;
}

/* ---- work ---- */

static struct wire_stats stats_of(const struct engine *e, bool stepped) {
  struct engine_stats s;
  engine_stats(e, &s);
  const struct engine_drafts *text = &s.drafts[ENGINE_DRAFT_TEXT], *model = &s.drafts[ENGINE_DRAFT_MODEL];
  return (struct wire_stats){.waiting = (uint32_t)s.waiting,
                             .running = (uint32_t)s.running,
                             .pages_used = (uint32_t)s.pages_used,
                             .pages_cached = (uint32_t)s.pages_cached,
                             .page_bytes = (uint32_t)s.page_bytes,
                             .kv_bytes = s.kv_bytes,
                             .step_tokens = stepped ? (uint32_t)s.step_tokens : 0,
                             .step_sequences = stepped ? (uint32_t)s.step_sequences : 0,
                             .counts = {[WIRE_COUNT_STEPS] = s.steps,
                                        [WIRE_COUNT_PREFILL_TOKENS] = s.prefill_tokens,
                                        [WIRE_COUNT_DECODE_TOKENS] = s.decode_tokens,
                                        [WIRE_COUNT_EMBED_TOKENS] = s.embed_tokens,
                                        [WIRE_COUNT_PREEMPTIONS] = s.preemptions,
                                        [WIRE_COUNT_FINISHED] = s.finished,
                                        [WIRE_COUNT_PREFIX_QUERY_TOKENS] = s.prefix_query_tokens,
                                        [WIRE_COUNT_PREFIX_HIT_TOKENS] = s.prefix_hit_tokens,
                                        [WIRE_COUNT_STARTED] = s.started,
                                        [WIRE_COUNT_EXPIRED] = s.expired,
                                        [WIRE_COUNT_QUEUE_NS] = s.queue_ns_total,
                                        [WIRE_COUNT_TEXT_DRAFTS] = text->n,
                                        [WIRE_COUNT_TEXT_DRAFTED] = text->drafted,
                                        [WIRE_COUNT_TEXT_ACCEPTED] = text->accepted,
                                        [WIRE_COUNT_MODEL_DRAFTS] = model->n,
                                        [WIRE_COUNT_MODEL_DRAFTED] = model->drafted,
                                        [WIRE_COUNT_MODEL_ACCEPTED] = model->accepted,
                                        [WIRE_COUNT_DECODE_NS] = s.decode_ns,
                                        [WIRE_COUNT_DECODE_BYTES] = s.decode_bytes,
                                        [WIRE_COUNT_PREFILL_NS] = s.prefill_ns,
                                        [WIRE_COUNT_PREFILL_OPERATIONS] = s.prefill_operations}};
}

static void put_event(struct wire_step_writer *w, const struct engine_event *e, uint32_t n_embd) {
  static const enum wire_kind kinds[] = {
      [ENGINE_TOKEN] = WIRE_TOKEN, [ENGINE_PROMPT_TOKEN] = WIRE_PROMPT_TOKEN, [ENGINE_EMBEDDING] = WIRE_EMBEDDING, [ENGINE_END] = WIRE_END};
  static const enum wire_finish finishes[] = {
      [ENGINE_RUNNING] = WIRE_RUNNING, [ENGINE_STOP] = WIRE_STOPPED, [ENGINE_LENGTH] = WIRE_LENGTH, [ENGINE_EXPIRED] = WIRE_EXPIRED};
  struct wire_logprob top[WIRE_TOP_MAX];
  for (int i = 0; i < e->n_top; i++) top[i] = (struct wire_logprob){e->top[i].id, e->top[i].logprob};
  bool embeds = e->kind == ENGINE_EMBEDDING;
  struct wire_event event = {.id = e->id,
                             .kind = kinds[e->kind],
                             .finish = finishes[e->finish],
                             .is_eos = e->is_eos,
                             .timed = e->timed,
                             .queue_us = e->queue_ns / 1000,
                             .prefill_us = e->prefill_ns / 1000,
                             .token = e->token,
                             .logprob = e->logprob,
                             .n_top = (uint32_t)e->n_top,
                             .top = top,
                             .n_embd = embeds ? n_embd : 0,
                             .embedding = e->embedding};
  wire_step_add(w, &event);
}

/* Tokens that the engine has been through: a step that changes none of it did nothing. */
static uint64_t tokens_done(const struct engine_slot *slot) {
  struct engine_stats s;
  engine_stats(slot->engine, &s);
  return s.prefill_tokens + s.decode_tokens + s.embed_tokens + s.expired;
}

/* False when it could do nothing. */
static bool step(struct state *l, uint32_t model) {
  struct engine_slot *slot = &l->slots.items[model];
  struct engine *e = slot->engine;
  const struct engine_event *events = NULL;
  size_t n = 0;
  struct wire_step_writer w;
  bool steps = engine_busy(e);
  if (steps) engine_step(e, &events, &n);
  uint64_t before = slot->n_done;
  slot->n_done = tokens_done(slot);
  if (n == 0 && slot->n_done == before && !slot->tell) return false;
  slot->tell = false;
  struct wire_stats stats = stats_of(e, steps);
  wire_step_begin(&w, &l->io.out, model, &stats);
  for (size_t i = 0; i < n; i++) put_event(&w, &events[i], slot->n_embd);
  wire_step_end(&w);
  flush(l);
  return true;
}

static bool may_step(const struct state *l) { return wire_io_unsent(&l->io) < UNSENT_BYTES_MAX; }

static bool has_step(const struct state *l, uint32_t model) {
  const struct engine_slot *slot = &l->slots.items[model];
  return slot->engine && (slot->tell || engine_busy(slot->engine));
}

static bool has_work(const struct state *l) {
  if (!may_step(l)) return false;
  for (uint32_t i = 0; i < l->slots.n; i++)
    if (has_step(l, i)) return true;
  return false;
}

/* One step of the model whose turn it is. */
static void work(struct state *l) {
  engine_slots_take(&l->slots);
  flush(l);
  engine_slots_start(&l->slots);
  flush(l);
  if (l->stopping || !may_step(l)) return;
  uint32_t n = l->slots.n;
  for (uint32_t i = 0; i < n; i++) turns_tell(l->turns, n, i, has_step(l, i));
  size_t next = turns_next(l->turns, n);
  if (next == n) return;
  uint64_t begin_ns = clock_ns();
  bool did = step(l, (uint32_t)next);
  turns_took(l->turns, n, next, clock_ns() - begin_ns, !did);
}

/* It takes some 50 ms in which no step is made. */
static void measure(struct state *l) {
  struct wire_machine machine = {0};
  l->measured = l->config->measure(l->config->ctx, &machine);
  if (l->measured) wire_put_machine(&l->io.out, &machine);
}

static bool may_measure(const struct state *l) {
  return l->config->measure && !l->measured && !engine_slots_loading(&l->slots) && l->slots.n > 0;
}

static bool is_time_to_measure(const struct state *l) {
  if (!may_measure(l)) return false;
  return !has_work(l) || clock_ns() - l->begin_ns > MEASURE_BUSY_MS * 1000000ull;
}

/* How long to wait for the gateway: not at all when there is work, else until the next tidying or the measurement. */
static int patience_ms(const struct state *l) {
  unsigned tidy_ms = l->config->tidy ? l->config->tidy(l->config->ctx) : 0;
  if (has_work(l)) return 0;
  if (may_measure(l)) return MEASURE_IDLE_MS;
  return tidy_ms ? (int)tidy_ms : -1;
}

static int listen_once(struct state *l, struct error *err) {
  size_t unsent = wire_io_unsent(&l->io);
  struct pollfd p[2] = {{.fd = l->io.fd, .events = (short)((unsent < 2 * UNSENT_BYTES_MAX ? POLLIN : 0) | (unsent ? POLLOUT : 0))},
                        {.fd = l->slots.loader.fd, .events = POLLIN}};
  int n = poll(p, 2, patience_ms(l));
  if (n < 0 && errno != EINTR) return error_set(err, ERROR_IO, "Cannot wait for the gateway: %s.", strerror(errno));
  if (n == 0 && is_time_to_measure(l)) measure(l);
  if (n <= 0) return 0;
  if (p[0].revents & (POLLOUT | POLLERR | POLLHUP)) flush(l);
  if (p[0].revents & (POLLIN | POLLERR | POLLHUP) && receive(l, err) < 0) return -1;
  flush(l);
  return 0;
}

static int run(struct state *l, struct error *err) {
  if (engine_slots_init(&l->slots, l->config, &l->io.out, err) < 0) return -1;
  int result = 0;
  while (!l->stopping && result == 0) {
    result = listen_once(l, err);
    if (result == 0 && !l->stopping) work(l);
  }
  engine_slots_deinit(&l->slots);
  return result;
}

int engine_loop_run(const struct engine_loop_config *config, struct error *err) {
  struct state *l = mem_zalloc(1, sizeof *l);
  struct error ours; /* the loop reads codes: it needs one even when the caller does not */
  if (!err) err = &ours;
  l->config = config;
  l->io.fd = config->fd;
  l->begin_ns = clock_ns();
  int result = run(l, err);
  wire_io_free(&l->io);
  free(l);
  return result;
}
