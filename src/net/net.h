/* net: the HTTP/1.1 server on libevent. The door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * One loop thread owns every connection and every exchange; all functions here are for that thread, except net_stop
 * and loop_post. Strictness: doc/design/http.md lists what is refused. Reading stays enabled while a request waits, so a client
 * that leaves is noticed at once, before the reply as well as during it. A client that ends its sending side while its request
 * waits counts as gone. net_create makes the process ignore SIGPIPE. */
#ifndef NET_NET_H
#define NET_NET_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/slice.h"

struct net;      /* the loop with its server */
struct exchange; /* one request and its reply; belongs to net until the reply has ended and on_gone was called */

struct net_config {
  const char *host;                /* numeric address or name; "127.0.0.1" by default */
  int port;                        /* 0 picks one; net_port tells */
  size_t header_bytes_max;         /* request line and headers; 0: 32 KiB, at most 64 KiB. Over it: 431, or 414 in the first line */
  unsigned headers_max;            /* count; 0: 100. Over it: 431 */
  size_t body_bytes_max;           /* 0: 16 MiB. Over it: 413; body_limit may lower it per path */
  size_t bodies_bytes_max;         /* what all bodies together may hold; 0: 256 MiB. Over it: 503 */
  size_t unsent_bytes_max;         /* 0: 256 KiB. A stream whose reader lets more pile up is closed; its largest write comes on top */
  unsigned header_timeout_ms;      /* from the first byte to the end of the headers; 0: 10,000. Past it: 408 */
  unsigned body_timeout_ms;        /* without progress, or with less than 1 KiB a second; 0: 30,000. Past it: 408 */
  unsigned idle_timeout_ms;        /* between requests; 0: 75,000 */
  unsigned write_timeout_ms;       /* a reply that makes no progress; 0: 30,000 */
  unsigned connections_max;        /* 0: 1,024; more wait in the kernel's queue, until one closes or the longest idle one gives way */
  const char *const *cors_origins; /* exact origins, or "*"; NULL: CORS off */
  size_t n_cors_origins;
  /* Largest body for this path, called when the headers are complete; NULL: body_bytes_max for all. */
  size_t (*body_limit)(void *ctx, struct slice path);
  /* Whether the body is worth reading; asked when the body is known to be over 64 KiB, or waits for "100 Continue". When it is
   * not, on_request gets the request without it, and the connection ends with the reply. NULL: it always is. */
  bool (*wants_body)(void *ctx, struct exchange *x);
  /* A whole request has arrived. Must lead to exactly one reply, now or later. */
  void (*on_request)(void *ctx, struct exchange *x);
  /* Writes the body of an error that net itself answers (400, 408, 413, 414, 417, 431, 501, 503, 505) in the dialect of the path (empty when
   * unknown). NULL: plain JSON. */
  void (*write_error)(void *ctx, struct slice path, int status, const char *message, struct buf *body);
  void *ctx;
};

struct net *net_create(const struct net_config *config, struct error *err);
int net_port(const struct net *n);
/* Runs the loop until net_stop (one that came before counts). What was posted by then is run before it returns. */
void net_run(struct net *n);
/* Any thread, and signal handlers' self-pipe: ends net_run soon. */
void net_stop(struct net *n);
/* No new connections; idle ones are closed; exchanges under way go on. */
void net_drain(struct net *n);
/* Requests whose reply has not ended, or lies unsent: when it is 0 after a drain, stopping loses nothing. */
unsigned net_n_exchanges(const struct net *n);
/* Closes everything; on_gone is called for exchanges that are left. Posts, timers and watches that are left are forgotten. */
void net_destroy(struct net *n);

/* The loop for rooms below: posts, timers, watches (base/loop.h). */
struct loop *net_loop(struct net *n);

/* ---- an exchange ---- */

struct slice exchange_method(const struct exchange *x);
struct slice exchange_path(const struct exchange *x);  /* without the query; percent-decoded, "." and ".." refused earlier */
struct slice exchange_query(const struct exchange *x); /* raw, without "?" */
/* First header of that name (any case); false when absent. */
bool exchange_header(const struct exchange *x, const char *name, struct slice *ret_value);
/* Sent by a page of another site: it has an Origin that is neither "http://HOST" of this request nor one that cors_origins allows. */
bool exchange_is_foreign(const struct exchange *x);
struct slice exchange_body(const struct exchange *x);
struct slice exchange_peer(const struct exchange *x); /* numeric address */
/* The client's X-Request-Id when it is printable and at most 128 bytes, else one made here; it goes out with every reply. */
struct slice exchange_request_id(const struct exchange *x);
/* The caller's pointer, and a call when the client left before the reply ended, or the reply has ended (left is false):
 * after it x is dead. Called exactly once. */
void exchange_set_owner(struct exchange *x, void *owner, void (*on_gone)(void *owner, bool left));
void *exchange_owner(const struct exchange *x);

/* Adds a header to the reply; before the reply begins. A control character in the value is written as "?", so that it stays one line. */
void exchange_add_header(struct exchange *x, const char *name, struct slice value);
/* Whole reply. Content-Length is set; HEAD gets no body. x may be dead when this returns. */
void exchange_reply(struct exchange *x, int status, const char *content_type, struct slice body);
/* Streamed reply: chunked for HTTP/1.1, until close for 1.0. */
void exchange_stream_begin(struct exchange *x, int status, const char *content_type);
/* False when the stream is closed because too much lay unsent; on_gone was or will be called with left = true. */
bool exchange_stream_write(struct exchange *x, struct slice data);
void exchange_stream_end(struct exchange *x);
/* Ends a stream without its proper end (the connection is closed): the client sees that it is incomplete. */
void exchange_stream_abort(struct exchange *x);

/* Reason phrase of a status, e.g. "Not Found". */
const char *net_reason(int status);

#endif
