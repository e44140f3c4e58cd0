/* conn: one connection, its reading, its deadlines, its end. SPDX-License-Identifier: Apache-2.0
 *
 *   READ --request whole--> BUSY --reply ended--> READ ... --last reply--> FLUSH --all sent--> LINGER --client closes--> DEAD
 *
 * Invariants
 *  1. Reading goes on while a request waits, so a client's leaving is seen: an end of file while BUSY is a leave. What comes behind a
 *     request that waits is kept; from READ_AHEAD_BYTES on reading pauses, and the socket is asked every POLL_MS whether its peer is
 *     still there (data that nobody reads would hide the end behind it).
 *  2. A connection is freed only by the reaper, from the loop: no function frees what its caller still uses.
 *  3. Each state has a deadline but BUSY, whose deadline is the caller's. Writing has libevent's own: no progress, no connection.
 *
 * The one place that knows how bytes travel is open_transport: with TLS, it will make bufferevent_openssl there, and half_close
 * will end TLS first. */
#include <arpa/inet.h>
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/net_room.h"

enum {
  READ_AHEAD_BYTES = 64 * 1024,
  POLL_MS = 100,
  BODY_BYTES_SMALL = 64 * 1024, /* read without a question */
  REQUESTS_A_TURN = 16,         /* of one connection, before the others get theirs */
  BODY_BYTES_A_SECOND = 1024,   /* a body that comes slower than this is not waited for */
  LINGER_QUIET_MS = 2000,       /* without a byte */
  LINGER_MS = 10 * 1000,        /* in all */
  LINGER_BYTES = 64 * 1024 * 1024,
};

static void pump(struct net__conn *c);

/* ---- lists and deadlines ---- */

static void list(struct net__conn *c, bool idle) {
  struct net *n = c->net;
  if (c->listed_idle == idle) return;
  TAILQ_REMOVE(c->listed_idle ? &n->idle : &n->busy, c, link);
  TAILQ_INSERT_TAIL(idle ? &n->idle : &n->busy, c, link);
  c->listed_idle = idle;
}

static size_t unread(const struct net__conn *c) { return evbuffer_get_length(bufferevent_get_input(c->bev)); }
size_t net__conn_unsent(const struct net__conn *c) { return evbuffer_get_length(bufferevent_get_output(c->bev)); }

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* When the present wait is over; 0: never. */
static uint64_t deadline(const struct net__conn *c) {
  const struct net_config *config = &c->net->config;
  switch (c->state) {
    case NET__READ:
      if (!c->x) return c->since_ms + config->idle_timeout_ms;
      if (!http1_has_head(&c->x->request)) return c->since_ms + config->header_timeout_ms;
      return config->body_timeout_ms + min_u64(c->progress_ms, c->since_ms + c->x->request.body.len * (uint64_t)1000 / BODY_BYTES_A_SECOND);
    case NET__BUSY: return c->reading ? 0 : net__now_ms() + POLL_MS;
    case NET__LINGER: return min_u64(c->progress_ms + LINGER_QUIET_MS, c->since_ms + LINGER_MS);
    case NET__FLUSH:
    case NET__DEAD: break;
  }
  return 0;
}

static void arm(struct net__conn *c) {
  uint64_t at = deadline(c), now = net__now_ms();
  if (at == 0) {
    event_del(&c->timer);
    return;
  }
  struct timeval delay = net__timeval(at > now ? at - now : 0);
  event_add(&c->timer, &delay);
}

/* A new wait begins now. */
static void begin_wait(struct net__conn *c) {
  c->since_ms = c->progress_ms = net__now_ms();
  arm(c);
}

/* Reads on while there is room for what comes. (libevent's own high watermark would call on_read without end.) */
static void pace(struct net__conn *c) {
  bool room = c->state == NET__FLUSH || c->state == NET__LINGER || unread(c) < READ_AHEAD_BYTES;
  if (c->eof || c->state == NET__DEAD || room == c->reading) return;
  c->reading = room;
  if (room) bufferevent_enable(c->bev, EV_READ);
  else bufferevent_disable(c->bev, EV_READ);
  if (c->state == NET__BUSY) arm(c);
}

/* ---- the end ---- */

void net__conn_kill(struct net__conn *c) {
  if (c->state == NET__DEAD) return;
  list(c, false);
  TAILQ_REMOVE(&c->net->busy, c, link);
  TAILQ_INSERT_TAIL(&c->net->dead, c, link);
  c->state = NET__DEAD;
  bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
  bufferevent_disable(c->bev, EV_READ | EV_WRITE);
  event_del(&c->timer);
  event_del(&c->resume);
  event_active(c->net->reaper, EV_TIMEOUT, 0);
}

static void conn_free(struct net__conn *c) {
  struct exchange *x = c->x;
  c->x = NULL;
  if (x) net__exchange_end(x, true);
  bufferevent_free(c->bev);
  free(c);
}

void net__conn_reap(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  struct net *n = arg;
  struct net__conn *c;
  while ((c = TAILQ_FIRST(&n->dead))) {
    TAILQ_REMOVE(&n->dead, c, link);
    conn_free(c);
    net__conn_gone(n);
  }
}

/* All is sent: says so to the client, and reads on until it closes too. Closing at once would reset the connection when
 * bytes of it lie unread, and the reset could overtake the reply. */
static void half_close(struct net__conn *c) {
  if (c->eof) {
    net__conn_kill(c);
    return;
  }
  shutdown(bufferevent_getfd(c->bev), SHUT_WR);
  c->state = NET__LINGER;
  begin_wait(c);
}

void net__conn_finish(struct net__conn *c) {
  list(c, false);
  c->state = NET__FLUSH;
  c->discarded = 0;
  event_del(&c->timer);
  evbuffer_drain(bufferevent_get_input(c->bev), unread(c));
  pace(c);
  if (net__conn_unsent(c) == 0) half_close(c);
}

void net__conn_next(struct net__conn *c) {
  c->state = NET__READ;
  list(c, true);
  begin_wait(c);
  if (!c->pumping && (unread(c) || c->eof)) event_active(&c->resume, EV_TIMEOUT, 0);
}

void net__conn_send(struct net__conn *c, const void *data, size_t len) {
  if (len && evbuffer_add(bufferevent_get_output(c->bev), data, len) != 0) abort(); /* out of memory: base/mem.h */
}

/* ---- reading ---- */

/* Asks once, when the body is known to be more than a small one, or waits for the answer. */
static bool is_unwanted(struct exchange *x) {
  const struct net_config *config = &x->conn->net->config;
  const struct http1 *r = &x->request;
  bool matters = r->expects_continue || r->content_length > BODY_BYTES_SMALL || r->body.len > BODY_BYTES_SMALL;
  if (x->asked || !matters || !config->wants_body) return false;
  x->asked = true;
  return !config->wants_body(config->ctx, x);
}

/* The head is known: decides about the body. False when it was refused. */
static bool take_head(struct net__conn *c) {
  const struct net_config *config = &c->net->config;
  struct exchange *x = c->x;
  size_t limit = config->body_bytes_max;
  if (config->body_limit) limit = config->body_limit(config->ctx, exchange_path(x));
  if (limit > config->body_bytes_max) limit = config->body_bytes_max;
  if (!http1_accept_body(&x->request, limit)) return false;
  x->unread = is_unwanted(x);
  if (x->unread) return true;
  begin_wait(c);
  if (x->request.expects_continue && unread(c) == 0) net__conn_send(c, SLICE("HTTP/1.1 100 Continue\r\n\r\n").data, 25);
  return true;
}

/* Counts what the body holds now. False when all bodies together hold too much: refused. */
static bool count_body(struct net__conn *c) {
  struct net *n = c->net;
  struct exchange *x = c->x;
  n->bodies_bytes += x->request.body.cap - x->held;
  x->held = x->request.body.cap;
  if (n->bodies_bytes <= n->config.bodies_bytes_max) return true;
  x->request.status = 503;
  x->request.why = "The server holds as many request bodies as it can; try again in a moment.";
  return false;
}

/* Feeds the parser with one run of bytes from the input. */
static enum http1_event feed(struct net__conn *c) {
  struct evbuffer *in = bufferevent_get_input(c->bev);
  struct evbuffer_iovec run = {0};
  size_t used = 0;
  evbuffer_peek(in, -1, NULL, &run, 1);
  enum http1_event event = http1_feed(&c->x->request, run.iov_base, run.iov_len, &used);
  evbuffer_drain(in, used);
  return event;
}

/* Reads until one request was handed over or refused. False when more bytes are needed first. */
static bool read_request(struct net__conn *c) {
  if (!c->x) {
    if (unread(c) == 0) return false;
    c->x = net__exchange_create(c);
    list(c, false);
    begin_wait(c);
  }
  for (;;) {
    enum http1_event event = feed(c);
    bool good = event != HTTP1_ERROR && count_body(c);
    if (good && event == HTTP1_HEAD) good = take_head(c);
    if (!good) {
      net__exchange_refuse(c->x, c->x->request.status, c->x->request.why);
      return true;
    }
    if (event == HTTP1_MORE) c->x->unread = is_unwanted(c->x);
    if (event == HTTP1_DONE || c->x->unread) break;
    if (event == HTTP1_MORE && unread(c) == 0) return false;
  }
  if (c->x->unread) buf_clear(&c->x->request.body);
  c->state = NET__BUSY;
  event_del(&c->timer);
  net__exchange_hand_over(c->x);
  return true;
}

/* After the input was worked on, and the client has ended its side: nothing more will come. */
static void settle_eof(struct net__conn *c) {
  if (c->state == NET__BUSY) net__conn_kill(c);
  else if (c->state == NET__READ) net__conn_finish(c);
}

/* Works on the input as far as it goes. Replies may come at once (the loop here goes on) or later (net__conn_next resumes). */
static void pump(struct net__conn *c) {
  if (c->pumping || c->state != NET__READ) return;
  c->pumping = true;
  bool more = true;
  for (int turn = 0; more && turn < REQUESTS_A_TURN && c->state == NET__READ; turn++) {
    if (net__conn_unsent(c) > c->net->config.unsent_bytes_max) {
      c->pumping = false;
      pace(c);
      return; /* it asks and does not listen: on_sent resumes */
    }
    more = read_request(c);
  }
  c->pumping = false;
  if (more && c->state == NET__READ && unread(c)) event_active(&c->resume, EV_TIMEOUT, 0);
  else if (c->eof) settle_eof(c);
  else if (c->state == NET__BUSY) arm(c);
  pace(c);
}

/* ---- events ---- */

static void on_resume(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  pump(arg);
}

static void discard(struct net__conn *c) {
  size_t n = unread(c);
  evbuffer_drain(bufferevent_get_input(c->bev), n);
  c->discarded += n;
  if (c->discarded > LINGER_BYTES) net__conn_kill(c);
}

static void on_read(struct bufferevent *bev, void *arg) {
  (void)bev;
  struct net__conn *c = arg;
  c->progress_ms = net__now_ms();
  if (c->state == NET__READ) pump(c);
  else if (c->state == NET__BUSY) arm(c);
  else discard(c);
  pace(c);
}

static void on_sent(struct bufferevent *bev, void *arg) {
  (void)bev;
  struct net__conn *c = arg;
  if (c->state == NET__FLUSH && net__conn_unsent(c) == 0) half_close(c);
  else if (c->state == NET__READ && (unread(c) || c->eof)) pump(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
  (void)bev;
  struct net__conn *c = arg;
  bool ended = (what & BEV_EVENT_EOF) && !(what & (BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT));
  if (!ended || c->state == NET__BUSY || c->state == NET__LINGER) {
    net__conn_kill(c); /* reset, writing timed out, or gone before its reply: RFC 9112, 9.6 lets us see it so */
    return;
  }
  c->eof = true;
  if (c->state != NET__READ) return; /* FLUSH: the reply may still be read */
  if (unread(c)) pump(c);
  else settle_eof(c);
}

static bool peer_has_left(struct net__conn *c) {
  struct pollfd p = {.fd = bufferevent_getfd(c->bev), .events = POLLRDHUP};
  return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  struct net__conn *c = arg;
  uint64_t at = deadline(c);
  if (c->state == NET__BUSY && peer_has_left(c)) net__conn_kill(c);
  else if (c->state == NET__BUSY || at > net__now_ms()) arm(c);
  else if (c->state == NET__LINGER) net__conn_kill(c);
  else if (!c->x) net__conn_finish(c);
  else
    net__exchange_refuse(c->x, 408,
                         http1_has_head(&c->x->request) ? "The request's body came too slowly." : "The request's headers came too slowly.");
}

/* ---- opening ---- */

static struct bufferevent *open_transport(struct net *n, evutil_socket_t fd) {
  return bufferevent_socket_new(n->loop.base, fd, BEV_OPT_CLOSE_ON_FREE);
}

/* Small pieces leave at once; a peer whose machine is gone is noticed within a minute; the kernel keeps little unsent, so that
 * unsent_bytes_max sees the rest. Best effort: a socket without these works. */
static void set_options(evutil_socket_t fd) {
  static const struct {
    int level, name, value;
  } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},    {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 30},
                 {IPPROTO_TCP, TCP_KEEPINTVL, 10}, {IPPROTO_TCP, TCP_KEEPCNT, 3}, {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 64 * 1024}};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

static void name_peer(struct net__conn *c, const struct sockaddr *peer) {
  const void *address = peer->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)peer)->sin6_addr
                                                    : (const void *)&((const struct sockaddr_in *)peer)->sin_addr;
  if (!inet_ntop(peer->sa_family, address, c->peer, sizeof c->peer)) c->peer[0] = '\0';
}

void net__conn_open(struct net *n, evutil_socket_t fd, const struct sockaddr *peer) {
  struct bufferevent *bev = open_transport(n, fd);
  if (!bev) {
    evutil_closesocket(fd);
    return;
  }
  struct net__conn *c = mem_zalloc(1, sizeof *c);
  *c = (struct net__conn){.net = n, .bev = bev, .state = NET__READ, .listed_idle = true, .reading = true};
  TAILQ_INSERT_TAIL(&n->idle, c, link);
  n->n_conns++;
  name_peer(c, peer);
  set_options(fd);
  event_assign(&c->timer, n->loop.base, -1, 0, on_timer, c);
  event_assign(&c->resume, n->loop.base, -1, 0, on_resume, c);
  struct timeval writing = net__timeval(n->config.write_timeout_ms);
  bufferevent_set_timeouts(bev, NULL, &writing);
  bufferevent_setcb(bev, on_read, on_sent, on_event, c);
  bufferevent_enable(bev, EV_READ | EV_WRITE);
  begin_wait(c);
}
