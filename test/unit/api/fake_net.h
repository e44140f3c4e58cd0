/* fake_net: stands in for net at link time, so that the api is driven without sockets and without time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_NET_H
#define FAKE_NET_H
#include "api/api.h"

/* One request and what came back for it. */
struct exchange {
  const char *method, *path, *authorization, *host, *encoding; /* headers: NULL for none */
  bool is_foreign;
  struct slice body;
  void *owner;
  void (*on_gone)(void *owner, bool left);
  int status; /* 0: no reply yet */
  char content_type[64];
  struct buf headers; /* "Name: value\n" … */
  struct buf out;     /* the body, or all that was streamed */
  size_t n_writes;
  bool streamed, ended, aborted, gone;
  size_t room; /* a stream that was given more is closed as too slow; 0: never */
};

/* The net with its loop; hooks come from api_hook. */
struct net *fake_net_create(struct api *a);
void fake_net_destroy(struct net *n);
/* Hands x over as if it had arrived. */
void fake_net_arrive(struct net *n, struct exchange *x);
/* The client goes away. */
void fake_net_leave(struct exchange *x);
/* Runs what was posted, and timers, until nothing is left; returns how many ran. */
size_t fake_net_turn(struct net *n);
bool fake_net_wants_body(struct net *n, struct exchange *x);
size_t fake_net_body_limit(struct net *n, const char *path);
void fake_net_error(struct net *n, const char *path, int status, const char *message, struct buf *out);
/* The value of a header of the reply, or NULL; valid until the next call. */
const char *fake_net_header(const struct exchange *x, const char *name);
void exchange_free(struct exchange *x); /* leaves {0} */

#endif
