/* remote: see remote.h. SPDX-License-Identifier: Apache-2.0
 *
 * One request at a time on libcurl. The transfer is driven in short waits, so that Ctrl-C is seen at once. A stream is lines
 * "data: {json}" that end with "data: [DONE]"; another answer is one JSON value. */
#include "app/remote.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/interrupt.h"
#include "app/sse.h"

enum { ANSWER_BYTES_MAX = 256 << 20, ERROR_BYTES_MAX = 1 << 20, CONNECT_SECONDS = 10, WAIT_MS = 100 };

struct transfer {
  CURL *curl;
  struct generate_printer *printer; /* NULL: no stream; the answer is collected */
  struct buf text;                  /* what has not been read yet: a piece of a line, or the answer */
  bool done;                        /* [DONE] came */
  bool broken;                      /* err is set */
  enum generate_end end;
  struct error *err;
};

/* ---- answers ---- */

bool remote_error_message(const struct js *body, struct slice *out) {
  return js_str(js_get(js_get(body, "error"), "message"), out) || js_str(js_get(body, "message"), out) ||
         js_str(js_get(body, "error"), out);
}

static void fail_with_body(struct transfer *t, long status) {
  struct slice message;
  struct js *body = js_parse(buf_view(&t->text), NULL);
  if (remote_error_message(body, &message))
    error_set(t->err, ERROR_UNAVAILABLE, "The server answered %ld: %.*s", status, SLICE_ARG(message));
  else error_set(t->err, ERROR_UNAVAILABLE, "The server answered %ld without saying why.", status);
  if (status == 401 || status == 403) error_prefix(t->err, "Set PLINTH_TOKEN to a valid token");
  js_free(body);
}

static void fail(struct transfer *t, const char *what) {
  if (!t->broken) error_set(t->err, ERROR_UNAVAILABLE, "%s", what);
  t->broken = true;
}

/* One event of a stream. */
static void take_event(struct transfer *t, struct slice json) {
  struct slice text;
  if (slice_eq(json, SLICE("[DONE]"))) {
    t->done = true;
    return;
  }
  struct js *event = js_parse(json, NULL);
  const struct js *choice = js_at(js_get(event, "choices"), 0);
  if (!event) {
    fail(t, "The server sent a stream event that is not JSON.");
  } else if (js_get(event, "error")) {
    t->broken = true;
    if (remote_error_message(event, &text)) error_set(t->err, ERROR_UNAVAILABLE, "The server ended the stream: %.*s", SLICE_ARG(text));
    else error_set(t->err, ERROR_UNAVAILABLE, "The server ended the stream with an error.");
  }
  if (js_str(js_get(js_get(choice, "delta"), "content"), &text) || js_str(js_get(choice, "text"), &text)) generate_print(t->printer, text);
  if (js_str(js_get(choice, "finish_reason"), &text) && slice_eq(text, SLICE("length"))) t->end = GENERATE_LENGTH;
  js_free(event);
}

static void take_lines(struct transfer *t) {
  size_t from = 0;
  struct slice event;
  while (!t->broken && sse_next(&t->text, &from, &event)) take_event(t, event);
  buf_drop_front(&t->text, from);
}

static long status_of(const struct transfer *t) {
  long status = 0;
  curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

static size_t on_bytes(char *data, size_t size, size_t count, void *arg) {
  struct transfer *t = arg;
  size_t n = size * count, max = status_of(t) == 200 ? ANSWER_BYTES_MAX : ERROR_BYTES_MAX;
  if (n > max || t->text.len > max - n) {
    fail(t, "The server's answer is too long.");
    return 0;
  }
  buf_add(&t->text, data, n);
  if (t->printer && status_of(t) == 200) take_lines(t);
  return t->broken ? 0 : n;
}

/* ---- the transfer ---- */

static int drive(struct transfer *t) {
  CURLM *multi = curl_multi_init();
  CURLcode code = CURLE_OK;
  int running = 1, left;
  curl_multi_add_handle(multi, t->curl);
  while (running && !interrupt_pending()) {
    if (curl_multi_perform(multi, &running) != CURLM_OK) break;
    if (running) curl_multi_poll(multi, NULL, 0, WAIT_MS, NULL);
  }
  for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));)
    if (m->msg == CURLMSG_DONE) code = m->data.result;
  curl_multi_remove_handle(multi, t->curl);
  curl_multi_cleanup(multi);
  if (interrupt_take()) {
    t->end = GENERATE_INTERRUPTED;
    return t->printer ? 0 : error_set(t->err, ERROR_CANCELLED, "Interrupted.");
  }
  if (t->broken) return -1;
  if (code != CURLE_OK) return error_set(t->err, ERROR_UNAVAILABLE, "Cannot talk to the server: %s.", curl_easy_strerror(code));
  if (status_of(t) != 200) {
    fail_with_body(t, status_of(t));
    return -1;
  }
  if (t->printer && !t->done)
    return error_set(t->err, ERROR_UNAVAILABLE, "The server closed the connection before the answer was complete.");
  return 0;
}

static void build_address(const char *url, const char *between, const char *path, struct buf *out) {
  struct slice base = slice_cstr(url);
  while (slice_ends(base, SLICE("/"))) base.len--;
  if (slice_ends(base, SLICE("/v1"))) base.len -= 3;
  buf_printf(out, "%.*s/%s%s", SLICE_ARG(base), between, path);
}

void remote_build_url(const char *url, const char *path, struct buf *out) { build_address(url, "v1/", path, out); }

struct curl_slist *remote_headers(void) {
  struct buf line = {0};
  const char *token = getenv("PLINTH_TOKEN");
  struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");
  if (token && *token) {
    buf_printf(&line, "Authorization: Bearer %s", token);
    list = curl_slist_append(list, line.data);
  }
  list = curl_slist_append(list, "Expect:");
  buf_free(&line);
  return list;
}

/* body NULL: GET. */
static int request(struct transfer *t, const char *url, const char *address, const struct slice *body) {
  struct curl_slist *list = remote_headers();
  t->curl = curl_easy_init();
  curl_easy_setopt(t->curl, CURLOPT_URL, address);
  curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
  if (body) curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, body->data);
  if (body) curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
  curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
  curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
  curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
  int rc = drive(t);
  if (rc < 0) error_prefix(t->err, "%s", url);
  curl_easy_cleanup(t->curl);
  curl_slist_free_all(list);
  return rc;
}

static int post(struct transfer *t, const char *url, const char *path, struct slice body) {
  struct buf address = {0};
  remote_build_url(url, path, &address);
  int rc = request(t, url, address.data, &body);
  buf_free(&address);
  return rc;
}

int remote_stream(const char *url, const char *path, struct slice body, struct generate_printer *p, enum generate_end *ret_end,
                  struct error *err) {
  struct transfer t = {.printer = p, .end = GENERATE_STOP, .err = err};
  int rc = post(&t, url, path, body);
  if (rc == 0) *ret_end = t.end;
  buf_free(&t.text);
  return rc;
}

/* Of a transfer that ended with rc. */
static struct js *take_answer(struct transfer *t, int rc) {
  struct js *answer = NULL;
  if (rc == 0 && !(answer = js_parse(buf_view(&t->text), t->err))) error_prefix(t->err, "The server's answer");
  buf_free(&t->text);
  return answer;
}

struct js *remote_call(const char *url, const char *path, struct slice body, struct error *err) {
  struct transfer t = {.err = err};
  return take_answer(&t, post(&t, url, path, body));
}

struct js *remote_ask(const char *url, const char *path, const struct slice *body, struct error *err) {
  struct transfer t = {.err = err};
  struct buf address = {0};
  build_address(url, "", path, &address);
  struct js *answer = take_answer(&t, request(&t, url, address.data, body));
  buf_free(&address);
  return answer;
}

static void write_stops(struct jsonw *w, const struct generate_sampling *s) {
  if (s->stops.n) {
    jsonw_key(w, "stop");
    jsonw_array_begin(w);
    for (size_t i = 0; i < s->stops.n; i++) jsonw_cstr(w, s->stops.items[i]);
    jsonw_array_end(w);
  }
  if (s->n_stop_ids) {
    jsonw_key(w, "stop_token_ids");
    jsonw_array_begin(w);
    for (size_t i = 0; i < s->n_stop_ids; i++) jsonw_int(w, s->stop_ids[i]);
    jsonw_array_end(w);
  }
}

static void write_biases(struct jsonw *w, const struct generate_sampling *s) {
  if (!s->n_biases) return;
  jsonw_key(w, "logit_bias");
  jsonw_object_begin(w);
  for (size_t i = 0; i < s->n_biases; i++) {
    char id[16];
    snprintf(id, sizeof id, "%d", (int)s->biases[i].id);
    jsonw_key(w, id);
    jsonw_float(w, s->biases[i].bias);
  }
  jsonw_object_end(w);
}

/* What is at its default is left out: another server may not know it. */
void remote_begin_body(struct jsonw *w, const char *model, const struct generate_sampling *s) {
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "model", model);
  if (!s) return;
  jsonw_key_bool(w, "stream", true);
  jsonw_key_real(w, "temperature", s->temperature);
  jsonw_key_real(w, "top_p", s->top_p);
  if (s->top_k) jsonw_key_int(w, "top_k", s->top_k);
  if (s->min_p > 0) jsonw_key_real(w, "min_p", s->min_p);
  if (s->repetition_penalty != 1) jsonw_key_real(w, "repetition_penalty", s->repetition_penalty);
  if (s->presence_penalty != 0) jsonw_key_real(w, "presence_penalty", s->presence_penalty);
  if (s->frequency_penalty != 0) jsonw_key_real(w, "frequency_penalty", s->frequency_penalty);
  write_biases(w, s);
  if (s->seeded) jsonw_key_int(w, "seed", s->seed);
  if (s->max_tokens) jsonw_key_int(w, "max_tokens", s->max_tokens);
  if (s->min_tokens) jsonw_key_int(w, "min_tokens", s->min_tokens);
  if (s->ignore_eos) jsonw_key_bool(w, "ignore_eos", true);
  write_stops(w, s);
}
