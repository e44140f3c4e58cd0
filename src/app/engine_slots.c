/* engine_slots: see engine_slots.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/engine_slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* On the loader's thread. */
static void do_job(void *ctx, struct engine_job *job) {
  const struct engine_slots *s = ctx;
  if (job->unloads) s->config->unload(s->config->ctx, job->loaded);
  else if (job->plans) s->config->plan(s->config->ctx, job);
  else s->config->load(s->config->ctx, job);
}

int engine_slots_init(struct engine_slots *s, const struct engine_loop_config *config, struct buf *out, struct error *err) {
  *s = (struct engine_slots){.config = config, .out = out};
  s->asked.end = &s->asked.first;
  s->jobs.end = &s->jobs.first;
  return engine_loader_init(&s->loader, do_job, s, err);
}

struct engine *engine_slots_find(struct engine_slots *s, uint32_t model, struct adapter **ret_adapter) {
  struct engine_slot *slot = model < s->n ? &s->items[model] : NULL;
  *ret_adapter = slot ? slot->adapter : NULL;
  if (*ret_adapter) slot = &s->items[slot->base];
  return slot ? slot->engine : NULL;
}

bool engine_slots_loading(const struct engine_slots *s) { return s->asked.first || s->jobs.first || s->loader.job; }

/* ---- the queue ---- */

static void push_last(struct engine_jobs *q, struct engine_job *job) {
  job->next = NULL;
  *q->end = job;
  q->end = &job->next;
}

static void push_first(struct engine_jobs *q, struct engine_job *job) {
  job->next = q->first;
  q->first = job;
  if (!job->next) q->end = &job->next;
}

static struct engine_job *pop(struct engine_jobs *q) {
  struct engine_job *job = q->first;
  if (!job) return NULL;
  q->first = job->next;
  if (!q->first) q->end = &q->first;
  return job;
}

/* Takes the waiting load of a model out; NULL: it does not wait there. */
static struct engine_job *pop_load(struct engine_jobs *q, uint32_t model) {
  struct engine_job **at = &q->first;
  while (*at && ((*at)->unloads || (*at)->load.model != model)) at = &(*at)->next;
  struct engine_job *job = *at;
  if (!job) return NULL;
  *at = job->next;
  if (q->end == &job->next) q->end = at;
  return job;
}

/* What is still to be loaded will take memory that seems free. */
static void fit(struct engine_slots *s, const struct engine_job *begun) {
  uint64_t bytes = begun ? begun->bytes : 0;
  for (const struct engine_job *job = s->jobs.first; job; job = job->next) bytes += job->bytes;
  if (s->config->fit) s->config->fit(s->config->ctx, bytes);
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
  push_last(&s->asked, engine_job_create(load));
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
  struct engine_job *job = slot->place == SLOT_LOADING ? pop_load(&s->asked, model) : NULL;
  if (!job && slot->place == SLOT_LOADING) job = pop_load(&s->jobs, model);
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
    push_last(&s->asked, job);
  }
  return 0;
}

/* ---- jobs ---- */

/* What was loaded is freed again: nobody wants it any more, or nothing can serve it. Before any other job, which may be to free its base. */
static void discard(struct engine_slots *s, struct engine_job *job) {
  job->unloads = true;
  s->items[job->load.model].place = SLOT_LEAVING;
  push_first(&s->jobs, job);
}

static void serve(struct engine_slots *s, struct engine_job *job) {
  struct engine_slot *slot = &s->items[job->load.model];
  struct engine_loop_model model = {0};
  fit(s, NULL);
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

/* What it will take is known now, or that it cannot be loaded. */
static void finish_plan(struct engine_slots *s, struct engine_job *job) {
  job->plans = false;
  if (job->error.code || s->items[job->load.model].leaves) free_slot(s, job);
  else push_last(&s->jobs, job);
}

static void finish(struct engine_slots *s, struct engine_job *job) {
  if (job->plans) {
    finish_plan(s, job);
  } else if (job->unloads || !job->loaded) {
    free_slot(s, job);
    fit(s, NULL);
  } else if (s->items[job->load.model].leaves) {
    discard(s, job);
  } else {
    serve(s, job);
  }
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

/* All that was asked for is planned before the next load begins, so that one model does not get the memory of another that is to come. */
static bool start_plan(struct engine_slots *s) {
  for (struct engine_job *job; (job = pop(&s->asked));) {
    job->plans = s->config->plan && !job->unloads;
    job->beside = s->served;
    if (!job->plans) push_last(&s->jobs, job);
    else engine_loader_start(&s->loader, job);
    if (job->plans) return true;
  }
  return false;
}

void engine_slots_start(struct engine_slots *s) {
  while (!s->loader.job && !start_plan(s) && s->jobs.first) {
    struct engine_job *job = pop(&s->jobs);
    job->beside = s->served;
    if (!prepare(s, job)) {
      free_slot(s, job);
      continue;
    }
    if (!job->unloads) fit(s, job);
    engine_loader_start(&s->loader, job);
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
  while ((job = pop(&s->jobs)) || (job = pop(&s->asked))) {
    if (job->unloads) c->unload(c->ctx, job->loaded);
    engine_job_free(job);
  }
  for (int adapters = 1; adapters >= 0; adapters--)
    for (uint32_t i = 0; i < s->n; i++)
      if (s->items[i].place == SLOT_LOADED && s->items[i].is_adapter == adapters) c->unload(c->ctx, s->items[i].loaded);
}
