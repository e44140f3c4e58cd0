/* call: one POST of a task, from its body to the end of its reply. Private to api. SPDX-License-Identifier: Apache-2.0
 *
 *     parse --> find the endpoint --> read and tokenize --> generate, up to CALL_WINDOW sequences at once --> reply or stream
 *     (worker when big) (loop)        (worker)              (engine)                                          (worker when big)
 *
 * A call lives until its exchange is gone and no worker and no frame of its own code holds it. */
#ifndef API_CALL_H
#define API_CALL_H
#include "api/choice.h"
#include "api/private.h"

enum { CALL_WINDOW = 64 }; /* sequences of one call in the engine's queue, so that a batch leaves room for others */

struct call {
  struct api *api;
  struct exchange *x; /* NULL once it is gone */
  unsigned held;      /* workers and frames that still use the call */
  enum api_route label;
  enum dialect dialect;
  enum request_route route;
  bool named;     /* the path names the endpoint */
  char name[512]; /* longer than any file name, so what is cut is no endpoint's */
  char id[64];
  int64_t created_s;
  uint64_t start_ns;

  struct buf body;
  bool big, queued; /* a body of many bytes; it waits for its turn */
  struct call *next_big;
  struct js *root;
  struct request_rules rules;
  const struct endpoint *endpoint; /* loop thread; held, once it is found */
  struct meter *meter;             /* of its model; loop thread */
  struct endpoint model;           /* what it said when the request was read; any thread */
  struct request request;
  struct prompts prompts;
  struct loop_timer *wait; /* until the model's figures are known */
  bool failed;             /* fault is filled */
  struct fault fault;

  struct choice *choices;
  size_t n_choices, n_submitted, n_alive, n_done;
  size_t prompt_tokens;
  float *vectors; /* REQUEST_EMBEDDING: [n_choices, n_embd] */

  bool accepted;     /* serving took the first of its sequences */
  bool began, ended; /* the stream; the whole reply */
  bool dirty;        /* in the list of what to flush */
  struct call *next_dirty;
  struct buf out; /* the reply's body, or what the stream has not been given yet */
};

/* name: from the path, empty when the body's `model` says it. Takes over x. */
void call_start(struct api *a, struct exchange *x, enum api_route label, enum request_route route, struct slice name);
/* Gives the streams what their choices wrote since the last time. */
void call_flush_all(struct api *a);

#endif
