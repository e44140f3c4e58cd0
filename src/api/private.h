/* private: what the files of the api share. SPDX-License-Identifier: Apache-2.0 */
#ifndef API_PRIVATE_H
#define API_PRIVATE_H
#include "api/api.h"
#include "api/fault.h"

/* The routes by which requests are counted; api.c has their patterns. */
enum api_route {
  API_V1_CHAT,
  API_V1_COMPLETIONS,
  API_V1_EMBEDDINGS,
  API_V1_MODELS,
  API_V1_MODEL,
  API_CHAT,
  API_COMPLETIONS,
  API_EMBEDDINGS,
  API_INVOCATIONS,
  API_ENDPOINTS,
  API_ENDPOINT,
  API_MODEL_LOAD,
  API_MODEL_UNLOAD,
  API_HEALTH,
  API_READYZ,
  API_METRICS,
  API_PAGE,
  API_NONE, /* no such path */
  API_NET,  /* refused by net before it came here */
  API_N_ROUTES,
};

struct metrics;
struct meter;
struct call;

struct api {
  struct api_config config;
  char *version;
  struct net *net;
  struct serving *serving;
  struct metrics *metrics;
  bool draining;
  struct call *dirty; /* streams with something to send */
  bool flush_posted;
  struct call *big, *big_first, *big_last; /* the call whose big body is being read; those that wait for their turn */
};

/* One reply, counted. x may be dead afterwards. */
void api__reply(struct api *a, struct exchange *x, enum api_route route, int status, const char *content_type, struct slice body);
void api__reply_fault(struct api *a, struct exchange *x, enum api_route route, enum dialect dialect, const struct fault *f);
/* A version 4 UUID with its hyphens. */
void api__uuid(char out[37]);
const char *api__route_name(enum api_route route);

#endif
