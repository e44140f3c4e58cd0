/* engine_slots: see engine_slots.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/engine_slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* On the loader's thread. */
static void do_job(void *ctx, struct engine_job *job) {
  const struct engine_slots *s = ctx;
  if (job->unloads) s->config->unload(s->config->ctx, job->loaded);
  else s->config->load(s->config->ctx, job);
}

int engine_slots_init(struct engine_slots *s, const struct engine_loop_config *config, struct buf *out, struct error *err) {
  *s = (struct engine_slots){.config = config, .out = out};
  s->jobs_end = &s->jobs;
  return engine_loader_init(&s->loader, do_job, s, err);
}

struct engine *engine_slots_find(struct engine_slots *s, uint32_t model, struct adapter **ret_adapter) {
  struct engine_slot *slot = model < s->n ? &s->items[model] : NULL;
  *ret_adapter = slot ? slot->adapter : NULL;
  if (*ret_adapter) slot = &s->items[slot->base];
  return slot ? slot->engine : NULL;
}

bool engine_slots_loading(const struct engine_slots *s) { return s->jobs || s->loader.job; }

/* ---- the queue ---- */

static void push_last(struct engine_slots *s, struct engine_job *job) {
  job->next = NULL;
  *s->jobs_end = job;
  s->jobs_end = &job->next;
}

static void push_first(struct engine_slots *s, struct engine_job *job) {
  job->next = s->jobs;
  s->jobs = job;
  if (!job->next) s->jobs_end = &job->next;
}

static struct engine_job *pop(struct engine_slots *s) {
  struct engine_job *job = s->jobs;
  s->jobs = job->next;
  if (!s->jobs) s->jobs_end = &s->jobs;
  return job;
}

/* Takes the waiting load of a model out; NULL: it does not wait any more. */
static struct engine_job *pop_load(struct engine_slots *s, uint32_t model) {
  struct engine_job **at = &s->jobs;
  while (*at && ((*at)->unloads || (*at)->load.model != model)) at = &(*at)->next;
  struct engine_job *job = *at;
  if (!job) return NULL;
  *at = job->next;
  if (s->jobs_end == &job->next) s->jobs_end = at;
  return job;
}

/* ---- what the gateway asks for ---- */

void engine_slots_load(struct engine_slots *s, const struct wire_load *load) {
  struct engine_slot *slot = &s->items[load->model];
  struct error err;
  if (slot->place != SLOT_FREE) {
    error_set(&err, ERROR_INVALID, "Model %u is loaded already.", load->model);
    wire_put_failed(s->out, load->model, &err);
    return;
  }
  if (load->model >= s->n) s->n = load->model + 1;
  *slot = (struct engine_slot){.place = SLOT_LOADING, .is_adapter = load->is_adapter, .base = load->base};
  push_last(s, engine_job_create(load));
}

static void free_slot(struct engine_slots *s, struct engine_job *job) {
  struct engine_slot *slot = &s->items[job->load.model];
  if (job->error.code && !slot->leaves) wire_put_failed(s->out, job->load.model, &job->error);
  if (slot->leaves) wire_put_gone(s->out, job->load.model);
  *slot = (struct engine_slot){.place = SLOT_FREE};
  engine_job_free(job);
}

static bool has_adapters(const struct engine_slots *s, uint32_t model) {
  for (uint32_t i = 0; i < s->n; i++) {
    const struct engine_slot *slot = &s->items[i];
    if (slot->is_adapter && slot->base == model && (slot->place == SLOT_LOADED || (slot->place == SLOT_LOADING && !slot->leaves)))
      return true;
  }
  return false;
}

/* Nobody computes with it from here on. */
static void stop_serving(struct engine_slots *s, struct engine_slot *slot) {
  if (slot->adapter && s->items[slot->base].engine) engine_forget_adapter(s->items[slot->base].engine, slot->adapter);
  engine_destroy(slot->engine);
  slot->engine = NULL;
  slot->adapter = NULL;
}

int engine_slots_unload(struct engine_slots *s, uint32_t model, struct error *err) {
  struct engine_slot *slot = &s->items[model];
  if (has_adapters(s, model)) return error_set(err, ERROR_CORRUPT, "The gateway unloads model %u before its adapters.", model);
  if (slot->place == SLOT_FREE) {
    wire_put_gone(s->out, model);
    return 0;
  }
  slot->leaves = true;
  struct engine_job *job = slot->place == SLOT_LOADING ? pop_load(s, model) : NULL;
  if (job) {
    free_slot(s, job);
  } else if (slot->place == SLOT_LOADING) {
    atomic_store(&s->loader.job->cancelled, true);
  } else if (slot->place == SLOT_LOADED) {
    stop_serving(s, slot);
    job = engine_job_create(&(struct wire_load){.model = model, .path = SLICE("")});
    job->unloads = true;
    job->loaded = slot->loaded;
    slot->place = SLOT_LEAVING;
    push_last(s, job);
  }
  return 0;
}

/* ---- jobs ---- */

/* What was loaded is freed again: nobody wants it any more, or nothing can serve it. Before any other job, which may be to free its base. */
static void discard(struct engine_slots *s, struct engine_job *job) {
  job->unloads = true;
  s->items[job->load.model].place = SLOT_LEAVING;
  push_first(s, job);
}

static void serve(struct engine_slots *s, struct engine_job *job) {
  struct engine_slot *slot = &s->items[job->load.model];
  struct engine_loop_model model = {0};
  if (s->config->begin(s->config->ctx, &job->load, job->loaded, &model, &job->error) < 0) {
    discard(s, job);
    return;
  }
  slot->place = SLOT_LOADED;
  slot->loaded = job->loaded;
  slot->engine = model.engine;
  slot->adapter = model.adapter;
  slot->n_embd = model.figures.n_embd;
  model.figures.model = job->load.model;
  wire_put_ready(s->out, &model.figures);
  engine_job_free(job);
}

static void finish(struct engine_slots *s, struct engine_job *job) {
  if (job->unloads || !job->loaded) free_slot(s, job);
  else if (s->items[job->load.model].leaves) discard(s, job);
  else serve(s, job);
}

/* Whether the job can be begun; an adapter needs its base. */
static bool prepare(struct engine_slots *s, struct engine_job *job) {
  if (job->unloads || !job->load.is_adapter) return true;
  const struct engine_slot *base = &s->items[job->load.base];
  job->base = base->engine ? base->loaded : NULL;
  if (!job->base) error_set(&job->error, ERROR_UNAVAILABLE, "The adapter's base, model %u, is not loaded.", job->load.base);
  return job->base != NULL;
}

void engine_slots_take(struct engine_slots *s) {
  struct engine_job *job = engine_loader_take(&s->loader);
  if (job) finish(s, job);
}

void engine_slots_start(struct engine_slots *s) {
  while (!s->loader.job && s->jobs) {
    struct engine_job *job = pop(s);
    job->beside = s->served;
    if (prepare(s, job)) engine_loader_start(&s->loader, job);
    else free_slot(s, job);
  }
  s->served |= s->n > 0 && !engine_slots_loading(s);
}

/* Adapters are freed before their bases. A job that frees a model was put behind those of its adapters. */
void engine_slots_deinit(struct engine_slots *s) {
  const struct engine_loop_config *c = s->config;
  struct engine_job *job = engine_loader_deinit(&s->loader);
  if (job && job->loaded && !job->unloads) c->unload(c->ctx, job->loaded);
  engine_job_free(job);
  for (uint32_t i = 0; i < s->n; i++) engine_destroy(s->items[i].engine); /* their sequences borrow adapters */
  while (s->jobs) {
    job = pop(s);
    if (job->unloads) c->unload(c->ctx, job->loaded);
    engine_job_free(job);
  }
  for (int adapters = 1; adapters >= 0; adapters--)
    for (uint32_t i = 0; i < s->n; i++)
      if (s->items[i].place == SLOT_LOADED && s->items[i].is_adapter == adapters) c->unload(c->ctx, s->items[i].loaded);
}
