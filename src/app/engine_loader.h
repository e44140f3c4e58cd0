/* engine_loader: loads and frees models beside the loop of the engine process. SPDX-License-Identifier: Apache-2.0
 *
 * One job at a time, on a thread of its own, so that the loop goes on stepping other models. The loop starts a job when none is under way, waits
 * for `fd` to be readable, and takes the job back. */
#ifndef APP_ENGINE_LOADER_H
#define APP_ENGINE_LOADER_H
#include <pthread.h>
#include <stdatomic.h>

#include "wire/wire.h"

struct engine_job {
  struct engine_job *next; /* of whoever holds it */
  bool unloads;            /* else it loads, or first: */
  bool plans;              /* it finds out how much memory the load will take */
  uint64_t bytes;          /* so much, once that is known */
  struct wire_load load;   /* owns its paths; of one that unloads only the model counts */
  void *base;              /* of an adapter: what was loaded for its base */
  bool beside;             /* other models are served meanwhile: it takes little of the machine */
  atomic_bool cancelled;
  void *loaded; /* what came, or is to be freed; NULL with error */
  struct error error;
};

struct engine_loader {
  void (*work)(void *ctx, struct engine_job *job); /* on the thread */
  void *ctx;
  int fd; /* an eventfd */
  pthread_t thread;
  struct engine_job *job; /* under way; NULL: none */
};

int engine_loader_init(struct engine_loader *l, void (*work)(void *ctx, struct engine_job *job), void *ctx, struct error *err);
/* No job is under way. Should no thread start, the job is done here and now. */
void engine_loader_start(struct engine_loader *l, struct engine_job *job);
/* The job that was under way, when it is done; NULL: it is not. */
struct engine_job *engine_loader_take(struct engine_loader *l);
/* Waits for the job under way, which is cancelled, and gives it back; NULL: there was none. */
struct engine_job *engine_loader_deinit(struct engine_loader *l);

struct engine_job *engine_job_create(const struct wire_load *load);
void engine_job_free(struct engine_job *job);

#endif
