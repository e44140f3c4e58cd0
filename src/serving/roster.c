/* roster: models that come and go while others are served. SPDX-License-Identifier: Apache-2.0
 *
 *     file appears --a worker reads it--> LOADING --engine--> READY | FAILED
 *     READY --unload--> leaving --requests end, engine frees--> STOPPED --load--> LOADING
 *     any   --file goes or is another--> no endpoint, leaving --requests end, engine frees, nobody holds it--> freed
 *
 * While a model leaves, requests that wait are refused, and those that the engine has may end within leave_ms. An adapter leaves before its base. What can
 * go further is looked for in one place (sweep), from the loop: so nothing is freed under a callback. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/mix.h"
#include "serving/state.h"

enum { PASSED_OVER_MAX = sizeof((struct serving *)0)->passed_over / sizeof(uint64_t) };

/* ---- leaving ---- */

static bool has_asked_adapters(const struct serving *s, const struct model *m) {
  for (size_t i = 0; i < s->models.n_in_order; i++)
    if (s->models.in_order[i]->base == m && s->models.in_order[i]->asked) return true;
  return false;
}

static void end_deadline(struct serving *s, struct model *m) {
  loop_timer_cancel(s->loop, m->deadline);
  m->deadline = NULL;
}

static void load_again(struct serving *s, struct model *m) {
  m->door.state = SERVING_LOADING;
  m->door.failure = NULL;
  m->lacked_memory = false;
  supervisor_load(s, m);
}

/* What had too little memory is tried again now that some is free. */
static void load_what_lacked_memory(struct serving *s) {
  for (size_t i = 0; i < s->models.n; i++) {
    struct model *m = s->models.listed[i];
    if (m->lacked_memory && !m->leaving && !m->stopped) load_again(s, m);
  }
}

void roster_base_is_loaded(struct serving *s, const struct model *m) {
  for (size_t i = 0; i < s->models.n; i++) {
    struct model *adapter = s->models.listed[i];
    if (adapter->base == m && adapter->door.state == SERVING_FAILED && !adapter->unreadable && !adapter->leaving) load_again(s, adapter);
  }
}

void roster_stop(struct serving *s) {
  for (size_t i = 0; i < WIRE_MODELS_MAX; i++)
    if (s->models.slots[i]) end_deadline(s, s->models.slots[i]);
}

void roster_gone(struct serving *s, struct model *m) {
  m->asked = m->loaded = m->unload_sent = false;
  figures_forget_engine(&m->figures);
  log_line(LOG_INFO, "serving", "%s is unloaded.", m->name);
  roster_look_again(s);
}

/* The engine has nothing of m any more, nor has any request. */
static void finish_leaving(struct serving *s, struct model *m) {
  m->leaving = false;
  end_deadline(s, m);
  if (!m->removed && !m->stopped) load_again(s, m); /* it was asked for again meanwhile */
  load_what_lacked_memory(s);
}

static void go_on_leaving(struct serving *s, struct model *m) {
  if (m->n_generations || m->unload_sent || has_asked_adapters(s, m)) return;
  bool comes_back = !m->removed && !m->stopped;
  if (!m->asked && comes_back && m->base && m->base->leaving) return; /* its base is to be loaded first */
  if (m->asked && s->engine.running) supervisor_unload(s, m);
  else if (!m->asked) finish_leaving(s, m);
}

static void sweep(void *arg) {
  struct serving *s = arg;
  s->sweep_posted = false;
  if (s->stopped) return;
  for (size_t i = 0; i < WIRE_MODELS_MAX; i++) {
    struct model *m = s->models.slots[i];
    if (m && m->leaving) go_on_leaving(s, m);
  }
  for (int bases = 0; bases < 2; bases++) /* an adapter holds its base */
    for (size_t i = 0; i < WIRE_MODELS_MAX; i++) {
      struct model *m = s->models.slots[i];
      bool done = m && m->removed && !m->leaving && !m->holds && !m->n_generations;
      if (done && (bases || m->base)) models_free(&s->models, m);
    }
}

void roster_look_again(struct serving *s) {
  if (s->sweep_posted || s->stopped) return;
  s->sweep_posted = true;
  loop_post(s->loop, sweep, s);
}

static void end_requests(struct serving *s, struct model *m, enum generation_state state) {
  struct error why;
  error_set(&why, ERROR_UNAVAILABLE, "The model %.64s was %s, and the time for requests under way is over.", m->name,
            m->removed ? "removed" : "unloaded");
  if (state == GENERATION_WAITING)
    error_set(&why, ERROR_UNAVAILABLE, "The model %.64s was %s.", m->name, m->removed ? "removed" : "unloaded");
  generations_fail_all(s, m, state, &why);
}

static void on_deadline(void *arg) {
  struct model *m = arg;
  m->deadline = NULL;
  end_requests(m->serving, m, GENERATION_BEGUN);
  roster_look_again(m->serving);
}

static void leave(struct serving *s, struct model *m) {
  if (m->leaving) return;
  m->leaving = true;
  m->lacked_memory = false;
  m->serving = s;
  m->deadline = loop_timer_start(s->loop, s->config.leave_ms, false, on_deadline, m);
  end_requests(s, m, GENERATION_WAITING);
  roster_look_again(s);
}

static void remove_model(struct serving *s, struct model *m) {
  for (size_t i = 0; i < s->models.n_in_order; i++) {
    struct model *adapter = s->models.in_order[i];
    if (adapter->base == m && !adapter->removed) remove_model(s, adapter); /* it is read again, with what is there then */
  }
  log_line(LOG_INFO, "serving", "%s is removed.", m->name);
  m->removed = true;
  s->n_passed_over = 0; /* its name is free */
  models_unlist(&s->models, m);
  leave(s, m);
}

/* ---- coming ---- */

struct opening {
  struct serving *serving;
  struct serving_model spec; /* owns its strings */
  struct model *model;
};

static void open_work(void *arg) {
  struct opening *o = arg;
  o->model = models_read(&o->spec);
}

static bool enter(struct serving *s, struct model *m) {
  if (s->draining || !models_enter(&s->models, m)) {
    models_free(&s->models, m);
    return false;
  }
  models_join(&s->models, m);
  if (m->unreadable) return true;
  log_line(LOG_INFO, "serving", "%s was added.", m->name);
  supervisor_load(s, m);
  return true;
}

static uint64_t key_of(const struct serving_model *spec) {
  uint64_t h = spec->stamp;
  for (const char *c = spec->path; *c; c++) h = mix(h, (unsigned char)*c);
  return h;
}

static bool was_passed_over(const struct serving *s, const struct serving_model *spec) {
  size_t n = s->n_passed_over < PASSED_OVER_MAX ? s->n_passed_over : PASSED_OVER_MAX;
  for (size_t i = 0; i < n; i++)
    if (s->passed_over[i] == key_of(spec)) return true;
  return false;
}

static void opened(void *arg) {
  struct opening *o = arg;
  struct serving *s = o->serving;
  s->n_opening--;
  if (!o->model || !enter(s, o->model)) s->passed_over[s->n_passed_over++ % PASSED_OVER_MAX] = key_of(&o->spec);
  free((char *)o->spec.name);
  free((char *)o->spec.path);
  free((char *)o->spec.kept_dir);
  free(o);
}

static void open_model(struct serving *s, const struct serving_model *spec) {
  struct opening *o = mem_zalloc(1, sizeof *o);
  *o = (struct opening){.serving = s, .spec = *spec};
  o->spec.name = mem_strdup(spec->name);
  o->spec.path = mem_strdup(spec->path);
  o->spec.kept_dir = spec->kept_dir ? mem_strdup(spec->kept_dir) : NULL;
  s->n_opening++;
  workers_add(s->workers, open_work, opened, o);
}

/* ---- the door ---- */

static const struct serving_model *spec_of(const struct model *m, const struct serving_model *specs, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(specs[i].name, m->name) == 0 && strcmp(specs[i].path, m->path) == 0) return &specs[i];
  return NULL;
}

static bool is_outdated(const struct serving *s, const struct model *m, const struct serving_model *specs, size_t n) {
  const struct serving_model *spec = spec_of(m, specs, n);
  if (!spec) return true;
  if (m->base_name && m->unreadable && !m->base && models_has_base(&s->models, m)) return true; /* its base has come */
  return spec->stamp && m->stamp && spec->stamp != m->stamp;
}

void serving_update(struct serving *s, const struct serving_model *specs, size_t n) {
  if (s->n_opening || s->draining) return; /* the next one tells the same */
  for (size_t i = s->models.n; i-- > 0;) {
    if (i >= s->models.n) continue; /* a base took its adapters along */
    if (is_outdated(s, s->models.listed[i], specs, n)) remove_model(s, s->models.listed[i]);
  }
  for (size_t i = 0; i < n; i++)
    if (specs[i].stamp && models_is_name(&specs[i]) && !models_find(&s->models, slice_cstr(specs[i].name)) &&
        !was_passed_over(s, &specs[i]))
      open_model(s, &specs[i]);
}

static struct model *model_of(const struct serving *s, const struct endpoint *e) { return s->models.slots[e->index]; }

static void load_one(struct serving *s, struct model *m) {
  if (m->left_out) m->unreadable = m->left_out = false;
  m->load_deaths = 0;
  bool was_stopped = m->stopped;
  m->stopped = false;
  if (m->leaving) m->door.state = SERVING_LOADING; /* once it is gone */
  else if (was_stopped || m->door.state == SERVING_FAILED) load_again(s, m);
}

int serving_load(struct serving *s, const struct endpoint *e, struct error *err) {
  struct model *m = model_of(s, e);
  if (s->draining) {
    *err = s->refusal;
    return -1;
  }
  if (m->unreadable && !m->left_out) return error_set(err, ERROR_INVALID, "The model %.64s cannot be loaded: %.400s", m->name, m->failure);
  if (m->base) load_one(s, m->base);
  load_one(s, m);
  for (size_t i = 0; i < s->models.n; i++)
    if (s->models.listed[i]->base == m) load_one(s, s->models.listed[i]);
  return 0;
}

static void stop(struct serving *s, struct model *m) {
  if (m->unreadable) return;
  m->stopped = true;
  m->door.state = SERVING_STOPPED;
  m->door.failure = NULL;
  leave(s, m);
}

int serving_unload(struct serving *s, const struct endpoint *e, struct error *err) {
  struct model *m = model_of(s, e);
  if (m->unreadable) return error_set(err, ERROR_INVALID, "The model %.64s is not loaded: %.400s", m->name, m->failure);
  serving_hold(e); /* callbacks run */
  for (size_t i = 0; i < s->models.n_in_order; i++)
    if (s->models.in_order[i]->base == m && !s->models.in_order[i]->removed) stop(s, s->models.in_order[i]);
  stop(s, m);
  serving_release(s, e);
  return 0;
}

void serving_hold(const struct endpoint *e) { ((struct model *)e)->holds++; }

void serving_release(struct serving *s, const struct endpoint *e) {
  struct model *m = (struct model *)e;
  if (--m->holds == 0 && m->removed) roster_look_again(s);
}
