/* echo_server: a server on net.h without models, for the conformance tests (test/http/test_conformance.py).
 * SPDX-License-Identifier: Apache-2.0
 *
 * Prints "port N" and serves until SIGTERM. Options: --NAME VALUE for the numbers of net_config, --cors-origin ORIGIN (repeatable).
 *
 *   /hello            200 "hello"                       /echo             the body back, whatever the method
 *   /info             the request as JSON               /small            like /echo, but a body limit of 1,000 bytes
 *   /slow?MS          200 "slow" after MS               /hold             no reply ever; counts who leaves
 *   /stream?N         N pieces "piece I\n", one a 5 ms  /forever?BYTES    pieces without end, until it is refused
 *   /abort            two pieces, no proper end         /big?BYTES        a reply of so many bytes
 *   /stats            counters as JSON                  /drain            200, then net_drain; /posts: a reply from another thread */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "net/net.h"

struct server {
  struct net *net;
  unsigned requests, left, done;
};

/* One request that is answered later. */
struct job {
  struct server *server;
  struct exchange *x;
  struct loop_timer *timer;
  unsigned long n, at;
  pthread_t thread;
  bool posted;
};

static struct net *the_net; /* for the signal handler */

static void on_signal(int number) {
  (void)number;
  net_stop(the_net);
}

static unsigned long argument(const struct exchange *x) { return strtoul(exchange_query(x).len ? exchange_query(x).data : "0", NULL, 10); }

static void job_gone(void *owner, bool left) {
  struct job *j = owner;
  if (left) j->server->left++;
  else j->server->done++;
  loop_timer_cancel(net_loop(j->server->net), j->timer);
  j->x = NULL;
  if (!j->posted) free(j); /* else a post that carries it is under way */
}

static struct job *job_start(struct server *s, struct exchange *x) {
  struct job *j = mem_zalloc(1, sizeof *j);
  *j = (struct job){.server = s, .x = x, .n = argument(x)};
  exchange_set_owner(x, j, job_gone);
  return j;
}

static void job_every(struct job *j, unsigned ms, bool repeat, void (*fn)(void *)) {
  j->timer = loop_timer_start(net_loop(j->server->net), ms ? ms : 1, repeat, fn, j);
}

static void slow_reply(void *arg) {
  struct job *j = arg;
  j->timer = NULL;
  exchange_reply(j->x, 200, "text/plain", SLICE("slow"));
}

static void stream_piece(void *arg) {
  struct job *j = arg;
  char text[64];
  int len = snprintf(text, sizeof text, "piece %lu\n", j->at++);
  if (!exchange_stream_write(j->x, slice_make(text, (size_t)len))) return;
  if (j->at >= j->n) exchange_stream_end(j->x);
}

static void forever_piece(void *arg) {
  struct job *j = arg;
  char *piece = mem_zalloc(j->n, 1);
  memset(piece, 'x', j->n);
  for (int i = 0; i < 16 && exchange_stream_write(j->x, slice_make(piece, j->n)); i++) {}
  free(piece);
}

static void begin_stream(struct job *j, void (*fn)(void *)) {
  exchange_stream_begin(j->x, 200, "text/event-stream");
  job_every(j, 5, true, fn);
}

static void abort_stream(struct exchange *x) {
  exchange_stream_begin(x, 200, "text/plain");
  exchange_stream_write(x, SLICE("one "));
  exchange_stream_write(x, SLICE("two"));
  exchange_stream_abort(x);
}

static void posted_reply(void *arg) {
  struct job *j = arg;
  j->posted = false;
  if (j->x) slow_reply(j);
  else free(j);
}

static void *post_from_thread(void *arg) {
  struct job *j = arg;
  loop_post(net_loop(j->server->net), posted_reply, j);
  return NULL;
}

static void reply_from_thread(struct job *j) {
  j->posted = true;
  pthread_create(&j->thread, NULL, post_from_thread, j);
  pthread_detach(j->thread);
}

static void reply_json(struct exchange *x, struct buf *b) {
  exchange_reply(x, 200, "application/json", buf_view(b));
  buf_free(b);
}

static void reply_info(struct exchange *x) {
  struct buf b = {0};
  struct jsonw w = {.out = &b};
  struct slice probe;
  jsonw_object_begin(&w);
  jsonw_key_str(&w, "method", exchange_method(x));
  jsonw_key_str(&w, "path", exchange_path(x));
  jsonw_key_str(&w, "query", exchange_query(x));
  jsonw_key_str(&w, "peer", exchange_peer(x));
  jsonw_key_int(&w, "body_bytes", (int64_t)exchange_body(x).len);
  if (exchange_header(x, "x-probe", &probe)) jsonw_key_str(&w, "probe", probe);
  jsonw_object_end(&w);
  reply_json(x, &b);
}

static void reply_stats(struct server *s, struct exchange *x) {
  struct buf b = {0};
  struct jsonw w = {.out = &b};
  jsonw_object_begin(&w);
  jsonw_key_int(&w, "requests", s->requests);
  jsonw_key_int(&w, "left", s->left);
  jsonw_key_int(&w, "done", s->done);
  jsonw_key_int(&w, "exchanges", net_n_exchanges(s->net));
  jsonw_object_end(&w);
  reply_json(x, &b);
}

static void reply_big(struct exchange *x) {
  size_t n = argument(x);
  char *bytes = mem_zalloc(n + 1, 1);
  memset(bytes, 'b', n);
  exchange_reply(x, 200, "application/octet-stream", slice_make(bytes, n));
  free(bytes);
}

static bool at(struct slice path, const char *prefix) { return slice_starts(path, slice_cstr(prefix)); }

static void on_request(void *ctx, struct exchange *x) {
  struct server *s = ctx;
  struct slice path = exchange_path(x);
  s->requests++;
  exchange_add_header(x, "X-Echo", SLICE("a\r\nb"));
  if (at(path, "/hello")) exchange_reply(x, 200, "text/plain", SLICE("hello"));
  else if (at(path, "/echo") || at(path, "/small")) exchange_reply(x, 200, "application/octet-stream", exchange_body(x));
  else if (at(path, "/info")) reply_info(x);
  else if (at(path, "/stats")) reply_stats(s, x);
  else if (at(path, "/big")) reply_big(x);
  else if (at(path, "/hold")) job_start(s, x);
  else if (at(path, "/slow")) {
    struct job *j = job_start(s, x);
    job_every(j, (unsigned)j->n, false, slow_reply);
  } else if (at(path, "/posts")) reply_from_thread(job_start(s, x));
  else if (at(path, "/stream")) begin_stream(job_start(s, x), stream_piece);
  else if (at(path, "/forever")) begin_stream(job_start(s, x), forever_piece);
  else if (at(path, "/abort")) abort_stream(x);
  else if (at(path, "/drain")) {
    net_drain(s->net);
    exchange_reply(x, 200, "text/plain", SLICE("draining"));
  } else exchange_reply(x, 404, "text/plain", SLICE("no such path"));
}

static size_t body_limit(void *ctx, struct slice path) {
  (void)ctx;
  return at(path, "/small") ? 1000 : SIZE_MAX;
}

static bool wants_body(void *ctx, struct exchange *x) {
  (void)ctx;
  return !at(exchange_path(x), "/hello"); /* which looks at none */
}

/* True when the option is one of the numbers of net_config. */
static bool set_number(struct net_config *c, const char *name, unsigned long v) {
  struct {
    const char *name;
    unsigned *to;
  } numbers[] = {{"--headers-max", &c->headers_max},           {"--header-timeout-ms", &c->header_timeout_ms},
                 {"--body-timeout-ms", &c->body_timeout_ms},   {"--idle-timeout-ms", &c->idle_timeout_ms},
                 {"--write-timeout-ms", &c->write_timeout_ms}, {"--connections-max", &c->connections_max}};
  struct {
    const char *name;
    size_t *to;
  } sizes[] = {{"--header-bytes-max", &c->header_bytes_max},
               {"--body-bytes-max", &c->body_bytes_max},
               {"--bodies-bytes-max", &c->bodies_bytes_max},
               {"--unsent-bytes-max", &c->unsent_bytes_max}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (strcmp(numbers[i].name, name) == 0) return *numbers[i].to = (unsigned)v, true;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (strcmp(sizes[i].name, name) == 0) return *sizes[i].to = v, true;
  return false;
}

int main(int argc, char **argv) {
  struct server server = {0};
  struct net_config config = {.body_limit = body_limit, .wants_body = wants_body, .on_request = on_request, .ctx = &server};
  const char *origins[8];
  config.cors_origins = origins;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--cors-origin") == 0 && config.n_cors_origins < 8) origins[config.n_cors_origins++] = argv[i + 1];
    else if (!set_number(&config, argv[i], strtoul(argv[i + 1], NULL, 10))) return fprintf(stderr, "unknown option %s\n", argv[i]), 2;
  }
  struct error err;
  server.net = the_net = net_create(&config, &err);
  if (!server.net) return fprintf(stderr, "%s\n", err.message), 1;
  signal(SIGTERM, on_signal);
  printf("port %d\n", net_port(server.net));
  fflush(stdout);
  net_run(server.net);
  net_destroy(server.net);
  return 0;
}
