/* engine_slots: the models of the engine process, by number: loaded and freed beside the loop. SPDX-License-Identifier: Apache-2.0
 *
 *     FREE --LOAD--> LOADING --loaded--> LOADED --UNLOAD--> LEAVING --freed--> FREE
 *                       |  failed ------------------------------------------^
 *                       +-- UNLOAD: given up, and what came all the same is freed
 *
 * Jobs are done in the order of their frames; each load is planned before that, when it comes. Answers (READY, FAILED, GONE) are appended to `out`. */
#ifndef APP_ENGINE_SLOTS_H
#define APP_ENGINE_SLOTS_H
#include "app/engine_loop.h"

struct engine_slot {
  enum { SLOT_FREE, SLOT_LOADING, SLOT_LOADED, SLOT_LEAVING } place;
  void *loaded;            /* LOADED */
  struct engine *engine;   /* LOADED: NULL of an adapter */
  struct adapter *adapter; /* LOADED: of the model in the slot `base`; NULL: none */
  bool is_adapter;
  uint32_t base;
  uint32_t n_embd;
  bool leaves;     /* the gateway waits for GONE */
  bool tell;       /* the counters changed without a step */
  uint64_t n_done; /* tokens that its engine had been through after the last step */
};

struct engine_jobs {
  struct engine_job *first, **end;
};

struct engine_slots {
  const struct engine_loop_config *config;
  struct buf *out;
  struct engine_slot items[WIRE_MODELS_MAX];
  uint32_t n;               /* one past the highest that was ever used */
  struct engine_jobs asked; /* in the order of their frames */
  struct engine_jobs jobs;  /* whose need of memory is known; in the same order */
  struct engine_loader loader;
  bool served; /* the first models are loaded: what comes now is loaded beside what is served */
};

int engine_slots_init(struct engine_slots *s, const struct engine_loop_config *config, struct buf *out, struct error *err);
void engine_slots_deinit(struct engine_slots *s);
void engine_slots_load(struct engine_slots *s, const struct wire_load *load);
/* -1: the frame breaks the protocol. */
int engine_slots_unload(struct engine_slots *s, uint32_t model, struct error *err);
/* The engine for requests to a model, and the adapter that they go through; NULL: it is not loaded. */
struct engine *engine_slots_find(struct engine_slots *s, uint32_t model, struct adapter **ret_adapter);
/* Takes back what is done. */
void engine_slots_take(struct engine_slots *s);
/* Begins what is next. The answers so far should have been sent: a load that ends the process must not look like that of the model before it. */
void engine_slots_start(struct engine_slots *s);
bool engine_slots_loading(const struct engine_slots *s); /* a job waits or is under way */

#endif
