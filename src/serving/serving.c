/* serving: the door's functions; see serving.h. SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serving/state.h"

enum { N_WORKERS = 2, REQUEST_TIMEOUT_MS = 600000, STALL_MS = 120000, RESTART_DELAY_MS = 500, WAITING_MAX = 1024, LEAVE_MS = 30000 };

/* ---- creation and end ---- */

static char **copy_args(const char *const *args) {
  size_t n = 0;
  while (args && args[n]) n++;
  char **copy = mem_zalloc(n + 1, sizeof *copy);
  for (size_t i = 0; i < n; i++) copy[i] = mem_strdup(args[i]);
  return copy;
}

static void free_all(struct serving *s) {
  workers_destroy(s->workers);
  principals_free(&s->principals);
  models_close(&s->models);
  drafts_free(&s->drafts);
  for (char **arg = s->engine_args; *arg; arg++) free(*arg);
  free(s->engine_args);
  free(s->engine_program);
  free(s->compute);
  free(s);
}

struct serving *serving_create(const struct serving_config *config, struct error *err) {
  struct serving *s = mem_zalloc(1, sizeof *s);
  s->config = *config;
  s->config.models = NULL;
  s->config.drafts = NULL;
  if (!s->config.request_timeout_ms) s->config.request_timeout_ms = REQUEST_TIMEOUT_MS;
  if (!s->config.stall_ms) s->config.stall_ms = STALL_MS;
  if (!s->config.restart_delay_ms) s->config.restart_delay_ms = RESTART_DELAY_MS;
  if (!s->config.leave_ms) s->config.leave_ms = LEAVE_MS;
  if (!s->config.waiting_max) s->config.waiting_max = WAITING_MAX;
  s->loop = config->loop;
  s->engine_program = mem_strdup(config->engine_program);
  s->engine_args = copy_args(config->engine_args);
  s->compute = mem_strdup(config->compute ? config->compute : "fast");
  drafts_copy(&s->drafts, config->drafts, config->n_drafts);
  if (models_open(&s->models, config->models, config->n_models, err) < 0 || drafts_check(s, err) < 0 ||
      principals_read(&s->principals, config->store, err) < 0) {
    free_all(s);
    return NULL;
  }
  s->workers = workers_create(s->loop, N_WORKERS);
  supervisor_start(s);
  return s;
}

static void refuse(struct serving *s) {
  s->draining = true;
  error_set(&s->refusal, ERROR_UNAVAILABLE, "The server is shutting down and takes no new requests.");
}

void serving_drain(struct serving *s, void (*on_idle)(void *arg), void *arg) {
  refuse(s);
  s->on_idle = on_idle;
  s->on_idle_arg = arg;
  s->idle_posted = false;
  generations_tell_if_idle(s);
}

void serving_abort(struct serving *s, const struct error *why) {
  refuse(s);
  s->aborted = true;
  generations_fail_all(s, NULL, GENERATION_BEGUN, why);
}

void serving_stop(struct serving *s) {
  if (s->stopped) return;
  struct error err;
  error_set(&err, ERROR_UNAVAILABLE, "The server is shutting down.");
  refuse(s);
  s->aborted = true;
  workers_stop(s->workers);
  generations_fail_all(s, NULL, GENERATION_BEGUN, &err);
  supervisor_stop(s);
  roster_stop(s);
  s->stopped = true;
}

void serving_destroy(struct serving *s) {
  if (!s) return;
  serving_stop(s);
  free_all(s);
}

/* ---- principals ---- */

bool serving_auth_required(const struct serving *s) { return !s->config.no_auth; }

bool serving_authenticate(struct serving *s, struct slice token) {
  return s->config.no_auth || principals_know(&s->principals, s->config.store, token);
}

/* ---- endpoints ---- */

size_t serving_n_endpoints(const struct serving *s) { return s->models.n; }

const struct endpoint *serving_endpoint_at(const struct serving *s, size_t i) { return &s->models.listed[i]->door; }

const struct endpoint *serving_endpoint(const struct serving *s, struct slice name) {
  const struct model *m = models_find(&s->models, name);
  return m ? &m->door : NULL;
}

const char *serving_task_name(enum serving_task task) {
  switch (task) {
    case SERVING_CHAT: return "llm/v1/chat";
    case SERVING_COMPLETIONS: return "llm/v1/completions";
    case SERVING_EMBEDDINGS: return "llm/v1/embeddings";
  }
  return "";
}

bool serving_engine_alive(const struct serving *s) { return s->engine.running; }

bool serving_ready(const struct serving *s) {
  bool ready = s->engine.running && !s->draining;
  for (size_t i = 0; i < s->models.n; i++) {
    const struct model *m = s->models.listed[i];
    ready &= m->door.state == SERVING_READY || !m->counts || m->stopped;
  }
  return ready;
}

void serving_work(struct serving *s, void (*work)(void *arg), void (*done)(void *arg), void *arg) {
  workers_add(s->workers, work, done, arg);
}

/* ---- generations ---- */

/* Of presence, frequency and repetition; the api allows less. Within it no logit becomes infinite. */
static const double PENALTY_MAX = 100;

static int check_free(struct serving *s, const struct model *m, bool goes_on, struct error *err) {
  if (s->aborted || (s->draining && !goes_on)) {
    *err = s->refusal;
    return -1;
  }
  if (m->removed) return error_set(err, ERROR_UNAVAILABLE, "The model %.64s was removed.", m->name);
  if (m->stopped)
    return error_set(err, ERROR_INVALID,
                     "The endpoint %.64s is stopped, since its model was unloaded. \"plinth models load %.64s\" loads it.", m->name,
                     m->name);
  if (m->door.state == SERVING_FAILED)
    return error_set(err, ERROR_UNAVAILABLE, "The endpoint %.64s cannot be served: %.400s", m->name, m->failure);
  if (s->engine.down)
    return error_set(err, ERROR_UNAVAILABLE,
                     "The engine cannot be started at the moment; it is tried again and again. The last attempt: %.350s",
                     s->engine.last_error);
  if (s->generations.n >= s->config.waiting_max && !goes_on)
    return error_set(err, ERROR_UNAVAILABLE, "%zu requests are under way, which is the most. Try again in a moment.", s->generations.n);
  return 0;
}

static int check_stops(const struct serving_request *r, struct error *err) {
  if (r->n_stop_ids > WIRE_STOP_IDS_MAX)
    return error_set(err, ERROR_INVALID, "There are %zu stop ids; %d are the most.", r->n_stop_ids, WIRE_STOP_IDS_MAX);
  if (r->n_stops > WIRE_STOPS_MAX)
    return error_set(err, ERROR_INVALID, "There are %zu stop strings; %d are the most.", r->n_stops, WIRE_STOPS_MAX);
  for (size_t i = 0; i < r->n_stops; i++) {
    if (r->stops[i].len == 0) return error_set(err, ERROR_INVALID, "A stop string is empty.");
    if (r->stops[i].len > WIRE_STOP_BYTES_MAX)
      return error_set(err, ERROR_INVALID, "A stop string has %zu bytes; %d are the most.", r->stops[i].len, WIRE_STOP_BYTES_MAX);
  }
  return 0;
}

static int check_penalty(const char *name, double value, struct error *err) {
  return fabs(value) <= PENALTY_MAX
             ? 0
             : error_set(err, ERROR_INVALID, "%s is %g; it must be from -%g to %g.", name, value, PENALTY_MAX, PENALTY_MAX);
}

static int check_sampling(const struct serving_request *r, struct error *err) {
  if (!(r->temperature >= 0) || r->temperature > 1e6)
    return error_set(err, ERROR_INVALID, "temperature is %g; it must be 0 or more.", r->temperature);
  if (!(r->top_p > 0 && r->top_p <= 1)) return error_set(err, ERROR_INVALID, "top_p is %g; it must be above 0 and at most 1.", r->top_p);
  if (!(r->min_p >= 0 && r->min_p <= 1)) return error_set(err, ERROR_INVALID, "min_p is %g; it must be from 0 to 1.", r->min_p);
  if (r->top_k < 0) return error_set(err, ERROR_INVALID, "top_k is %lld; it must be 0 or more.", (long long)r->top_k);
  if (r->repetition_penalty != 0 && !(r->repetition_penalty >= 1 / PENALTY_MAX && r->repetition_penalty <= PENALTY_MAX))
    return error_set(err, ERROR_INVALID, "repetition_penalty is %g; it must be from %g to %g.", r->repetition_penalty, 1 / PENALTY_MAX,
                     PENALTY_MAX);
  if (check_penalty("presence_penalty", r->presence_penalty, err) < 0) return -1;
  if (check_penalty("frequency_penalty", r->frequency_penalty, err) < 0) return -1;
  if (r->n_biases > WIRE_BIASES_MAX)
    return error_set(err, ERROR_INVALID, "logit_bias names %zu tokens; %d are the most.", r->n_biases, WIRE_BIASES_MAX);
  for (size_t i = 0; i < r->n_biases; i++)
    if (!isfinite(r->biases[i].bias)) return error_set(err, ERROR_INVALID, "A value of logit_bias is %g.", (double)r->biases[i].bias);
  return 0;
}

static int check_request(const struct serving_request *r, struct error *err) {
  if (r->n_prompt == 0) return error_set(err, ERROR_INVALID, "The prompt has no tokens; send at least one.");
  if (r->n_prompt > WIRE_PROMPT_MAX)
    return error_set(err, ERROR_INVALID, "The prompt has %zu tokens; %d are the most.", r->n_prompt, WIRE_PROMPT_MAX);
  if (check_sampling(r, err) < 0) return -1;
  if (r->top_logprobs > SERVING_TOP_LOGPROBS_MAX)
    return error_set(err, ERROR_INVALID, "top_logprobs is %d; %d are the most.", r->top_logprobs, SERVING_TOP_LOGPROBS_MAX);
  return check_stops(r, err);
}

/* Every token is the admin's, in the one workspace: all KV pages may be shared, and nobody else has a share of the work. */
enum { WORKSPACE = 1, ADMIN = 1 };

int serving_check(struct serving *s, const struct endpoint *e, struct error *err) {
  return check_free(s, s->models.slots[e->index], false, err);
}

static uint32_t clamp_u32(size_t v) { return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v; }

struct generation *serving_generate(struct serving *s, const struct serving_request *r,
                                    void (*on_event)(void *arg, const struct serving_event *event), void *arg, struct error *err) {
  struct model *m = s->models.slots[r->endpoint->index];
  struct error ours; /* the checks write to it in full, whether the caller wants it or not */
  if (!err) err = &ours;
  if (check_free(s, m, r->goes_on, err) < 0 || check_request(r, err) < 0) return NULL;
  struct wire_bias biases[WIRE_BIASES_MAX];
  for (size_t i = 0; i < r->n_biases; i++) biases[i] = (struct wire_bias){r->biases[i].id, r->biases[i].bias};
  struct wire_submit ask = {.model = (uint32_t)m->door.index,
                            .tenant = WORKSPACE,
                            .principal = ADMIN,
                            .temperature = (float)r->temperature,
                            .top_p = fmaxf((float)r->top_p, FLT_MIN), /* above 0 stays above 0 */
                            .min_p = (float)r->min_p,
                            .top_k = r->top_k > INT32_MAX ? INT32_MAX : (int32_t)r->top_k,
                            .repetition_penalty = r->repetition_penalty == 0 ? 1 : (float)r->repetition_penalty,
                            .presence_penalty = (float)r->presence_penalty,
                            .frequency_penalty = (float)r->frequency_penalty,
                            .seed = r->seed,
                            .max_tokens = clamp_u32(r->max_tokens),
                            .min_tokens = clamp_u32(r->min_tokens),
                            .top_logprobs = r->top_logprobs < 0 ? -1 : r->top_logprobs,
                            .ignore_eos = r->ignore_eos,
                            .prompt_logprobs = r->prompt_logprobs,
                            .prompt = r->prompt,
                            .n_prompt = r->n_prompt,
                            .stops = r->stops,
                            .n_stops = r->n_stops,
                            .stop_ids = r->stop_ids,
                            .n_stop_ids = r->n_stop_ids,
                            .biases = biases,
                            .n_biases = r->n_biases};
  struct generation *g = generations_add(s, m, &ask, r->timeout_ms ? r->timeout_ms : s->config.request_timeout_ms);
  g->on_event = on_event;
  g->arg = arg;
  g->resumes = r->resumes;
  supervisor_pump(s);
  return g;
}

void serving_cancel(struct generation *g) {
  if (!g || g->gone) return;
  supervisor_forget(g->serving, g);
  generations_remove(g);
}
