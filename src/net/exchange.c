/* exchange: one request and its reply. SPDX-License-Identifier: Apache-2.0
 *
 *   created (first byte) -> handed over -> reply | stream begin, writes, end or abort -> on_gone(left = false) -> freed
 *                                 \-> the client leaves: connection dead -> on_gone(left = true), from a clean stack -> freed
 *
 * Between a client's leaving and on_gone the caller may still write or end the reply: writes do nothing and return false, an
 * end calls on_gone at once. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "net/net_room.h"

const char *net_reason(int status) { return http_status_str((enum http_status)status); }

/* ---- the request ---- */

struct slice exchange_method(const struct exchange *x) { return http1_slice(&x->request, x->request.method); }
struct slice exchange_path(const struct exchange *x) { return http1_slice(&x->request, x->request.path); }
struct slice exchange_query(const struct exchange *x) { return http1_slice(&x->request, x->request.query); }
struct slice exchange_body(const struct exchange *x) { return buf_view(&x->request.body); }
struct slice exchange_peer(const struct exchange *x) { return slice_cstr(x->conn->peer); }
struct slice exchange_request_id(const struct exchange *x) { return slice_cstr(x->request_id); }

bool exchange_header(const struct exchange *x, const char *name, struct slice *ret_value) {
  return http1_header(&x->request, slice_cstr(name), ret_value);
}

void exchange_set_owner(struct exchange *x, void *owner, void (*on_gone)(void *owner, bool left)) {
  x->owner = owner;
  x->on_gone = on_gone;
}

void *exchange_owner(const struct exchange *x) { return x->owner; }

/* A version 4 UUID (RFC 9562). */
static void make_uuid(char out[NET__REQUEST_ID_MAX + 1]) {
  unsigned char b[16] = {0};
  ssize_t n = getrandom(b, sizeof b, 0); /* so few bytes come whole once the system is up */
  (void)n;
  b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
  b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
  char *to = out;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *to++ = '-';
    *to++ = "0123456789abcdef"[b[i] >> 4];
    *to++ = "0123456789abcdef"[b[i] & 15];
  }
  *to = '\0';
}

static void choose_request_id(struct exchange *x) {
  struct slice id;
  bool good = exchange_header(x, "X-Request-Id", &id) && id.len > 0 && id.len <= NET__REQUEST_ID_MAX;
  for (size_t i = 0; good && i < id.len; i++) good = (unsigned char)id.data[i] > 0x20 && (unsigned char)id.data[i] < 0x7f;
  if (!good) {
    make_uuid(x->request_id);
    return;
  }
  memcpy(x->request_id, id.data, id.len);
  x->request_id[id.len] = '\0';
}

/* ---- its life ---- */

struct exchange *net__exchange_create(struct net__conn *c) {
  struct exchange *x = mem_zalloc(1, sizeof *x);
  x->conn = c;
  http1_init(&x->request, &c->net->limits);
  return x;
}

void net__exchange_end(struct exchange *x, bool left) {
  struct net *n = x->conn->net;
  if (x->handed) n->n_exchanges--;
  n->bodies_bytes -= x->held;
  if (x->on_gone) x->on_gone(x->owner, left);
  http1_deinit(&x->request);
  buf_free(&x->headers);
  free(x);
}

void net__exchange_hand_over(struct exchange *x) {
  struct net *n = x->conn->net;
  x->handed = true;
  n->n_exchanges++;
  x->silent = slice_eq(exchange_method(x), SLICE("HEAD"));
  x->close = !x->request.keep_alive || x->unread;
  choose_request_id(x);
  if (net__cors_preflight(x)) return;
  if (slice_eq(exchange_path(x), SLICE("*")) && slice_eq(exchange_method(x), SLICE("OPTIONS"))) exchange_reply(x, 204, NULL, SLICE(""));
  else n->config.on_request(n->config.ctx, x);
}

/* ---- the reply ---- */

static bool is_dead(const struct exchange *x) { return x->conn->state == NET__DEAD; }

/* The reply is written, or will never be. x is freed. */
static void finish(struct exchange *x) {
  struct net__conn *c = x->conn;
  bool close = x->close, dead = is_dead(x);
  c->x = NULL;
  net__exchange_end(x, dead);
  if (dead) return;
  if (close) net__conn_finish(c);
  else net__conn_next(c);
}

void exchange_add_header(struct exchange *x, const char *name, struct slice value) {
  assert(!x->begun);
  buf_printf(&x->headers, "%s: ", name);
  for (size_t i = 0; i < value.len; i++) {
    unsigned char c = (unsigned char)value.data[i];
    buf_add_byte(&x->headers, (c < 0x20 && c != '\t') || c == 0x7f ? '?' : c);
  }
  buf_add_cstr(&x->headers, "\r\n");
}

/* Status line and the headers that every reply has. The caller adds its own and the empty line. */
static void begin_head(struct exchange *x, int status, const char *content_type, struct buf *head) {
  assert(!x->begun && status >= 200 && status <= 599);
  struct net *n = x->conn->net;
  x->begun = true;
  if (n->draining) x->close = true;
  buf_reserve(head, 400 + x->headers.len);
  buf_printf(head, "HTTP/1.1 %d %s\r\nServer: plinth\r\nDate: %s\r\n", status, net_reason(status), net__date(n));
  buf_printf(head, "X-Request-Id: %s\r\n", x->request_id);
  if (content_type) buf_printf(head, "Content-Type: %s\r\n", content_type);
  net__cors_headers(x, head);
  buf_add_slice(head, buf_view(&x->headers));
  if (x->close) buf_add_cstr(head, "Connection: close\r\n");
}

void exchange_reply(struct exchange *x, int status, const char *content_type, struct slice body) {
  if (is_dead(x)) {
    finish(x);
    return;
  }
  struct buf head = {0};
  bool bodiless = status == 204 || status == 304;
  begin_head(x, status, content_type, &head);
  if (!bodiless) buf_printf(&head, "Content-Length: %zu\r\n", body.len);
  buf_add_cstr(&head, "\r\n");
  net__conn_send(x->conn, head.data, head.len); /* gathered with the body into one write */
  if (!bodiless && !x->silent) net__conn_send(x->conn, body.data, body.len);
  buf_free(&head);
  finish(x);
}

void exchange_stream_begin(struct exchange *x, int status, const char *content_type) {
  if (is_dead(x)) return;
  struct buf head = {0};
  x->chunked = x->request.minor >= 1;
  if (!x->chunked) x->close = true;
  begin_head(x, status, content_type, &head);
  if (x->chunked) buf_add_cstr(&head, "Transfer-Encoding: chunked\r\n");
  buf_add_cstr(&head, "\r\n");
  net__conn_send(x->conn, head.data, head.len);
  buf_free(&head);
}

bool exchange_stream_write(struct exchange *x, struct slice data) {
  if (is_dead(x)) return false;
  assert(x->begun);
  if (x->silent || data.len == 0) return true; /* an empty chunk would end the stream */
  /* What one write gave at once is no sign of a slow reader. */
  if (net__conn_unsent(x->conn) > x->conn->net->config.unsent_bytes_max + x->piece_max) {
    net__conn_kill(x->conn);
    return false;
  }
  if (data.len > x->piece_max) x->piece_max = data.len;
  char size[24];
  if (x->chunked) net__conn_send(x->conn, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", data.len));
  net__conn_send(x->conn, data.data, data.len);
  if (x->chunked) net__conn_send(x->conn, "\r\n", 2);
  return true;
}

void exchange_stream_end(struct exchange *x) {
  assert(x->begun || is_dead(x));
  if (!is_dead(x) && x->chunked && !x->silent) net__conn_send(x->conn, "0\r\n\r\n", 5);
  finish(x);
}

void exchange_stream_abort(struct exchange *x) {
  assert(x->begun || is_dead(x));
  x->close = true; /* what was written still arrives; the last chunk, which would say "complete", does not */
  finish(x);
}

/* ---- refusals ---- */

static void plain_error(struct slice path, int status, const char *message, struct buf *body) {
  (void)path;
  (void)status;
  struct jsonw w = {.out = body};
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "message", message);
  jsonw_object_end(&w);
}

void net__exchange_refuse(struct exchange *x, int status, const char *message) {
  struct net *n = x->conn->net;
  struct buf body = {0};
  x->close = true;
  x->silent = slice_eq(exchange_method(x), SLICE("HEAD"));
  choose_request_id(x);
  if (n->config.write_error) n->config.write_error(n->config.ctx, exchange_path(x), status, message, &body);
  else plain_error(exchange_path(x), status, message, &body);
  if (status == 503) exchange_add_header(x, "Retry-After", SLICE("1"));
  exchange_reply(x, status, "application/json", buf_view(&body));
  buf_free(&body);
}
