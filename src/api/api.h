/* api: the HTTP routes in two dialects, OpenAI's under /v1 and Databricks' elsewhere. The door of the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Order of wiring (the api is made first, because net asks it from the first request on, and serving needs net's loop):
 *     a = api_create(&config);  api_hook(a, &net_config);  n = net_create(&net_config, …);
 *     s = serving_create(… .loop = net_loop(n) …);  api_attach(a, n, s);  net_run(n);
 * and back: serving_stop(s), net_destroy(n), serving_destroy(s), api_destroy(a). All functions are for the loop thread, or before net_run. */
#ifndef API_API_H
#define API_API_H
#include "net/net.h"
#include "serving/serving.h"

struct api;

struct api_config {
  const char *version;         /* of the program, for /metrics and the page at / */
  bool metrics_vllm;           /* /metrics has the names of vLLM, too */
  unsigned request_timeout_ms; /* from a request's arrival to its last token; 0: 600,000 */
};

/* Copies config. */
struct api *api_create(const struct api_config *config);
/* Sets body_limit, wants_body, on_request, write_error and ctx; leaves the rest of net_config alone. */
void api_hook(struct api *a, struct net_config *config);
/* Both are borrowed until api_destroy; before net_run. */
void api_attach(struct api *a, struct net *net, struct serving *serving);
/* From now on /readyz is 503, so that load balancers turn away; the rest goes on (serving_drain refuses new generations). */
void api_drain(struct api *a);
void api_destroy(struct api *a); /* NULL is fine; every exchange is gone by then */

#endif
