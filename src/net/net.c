/* net: the server: listeners, the number of connections, start and end. SPDX-License-Identifier: Apache-2.0
 *
 * When connections_max are open the listeners wait and further clients stay in the kernel's queue; meanwhile the connection that
 * has been idle longest, and for IDLE_GRACE_MS at least, gives way. So open but silent connections cannot lock others out. */
#include "net/net.h"

#include <assert.h>
#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/net_room.h"

enum { ROOM_TICK_MS = 100, IDLE_GRACE_MS = 1000, BACKLOG = 1024 };

/* ---- accepting ---- */

static void listen_on(struct net *n, bool on) {
  for (unsigned i = 0; i < n->n_listeners; i++) {
    if (on) evconnlistener_enable(n->listeners[i]);
    else evconnlistener_disable(n->listeners[i]);
  }
}

static void pause_accepting(struct net *n) {
  struct timeval tick = net__timeval(ROOM_TICK_MS);
  n->full = true;
  listen_on(n, false);
  event_add(n->room_tick, &tick);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int peer_len, void *arg) {
  (void)listener;
  (void)peer_len;
  struct net *n = arg;
  net__conn_open(n, fd, peer);
  if (n->n_conns >= n->config.connections_max) pause_accepting(n);
}

static void on_accept_error(struct evconnlistener *listener, void *arg) {
  (void)listener;
  struct net *n = arg;
  log_line(LOG_WARN, "net", "Cannot accept a connection: %s; trying again.", strerror(errno));
  pause_accepting(n);
}

static void on_room_tick(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  struct net *n = arg;
  if (n->n_conns >= n->config.connections_max) {
    struct net__conn *oldest = TAILQ_FIRST(&n->idle);
    if (oldest && oldest->since_ms + IDLE_GRACE_MS <= net__now_ms()) net__conn_kill(oldest);
    struct timeval tick = net__timeval(ROOM_TICK_MS);
    event_add(n->room_tick, &tick);
    return;
  }
  n->full = false;
  listen_on(n, true);
}

void net__conn_gone(struct net *n) {
  assert(n->n_conns > 0);
  n->n_conns--;
  if (!n->full || n->n_conns >= n->config.connections_max) return;
  n->full = false;
  event_del(n->room_tick);
  listen_on(n, true);
}

/* ---- listening ---- */

static int port_of(evutil_socket_t fd) {
  struct sockaddr_storage a = {0};
  socklen_t len = sizeof a;
  if (getsockname(fd, (struct sockaddr *)&a, &len) != 0) return 0;
  return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

static void set_port(struct sockaddr *a, int port) {
  if (a->sa_family == AF_INET6) ((struct sockaddr_in6 *)a)->sin6_port = htons((uint16_t)port);
  else ((struct sockaddr_in *)a)->sin_port = htons((uint16_t)port);
}

/* One address of the host. All of them share the port that the first one got. */
static bool listen_at(struct net *n, struct addrinfo *at) {
  if (n->n_listeners == NET__LISTENERS_MAX) return true;
  set_port(at->ai_addr, n->port ? n->port : n->config.port);
  struct evconnlistener *l =
      evconnlistener_new_bind(n->loop.base, on_accept, n, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, BACKLOG,
                              at->ai_addr, (int)at->ai_addrlen);
  if (!l) return false;
  evconnlistener_set_error_cb(l, on_accept_error);
  n->listeners[n->n_listeners++] = l;
  if (!n->port) n->port = port_of(evconnlistener_get_fd(l));
  return true;
}

static int listen_error(struct error *err, const struct net_config *config, int why) {
  const char *advice = "check --host";
  if (why == EADDRINUSE) advice = "choose another --port, or stop the program that holds it";
  if (why == EACCES) advice = "choose a --port of 1024 or more, or run with the right to use this one";
  return error_set(err, ERROR_IO, "Cannot listen on %s port %d: %s; %s.", config->host, config->port, strerror(why), advice);
}

static int listen_all(struct net *n, struct error *err) {
  const struct net_config *config = &n->config;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *all = NULL;
  int rc = getaddrinfo(config->host, NULL, &hints, &all);
  if (rc != 0) return error_set(err, ERROR_INVALID, "Cannot find the host %s: %s; check --host.", config->host, gai_strerror(rc));
  int why = EADDRNOTAVAIL;
  for (struct addrinfo *at = all; at; at = at->ai_next) {
    if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
    if (listen_at(n, at)) continue;
    why = errno;
    if (why == EADDRINUSE || why == EACCES) break;
  }
  freeaddrinfo(all);
  /* a name of which only half would answer, the other half another program, is a trap */
  bool taken = config->port != 0 && (why == EADDRINUSE || why == EACCES);
  return n->n_listeners == 0 || taken ? listen_error(err, config, why) : 0;
}

/* ---- the net ---- */

static void set_default(unsigned *value, unsigned otherwise) {
  if (*value == 0) *value = otherwise;
}

static void copy_config(struct net *n, const struct net_config *from) {
  struct net_config *c = &n->config;
  *c = *from;
  c->host = mem_strdup(from->host ? from->host : "127.0.0.1");
  if (c->header_bytes_max == 0) c->header_bytes_max = 32 * 1024;
  if (c->body_bytes_max == 0) c->body_bytes_max = 16 * 1024 * 1024;
  if (c->bodies_bytes_max == 0) c->bodies_bytes_max = 256 * 1024 * 1024;
  if (c->unsent_bytes_max == 0) c->unsent_bytes_max = 256 * 1024;
  set_default(&c->headers_max, 100);
  set_default(&c->header_timeout_ms, 10 * 1000);
  set_default(&c->body_timeout_ms, 30 * 1000);
  set_default(&c->idle_timeout_ms, 75 * 1000);
  set_default(&c->write_timeout_ms, 30 * 1000);
  set_default(&c->connections_max, 1024);
  char **origins = mem_zalloc(from->n_cors_origins + 1, sizeof *origins);
  for (size_t i = 0; i < from->n_cors_origins; i++) origins[i] = mem_strdup(from->cors_origins[i]);
  c->cors_origins = (const char *const *)origins;
  n->limits = (struct http1_limits){c->header_bytes_max, c->headers_max};
}

static int check_config(const struct net_config *c, struct error *err) {
  assert(c->on_request);
  if (c->port < 0 || c->port > 65535) return error_set(err, ERROR_INVALID, "the port %d is not between 0 and 65535", c->port);
  if (c->header_bytes_max > HTTP1_HEAD_BYTES_LIMIT)
    return error_set(err, ERROR_INVALID, "header_bytes_max is %zu; it may be %d at most", c->header_bytes_max, HTTP1_HEAD_BYTES_LIMIT);
  return 0;
}

struct net *net_create(const struct net_config *config, struct error *err) {
  if (check_config(config, err) != 0) return NULL;
  struct net *n = mem_zalloc(1, sizeof *n);
  n->loop.wake_fd = -1;
  TAILQ_INIT(&n->idle);
  TAILQ_INIT(&n->busy);
  TAILQ_INIT(&n->dead);
  copy_config(n, config);
  if (net__loop_init(&n->loop, err) != 0) goto fail;
  n->reaper = event_new(n->loop.base, -1, 0, net__conn_reap, n);
  n->room_tick = event_new(n->loop.base, -1, 0, on_room_tick, n);
  if (!n->reaper || !n->room_tick) abort(); /* out of memory: base/mem.h */
  if (listen_all(n, err) != 0) goto fail;
  signal(SIGPIPE, SIG_IGN); /* a client that leaves while we write is an error of that write, not a signal */
  return n;
fail:
  net_destroy(n);
  return NULL;
}

int net_port(const struct net *n) { return n->port; }
void net_run(struct net *n) { net__loop_run(&n->loop); }
void net_stop(struct net *n) { net__loop_stop(&n->loop); }
struct loop *net_loop(struct net *n) { return &n->loop.loop; }

static unsigned n_unsent(const struct net__conns *conns) {
  const struct net__conn *c;
  unsigned count = 0;
  TAILQ_FOREACH(c, conns, link) count += c->state != NET__BUSY && net__conn_unsent(c) > 0;
  return count;
}

unsigned net_n_exchanges(const struct net *n) { return n->n_exchanges + n_unsent(&n->idle) + n_unsent(&n->busy); }

static void stop_listening(struct net *n) {
  for (unsigned i = 0; i < n->n_listeners; i++) evconnlistener_free(n->listeners[i]);
  n->n_listeners = 0;
}

void net_drain(struct net *n) {
  n->draining = true;
  stop_listening(n);
  struct net__conn *c;
  while ((c = TAILQ_FIRST(&n->idle))) net__conn_finish(c);
}

void net_destroy(struct net *n) {
  if (!n) return;
  stop_listening(n);
  struct net__conn *c;
  while ((c = TAILQ_FIRST(&n->idle)) || (c = TAILQ_FIRST(&n->busy))) net__conn_kill(c);
  net__conn_reap(-1, 0, n);
  if (n->reaper) event_free(n->reaper);
  if (n->room_tick) event_free(n->room_tick);
  net__loop_deinit(&n->loop);
  for (size_t i = 0; i < n->config.n_cors_origins; i++) free((char *)n->config.cors_origins[i]);
  free((void *)n->config.cors_origins);
  free((char *)n->config.host);
  free(n);
}

const char *net__date(struct net *n) {
  static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  int64_t now = clock_wall_s();
  if (now != n->date_s) {
    struct tm t;
    time_t at = (time_t)now;
    gmtime_r(&at, &t);
    snprintf(n->date, sizeof n->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * t.tm_wday, t.tm_mday % 100,
             months + 3 * t.tm_mon, (t.tm_year + 1900) % 10000, t.tm_hour % 100, t.tm_min % 100, t.tm_sec % 100);
    n->date_s = now;
  }
  return n->date;
}
