/* api: the table of routes and what every reply goes through. SPDX-License-Identifier: Apache-2.0
 *
 * A path is looked up in the order of the table, so that /serving-endpoints/chat/completions is not an endpoint's name. A path may
 * end in one slash more (mlflow sends it). HEAD is answered like GET. The path decides the dialect, even of a 404. */
#include "api/private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/catalog.h"
#include "api/metrics.h"
#include "api/page.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"

enum {
  REQUEST_TIMEOUT_MS = 600000,
  BODY_DATABRICKS = 4 << 20,
  BODY_OPENAI = 16 << 20,
  BODY_OTHER = 64 << 10,
};

struct visit {
  struct api *api;
  struct exchange *x;
  enum api_route route;
  enum dialect dialect;
  struct slice name; /* of {name} in the pattern */
};

struct route {
  const char *pattern; /* {name} stands for one segment that is not empty */
  bool is_post;        /* else GET and HEAD */
  bool is_open;        /* needs no token */
  void (*serve)(const struct visit *v);
};

/* ---- replies ---- */

void api__reply(struct api *a, struct exchange *x, enum api_route route, int status, const char *content_type, struct slice body) {
  metrics_request(a->metrics, route, status);
  exchange_reply(x, status, content_type, body);
}

void api__reply_fault(struct api *a, struct exchange *x, enum api_route route, enum dialect dialect, const struct fault *f) {
  struct buf body = {0};
  fault_write(f, dialect, &body);
  if (f->retry_after_s) {
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", f->retry_after_s);
    exchange_add_header(x, "Retry-After", slice_cstr(seconds));
  }
  if (f->status == 401) exchange_add_header(x, "WWW-Authenticate", SLICE("Bearer"));
  api__reply(a, x, route, f->status, "application/json", buf_view(&body));
  buf_free(&body);
}

static void reply_json(const struct visit *v, int status, struct buf *body) {
  api__reply(v->api, v->x, v->route, status, "application/json", buf_view(body));
  buf_free(body);
}

static void reply_fault(const struct visit *v, const struct fault *f) { api__reply_fault(v->api, v->x, v->route, v->dialect, f); }

void api__uuid(char out[37]) {
  unsigned char b[16];
  if (getrandom(b, sizeof b, 0) != sizeof b) {
    uint64_t ns = clock_ns(); /* an id needs no secret */
    memcpy(b, &ns, sizeof ns);
    memcpy(b + 8, &ns, sizeof ns);
  }
  b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
  b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
  for (int i = 0, at = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out[at++] = '-';
    at += snprintf(out + at, 3, "%02x", b[i]);
  }
}

/* ---- pages that say how things are ---- */

static void serve_health(const struct visit *v) {
  bool alive = serving_engine_alive(v->api->serving);
  struct buf body = {0};
  buf_printf(&body, "{\"status\":\"%s\"}", alive ? "ok" : "engine down");
  reply_json(v, alive ? 200 : 503, &body);
}

static const char *state_name(enum serving_state state) {
  if (state == SERVING_READY) return "ready";
  if (state == SERVING_STOPPED) return "stopped";
  return state == SERVING_LOADING ? "loading" : "failed";
}

static void serve_readyz(const struct visit *v) {
  const struct serving *s = v->api->serving;
  bool ready = serving_ready(s) && !v->api->draining;
  struct buf body = {0};
  struct jsonw w = {.out = &body};
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "status", v->api->draining ? "draining" : ready ? "ready" : "not ready");
  jsonw_key(&w, "endpoints");
  jsonw_object_begin(&w);
  for (size_t i = 0; i < serving_n_endpoints(s); i++) {
    const struct endpoint *e = serving_endpoint_at(s, i);
    jsonw_key_cstr(&w, e->name, state_name(e->state));
  }
  jsonw_object_end(&w);
  jsonw_object_end(&w);
  if (!ready) exchange_add_header(v->x, "Retry-After", SLICE("1"));
  reply_json(v, ready ? 200 : 503, &body);
}

static void serve_metrics(const struct visit *v) {
  struct buf body = {0};
  metrics_write(v->api->metrics, v->api, &body);
  api__reply(v->api, v->x, v->route, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&body));
  buf_free(&body);
}

static void serve_page(const struct visit *v) {
  struct slice host = {0};
  struct buf body = {0};
  exchange_header(v->x, "Host", &host);
  page_write(v->api, host, &body);
  api__reply(v->api, v->x, v->route, 200, "text/html; charset=utf-8", buf_view(&body));
  buf_free(&body);
}

/* ---- what is served ---- */

static void serve_models(const struct visit *v) {
  struct buf body = {0};
  catalog_models(v->api->serving, &body);
  reply_json(v, 200, &body);
}

static void serve_model(const struct visit *v) {
  const struct endpoint *e = serving_endpoint(v->api->serving, v->name);
  struct buf body = {0};
  struct fault f;
  if (e) {
    catalog_model(e, &body);
    reply_json(v, 200, &body);
    return;
  }
  fault_set(&f, 404, "model_not_found", "model", "The model `%.*s` does not exist. GET /v1/models lists those that do.",
            (int)(v->name.len < 200 ? v->name.len : 200), v->name.data);
  reply_fault(v, &f);
}

static void serve_endpoints(const struct visit *v) {
  struct buf body = {0};
  catalog_endpoints(v->api->serving, &body);
  reply_json(v, 200, &body);
}

static void refuse_endpoint(const struct visit *v) {
  struct fault f;
  fault_set(&f, 404, NULL, NULL, "Endpoint with name '%.*s' does not exist.", (int)(v->name.len < 200 ? v->name.len : 200), v->name.data);
  f.error_code = "RESOURCE_DOES_NOT_EXIST";
  reply_fault(v, &f);
}

static void serve_endpoint(const struct visit *v) {
  const struct endpoint *e = serving_endpoint(v->api->serving, v->name);
  struct buf body = {0};
  if (!e) {
    refuse_endpoint(v);
    return;
  }
  catalog_endpoint(e, &body);
  reply_json(v, 200, &body);
}

/* ---- models that are loaded and unloaded ---- */

static void change_model(const struct visit *v, int (*change)(struct serving *s, const struct endpoint *e, struct error *err)) {
  const struct endpoint *e = serving_endpoint(v->api->serving, v->name);
  struct error err;
  struct fault f;
  if (!e) {
    refuse_endpoint(v);
  } else if (change(v->api->serving, e, &err) < 0) {
    fault_from_error(&f, &err);
    reply_fault(v, &f);
  } else {
    serve_endpoint(v);
  }
}

static void serve_load(const struct visit *v) { change_model(v, serving_load); }
static void serve_unload(const struct visit *v) { change_model(v, serving_unload); }

/* ---- tasks ---- */

static void serve_chat(const struct visit *v) { call_start(v->api, v->x, v->route, ROUTE_CHAT, v->name); }
static void serve_completions(const struct visit *v) { call_start(v->api, v->x, v->route, ROUTE_COMPLETIONS, v->name); }
static void serve_embeddings(const struct visit *v) { call_start(v->api, v->x, v->route, ROUTE_EMBEDDINGS, v->name); }
static void serve_invocations(const struct visit *v) { call_start(v->api, v->x, v->route, ROUTE_INVOCATIONS, v->name); }

/* ---- the table ---- */

static const struct route routes[API_N_ROUTES] = {
    [API_V1_CHAT] = {"/v1/chat/completions", true, false, serve_chat},
    [API_V1_COMPLETIONS] = {"/v1/completions", true, false, serve_completions},
    [API_V1_EMBEDDINGS] = {"/v1/embeddings", true, false, serve_embeddings},
    [API_V1_MODELS] = {"/v1/models", false, false, serve_models},
    [API_V1_MODEL] = {"/v1/models/{name}", false, false, serve_model},
    [API_CHAT] = {"/serving-endpoints/chat/completions", true, false, serve_chat},
    [API_COMPLETIONS] = {"/serving-endpoints/completions", true, false, serve_completions},
    [API_EMBEDDINGS] = {"/serving-endpoints/embeddings", true, false, serve_embeddings},
    [API_INVOCATIONS] = {"/serving-endpoints/{name}/invocations", true, false, serve_invocations},
    [API_ENDPOINTS] = {"/api/2.0/serving-endpoints", false, false, serve_endpoints},
    [API_ENDPOINT] = {"/api/2.0/serving-endpoints/{name}", false, false, serve_endpoint},
    [API_MODEL_LOAD] = {"/api/2.0/plinth/models/{name}/load", true, false, serve_load},
    [API_MODEL_UNLOAD] = {"/api/2.0/plinth/models/{name}/unload", true, false, serve_unload},
    [API_HEALTH] = {"/health", false, true, serve_health},
    [API_READYZ] = {"/readyz", false, true, serve_readyz},
    [API_METRICS] = {"/metrics", false, true, serve_metrics},
    [API_PAGE] = {"/", false, true, serve_page},
    [API_NONE] = {"none", false, true, NULL},
    [API_NET] = {"refused", false, true, NULL},
};

const char *api__route_name(enum api_route route) { return routes[route].pattern; }

static bool match(const char *pattern, struct slice path, struct slice *ret_name) {
  const char *brace = strchr(pattern, '{');
  if (!brace) return slice_eq(path, slice_cstr(pattern));
  struct slice before = slice_make(pattern, (size_t)(brace - pattern)), after = slice_cstr(strchr(brace, '}') + 1);
  if (!slice_starts(path, before) || path.len <= before.len + after.len || !slice_ends(path, after)) return false;
  struct slice name = slice_make(path.data + before.len, path.len - before.len - after.len);
  if (memchr(name.data, '/', name.len) && pattern != routes[API_V1_MODEL].pattern) return false; /* clients ask for org/model there */
  *ret_name = name;
  return true;
}

static enum api_route find_route(struct slice path, struct slice *ret_name) {
  if (path.len > 1 && path.data[path.len - 1] == '/') path.len--;
  for (int i = 0; i < API_NONE; i++)
    if (match(routes[i].pattern, path, ret_name)) return (enum api_route)i;
  return API_NONE;
}

static void refuse_path(const struct visit *v) {
  struct slice path = exchange_path(v->x), method = exchange_method(v->x);
  struct fault f;
  fault_set(&f, 404, "not_found", NULL, "No API found for '%.*s %.*s'.", (int)(method.len < 20 ? method.len : 20), method.data,
            (int)(path.len < 300 ? path.len : 300), path.data);
  reply_fault(v, &f);
}

static void refuse_method(const struct visit *v, const struct route *r) {
  struct slice method = exchange_method(v->x);
  struct fault f;
  fault_set(&f, 405, "method_not_allowed", NULL, "%s takes %s, not %.*s.", r->pattern, r->is_post ? "POST" : "GET and HEAD",
            (int)(method.len < 20 ? method.len : 20), method.data);
  exchange_add_header(v->x, "Allow", r->is_post ? SLICE("POST") : SLICE("GET, HEAD"));
  reply_fault(v, &f);
}

static bool allows(const struct route *r, struct slice method) {
  if (r->is_post) return slice_eq(method, SLICE("POST"));
  return slice_eq(method, SLICE("GET")) || slice_eq(method, SLICE("HEAD"));
}

/* A compressed body would be told to be no JSON. */
static bool is_encoded(const struct exchange *x) {
  struct slice coding;
  return exchange_header(x, "Content-Encoding", &coding) && coding.len && !slice_eq(coding, SLICE("identity"));
}

static void refuse_encoding(const struct visit *v) {
  struct fault f;
  fault_set(&f, 415, "unsupported_content_encoding", NULL, "The body has a Content-Encoding; send it as plain JSON.");
  exchange_add_header(v->x, "Accept-Encoding", SLICE("identity"));
  reply_fault(v, &f);
}

static void on_request(void *ctx, struct exchange *x) {
  struct api *a = ctx;
  assert(a->serving);
  struct slice path = exchange_path(x);
  struct visit v = {.api = a, .x = x, .dialect = fault_dialect(path)};
  v.route = find_route(path, &v.name);
  const struct route *r = &routes[v.route];
  struct fault f;
  if (v.route == API_NONE) refuse_path(&v);
  else if (!allows(r, exchange_method(x))) refuse_method(&v, r);
  else if (!r->is_open && auth_check(a, x, v.dialect, &f) != 0) reply_fault(&v, &f);
  else if (r->is_post && is_encoded(x)) refuse_encoding(&v);
  else r->serve(&v);
}

/* A body that comes without a good token, or to a path that takes none, would only hold memory. */
static bool wants_body(void *ctx, struct exchange *x) {
  struct api *a = ctx;
  struct slice name, path = exchange_path(x);
  enum api_route route = find_route(path, &name);
  struct fault f;
  if (route == API_NONE || !allows(&routes[route], exchange_method(x))) return false;
  return routes[route].is_open || auth_check(a, x, fault_dialect(path), &f) == 0;
}

static size_t body_limit(void *ctx, struct slice path) {
  (void)ctx;
  if (fault_dialect(path) == DIALECT_OPENAI) return BODY_OPENAI;
  return slice_starts(path, SLICE("/serving-endpoints")) || slice_starts(path, SLICE("/api/")) ? BODY_DATABRICKS : BODY_OTHER;
}

static void write_error(void *ctx, struct slice path, int status, const char *message, struct buf *body) {
  struct api *a = ctx;
  struct fault f;
  fault_set(&f, status, status == 413 ? "request_too_large" : "invalid_request", NULL, "%s", message);
  metrics_request(a->metrics, API_NET, status);
  fault_write(&f, fault_dialect(path), body);
}

/* ---- the door ---- */

struct api *api_create(const struct api_config *config) {
  struct api *a = mem_zalloc(1, sizeof *a);
  a->config = *config;
  if (a->config.request_timeout_ms == 0) a->config.request_timeout_ms = REQUEST_TIMEOUT_MS;
  a->version = mem_strdup(config->version ? config->version : "");
  a->metrics = metrics_create();
  return a;
}

void api_hook(struct api *a, struct net_config *config) {
  config->body_limit = body_limit;
  config->wants_body = wants_body;
  config->on_request = on_request;
  config->write_error = write_error;
  config->ctx = a;
}

void api_attach(struct api *a, struct net *net, struct serving *serving) {
  a->net = net;
  a->serving = serving;
}

void api_drain(struct api *a) { a->draining = true; }

void api_destroy(struct api *a) {
  if (!a) return;
  metrics_free(a->metrics);
  free(a->version);
  free(a);
}
