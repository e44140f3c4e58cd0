/* load: many requests to a server at once, and when each token came. SPDX-License-Identifier: Apache-2.0
 *
 * One thread on libcurl's multi interface. Arrivals are fixed before the run: all at the start (closed loop: a request begins as soon as
 * fewer than concurrency_max are under way), or after gaps of a gamma distribution (open loop; burstiness 1 is a Poisson process). Where an
 * open loop has a concurrency_max too, an arrival waits for its turn, and the wait counts as its latency: a slow server is not let off. */
#ifndef APP_LOAD_H
#define APP_LOAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct load_config {
  const char *url, *path; /* POST URL/v1/PATH; PLINTH_TOKEN is sent as the key */
  size_t n_requests;
  size_t concurrency_max; /* requests under way; 0: no limit */
  double rate_per_s;      /* INFINITY: all arrive at the start */
  double burstiness;      /* > 0; < 1 comes in bursts, > 1 more evenly */
  uint64_t seed;          /* of the gaps */
  unsigned timeout_s;     /* of one request */
  void (*write_body)(void *ctx, size_t request, struct buf *out);
  void (*on_done)(void *ctx, size_t n_done); /* after each request; may be NULL */
  void *ctx;
};

/* One request. Times are seconds; begin_s counts from the start of the run. */
struct load_result {
  bool ok;
  double begin_s, latency_s;
  double ttft_s;                           /* until the first text; the latency where nothing was streamed */
  double last_s;                           /* until the last text, from begin_s */
  size_t prompt_tokens, completion_tokens; /* as the server's usage says */
  float *itl_s;                            /* [n_itl] gaps between texts; owned */
  size_t n_itl, cap_itl;
  char error[200]; /* why it is not ok */
};

/* results [n_requests], zeroed; load_free_results afterwards. Fails only when no load could be made (or Ctrl-C: ERROR_CANCELLED). */
int load_run(const struct load_config *config, struct load_result *results, double *ret_duration_s, struct error *err);
void load_free_results(struct load_result *results, size_t n);

#endif
