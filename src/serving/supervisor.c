/* supervisor: starts the engine process, talks with it, and starts it again when it dies. SPDX-License-Identifier: Apache-2.0
 *
 *     start --spawned--> running --socket closed, nonsense or stall--> dead --delay--> start
 *
 * The first restart comes at once, the next after 0.5 s, doubling to 5 s; an engine that lived for a while starts the count again. When
 * FAILED_STARTS_MAX processes in a row ended before any endpoint was ready, the engine is `down`: what waits is refused, as is what comes;
 * the attempts go on. The engine's frames are outside input: one that makes no sense ends the process, never ours.
 *
 * An endpoint is ready when a small generation of our own went through the real way: frames, queue, forward pass and back. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "serving/state.h"

enum {
  FAILED_STARTS_MAX = 4,
  DEATHS_OF_ONE_MAX = 5,      /* engines that died with a request before it is given up */
  LOAD_DEATHS_MAX = 3,        /* engines that ended while they loaded a model before it is left out: less than FAILED_STARTS_MAX */
  ADDED_DEATHS_MAX = 2,       /* the same of one that was never ready and came while others were served */
  DELAY_DOUBLINGS_MAX = 3,    /* then ten times the first: 0.5, 1, 2, 4, 5, 5, … s */
  COLLECT_MS = 20,            /* between looks for the end of a killed process */
  COLLECT_LOOKS = 10,         /* a millisecond apart, after the socket was closed */
  UNSENT_BYTES_MAX = 8 << 20, /* of submissions; more wait here */
  STALL_TICKS = 4,
};
static const uint64_t QUICK_NS = 10 * 1000000000ull; /* a life shorter than this counts as a quick death */

static void start(void *arg);
static void died(struct serving *s, const char *why);
static void ended(struct serving *s, const char *why);

/* ---- sending ---- */

static void flush(struct serving *s) {
  struct supervisor *e = &s->engine;
  if (!e->running) return;
  (void)wire_io_flush(&e->io, NULL); /* an end that is gone is seen by the watch, outside of any caller */
  bool more = wire_io_unsent(&e->io) > 0;
  if (more != e->writing) loop_watch_writing(s->loop, e->watch, more);
  e->writing = more;
}

static bool may_be_sent(const struct generation *g) {
  return g->state == GENERATION_WAITING && g->model->loaded && (g->internal || g->model->door.state == SERVING_READY);
}

void supervisor_pump(struct serving *s) {
  struct supervisor *e = &s->engine;
  if (!e->running) return;
  for (struct generation *g = s->generations.first; g && s->generations.n_waiting; g = g->next) {
    if (!may_be_sent(g)) continue;
    if (wire_io_unsent(&e->io) > UNSENT_BYTES_MAX) break;
    wire_put_submit(&e->io.out, &g->ask);
    if (s->generations.n_with_engine == 0) e->heard_ns = clock_ns(); /* silence counts from here */
    generations_set_state(g, GENERATION_SENT);
    g->sent_ns = clock_ns();
  }
  flush(s);
}

void supervisor_forget(struct serving *s, const struct generation *g) {
  if (!s->engine.running || g->state == GENERATION_WAITING) return;
  wire_put_cancel(&s->engine.io.out, g->id);
  flush(s);
}

void supervisor_load(struct serving *s, struct model *m) {
  if (!s->engine.running || m->unreadable || m->stopped || m->leaving || m->asked) return;
  struct wire_load load = {.model = (uint32_t)m->door.index, .path = slice_cstr(m->path), .is_adapter = m->base != NULL};
  if (m->base) load.base = (uint32_t)m->base->door.index;
  const char *draft = drafts_path(s, m);
  if (draft) load.draft = slice_cstr(draft);
  m->asked = true;
  wire_put_load(&s->engine.io.out, &load);
  flush(s);
}

void supervisor_unload(struct serving *s, struct model *m) {
  m->unload_sent = true;
  wire_put_unload(&s->engine.io.out, (uint32_t)m->door.index);
  flush(s);
}

static void send_loads(struct serving *s) {
  for (size_t i = 0; i < s->models.n_in_order; i++) supervisor_load(s, s->models.in_order[i]);
}

/* ---- the proof that an endpoint works ---- */

static void give_up_model(struct serving *s, struct model *m, const char *sentence, size_t len) {
  struct error why;
  models_fail(m, sentence, len);
  log_line(LOG_ERROR, "serving", "The model %s cannot be served: %s", m->name, m->failure);
  error_set(&why, ERROR_UNAVAILABLE, "The endpoint %.64s cannot be served: %.400s", m->name, m->failure);
  generations_fail_all(s, m, GENERATION_BEGUN, &why);
}

static void on_proof(void *arg, const struct serving_event *event) {
  struct generation *g = arg;
  struct serving *s = g->serving;
  struct model *m = g->model;
  if (event->kind != SERVING_ERROR) m->door.state = SERVING_READY; /* its first event, which is its last */
  else if (!s->draining && !m->leaving) give_up_model(s, m, event->error->message, strlen(event->error->message));
}

/* One token in, one token or embedding out. A model of one token more would do; any id of its vocabulary is a text. */
static void prove(struct serving *s, struct model *m) {
  const int32_t bos = m->door.tokenizer ? tokenizer_bos(m->door.tokenizer) : -1;
  const int32_t prompt[1] = {bos >= 0 && (uint32_t)bos < m->n_vocab ? bos : 0};
  struct wire_submit ask = {.model = (uint32_t)m->door.index,
                            .top_p = 1,
                            .repetition_penalty = 1,
                            .max_tokens = 1,
                            .top_logprobs = -1,
                            .ignore_eos = true,
                            .prompt = prompt,
                            .n_prompt = 1};
  struct generation *g = generations_add(s, m, &ask, 0);
  g->internal = true;
  s->generations.n--; /* internal ones do not count */
  g->on_event = on_proof;
  g->arg = g;
}

/* ---- receiving ---- */

static int nonsense(struct error *err, const char *what) { return error_set(err, ERROR_CORRUPT, "The engine sent %s.", what); }

/* The model of a number that the engine was told; NULL for any other. */
static struct model *asked_model(struct serving *s, uint32_t number) {
  struct model *m = number < WIRE_MODELS_MAX ? s->models.slots[number] : NULL;
  return m && m->asked ? m : NULL;
}

static void tell_cut(const struct model *m, const struct wire_model *figures) {
  if (figures->context_tokens == figures->whole_context_tokens || m->base) return;
  log_line(LOG_WARN, "serving",
           "%s is served with a context of %u tokens; its own has %u, for which the KV memory of %llu MiB is too small. --kv-mib sets it, "
           "where memory is free.",
           m->name, figures->context_tokens, figures->whole_context_tokens, (unsigned long long)(figures->kv_bytes >> 20));
}

static int on_ready(struct serving *s, const struct wire_model *figures, struct error *err) {
  struct model *m = asked_model(s, figures->model);
  if (!m || m->loaded) return nonsense(err, "figures of a model that it was not asked for");
  m->loaded = true;
  m->load_deaths = 0;
  if (figures->kv_bytes) s->kv_bytes = figures->kv_bytes;
  if (m->leaving) return 0;
  models_take_figures(m, figures);
  log_line(LOG_INFO, "serving", "%s is loaded: %s, %s, %llu MiB of weights, %llu MiB for KV, %llu ms.", m->name, m->architecture,
           m->quantization, (unsigned long long)(figures->weight_bytes >> 20), (unsigned long long)(figures->kv_bytes >> 20),
           (unsigned long long)figures->load_ms);
  tell_cut(m, figures);
  generations_refuse_longer(s, m);
  prove(s, m);
  roster_base_is_loaded(s, m);
  return 0;
}

static int on_failed(struct serving *s, const struct wire_failed *f, struct error *err) {
  struct model *m = asked_model(s, f->model);
  if (!m || m->loaded) return nonsense(err, "a failure of a model that it was not asked for");
  if (m->unload_sent) return 0; /* that it is gone follows */
  m->asked = false;
  m->lacked_memory = f->code == ERROR_NO_MEMORY && !m->leaving;
  if (m->leaving) roster_look_again(s);
  else give_up_model(s, m, f->message.data, f->message.len);
  return 0;
}

static int on_gone(struct serving *s, const struct wire_gone *g, struct error *err) {
  struct model *m = asked_model(s, g->model);
  if (!m || !m->unload_sent) return nonsense(err, "the end of a model that it was not told to unload");
  roster_gone(s, m);
  return 0;
}

static int check_event(const struct generation *g, const struct wire_event *e, struct error *err) {
  const struct model *m = g->model;
  if (g->state == GENERATION_WAITING) return nonsense(err, "an event of a request that it was not given");
  if (e->kind == WIRE_END) return g->timeout_ms ? 0 : nonsense(err, "the end of the time of a request without a limit");
  if ((e->kind == WIRE_EMBEDDING) != (m->door.task == SERVING_EMBEDDINGS)) return nonsense(err, "an event of another task");
  if (e->kind == WIRE_EMBEDDING && e->n_embd != m->door.n_embd) return nonsense(err, "an embedding of another width");
  if (e->kind != WIRE_EMBEDDING && (e->token < 0 || (uint32_t)e->token >= m->n_vocab))
    return nonsense(err, "a token outside the vocabulary");
  for (uint32_t i = 0; i < e->n_top; i++)
    if (e->top[i].id < 0 || (uint32_t)e->top[i].id >= m->n_vocab) return nonsense(err, "an alternative outside the vocabulary");
  return 0;
}

static void note_ready(struct serving *s, struct model *m) {
  struct supervisor *e = &s->engine;
  m->counts = true;
  log_line(LOG_INFO, "serving", "%s is ready.", m->name);
  e->any_ready = true;
  e->failed_starts = 0;
  e->down = false;
}

static int on_step(struct serving *s, const struct wire_step *step, struct error *err) {
  struct model *m = asked_model(s, step->model);
  if (!m || !m->loaded) return nonsense(err, "a step of a model that is not loaded");
  figures_take(&m->figures, &step->stats);
  if (step->stats.kv_bytes) s->kv_bytes = step->stats.kv_bytes;
  for (size_t i = 0; i < step->n_events && !s->stopped; i++) {
    struct generation *g = generations_find(s, step->events[i].id);
    if (!g) continue; /* cancelled meanwhile */
    if ((g->model->base ? g->model->base : g->model) != m) return nonsense(err, "an event of another model's request");
    if (check_event(g, &step->events[i], err) < 0) return -1;
    struct model *asked = g->model;
    bool was_ready = asked->door.state == SERVING_READY;
    generations_deliver(g, &step->events[i]);
    if (!was_ready && asked->door.state == SERVING_READY) note_ready(s, asked);
  }
  return 0;
}

static int on_reject(struct serving *s, const struct wire_reject *r, struct error *err) {
  struct generation *g = generations_find(s, r->id);
  if (!g) return 0;
  if (g->state != GENERATION_SENT) return nonsense(err, "a refusal of a request that it had taken");
  struct error why;
  error_set(&why, r->code, "%.*s", SLICE_ARG(r->message));
  generations_fail(g, &why);
  return 0;
}

static int on_message(struct serving *s, const struct wire_message *m, struct error *err) {
  switch (m->type) {
    case WIRE_MODEL_READY: return on_ready(s, &m->ready, err);
    case WIRE_MODEL_FAILED: return on_failed(s, &m->failed, err);
    case WIRE_STEP: return on_step(s, &m->step, err);
    case WIRE_REJECT: return on_reject(s, &m->reject, err);
    case WIRE_MACHINE: s->machine = m->machine; return 0;
    case WIRE_MODEL_GONE: return on_gone(s, &m->gone, err);
    case WIRE_LOAD:
    case WIRE_UNLOAD:
    case WIRE_SUBMIT:
    case WIRE_CANCEL:
    case WIRE_STOP: break;
  }
  return nonsense(err, "a frame that only a gateway may send");
}

/* Frames that are here; -1: nonsense. */
static int take_frames(struct serving *s, struct error *err) {
  struct wire_frame frame;
  int got;
  while (!s->stopped && (got = wire_io_next(&s->engine.io, &frame, err)) == 1) {
    struct arena scratch = {0};
    struct wire_message message;
    int result = wire_decode(&frame, &scratch, &message, err);
    if (result == 0) result = on_message(s, &message, err);
    arena_free(&scratch);
    if (result < 0) return -1;
  }
  return s->stopped ? 0 : got;
}

static void receive(struct serving *s) {
  struct error err;
  int got = wire_io_read(&s->engine.io, &err);
  if (got < 0) {
    ended(s, err.message);
    return;
  }
  if (got > 0) {
    s->engine.heard_ns = clock_ns();
    s->engine.stale_ticks = 0;
    got = take_frames(s, &err);
  }
  if (s->stopped) return;
  if (got < 0) died(s, err.message);
  else supervisor_pump(s);
}

static void on_socket(void *arg, bool readable, bool writable) {
  struct serving *s = arg;
  if (writable) supervisor_pump(s);
  if (readable && s->engine.running) receive(s);
}

/* An engine that has work and gives no sign. Looks several times, so that a gateway that was itself held up does not blame the engine. */
static void on_stall_tick(void *arg) {
  struct serving *s = arg;
  struct supervisor *e = &s->engine;
  uint64_t limit_ns = s->config.stall_ms * 1000000ull;
  bool silent = e->running && s->generations.n_with_engine > 0 && clock_ns() - e->heard_ns > limit_ns;
  e->stale_ticks = silent ? e->stale_ticks + 1 : 0;
  if (e->stale_ticks < STALL_TICKS) return;
  e->stale_ticks = 0;
  died(s, "It has work, but gave no sign for too long.");
}

/* ---- life and death ---- */

/* The one that the engine was loading, or was to load next. */
static struct model *model_in_loading(struct serving *s) {
  for (size_t i = 0; i < s->models.n_in_order; i++) {
    struct model *m = s->models.in_order[i];
    if (m->asked && !m->loaded && !m->leaving) return m;
  }
  return NULL;
}

/* A model that ends every engine while it is loaded must not take the others along: they are loaded before it, and it is left out when
 * another one could be loaded; one that was added while others were served after fewer attempts. */
static void blame_model(struct serving *s) {
  struct model *m = model_in_loading(s);
  bool any_loaded = false;
  for (size_t i = 0; i < s->models.n_in_order; i++) any_loaded |= s->models.in_order[i]->loaded;
  if (!m) return;
  models_load_last(&s->models, m);
  m->load_deaths++;
  if (!any_loaded || m->load_deaths < (m->counts ? LOAD_DEATHS_MAX : ADDED_DEATHS_MAX)) return;
  struct error why;
  error_set(&why, ERROR_UNAVAILABLE,
            "The engine ended %u times while it loaded this model; it is left out until \"plinth models load %.64s\" or a new start.",
            m->load_deaths, m->name);
  m->unreadable = m->left_out = true;
  give_up_model(s, m, why.message, strlen(why.message));
}

/* Models have to be loaded again, also those that this engine could not load: the next one may find more memory. */
static void forget_models(struct serving *s) {
  for (size_t i = 0; i < s->models.n_in_order; i++) {
    struct model *m = s->models.in_order[i];
    m->asked = m->loaded = m->unload_sent = m->lacked_memory = false;
    if (!m->unreadable && !m->stopped) m->door.state = SERVING_LOADING;
    if (!m->unreadable) m->door.failure = NULL;
    figures_forget_engine(&m->figures);
  }
  roster_look_again(s);
}

/* The first that a dead engine had and that is to end: it had begun and does not resume, or killed too many. The others it had go back to
 * waiting here. */
static struct generation *next_lost(struct serving *s, uint64_t id_max) {
  for (struct generation *g = s->generations.first; g && g->id <= id_max; g = g->next) {
    if (g->state == GENERATION_WAITING) continue;
    if ((g->state == GENERATION_BEGUN && !g->resumes) || g->deaths + 1 >= DEATHS_OF_ONE_MAX) return g;
    g->deaths++;
    generations_rewind(g);
  }
  return NULL;
}

/* What waited in a dead engine waits here again, in its old order; what had begun ends or waits to be resumed. A callback may change the list: so each look for the
 * next one starts over. */
static void take_back(struct serving *s) {
  struct error broken, poison;
  error_set(&broken, ERROR_UNAVAILABLE,
            "The engine stopped while it worked on this request. It is being started again; send the request once more.");
  error_set(&poison, ERROR_INTERNAL, "The engine stopped %d times while it worked on this request; it is not tried again.",
            DEATHS_OF_ONE_MAX);
  uint64_t id_max = s->generations.next_id;
  for (struct generation *g; (g = next_lost(s, id_max));)
    generations_fail(g, g->state == GENERATION_BEGUN && !g->resumes ? &broken : &poison);
}

/* They are made anew in the next process. */
static void drop_proofs(struct serving *s) {
  for (struct generation *g = s->generations.first, *next; g; g = next) {
    next = g->next;
    if (g->internal) generations_remove(g);
  }
}

static unsigned delay_ms(const struct serving *s) {
  if (s->engine.quick_deaths <= 1) return 0;
  unsigned shift = s->engine.quick_deaths - 2;
  return shift > DELAY_DOUBLINGS_MAX ? s->config.restart_delay_ms * 10 : s->config.restart_delay_ms << shift;
}

static void count_death(struct serving *s, const char *why) {
  struct supervisor *e = &s->engine;
  e->quick_deaths = clock_ns() - e->started_ns < QUICK_NS ? e->quick_deaths + 1 : 1;
  e->failed_starts = e->any_ready ? 0 : e->failed_starts + 1;
  snprintf(e->last_error, sizeof e->last_error, "%s", why);
  if (e->failed_starts < FAILED_STARTS_MAX || e->down) return;
  e->down = true;
  log_line(LOG_ERROR, "serving", "The engine cannot be started: %u attempts in a row failed. Requests are refused; the attempts go on.",
           e->failed_starts);
}

static void close_conversation(struct serving *s) {
  struct supervisor *e = &s->engine;
  e->running = e->writing = false;
  loop_watch_stop(s->loop, e->watch);
  e->watch = NULL;
  wire_io_free(&e->io);
  process_kill(&e->process);
}

/* A socket that was closed mostly means a process that has just ended: how, is known a moment later. */
static void ended(struct serving *s, const char *why) {
  char how[128], sentence[256];
  bool collected = false;
  for (int i = 0; i < COLLECT_LOOKS && !collected; i++) {
    if (i) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    collected = process_collect(&s->engine.process, how, sizeof how);
  }
  snprintf(sentence, sizeof sentence, "It %s.", how);
  died(s, collected ? sentence : why);
}

static void died(struct serving *s, const char *why) {
  struct supervisor *e = &s->engine;
  log_line(LOG_ERROR, "serving", "The engine process is lost. %s", why);
  close_conversation(s);
  count_death(s, why);
  drop_proofs(s);
  e->restart = loop_timer_start(s->loop, delay_ms(s), false, start, s); /* before the callbacks, which may stop everything */
  blame_model(s);
  forget_models(s);
  take_back(s);
  if (!e->down || s->stopped) return;
  struct error err;
  error_set(&err, ERROR_UNAVAILABLE, "The engine cannot be started; it is tried again and again. Try later.");
  generations_fail_all(s, NULL, GENERATION_WAITING, &err);
}

/* False while the last process is not collected: its memory is needed. */
static bool collect_last(struct supervisor *e) {
  char how[128];
  bool had = e->process.pid != 0;
  if (!process_collect(&e->process, how, sizeof how)) return false;
  if (had) log_line(LOG_INFO, "serving", "The last engine process %s.", how);
  return true;
}

static int start_process(struct serving *s, struct error *err) {
  const struct serving_config *c = &s->config;
  char threads[16], kv_mib[24];
  snprintf(threads, sizeof threads, "%d", c->threads);
  snprintf(kv_mib, sizeof kv_mib, "%llu", (unsigned long long)c->kv_mib);
  char *argv[64] = {s->engine_program, "engine", "--fd", "3", "--compute", s->compute, "--threads", threads, "--kv-mib", kv_mib};
  size_t n = 10;
  for (char **arg = s->engine_args; *arg && n < 63; arg++) argv[n++] = *arg;
  /* The name in the process list; the program itself may be /proc/self/exe. */
  argv[0] = "plinth";
  return process_start(&s->engine.process, s->engine_program, argv, err);
}

static void start(void *arg) {
  struct serving *s = arg;
  struct supervisor *e = &s->engine;
  struct error err;
  e->restart = NULL;
  if (!collect_last(e)) {
    e->restart = loop_timer_start(s->loop, COLLECT_MS, false, start, s);
    return;
  }
  e->started_ns = e->heard_ns = clock_ns();
  e->any_ready = false;
  if (e->n_starts++) log_line(LOG_INFO, "serving", "Starting the engine process again.");
  if (start_process(s, &err) < 0) {
    died(s, err.message);
    return;
  }
  e->io.fd = e->process.fd;
  e->running = true;
  e->watch = loop_watch_start(s->loop, e->process.fd, on_socket, s);
  send_loads(s);
}

void supervisor_start(struct serving *s) {
  unsigned tick_ms = s->config.stall_ms / 8;
  s->engine.process.fd = -1;
  s->engine.stall = loop_timer_start(s->loop, tick_ms ? tick_ms : 1, true, on_stall_tick, s);
  start(s);
}

void supervisor_stop(struct serving *s) {
  struct supervisor *e = &s->engine;
  loop_timer_cancel(s->loop, e->restart);
  loop_timer_cancel(s->loop, e->stall);
  e->restart = e->stall = NULL;
  if (e->running) close_conversation(s);
  process_end(&e->process);
  forget_models(s);
}
