/* load: see load.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/load.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/arrivals.h"
#include "app/interrupt.h"
#include "app/remote.h"
#include "app/sse.h"
#include "base/clock.h"
#include "base/mem.h"

enum { ANSWER_BYTES_MAX = 64 << 20, CONNECT_SECONDS = 30, WAIT_MS = 100 };

/* ---- one request ---- */

struct run;

struct request {
  struct run *run;
  size_t index;
  struct load_result *result;
  CURL *curl;
  struct buf body, text; /* text: what has not been read of the answer */
  uint64_t begin_ns, last_ns;
  bool streams, done; /* an event came; [DONE] came */
};

struct run {
  const struct load_config *config;
  CURLM *multi;
  struct curl_slist *headers;
  struct buf url;
  struct request **requests; /* [n_requests] those under way, by index */
  uint64_t start_ns;
  size_t n_running, n_done;
};

static void fail(struct request *r, const char *format, const char *detail) {
  if (!r->result->error[0]) snprintf(r->result->error, sizeof r->result->error, format, detail);
}

static void fail_with_message(struct request *r, const struct js *body, const char *otherwise) {
  struct slice message;
  if (remote_error_message(body, &message)) snprintf(r->result->error, sizeof r->result->error, "%.*s", SLICE_ARG(message));
  else fail(r, "%s", otherwise);
}

static void read_usage(struct load_result *x, const struct js *answer) {
  const struct js *usage = js_get(answer, "usage");
  int64_t n;
  if (js_int(js_get(usage, "prompt_tokens"), &n) && n >= 0) x->prompt_tokens = (size_t)n;
  if (js_int(js_get(usage, "completion_tokens"), &n) && n >= 0) x->completion_tokens = (size_t)n;
}

static void take_text(struct request *r) {
  struct load_result *x = r->result;
  uint64_t now = clock_ns();
  x->last_s = (double)(now - r->begin_ns) * 1e-9;
  if (r->last_ns == 0) {
    x->ttft_s = x->last_s;
  } else {
    if (x->n_itl == x->cap_itl) {
      x->cap_itl = x->cap_itl * 2 + 64;
      x->itl_s = mem_realloc(x->itl_s, x->cap_itl, sizeof *x->itl_s);
    }
    x->itl_s[x->n_itl++] = (float)((double)(now - r->last_ns) * 1e-9);
  }
  r->last_ns = now;
}

static void take_event(struct request *r, struct slice json) {
  struct slice text;
  r->streams = true;
  if (slice_eq(json, SLICE("[DONE]"))) {
    r->done = true;
    return;
  }
  struct js *event = js_parse(json, NULL);
  const struct js *choice = js_at(js_get(event, "choices"), 0);
  bool has_text = js_str(js_get(js_get(choice, "delta"), "content"), &text) || js_str(js_get(choice, "text"), &text);
  if (!event) fail(r, "%s", "The server sent a stream event that is not JSON.");
  else if (js_get(event, "error")) fail_with_message(r, event, "The server ended the stream with an error.");
  if (has_text && text.len) take_text(r);
  read_usage(r->result, event);
  js_free(event);
}

static size_t on_bytes(char *data, size_t size, size_t count, void *arg) {
  struct request *r = arg;
  size_t n = size * count, from = 0;
  struct slice event;
  if (n > ANSWER_BYTES_MAX - r->text.len) {
    fail(r, "%s", "The server's answer is too long.");
    return 0;
  }
  buf_add(&r->text, data, n);
  while (sse_next(&r->text, &from, &event)) take_event(r, event);
  if (r->streams) buf_drop_front(&r->text, from);
  return n;
}

static void set_options(struct request *r) {
  const struct load_config *c = r->run->config;
  curl_easy_setopt(r->curl, CURLOPT_URL, r->run->url.data);
  curl_easy_setopt(r->curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(r->curl, CURLOPT_POSTFIELDS, r->body.data);
  curl_easy_setopt(r->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
  curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, r->run->headers);
  curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(r->curl, CURLOPT_WRITEDATA, r);
  curl_easy_setopt(r->curl, CURLOPT_PRIVATE, r);
  curl_easy_setopt(r->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
  curl_easy_setopt(r->curl, CURLOPT_TIMEOUT, (long)c->timeout_s);
  curl_easy_setopt(r->curl, CURLOPT_NOSIGNAL, 1L);
}

/* arrived_ns: when it should have begun; a wait for its turn counts. */
static void begin_request(struct run *run, size_t i, struct load_result *result, uint64_t arrived_ns) {
  struct request *r = mem_zalloc(1, sizeof *r);
  *r = (struct request){.run = run, .index = i, .result = result, .curl = curl_easy_init(), .begin_ns = arrived_ns};
  result->begin_s = (double)(arrived_ns - run->start_ns) * 1e-9;
  run->config->write_body(run->config->ctx, i, &r->body);
  set_options(r);
  curl_multi_add_handle(run->multi, r->curl);
  run->requests[i] = r;
  run->n_running++;
}

static void end_request(struct request *r, CURLcode code) {
  struct load_result *x = r->result;
  long status = 0;
  curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
  x->latency_s = (double)(clock_ns() - r->begin_ns) * 1e-9;
  if (code != CURLE_OK) {
    fail(r, "Cannot talk to the server: %s.", curl_easy_strerror(code));
  } else if (!r->streams || status != 200) {
    char otherwise[64];
    struct js *answer = js_parse(buf_view(&r->text), NULL);
    snprintf(otherwise, sizeof otherwise, "The server answered %ld without saying why.", status);
    if (status != 200) fail_with_message(r, answer, otherwise);
    else read_usage(x, answer);
    js_free(answer);
  } else if (!r->done) {
    fail(r, "%s", "The server closed the connection before the answer was complete.");
  }
  x->ok = !x->error[0];
  if (!r->last_ns) x->ttft_s = x->last_s = x->latency_s;
}

static void free_request(struct request *r) {
  curl_multi_remove_handle(r->run->multi, r->curl);
  curl_easy_cleanup(r->curl);
  buf_free(&r->body);
  buf_free(&r->text);
  r->run->requests[r->index] = NULL;
  r->run->n_running--;
  free(r);
}

/* ---- the run ---- */

static void collect(struct run *run) {
  int left;
  for (CURLMsg *m; (m = curl_multi_info_read(run->multi, &left));) {
    struct request *r;
    if (m->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
    end_request(r, m->data.result);
    free_request(r);
    run->n_done++;
    if (run->config->on_done) run->config->on_done(run->config->ctx, run->n_done);
  }
}

static bool has_turn(const struct run *run) { return !run->config->concurrency_max || run->n_running < run->config->concurrency_max; }

/* Begins what has arrived and has its turn; how long the sockets may be waited for. */
static int begin_arrived(struct run *run, const double *at, size_t *next, struct load_result *results) {
  bool open = isfinite(run->config->rate_per_s);
  for (; *next < run->config->n_requests && has_turn(run); ++*next) {
    uint64_t now = clock_ns(), arrives = run->start_ns + (uint64_t)(at[*next] * 1e9);
    if (arrives > now) return arrives - now < WAIT_MS * 1000000ull ? (int)((arrives - now) / 1000000) : WAIT_MS;
    begin_request(run, *next, &results[*next], open ? arrives : now);
  }
  return WAIT_MS;
}

static void drive(struct run *run, const double *at, struct load_result *results) {
  size_t next = 0;
  int running;
  while (run->n_done < run->config->n_requests && !interrupt_pending()) {
    int wait_ms = begin_arrived(run, at, &next, results);
    size_t before = run->n_done;
    if (curl_multi_perform(run->multi, &running) != CURLM_OK) break;
    collect(run);
    if (run->n_done == before) curl_multi_poll(run->multi, NULL, 0, wait_ms, NULL);
  }
}

/* What Ctrl-C left under way. */
static void abandon(struct run *run) {
  for (size_t i = 0; i < run->config->n_requests; i++)
    if (run->requests[i]) free_request(run->requests[i]);
}

int load_run(const struct load_config *config, struct load_result *results, double *ret_duration_s, struct error *err) {
  struct run run = {.config = config, .multi = curl_multi_init(), .headers = remote_headers(), .start_ns = clock_ns()};
  double *at = mem_zalloc(config->n_requests, sizeof *at);
  run.requests = mem_zalloc(config->n_requests, sizeof(struct request *));
  arrivals_make(config->seed, config->rate_per_s, config->burstiness, at, config->n_requests);
  remote_build_url(config->url, config->path, &run.url);
  curl_multi_setopt(run.multi, CURLMOPT_MAXCONNECTS, (long)(config->concurrency_max ? config->concurrency_max : config->n_requests));
  drive(&run, at, results);
  *ret_duration_s = (double)(clock_ns() - run.start_ns) * 1e-9;
  bool whole = run.n_done == config->n_requests;
  abandon(&run);
  curl_multi_cleanup(run.multi);
  curl_slist_free_all(run.headers);
  buf_free(&run.url);
  free(run.requests);
  free(at);
  if (whole) return 0;
  return interrupt_take() ? error_set(err, ERROR_CANCELLED, "Interrupted after %zu of %zu requests.", run.n_done, config->n_requests)
                          : error_set(err, ERROR_IO, "The load broke off after %zu of %zu requests.", run.n_done, config->n_requests);
}

void load_free_results(struct load_result *results, size_t n) {
  for (size_t i = 0; i < n; i++) free(results[i].itl_s);
}
