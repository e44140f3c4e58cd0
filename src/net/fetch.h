/* fetch: a client for HTTP and HTTPS that downloads. Stands beside the door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * Built on libcurl's multi interface, without threads: a call returns when its work is done, has failed for good, or cancelled() said so.
 * What may pass (a broken connection, 429, 5xx) is tried again with growing pauses, or after what Retry-After and RateLimit say. Redirects are followed
 * by hand: the token goes to the origin that it belongs to and to no other, and https never becomes http. Certificates are
 * checked. Proxies come from the environment (https_proxy, no_proxy), as libcurl reads it. */
#ifndef NET_FETCH_H
#define NET_FETCH_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct fetch;

/* Strings are copied. */
struct fetch_config {
  const char *user_agent;
  const char *token;                                             /* sent as "Authorization: Bearer"; NULL: none */
  const char *token_url;                                         /* the token is for this URL's scheme, host and port */
  const char *ca_file;                                           /* certificates to trust in place of the system's; NULL: the system's */
  unsigned connections;                                          /* ranges of a file at once; 0: 8 */
  unsigned attempts;                                             /* in a row without a single byte; 0: 6 */
  unsigned stall_s;                                              /* a transfer without a byte for so long counts as broken; 0: 30 */
  bool (*cancelled)(void *arg);                                  /* asked several times a second; NULL: never */
  void (*on_wait)(void *arg, const char *why, unsigned seconds); /* before a pause; NULL: not told */
  void *arg;
};

struct fetch *fetch_create(const struct fetch_config *config, struct error *err);
void fetch_destroy(struct fetch *f); /* NULL is fine */

/* What came back. Zero-initialize; fetch_reply_free at the end. */
struct fetch_reply {
  long status; /* of the last answer; 0: there was none */
  struct buf body;
  char *link_next;     /* the URL of Link: <…>; rel="next", or NULL */
  char *error_code;    /* X-Error-Code, or NULL */
  char *error_message; /* X-Error-Message, or NULL */
};
void fetch_reply_free(struct fetch_reply *r);

/* GETs url into reply->body. 0 for a status of 2xx; for another one -1 with status and body in reply, and a general sentence in err. */
int fetch_get(struct fetch *f, const char *url, size_t bytes_max, struct fetch_reply *reply, struct error *err);

struct fetch_file {
  const char *url;
  const char *part_path;                               /* gets the bytes; beside it lies PART.state while it is not complete */
  uint64_t bytes;                                      /* the file has exactly so many */
  const char *id;                                      /* names the content (a hash): a part of other content is not resumed */
  void (*on_progress)(void *arg, uint64_t bytes_done); /* a few times a second; may be NULL */
  void *arg;
};
/* Brings the missing byte ranges of the file, several at once, and syncs it. When it fails the part and its state stay for the next call,
 * also when the process is killed. A server without ranges gets one request for the whole. Errors as fetch_get. */
int fetch_file(struct fetch *f, const struct fetch_file *file, struct fetch_reply *reply, struct error *err);
/* Removes the state beside a part (when it got its final name), or both. */
void fetch_forget_state(const char *part_path);
void fetch_discard_part(const char *part_path);

/* Whether two URLs have the same scheme, host and port. */
bool fetch_same_origin(const char *a, const char *b);

#endif
