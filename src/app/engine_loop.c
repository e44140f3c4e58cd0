/* engine_loop: see engine_loop.h. SPDX-License-Identifier: Apache-2.0
 *
 * One thread. Each round: take in what the gateway says, load one model if one is asked for, then one step of every busy engine in
 * turn, each answered by one frame. An idle process sleeps in poll. A gateway that does not read stops the stepping, not the listening:
 * what is unsent stays bounded. */
#include "app/engine_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum { UNSENT_BYTES_MAX = 8 << 20 };
/* The machine is measured when nothing was asked for so long after a model was loaded; or between two steps, when that never is. */
enum { MEASURE_IDLE_MS = 300, MEASURE_BUSY_MS = 30000 };

struct slot {
  struct engine *engine;   /* NULL: not loaded, or an adapter */
  struct adapter *adapter; /* of the model in the slot `base`; NULL: none */
  uint32_t base;
  uint32_t n_embd;
  bool tell; /* the counters changed without a step */
};

struct pending {
  struct pending *next;
  struct wire_load load; /* owns its path */
};

struct state {
  const struct engine_loop_config *config;
  struct wire_io io;
  struct slot slots[WIRE_MODELS_MAX];
  uint32_t n_slots; /* one past the highest model that is loaded */
  struct pending *loads, **loads_end;
  bool stopping, measured;
  uint64_t begin_ns;
};

/* ---- frames from the gateway ---- */

static void queue_load(struct state *l, const struct wire_load *load) {
  struct pending *p = mem_zalloc(1, sizeof *p);
  p->load = *load;
  p->load.path = slice_make(mem_dup(load->path.data, load->path.len), load->path.len);
  *l->loads_end = p;
  l->loads_end = &p->next;
}

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
  struct slot *slot = m->model < l->n_slots ? &l->slots[m->model] : NULL;
  if (slot) r.adapter = slot->adapter;
  if (slot && slot->adapter) slot = &l->slots[slot->base];
  struct engine *e = slot ? slot->engine : NULL;
  int result = e ? engine_submit(e, &r, &err) : error_set(&err, ERROR_UNAVAILABLE, "Model %u is not loaded.", m->model);
  if (result < 0) wire_put_reject(&l->io.out, m->id, &err);
}

static void cancel(struct state *l, uint64_t id) {
  for (uint32_t i = 0; i < l->n_slots; i++) {
    if (!l->slots[i].engine) continue;
    engine_cancel(l->slots[i].engine, id);
    l->slots[i].tell = true;
  }
}

static int apply(struct state *l, const struct wire_message *m, struct error *err) {
  switch (m->type) {
    case WIRE_LOAD: queue_load(l, &m->load); return 0;
    case WIRE_SUBMIT: submit(l, &m->submit); return 0;
    case WIRE_CANCEL: cancel(l, m->cancel.id); return 0;
    case WIRE_STOP: l->stopping = true; return 0;
    case WIRE_MODEL_READY:
    case WIRE_MODEL_FAILED:
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

static bool is_taken(const struct slot *slot) { return slot->engine || slot->adapter; }

static int load_engine(struct state *l, const struct wire_load *load, struct wire_model *figures, struct error *err) {
  struct slot *slot = &l->slots[load->model];
  slot->engine = l->config->load(l->config->ctx, load, figures, err);
  return slot->engine ? 0 : -1;
}

static int load_adapter(struct state *l, const struct wire_load *load, struct wire_model *figures, struct error *err) {
  struct slot *slot = &l->slots[load->model];
  if (!l->slots[load->base].engine) return error_set(err, ERROR_UNAVAILABLE, "The adapter's base, model %u, is not loaded.", load->base);
  if (!l->config->load_adapter) return error_set(err, ERROR_UNSUPPORTED, "This engine takes no adapters.");
  slot->base = load->base;
  slot->adapter = l->config->load_adapter(l->config->ctx, load, figures, err);
  return slot->adapter ? 0 : -1;
}

static int load_one(struct state *l, const struct wire_load *load, struct wire_model *figures, struct error *err) {
  if (is_taken(&l->slots[load->model])) return error_set(err, ERROR_INVALID, "Model %u is loaded already.", load->model);
  return load->is_adapter ? load_adapter(l, load, figures, err) : load_engine(l, load, figures, err);
}

static void load_next(struct state *l) {
  struct pending *p = l->loads;
  const uint32_t model = p->load.model;
  struct wire_model figures = {0};
  struct error err = {0};
  l->loads = p->next;
  if (!l->loads) l->loads_end = &l->loads;
  if (load_one(l, &p->load, &figures, &err) == 0) {
    l->slots[model].n_embd = figures.n_embd;
    if (model >= l->n_slots) l->n_slots = model + 1;
    figures.model = model;
    wire_put_ready(&l->io.out, &figures);
  } else {
    wire_put_failed(&l->io.out, model, &err);
  }
  free((void *)p->load.path.data);
  free(p);
}

static struct wire_stats stats_of(const struct engine *e, bool stepped) {
  struct engine_stats s;
  engine_stats(e, &s);
  const struct engine_drafts *text = &s.drafts[ENGINE_DRAFT_TEXT];
  return (struct wire_stats){.waiting = (uint32_t)s.waiting,
                             .running = (uint32_t)s.running,
                             .pages_used = (uint32_t)s.pages_used,
                             .pages_cached = (uint32_t)s.pages_cached,
                             .pages_total = (uint32_t)s.pages_total,
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

static void step(struct state *l, uint32_t model) {
  struct engine *e = l->slots[model].engine;
  const struct engine_event *events = NULL;
  size_t n = 0;
  struct wire_step_writer w;
  l->slots[model].tell = false;
  bool steps = engine_busy(e);
  if (steps) engine_step(e, &events, &n);
  struct wire_stats stats = stats_of(e, steps);
  wire_step_begin(&w, &l->io.out, model, &stats);
  for (size_t i = 0; i < n; i++) put_event(&w, &events[i], l->slots[model].n_embd);
  wire_step_end(&w);
  flush(l);
}

static bool may_step(const struct state *l) { return wire_io_unsent(&l->io) < UNSENT_BYTES_MAX; }

static bool has_step(const struct state *l, uint32_t model) {
  const struct slot *slot = &l->slots[model];
  return slot->engine && (slot->tell || engine_busy(slot->engine));
}

static bool has_work(const struct state *l) {
  if (l->loads) return true;
  if (!may_step(l)) return false;
  for (uint32_t i = 0; i < l->n_slots; i++)
    if (has_step(l, i)) return true;
  return false;
}

static void work(struct state *l) {
  if (l->loads && !l->stopping) {
    load_next(l);
    flush(l);
  }
  for (uint32_t i = 0; i < l->n_slots && !l->stopping; i++)
    if (has_step(l, i) && may_step(l)) step(l, i);
}

/* Once; it takes some 50 ms in which no step is made. */
static void measure(struct state *l) {
  struct wire_machine machine = {0};
  l->measured = true;
  l->config->measure(l->config->ctx, &machine);
  wire_put_machine(&l->io.out, &machine);
}

static bool may_measure(const struct state *l) { return l->config->measure && !l->measured && !l->loads && l->n_slots > 0; }

/* Until when poll waits for the gateway. */
static int patience_ms(const struct state *l) { return has_work(l) ? 0 : may_measure(l) ? MEASURE_IDLE_MS : -1; }

static bool is_time_to_measure(const struct state *l) {
  if (!may_measure(l)) return false;
  return !has_work(l) || clock_ns() - l->begin_ns > MEASURE_BUSY_MS * 1000000ull;
}

/* Waits for the gateway, not at all when there is work. */
static int listen_once(struct state *l, struct error *err) {
  size_t unsent = wire_io_unsent(&l->io);
  struct pollfd p = {.fd = l->io.fd, .events = (short)((unsent < 2 * UNSENT_BYTES_MAX ? POLLIN : 0) | (unsent ? POLLOUT : 0))};
  int n = poll(&p, 1, patience_ms(l));
  if (n < 0 && errno != EINTR) return error_set(err, ERROR_IO, "Cannot wait for the gateway: %s.", strerror(errno));
  if (n == 0 && is_time_to_measure(l)) measure(l);
  if (n <= 0) return 0;
  if (p.revents & (POLLOUT | POLLERR | POLLHUP)) flush(l);
  if (p.revents & (POLLIN | POLLERR | POLLHUP) && receive(l, err) < 0) return -1;
  flush(l);
  return 0;
}

static void close_all(struct state *l) {
  for (uint32_t i = 0; i < l->n_slots; i++) engine_destroy(l->slots[i].engine); /* their sequences borrow adapters */
  for (uint32_t i = 0; i < l->n_slots; i++)
    if (l->slots[i].adapter) l->config->unload(l->config->ctx, i);
  for (uint32_t i = 0; i < l->n_slots; i++)
    if (l->slots[i].engine) l->config->unload(l->config->ctx, i);
  for (struct pending *p = l->loads, *next; p; p = next) {
    next = p->next;
    free((void *)p->load.path.data);
    free(p);
  }
  wire_io_free(&l->io);
}

int engine_loop_run(const struct engine_loop_config *config, struct error *err) {
  struct state *l = mem_zalloc(1, sizeof *l);
  struct error ours; /* the loop reads codes: it needs one even when the caller does not */
  if (!err) err = &ours;
  l->config = config;
  l->io.fd = config->fd;
  l->loads_end = &l->loads;
  l->begin_ns = clock_ns();
  int result = 0;
  while (!l->stopping && result == 0) {
    result = listen_once(l, err);
    if (result == 0) work(l);
  }
  close_all(l);
  free(l);
  return result;
}
