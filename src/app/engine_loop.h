/* engine_loop: turns frames of wire into calls of engine.h, and steps into frames. SPDX-License-Identifier: Apache-2.0
 *
 * The heart of the engine process, apart from the loading of models, so that tests can run it with engines of their own. */
#ifndef APP_ENGINE_LOOP_H
#define APP_ENGINE_LOOP_H
#include "app/engine_loader.h"
#include "engine/engine.h"
#include "wire/wire.h"

/* What serves a model that was loaded. */
struct engine_loop_model {
  struct engine *engine;     /* the loop destroys it */
  struct adapter *adapter;   /* of an adapter, in place of an engine */
  struct wire_model figures; /* the strings live as long as the model */
};

struct engine_loop_config {
  int fd; /* the socket to the gateway; the caller closes it */
  /* On a thread beside the loop, as load, and some time before it: how much memory it will take, into job->bytes; or job->error. NULL: none. */
  void (*plan)(void *ctx, struct engine_job *job);
  /* On the loop's thread, between steps, when loads begin or end: so much memory is still to be taken by models that were asked for. Or NULL. */
  void (*fit)(void *ctx, uint64_t bytes);
  /* On a thread beside the loop, one call at a time: what job->load asks for, into job->loaded; or NULL there and job->error. It looks at
   * job->cancelled now and then. */
  void (*load)(void *ctx, struct engine_job *job);
  /* On the loop's thread: makes what serves the model. -1 with an error; unload follows. */
  int (*begin)(void *ctx, const struct wire_load *load, void *loaded, struct engine_loop_model *ret, struct error *err);
  /* Frees what load gave, after its engine was destroyed or its adapter forgotten; adapters before their bases. On either thread. */
  void (*unload)(void *ctx, void *loaded);
  unsigned (*tidy)(void *ctx); /* between steps: engine_memory_tidy; or NULL */
  /* What the machine can do at most; called when nothing is asked for, until it is true: false says that something disturbs it now. NULL: it is not
   * measured. */
  bool (*measure)(void *ctx, struct wire_machine *ret);
  void *ctx;
};

/* Runs until the gateway says stop or is gone (0), or breaks the protocol (-1). */
int engine_loop_run(const struct engine_loop_config *config, struct error *err);

#endif
