/* net_room: what the files of this room share. Private to net. SPDX-License-Identifier: Apache-2.0
 *
 * Everything here belongs to the loop thread, but the posts (their lock) and the stop flag (atomic). */
#ifndef NET_NET_ROOM_H
#define NET_NET_ROOM_H
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "net/http1.h"
#include "net/net.h"

struct bufferevent;
struct evconnlistener;

/* ---- loop.c ---- */

struct net__post {
  void (*fn)(void *arg);
  void *arg;
};

struct net__loop {
  struct loop loop; /* first, so that a struct loop * leads back here */
  struct event_base *base;
  int wake_fd; /* an eventfd: something was posted, or a stop was asked for */
  struct event *wake;
  atomic_bool stop;
  pthread_mutex_t lock; /* guards posts, n_posts, cap_posts */
  struct net__post *posts;
  size_t n_posts, cap_posts;
  LIST_HEAD(net__timers, loop_timer) timers;
  LIST_HEAD(net__watches, loop_watch) watches;
};

int net__loop_init(struct net__loop *l, struct error *err);
void net__loop_run(struct net__loop *l);    /* until net__loop_stop; what was posted before that is run first */
void net__loop_stop(struct net__loop *l);   /* any thread, signal handlers too */
void net__loop_deinit(struct net__loop *l); /* forgets posts, timers and watches that are left */

uint64_t net__now_ms(void);
struct timeval net__timeval(uint64_t ms);

/* ---- net.c ---- */

enum { NET__LISTENERS_MAX = 8 };

struct net__conn;
TAILQ_HEAD(net__conns, net__conn);

struct net {
  struct net__loop loop;    /* first: see net_loop */
  struct net_config config; /* defaults filled in; strings and origins are copies */
  struct http1_limits limits;
  struct evconnlistener *listeners[NET__LISTENERS_MAX];
  unsigned n_listeners;
  int port;
  bool draining, full;     /* full: as many connections as may be, the listeners wait */
  struct event *room_tick; /* while full: looks for an idle connection that can give way; and ends a pause after a failed accept */
  struct net__conns idle;  /* between requests, longest first */
  struct net__conns busy;  /* all others, but the dead */
  struct net__conns dead;  /* to be freed by the reaper */
  struct event *reaper;
  unsigned n_conns, n_exchanges;
  size_t bodies_bytes; /* memory that request bodies hold */
  int64_t date_s;      /* the second that date tells */
  char date[40];
};

void net__conn_gone(struct net *n);   /* one connection was freed: accept again */
const char *net__date(struct net *n); /* the value of the Date header */

/* ---- conn.c ---- */

enum net__state {
  NET__READ,   /* reads requests; x is NULL while none has begun */
  NET__BUSY,   /* x was handed to on_request; its reply has not ended */
  NET__FLUSH,  /* the last reply is on its way; then half-close */
  NET__LINGER, /* we have ended our side; what still comes is thrown away, so that the client reads the reply and no reset */
  NET__DEAD,   /* waits for the reaper */
};

struct net__conn {
  TAILQ_ENTRY(net__conn) link;
  struct net *net;
  struct bufferevent *bev;
  struct exchange *x;   /* the request that is read or answered */
  struct event timer;   /* the deadline of the state */
  struct event resume;  /* read on, from a clean stack */
  uint64_t since_ms;    /* when the present wait began */
  uint64_t progress_ms; /* when bytes came last */
  size_t discarded;     /* while FLUSH and LINGER */
  enum net__state state;
  bool listed_idle, pumping, eof;
  bool reading; /* EV_READ is on */
  char peer[INET6_ADDRSTRLEN];
};

void net__conn_open(struct net *n, evutil_socket_t fd, const struct sockaddr *peer);
/* Closes now; on_gone comes from the reaper. */
void net__conn_kill(struct net__conn *c);
/* Sends what lies unsent, then closes gracefully. */
void net__conn_finish(struct net__conn *c);
/* The exchange has ended well: on with the next request. */
void net__conn_next(struct net__conn *c);
size_t net__conn_unsent(const struct net__conn *c);
void net__conn_send(struct net__conn *c, const void *data, size_t len);
void net__conn_reap(evutil_socket_t fd, short what, void *net); /* event callback of net.reaper */

/* ---- exchange.c ---- */

enum { NET__REQUEST_ID_MAX = 128 };

struct exchange {
  struct net__conn *conn;
  struct http1 request;
  struct buf headers; /* what was added to the reply's head */
  void *owner;
  void (*on_gone)(void *owner, bool left);
  size_t held;          /* what request.body adds to net.bodies_bytes */
  size_t piece_max;     /* bytes of the largest write of a stream */
  bool handed;          /* to on_request: counted in net.n_exchanges */
  bool begun;           /* the reply's head was written */
  bool close;           /* the connection ends with this reply */
  bool asked, unread;   /* config.wants_body was asked; its body is not wanted */
  bool chunked, silent; /* the stream's coding; silent: HEAD, no body goes out */
  char request_id[NET__REQUEST_ID_MAX + 1];
};

struct exchange *net__exchange_create(struct net__conn *c);
/* Calls on_gone if it was not called, and frees. */
void net__exchange_end(struct exchange *x, bool left);
/* Net's own answer to a request it does not take; the connection ends with it. */
void net__exchange_refuse(struct exchange *x, int status, const char *message);
/* The request is whole: answers it here (preflight, "*"), or hands it over. */
void net__exchange_hand_over(struct exchange *x);

/* ---- cors.c ---- */

/* Adds what a browser wants to see in this reply; nothing when CORS is off. */
void net__cors_headers(const struct exchange *x, struct buf *head);
/* Answers a preflight request. False when it is none, or CORS is off. */
bool net__cors_preflight(struct exchange *x);

#endif
