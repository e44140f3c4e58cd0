/* fetch: see fetch.h. Transfers, their redirects and their second tries; fetch_file.c has the ranges. SPDX-License-Identifier: Apache-2.0
 *
 * A transfer is idle, running (its handle is in the multi), waiting for its next try, or finished. Only net__fetch_run moves it. */
#include "net/fetch.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/fetch_private.h"

enum {
  REDIRECTS_MAX = 10,
  ERROR_BODY_BYTES_MAX = 64 * 1024,
  HEADER_BYTES_MAX = 16 * 1024,
  CONNECT_S = 20,
  POLL_MS = 100,
  FIRST_PAUSE_MS = 500,
  PAUSE_MS_MAX = 30 * 1000,
  RETRY_AFTER_S_MAX = 300,
};

/* ---- URLs ---- */

static char *url_part(const char *url, CURLUPart part, unsigned flags) {
  CURLU *u = curl_url();
  char *text = NULL, *copy = NULL;
  if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(u, part, &text, flags) == CURLUE_OK) copy = mem_strdup(text);
  curl_free(text);
  curl_url_cleanup(u);
  return copy;
}

static bool same_part(const char *a, const char *b, CURLUPart part, unsigned flags) {
  char *x = url_part(a, part, flags), *y = url_part(b, part, flags);
  bool same = x && y && strcasecmp(x, y) == 0;
  free(x);
  free(y);
  return same;
}

bool fetch_same_origin(const char *a, const char *b) {
  return same_part(a, b, CURLUPART_SCHEME, 0) && same_part(a, b, CURLUPART_HOST, 0) && same_part(a, b, CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

/* The absolute URL of a Location, or NULL. */
static char *url_join(const char *base, const char *location) {
  CURLU *u = curl_url();
  char *text = NULL, *copy = NULL;
  if (u && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK && curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
      curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
    copy = mem_strdup(text);
  curl_free(text);
  curl_url_cleanup(u);
  return copy;
}

/* The host for messages: a signed URL is long, and its signature is nobody's business. */
static void host_of(const char *url, char out[128]) {
  char *host = url_part(url, CURLUPART_HOST, 0);
  snprintf(out, 128, "%s", host ? host : "the server");
  free(host);
}

/* ---- answers ---- */

static void reply_reset(struct fetch_reply *r) {
  buf_clear(&r->body);
  free(r->link_next);
  free(r->error_code);
  free(r->error_message);
  *r = (struct fetch_reply){.body = r->body};
}

void fetch_reply_free(struct fetch_reply *r) {
  reply_reset(r);
  buf_free(&r->body);
}

/* Link: <URL>; rel="next", … */
static char *next_link(struct slice value) {
  while (value.len) {
    const char *open = memchr(value.data, '<', value.len);
    if (!open) return NULL;
    struct slice rest = slice_from(value, (size_t)(open - value.data) + 1);
    const char *close = memchr(rest.data, '>', rest.len);
    if (!close) return NULL;
    struct slice url = slice_make(rest.data, (size_t)(close - rest.data)), after = slice_from(rest, url.len + 1);
    const char *comma = memchr(after.data, ',', after.len);
    struct slice parameters = slice_make(after.data, comma ? (size_t)(comma - after.data) : after.len);
    if (parameters.len && memmem(parameters.data, parameters.len, "rel=\"next\"", 10)) return mem_dup(url.data, url.len);
    value = slice_from(after, parameters.len + 1);
  }
  return NULL;
}

/* "bytes 0-99/1000" */
static void read_content_range(struct fetch_transfer *t, const char *value) {
  unsigned long long begin, last, total;
  if (sscanf(value, "bytes %llu-%llu/%llu", &begin, &last, &total) != 3 || last < begin || last >= total) return;
  t->has_range = true;
  t->range_begin = begin;
  t->range_end = last + 1;
  t->range_total = total;
}

/* RateLimit: "resolvers";r=0;t=55, "api";r=12;t=55 — what is left of a quota, and the seconds until it is whole again. The longest of those
 * that are used up; 0 when none is. */
static unsigned long read_rate_limit(const char *value) {
  unsigned long longest = 0;
  while (*value) {
    size_t item = strcspn(value, ",");
    struct slice left = slice_make(value, item);
    bool used_up = false;
    unsigned long reset_s = 0;
    while (left.len) {
      const char *end = memchr(left.data, ';', left.len);
      struct slice one = slice_make(left.data, end ? (size_t)(end - left.data) : left.len);
      left = slice_from(left, one.len + (end != NULL));
      while (one.len && (one.data[0] == ' ' || one.data[0] == '\t')) one = slice_from(one, 1);
      bool number = one.len > 2 && one.data[1] == '=' && isdigit((unsigned char)one.data[2]);
      unsigned long n = number ? strtoul(one.data + 2, NULL, 10) : 0;
      if (number && one.data[0] == 'r') used_up = n == 0;
      if (number && one.data[0] == 't') reset_s = n;
    }
    if (used_up && reset_s > longest) longest = reset_s;
    value += item + (value[item] == ',');
  }
  return longest;
}

static void answer_reset(struct fetch_transfer *t) {
  reply_reset(&t->reply);
  free(t->location);
  t->location = NULL;
  t->limit_reset_s = 0;
  t->has_range = false;
}

static void take_header(struct fetch_transfer *t, struct slice name, struct slice value) {
  char *text = mem_dup(value.data, value.len);
#define IS(literal) (name.len == sizeof(literal) - 1 && strncasecmp(name.data, literal, name.len) == 0)
  char **keep = IS("location")          ? &t->location
                : IS("x-error-code")    ? &t->reply.error_code
                : IS("x-error-message") ? &t->reply.error_message
                                        : NULL;
  if (IS("content-range")) read_content_range(t, text);
  if (IS("ratelimit")) t->limit_reset_s = read_rate_limit(text);
  if (IS("link") && !t->reply.link_next) t->reply.link_next = next_link(value);
#undef IS
  if (keep && !*keep) *keep = text;
  else free(text);
}

static size_t on_header(char *data, size_t size, size_t n, void *arg) {
  struct fetch_transfer *t = arg;
  struct slice line = slice_make(data, size * n);
  if (slice_starts(line, SLICE("HTTP/"))) answer_reset(t);
  const char *colon = line.len < HEADER_BYTES_MAX ? memchr(line.data, ':', line.len) : NULL;
  if (!colon) return size * n;
  struct slice name = slice_make(line.data, (size_t)(colon - line.data)), value = slice_from(line, name.len + 1);
  while (value.len && isspace((unsigned char)value.data[0])) value = slice_from(value, 1);
  while (value.len && isspace((unsigned char)value.data[value.len - 1])) value.len--;
  take_header(t, name, value);
  return size * n;
}

static bool is_success(long status) { return status >= 200 && status < 300; }
static bool is_redirect(long status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

static size_t on_body(char *data, size_t size, size_t n, void *arg) {
  struct fetch_transfer *t = arg;
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  if (is_success(status)) {
    t->n_bytes += n;
    if (t->ranged) t->n_failures = 0; /* what came is kept; a whole file begins anew */
    return t->take(t, data, n, &t->broken) < 0 ? 0 : size * n;
  }
  if (!is_redirect(status) && t->reply.body.len + n <= ERROR_BODY_BYTES_MAX) buf_add(&t->reply.body, data, n);
  return size * n;
}

/* ---- requests ---- */

static void set_headers(struct fetch_transfer *t) {
  struct fetch *f = t->fetch;
  curl_slist_free_all(t->headers);
  t->headers = NULL;
  if (!f->token || !f->token_url || !fetch_same_origin(t->url, f->token_url)) return;
  struct buf line = {0};
  buf_printf(&line, "Authorization: Bearer %s", f->token);
  t->headers = curl_slist_append(NULL, line.data);
  buf_free(&line);
}

static void start_request(struct fetch_transfer *t) {
  struct fetch *f = t->fetch;
  CURL *c = t->easy;
  char range[64];
  set_headers(t);
  answer_reset(t);
  t->n_bytes = 0;
  curl_easy_setopt(c, CURLOPT_URL, t->url);
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
  snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)t->begin, (unsigned long long)t->end - 1);
  curl_easy_setopt(c, CURLOPT_RANGE, t->ranged ? range : NULL);
  CURLMcode code = curl_multi_add_handle(f->multi, c);
  assert(code == CURLM_OK);
  t->state = FETCH_RUNNING;
}

static bool transfer_init(struct fetch_transfer *t, struct fetch *f) {
  CURL *c = curl_easy_init();
  if (!c) return false;
  t->fetch = f;
  t->easy = c;
  curl_easy_setopt(c, CURLOPT_PRIVATE, t);
  curl_easy_setopt(c, CURLOPT_USERAGENT, f->user_agent);
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)f->config.stall_s);
  curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
  if (f->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, f->ca_file);
  return true;
}

static void transfer_deinit(struct fetch_transfer *t) {
  if (!t->easy) return;
  if (t->state == FETCH_RUNNING) curl_multi_remove_handle(t->fetch->multi, t->easy);
  curl_easy_cleanup(t->easy);
  curl_slist_free_all(t->headers);
  answer_reset(t);
  fetch_reply_free(&t->reply);
  free(t->url);
}

static void begin_next(struct fetch_transfer *t) {
  t->n_redirects = 0;
  if (!t->next(t)) {
    t->state = FETCH_FINISHED;
    return;
  }
  free(t->url);
  t->url = mem_strdup(t->first_url);
  start_request(t);
}

/* ---- how a request ended ---- */

static bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY: return true;
    default: return false;
  }
}

static bool status_may_pass(long status) { return status == 408 || status == 425 || status == 429 || status >= 500; }

static int fail_for_good(struct fetch_transfer *t, CURLcode code, struct error *err) {
  char host[128];
  host_of(t->url, host);
  if (t->broken.code) {
    if (err) *err = t->broken;
    return -1;
  }
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    return error_set(err, ERROR_UNAVAILABLE,
                     "The certificate of %s is not trusted (%s). Behind a proxy that opens TLS, name its certificates in SSL_CERT_FILE; "
                     "the Debian package ca-certificates brings the usual ones.",
                     host, curl_easy_strerror(code));
  if (code != CURLE_OK) return error_set(err, ERROR_UNAVAILABLE, "The download from %s failed: %s.", host, curl_easy_strerror(code));
  enum error_code kind = t->reply.status == 404 ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE;
  return error_set(err, t->reply.status == 401 || t->reply.status == 403 ? ERROR_DENIED : kind, "%s answered %ld%s%.200s.", host,
                   t->reply.status, t->reply.error_message ? ": " : "", t->reply.error_message ? t->reply.error_message : "");
}

/* What the server asks to wait: Retry-After, in seconds or as a date, and with 429 the time until a quota that is used up is whole again. */
static unsigned long asked_wait_s(const struct fetch_transfer *t) {
  curl_off_t after_s = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after_s);
  unsigned long wait_s = after_s > 0 ? (unsigned long)after_s : 0;
  return t->reply.status == 429 && t->limit_reset_s > wait_s ? t->limit_reset_s : wait_s;
}

/* Sets the time of the next try; -1 when there were enough. */
static int wait_and_retry(struct fetch_transfer *t, CURLcode code, struct error *err) {
  struct fetch *f = t->fetch;
  char host[128], why[256];
  host_of(t->url, host);
  if (code == CURLE_OK) snprintf(why, sizeof why, "%s answered %ld", host, t->reply.status);
  else snprintf(why, sizeof why, "%s: %s", host, curl_easy_strerror(code));
  if (++t->n_failures >= f->config.attempts)
    return error_set(err, ERROR_UNAVAILABLE, "%s, %u times in a row. What has arrived is kept: run the same command again to go on.", why,
                     t->n_failures);
  uint64_t pause_ms = (uint64_t)FIRST_PAUSE_MS << (t->n_failures < 8 ? t->n_failures - 1 : 7);
  if (pause_ms > PAUSE_MS_MAX) pause_ms = PAUSE_MS_MAX;
  unsigned long asked_s = code == CURLE_OK ? asked_wait_s(t) : 0;
  if (asked_s > RETRY_AFTER_S_MAX)
    return error_set(err, ERROR_UNAVAILABLE, "%s and asks to wait %lu seconds. What has arrived is kept: run the same command again then.",
                     why, asked_s);
  if (asked_s) pause_ms = (uint64_t)asked_s * 1000;
  if (f->config.on_wait) f->config.on_wait(f->config.arg, why, (unsigned)((pause_ms + 999) / 1000));
  t->wake_ns = clock_ns() + pause_ms * 1000000;
  t->state = FETCH_WAITING;
  return 0;
}

static int follow(struct fetch_transfer *t, struct error *err) {
  char host[128];
  host_of(t->url, host);
  char *url = t->location ? url_join(t->url, t->location) : NULL;
  bool http = url && (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0);
  bool weaker = url && strncasecmp(t->url, "https://", 8) == 0 && strncasecmp(url, "https://", 8) != 0;
  if (!http || weaker || ++t->n_redirects > REDIRECTS_MAX) {
    free(url);
    return error_set(err, ERROR_UNAVAILABLE, "%s redirects %s; the download is given up.", host,
                     weaker ? "from https to a place without it"
                     : http ? "more than ten times"
                            : "to no address");
  }
  free(t->url);
  t->url = url;
  start_request(t);
  return 0;
}

static int on_done(struct fetch_transfer *t, CURLcode code, struct error *err) {
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->reply.status);
  curl_multi_remove_handle(t->fetch->multi, t->easy);
  t->state = FETCH_IDLE;
  if (t->broken.code) return fail_for_good(t, code, err);
  if (code != CURLE_OK) return may_pass(code) ? wait_and_retry(t, code, err) : fail_for_good(t, code, err);
  if (is_success(t->reply.status) && t->complete && !t->complete(t)) return wait_and_retry(t, CURLE_PARTIAL_FILE, err);
  if (is_success(t->reply.status)) {
    t->n_failures = 0;
    return 0;
  }
  if (is_redirect(t->reply.status)) return follow(t, err);
  /* The address behind a redirect is signed for a while only: ask again for a new one. */
  bool stale = t->n_redirects && t->reply.status == 403;
  return stale || status_may_pass(t->reply.status) ? wait_and_retry(t, code, err) : fail_for_good(t, code, err);
}

static int take_messages(struct fetch *f, struct fetch_reply *reply, struct error *err) {
  int left;
  for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left));) {
    if (m->msg != CURLMSG_DONE) continue;
    struct fetch_transfer *t = NULL;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
    CURLcode code = m->data.result;
    if (on_done(t, code, err) == 0) continue;
    struct buf body = reply->body;
    *reply = t->reply;
    if (!t->reply.body.len && body.len) reply->body = body; /* what fetch_get collected */
    else buf_free(&body);
    t->reply = (struct fetch_reply){0};
    return -1;
  }
  return 0;
}

/* Starts what can be started; true while something runs or waits. */
static bool go_on(struct fetch_transfer *ts, size_t n) {
  bool any = false;
  uint64_t now = clock_ns();
  for (size_t i = 0; i < n; i++) {
    struct fetch_transfer *t = &ts[i];
    if (t->state == FETCH_IDLE || (t->state == FETCH_WAITING && now >= t->wake_ns)) begin_next(t);
    else if (t->state == FETCH_RUNNING && t->tick) t->tick(t);
    any |= t->state != FETCH_FINISHED;
  }
  return any;
}

static int drive(struct fetch *f, struct fetch_transfer *ts, size_t n, struct fetch_reply *reply, struct error *err) {
  int running;
  while (go_on(ts, n)) {
    if (f->config.cancelled && f->config.cancelled(f->config.arg))
      return error_set(err, ERROR_CANCELLED, "Interrupted. What has arrived is kept: run the same command again to go on.");
    if (curl_multi_perform(f->multi, &running) != CURLM_OK || curl_multi_poll(f->multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
      return error_set(err, ERROR_INTERNAL, "The download library failed.");
    if (take_messages(f, reply, err) < 0) return -1;
  }
  return 0;
}

int net__fetch_run(struct fetch *f, struct fetch_transfer *ts, size_t n, struct fetch_reply *reply, struct error *err) {
  int result = 0;
  for (size_t i = 0; i < n && result == 0; i++)
    if (!transfer_init(&ts[i], f)) result = error_set(err, ERROR_NO_MEMORY, "There is no memory for a download.");
  if (result == 0) result = drive(f, ts, n, reply, err);
  for (size_t i = 0; i < n; i++) transfer_deinit(&ts[i]);
  return result;
}

/* ---- one answer in memory ---- */

struct memory {
  struct fetch_reply *reply;
  size_t bytes_max;
  bool asked;
};

static bool memory_next(struct fetch_transfer *t) {
  struct memory *m = t->work;
  /* The answer before this call was a success, or it is a second try. */
  if (m->asked && is_success(t->reply.status)) {
    m->reply->status = t->reply.status;
    m->reply->link_next = t->reply.link_next;
    t->reply.link_next = NULL;
    return false;
  }
  m->asked = true;
  buf_clear(&m->reply->body);
  return true;
}

static int memory_take(struct fetch_transfer *t, const char *data, size_t n, struct error *err) {
  struct memory *m = t->work;
  if (n > m->bytes_max - m->reply->body.len)
    return error_set(err, ERROR_TOO_LARGE, "The server's answer is longer than %zu bytes.", m->bytes_max);
  buf_add(&m->reply->body, data, n);
  return 0;
}

int fetch_get(struct fetch *f, const char *url, size_t bytes_max, struct fetch_reply *reply, struct error *err) {
  struct memory work = {.reply = reply, .bytes_max = bytes_max};
  struct fetch_transfer t = {.first_url = url, .next = memory_next, .take = memory_take, .work = &work};
  reply_reset(reply);
  return net__fetch_run(f, &t, 1, reply, err);
}

/* ---- the client ---- */

static char *copy_or_null(const char *text) { return text ? mem_strdup(text) : NULL; }

struct fetch *fetch_create(const struct fetch_config *config, struct error *err) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    error_set(err, ERROR_INTERNAL, "The download library does not start.");
    return NULL;
  }
  struct fetch *f = mem_zalloc(1, sizeof *f);
  f->config = *config;
  f->user_agent = mem_strdup(config->user_agent ? config->user_agent : "plinth");
  f->token = copy_or_null(config->token);
  f->token_url = copy_or_null(config->token_url);
  f->ca_file = copy_or_null(config->ca_file);
  if (!f->config.connections) f->config.connections = 8;
  if (!f->config.attempts) f->config.attempts = 6;
  if (!f->config.stall_s) f->config.stall_s = 30;
  f->multi = curl_multi_init();
  assert(f->multi);
  return f;
}

void fetch_destroy(struct fetch *f) {
  if (!f) return;
  curl_multi_cleanup(f->multi);
  curl_global_cleanup();
  free(f->user_agent);
  free(f->token);
  free(f->token_url);
  free(f->ca_file);
  free(f);
}
