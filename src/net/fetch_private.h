/* fetch_private: what the files of the download client share. Private to net. SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_FETCH_PRIVATE_H
#define NET_FETCH_PRIVATE_H
#include <curl/curl.h>

#include "net/fetch.h"

enum fetch_state { FETCH_IDLE, FETCH_RUNNING, FETCH_WAITING, FETCH_FINISHED };

/* One connection's worth of work: requests one after the other. */
struct fetch_transfer {
  struct fetch *fetch;
  CURL *easy;
  struct curl_slist *headers;
  enum fetch_state state;
  char *url;            /* of the request under way; another one than the first after a redirect */
  unsigned n_redirects; /* of this request */
  unsigned n_failures;  /* in a row, without a byte in between */
  uint64_t wake_ns;     /* FETCH_WAITING: go on then */
  uint64_t n_bytes;     /* of the body, in this request */

  /* of the answer that came last */
  struct fetch_reply reply; /* body: only of an answer that is no success */
  char *location;
  unsigned long limit_reset_s; /* RateLimit: a quota that is used up is whole again then; 0: none is */
  bool has_range;
  uint64_t range_begin, range_end, range_total; /* Content-Range, end exclusive */

  /* the work */
  const char *first_url;
  bool ranged; /* asks for [begin, end) */
  uint64_t begin, end;
  /* Sets what to ask for next; false: nothing is left. */
  bool (*next)(struct fetch_transfer *t);
  /* After a successful answer: whether all came that was asked for; NULL: always. */
  bool (*complete)(struct fetch_transfer *t);
  /* Bytes of a successful answer; -1 with an error. */
  int (*take)(struct fetch_transfer *t, const char *data, size_t n, struct error *err);
  void (*tick)(struct fetch_transfer *t); /* a few times a second, while it runs; may be NULL */
  void *work;
  struct error broken; /* code is set: an error that trying again does not mend */
};

struct fetch {
  struct fetch_config config;
  char *user_agent, *token, *token_url, *ca_file;
  CURLM *multi;
};

/* Runs transfers until each has nothing left, or one has failed for good; then reply says what the server answered to that one. */
int net__fetch_run(struct fetch *f, struct fetch_transfer *ts, size_t n, struct fetch_reply *reply, struct error *err);

#endif
