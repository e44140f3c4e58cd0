/* engine_loop: turns frames of wire into calls of engine.h, and steps into frames. SPDX-License-Identifier: Apache-2.0
 *
 * The heart of the engine process, apart from the loading of models, so that tests can run it with engines of their own. */
#ifndef APP_ENGINE_LOOP_H
#define APP_ENGINE_LOOP_H
#include "engine/engine.h"
#include "wire/wire.h"

struct engine_loop_config {
  int fd; /* the socket to the gateway; the caller closes it */
  /* Loads a model: its engine, and the figures for the gateway (the strings live as long as the model). NULL with an error. */
  struct engine *(*load)(void *ctx, const struct wire_load *request, struct wire_model *ret_figures, struct error *err);
  /* The same for an adapter of a model that is loaded. NULL in the config: adapters are refused. */
  struct adapter *(*load_adapter)(void *ctx, const struct wire_load *request, struct wire_model *ret_figures, struct error *err);
  void (*unload)(void *ctx, uint32_t model); /* after the engine was destroyed; adapters before their bases */
  /* What the machine can do at most; called once, when nothing is asked for. NULL: it is not measured. */
  void (*measure)(void *ctx, struct wire_machine *ret);
  void *ctx;
};

/* Runs until the gateway says stop or is gone (0), or breaks the protocol (-1). */
int engine_loop_run(const struct engine_loop_config *config, struct error *err);

#endif
