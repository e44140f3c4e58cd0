/* call: see call.h. SPDX-License-Identifier: Apache-2.0
 *
 * Invariants:
 *   1. x is NULL from on_gone on; nothing is written to it afterwards and no generation of the call is alive.
 *   2. Whoever may cause on_gone (a reply, a write) holds the call while it still needs it.
 *   3. A stream begins with the first event of a generation, so that whatever fails before has its own status.
 *   4. Of big bodies one at a time is parsed and read: as a tree of values a body takes many times its bytes. */
#include "api/call.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/metrics.h"
#include "api/reply.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/mix.h"

enum {
  INLINE_BYTES_MAX = 32 << 10,  /* a longer body is parsed by a worker */
  BIG_BYTES_MIN = 1 << 20,      /* a body that waits for its turn */
  INLINE_VALUES_MAX = 16 << 10, /* more numbers than these are written by a worker */
  FIGURES_POLL_MS = 50,         /* while only the engine can tell a model's window */
};

static void run(struct call *c);
static void parse_work(void *arg);
static void parsed(void *arg);

/* ---- turns of big bodies ---- */

static void begin_turn(struct call *c) {
  struct api *a = c->api;
  if (!a->big) {
    a->big = c;
    serving_work(a->serving, parse_work, parsed, c);
    return;
  }
  c->queued = true;
  *(a->big_first ? &a->big_last->next_big : &a->big_first) = c;
  a->big_last = c;
}

static void leave_queue(struct call *c) {
  struct api *a = c->api;
  struct call *before = NULL;
  for (struct call *q = a->big_first; q != c; q = q->next_big) before = q;
  *(before ? &before->next_big : &a->big_first) = c->next_big;
  if (a->big_last == c) a->big_last = before;
  c->next_big = NULL;
  c->queued = false;
}

/* The tree is freed, or will be by the worker that comes first. */
static void end_turn(struct call *c) {
  struct api *a = c->api;
  if (a->big != c) return;
  a->big = NULL;
  struct call *next = a->big_first;
  if (!next) return;
  leave_queue(next);
  begin_turn(next);
}

static void free_work(void *arg) {
  js_free(arg);
  malloc_trim(0); /* millions of small values were freed; the memory goes back to the system */
}

static void freed(void *arg) { (void)arg; }

/* A big tree takes its time to free, too. */
static void free_root(struct call *c) {
  if (c->root && c->big) serving_work(c->api->serving, free_work, freed, c->root);
  else js_free(c->root);
  c->root = NULL;
}

/* ---- life ---- */

static void hold(struct call *c) { c->held++; }

static void drop(struct call *c) {
  if (--c->held > 0 || c->x) return;
  for (size_t i = 0; i < c->n_choices; i++) choice_free(&c->choices[i]);
  free(c->choices);
  free(c->vectors);
  prompt_free(&c->prompts);
  request_free(&c->request);
  free_root(c);
  end_turn(c);
  buf_free(&c->body);
  buf_free(&c->out);
  if (c->endpoint) serving_release(c->api->serving, c->endpoint);
  free(c);
}

static size_t prompt_tokens(const struct call *c, const struct choice *ch) { return c->prompts.list[ch->prompt_index].ids.len; }

static void measure_end(const struct call *c, const struct choice *ch, enum metrics_end end) {
  metrics_end(c->meter, ch, end, c->start_ns, prompt_tokens(c, ch));
}

static void cancel_all(struct call *c) {
  for (size_t i = 0; i < c->n_choices; i++) {
    struct generation *g = c->choices[i].generation;
    if (!g) continue;
    c->choices[i].generation = NULL;
    serving_cancel(g);
    measure_end(c, &c->choices[i], METRICS_CANCELLED);
  }
  c->n_alive = 0;
}

static void unlist(struct call *c) {
  for (struct call **at = &c->api->dirty; *at; at = &(*at)->next_dirty) {
    if (*at != c) continue;
    *at = c->next_dirty;
    break;
  }
  c->dirty = false;
}

static void on_gone(void *owner, bool left) {
  struct call *c = owner;
  hold(c);
  c->x = NULL;
  if (c->dirty) unlist(c);
  cancel_all(c);
  if (c->queued) {
    leave_queue(c);
    drop(c);
  }
  if (c->wait) {
    loop_timer_cancel(net_loop(c->api->net), c->wait);
    c->wait = NULL;
    drop(c);
  }
  if (left) metrics_cancelled(c->api->metrics);
  drop(c);
}

/* ---- replies ---- */

static void fail(struct call *c, const struct fault *f) {
  if (!c->x || c->ended) return;
  c->ended = true;
  cancel_all(c);
  if (!c->began) {
    api__reply_fault(c->api, c->x, c->label, c->dialect, f);
    return;
  }
  if (c->dirty) unlist(c);
  fault_write_event(f, c->dialect, &c->out);
  metrics_stream_error(c->api->metrics, c->label);
  if (exchange_stream_write(c->x, buf_view(&c->out)) && c->x) exchange_stream_abort(c->x);
}

static void add_headers(struct call *c) {
  if (c->request.ignored) exchange_add_header(c->x, "X-Plinth-Ignored-Fields", slice_cstr(c->request.ignored));
  if (c->dialect == DIALECT_DATABRICKS) exchange_add_header(c->x, "served-model-name", slice_cstr(c->model.name));
}

static void reply_whole(struct call *c) {
  if (!c->x || c->ended) return;
  c->ended = true;
  add_headers(c);
  api__reply(c->api, c->x, c->label, 200, "application/json", buf_view(&c->out));
}

static void begin_stream(struct call *c) {
  if (c->began) return;
  c->began = true;
  add_headers(c);
  exchange_add_header(c->x, "Cache-Control", SLICE("no-cache"));
  metrics_request(c->api->metrics, c->label, 200);
  exchange_stream_begin(c->x, 200, "text/event-stream; charset=utf-8");
  reply_stream_begin(c, &c->out);
}

static void flush(struct call *c) {
  if (!c->x || c->out.len == 0) return;
  exchange_stream_write(c->x, buf_view(&c->out));
  buf_clear(&c->out);
}

static void flush_posted(void *arg) {
  struct api *a = arg;
  a->flush_posted = false;
  call_flush_all(a);
}

void call_flush_all(struct api *a) {
  while (a->dirty) {
    struct call *c = a->dirty;
    a->dirty = c->next_dirty;
    c->dirty = false;
    hold(c);
    flush(c);
    drop(c);
  }
}

/* The events of one engine step come one after the other; what they make is sent when they are through. */
static void flush_soon(struct call *c) {
  struct api *a = c->api;
  if (!c->dirty) {
    c->dirty = true;
    c->next_dirty = a->dirty;
    a->dirty = c;
  }
  if (a->flush_posted) return;
  a->flush_posted = true;
  loop_post(net_loop(a->net), flush_posted, a);
}

static void end_stream(struct call *c) {
  if (!c->x || c->ended) return;
  c->ended = true;
  if (c->dirty) unlist(c);
  reply_stream_end(c, &c->out);
  bool open = exchange_stream_write(c->x, buf_view(&c->out));
  if (open && c->x) exchange_stream_end(c->x);
}

static void write_work(void *arg) {
  struct call *c = arg;
  reply_embeddings(c, &c->out);
}

static void written(void *arg) {
  struct call *c = arg;
  reply_whole(c);
  drop(c);
}

static void finish(struct call *c) {
  if (c->request.stream) {
    end_stream(c);
  } else if (c->request.kind != REQUEST_EMBEDDING) {
    reply_generation(c, &c->out);
    reply_whole(c);
  } else if (c->n_choices * c->model.n_embd <= INLINE_VALUES_MAX) {
    reply_embeddings(c, &c->out);
    reply_whole(c);
  } else {
    hold(c);
    serving_work(c->api->serving, write_work, written, c);
  }
}

/* ---- events of the engine ---- */

static void choice_done(struct call *c, struct choice *ch) {
  c->n_alive--;
  c->n_done++;
  measure_end(c, ch, ch->finish == SERVING_LENGTH ? METRICS_LENGTH : METRICS_STOP);
  if (c->request.kind == REQUEST_EMBEDDING) return;
  if (c->request.stream) reply_stream_finish(c, ch, &c->out);
}

static void take_token(struct call *c, struct choice *ch, const struct serving_event *event) {
  const struct request *q = &c->request;
  metrics_token(c->meter, ch, event, c->start_ns, prompt_tokens(c, ch));
  c->meter->output_tokens += !q->prompt_only;
  if (q->prompt_only) choice_finish(ch, q, SERVING_LENGTH);
  else choice_token(ch, q, event);
  if (!ch->done && choice_stopped(ch)) choice_finish(ch, q, SERVING_STOP);
  if (!ch->done || !ch->generation) return;
  serving_cancel(ch->generation); /* the text ended before the engine saw it */
  ch->generation = NULL;
}

static void tell_late(const struct call *c, struct fault *f) {
  fault_set(f, 504, "timeout", NULL, "The request was not finished within its time limit of %.3g s.",
            c->api->config.request_timeout_ms / 1000.0);
}

/* A time limit with error_behavior "truncate" ends the text where it is. */
static bool forgiven(const struct call *c, const struct error *err) {
  return c->request.truncate && err->code == ERROR_TIMEOUT && c->request.kind == REQUEST_COMPLETION;
}

static void take_error(struct call *c, struct choice *ch, const struct error *err) {
  if (forgiven(c, err)) {
    choice_finish(ch, &c->request, SERVING_LENGTH);
    return;
  }
  c->n_alive--;
  measure_end(c, ch, METRICS_FAILED);
  struct fault f;
  fault_from_error(&f, err);
  if (err->code == ERROR_TIMEOUT) tell_late(c, &f); /* a sequence of a batch knows only what was left for it */
  fail(c, &f);
}

static void take(struct call *c, struct choice *ch, const struct serving_event *event) {
  size_t n_embd = c->model.n_embd;
  switch (event->kind) {
    case SERVING_ERROR: take_error(c, ch, event->error); break;
    case SERVING_PROMPT_TOKEN: choice_prompt_token(ch, event); break;
    case SERVING_TOKEN: take_token(c, ch, event); break;
    case SERVING_EMBEDDING:
      metrics_token(c->meter, ch, event, c->start_ns, prompt_tokens(c, ch));
      memcpy(c->vectors + ch->index * n_embd, event->embedding, n_embd * sizeof *c->vectors);
      ch->done = true;
      break;
  }
}

static void on_event(void *arg, const struct serving_event *event) {
  struct choice *ch = arg;
  struct call *c = ch->call;
  hold(c);
  bool last = event->kind == SERVING_ERROR || event->kind == SERVING_EMBEDDING || event->finish != SERVING_RUNNING;
  if (last) ch->generation = NULL; /* gone after this call; must not be cancelled */
  take(c, ch, event);
  if (c->x && !c->ended && event->kind != SERVING_PROMPT_TOKEN) {
    if (c->request.stream) {
      begin_stream(c);
      reply_stream_piece(c, ch, &c->out);
    }
    if (ch->done) choice_done(c, ch);
    if (c->request.stream) flush_soon(c);
    if (ch->done) run(c);
  }
  drop(c);
}

/* ---- asking the engine ---- */

/* Seeds made here have so many bits, which a double holds: they survive a client that reads numbers as JavaScript does. */
enum { SEED_BITS = 53 };

/* Choice 0 draws with the caller's seed, so that n = 1 gives the first of n; the others with seeds made from it. A seed of the
 * caller's is that of every prompt; without one the prompts of a batch draw apart, even when they are the same. */
static uint64_t seed_of(uint64_t seed, size_t choice) { return choice == 0 ? seed : mix_nth(seed, choice) >> (64 - SEED_BITS); }

static uint64_t random_seed(void) {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = clock_ns();
  return seed >> (64 - SEED_BITS);
}

/* What is left of the time limit, at least a millisecond: the engine's side then says that it has passed. */
static unsigned time_left_ms(const struct call *c) {
  uint64_t spent = (clock_ns() - c->start_ns) / 1000000;
  return spent < c->api->config.request_timeout_ms ? (unsigned)(c->api->config.request_timeout_ms - spent) : 1;
}

static int submit(struct call *c, struct choice *ch) {
  const struct request *q = &c->request;
  const struct prompt *p = &c->prompts.list[ch->prompt_index];
  struct serving_request r = {
      .endpoint = c->endpoint,
      .prompt = p->ids.data,
      .n_prompt = p->ids.len,
      .temperature = q->temperature,
      .top_p = q->top_p,
      .min_p = q->min_p,
      .top_k = q->top_k,
      .repetition_penalty = q->repetition_penalty,
      .presence_penalty = q->presence_penalty,
      .frequency_penalty = q->frequency_penalty,
      .biases = q->biases,
      .n_biases = q->n_biases,
      .seed = ch->seed,
      .max_tokens = p->max_tokens,
      .min_tokens = q->min_tokens,
      .ignore_eos = q->ignore_eos,
      .stop_ids = q->stop_ids,
      .n_stop_ids = q->n_stop_ids,
      .stops = q->stops,
      .n_stops = q->n_stops,
      .top_logprobs = q->top_logprobs,
      .prompt_logprobs = q->echo && q->top_logprobs >= 0,
      .timeout_ms = time_left_ms(c),
      .resumes = !q->stream && !(q->echo && q->top_logprobs >= 0),
      .goes_on = c->accepted,
  };
  struct error err;
  ch->generation = serving_generate(c->api->serving, &r, on_event, ch, &err);
  if (ch->generation) {
    c->n_alive++;
    c->accepted = true;
    return 0;
  }
  return fault_from_error(&c->fault, &err);
}

/* Keeps the window full; ends the reply when all are done. */
static void run(struct call *c) {
  while (c->x && !c->ended && c->n_submitted < c->n_choices && c->n_alive < CALL_WINDOW) {
    if (submit(c, &c->choices[c->n_submitted++]) != 0) fail(c, &c->fault);
  }
  if (c->x && !c->ended && c->n_done == c->n_choices) finish(c);
}

static void start_choices(struct call *c) {
  const struct request *q = &c->request;
  bool embeds = q->kind == REQUEST_EMBEDDING;
  c->n_choices = c->prompts.n * q->n;
  c->choices = mem_zalloc(c->n_choices, sizeof *c->choices);
  uint64_t seed = q->has_seed ? q->seed : random_seed();
  for (size_t i = 0; i < c->n_choices; i++) {
    struct choice *ch = &c->choices[i];
    ch->call = c;
    ch->index = i;
    ch->prompt_index = i / q->n;
    ch->seed = seed_of(seed, q->has_seed ? i % q->n : i);
    if (!embeds) choice_init(ch, q, &c->model, &c->prompts.list[ch->prompt_index]);
  }
  for (size_t i = 0; i < c->prompts.n; i++) c->prompt_tokens += c->prompts.list[i].ids.len;
  if (embeds) c->vectors = mem_zalloc(c->n_choices * c->model.n_embd, sizeof *c->vectors);
  c->meter->prompt_tokens += c->prompt_tokens;
  run(c);
}

/* ---- from the body to the tokens ---- */

static void read_work(void *arg) {
  struct call *c = arg;
  c->failed = request_read(c->root, &c->rules, &c->request, &c->fault) != 0;
  if (!c->failed) c->failed = prompt_make(&c->request, &c->model, c->dialect, &c->prompts, &c->fault) != 0;
  if (c->big) free_work(c->root);
  else js_free(c->root);
  c->root = NULL;
}

static void was_read(void *arg) {
  struct call *c = arg;
  end_turn(c);
  if (c->x && c->failed) fail(c, &c->fault);
  else if (c->x) start_choices(c);
  drop(c);
}

static int unknown_endpoint(struct call *c, struct slice name) {
  struct fault *f = &c->fault;
  if (c->dialect == DIALECT_OPENAI)
    return fault_set(f, 404, "model_not_found", "model", "The model `%.*s` does not exist. GET /v1/models lists those that do.",
                     (int)(name.len < 200 ? name.len : 200), name.data);
  fault_set(f, 404, "model_not_found", "model",
            "The given endpoint does not exist, please retry after checking the specified model and version deployment exists.");
  return -1;
}

static int find_endpoint(struct call *c) {
  struct slice name = slice_cstr(c->name);
  if (!c->named) {
    int found = request_model(c->root, &name, &c->fault);
    if (found < 0) return -1;
    if (found == 0)
      return fault_field(&c->fault, "missing_required_parameter", "model", "The field `model` is required: the name of an endpoint.");
  }
  const struct endpoint *e = serving_endpoint(c->api->serving, name);
  if (!e) return unknown_endpoint(c, name);
  if (!c->endpoint) serving_hold(e);
  else if (e != c->endpoint) return unknown_endpoint(c, name); /* it was removed while its figures were waited for */
  c->endpoint = e;
  if (c->endpoint->state != SERVING_FAILED && c->endpoint->tokenizer) return 0;
  return fault_set(&c->fault, 503, "unavailable", NULL, "Endpoint '%s' cannot serve: %s", c->endpoint->name,
                   c->endpoint->failure ? c->endpoint->failure : "its model could not be read.");
}

static void make_id(struct call *c, enum request_kind kind) {
  char uuid[37];
  api__uuid(uuid);
  const char *what = kind == REQUEST_CHAT ? "chatcmpl" : kind == REQUEST_COMPLETION ? "cmpl" : "";
  if (c->dialect == DIALECT_DATABRICKS) {
    snprintf(c->id, sizeof c->id, "%s%s%s", what, what[0] ? "_" : "", uuid);
    return;
  }
  size_t n = (size_t)snprintf(c->id, sizeof c->id, "%s-", what);
  for (const char *u = uuid; *u; u++)
    if (*u != '-') c->id[n++] = *u;
  c->id[n] = '\0';
}

/* Some files leave a model's window to the engine, which has not said it yet. */
static bool figures_known(const struct endpoint *e) { return e->context_tokens > 0 && (e->task != SERVING_EMBEDDINGS || e->n_embd > 0); }

static int read_kind(struct call *c) {
  enum request_kind kind;
  c->model = *c->endpoint;
  c->meter = metrics_meter(c->api->metrics, c->model.name);
  c->rules = (struct request_rules){.dialect = c->dialect,
                                    .route = c->route,
                                    .endpoint = slice_cstr(c->model.name),
                                    .task = c->model.task,
                                    .n_embd = c->model.n_embd,
                                    .n_vocab = tokenizer_n_vocab(c->model.tokenizer)};
  if (request_read_kind(c->root, &c->rules, &kind, &c->fault) != 0) return -1;
  make_id(c, kind);
  return 0;
}

static void resolve(struct call *c);

static void look_again(void *arg) {
  struct call *c = arg;
  c->wait = NULL;
  if (c->x) resolve(c);
  drop(c);
}

static void wait_for_figures(struct call *c) {
  struct error err;
  if (serving_check(c->api->serving, c->endpoint, &err) < 0) {
    fault_from_error(&c->fault, &err);
    fail(c, &c->fault);
    return;
  }
  if (time_left_ms(c) > 1) {
    hold(c);
    c->wait = loop_timer_start(net_loop(c->api->net), FIGURES_POLL_MS, false, look_again, c);
    return;
  }
  fault_set(&c->fault, 504, "timeout", NULL, "Endpoint '%s' was not loaded within the time limit of the request.", c->endpoint->name);
  fail(c, &c->fault);
}

/* From the parsed body to the worker that reads it. */
static void resolve(struct call *c) {
  if (find_endpoint(c) != 0) {
    fail(c, &c->fault);
  } else if (!figures_known(c->endpoint)) {
    wait_for_figures(c);
  } else if (read_kind(c) != 0) {
    fail(c, &c->fault);
  } else {
    hold(c);
    serving_work(c->api->serving, read_work, was_read, c);
  }
}

static void parse(struct call *c, struct slice body) {
  struct error err;
  c->root = js_parse(body, &err);
  c->failed = js_type(c->root) != JS_OBJECT;
  if (!c->failed) return;
  if (c->root) fault_field(&c->fault, "invalid_type", NULL, "The body must be a JSON object, not %s.", js_type_name(c->root));
  else if (body.len == 0) fault_field(&c->fault, "invalid_json", NULL, "The body is empty; it must be a JSON object.");
  else fault_field(&c->fault, "invalid_json", NULL, "The body cannot be read. %s", err.message);
}

static void parse_work(void *arg) {
  struct call *c = arg;
  parse(c, buf_view(&c->body));
  buf_free(&c->body);
}

static void parsed(void *arg) {
  struct call *c = arg;
  if (c->x && c->failed) fail(c, &c->fault);
  else if (c->x) resolve(c);
  drop(c);
}

void call_start(struct api *a, struct exchange *x, enum api_route label, enum request_route route, struct slice name) {
  struct call *c = mem_zalloc(1, sizeof *c);
  c->api = a;
  c->x = x;
  c->label = label;
  c->route = route;
  c->dialect = fault_dialect(exchange_path(x));
  c->named = name.len > 0;
  snprintf(c->name, sizeof c->name, "%.*s", (int)(name.len < sizeof c->name ? name.len : sizeof c->name - 1), name.len ? name.data : "");
  c->created_s = clock_wall_s();
  c->start_ns = clock_ns();
  exchange_set_owner(x, c, on_gone);
  hold(c);
  struct slice body = exchange_body(x);
  if (body.len <= INLINE_BYTES_MAX) {
    parse(c, body);
    parsed(c);
    return;
  }
  buf_add_slice(&c->body, body);
  c->big = body.len >= BIG_BYTES_MIN;
  if (c->big) begin_turn(c);
  else serving_work(a->serving, parse_work, parsed, c);
}
