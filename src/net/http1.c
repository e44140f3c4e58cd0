/* http1: see http1.h. SPDX-License-Identifier: Apache-2.0
 *
 * Invariants
 *  1. head[0, line_at) is what was accepted; head[line_at, len) is the line that is being read. Lines of chunks and trailers are
 *     cut off again once they are read, so head holds the head.
 *  2. The parser never sees a byte that the gate has not passed, and sees lines only whole: each callback comes once a part.
 *  3. Gate and parser agree about target, chunk sizes and ends; where they do not, the request is refused.
 *
 * Debian builds http-parser in its lenient form (spaces in names, anything after a chunk): the gate does not rely on it. */
#include "net/http1.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/target.h"

enum state {
  STATE_REQUEST_LINE,
  STATE_HEADER,
  STATE_ACCEPT, /* HTTP1_HEAD was returned */
  STATE_BODY,
  STATE_CHUNK_LINE,
  STATE_CHUNK_DATA,
  STATE_CHUNK_END,
  STATE_TRAILER,
  STATE_DONE,
  STATE_ERROR,
};

enum { GO_ON = -1 }; /* beside enum http1_event: the step is done, take the next one */

struct input {
  const char *data;
  size_t len, at;
};

/* ---- small tests on bytes ---- */

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool http1_same(struct slice a, struct slice b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++)
    if (lower(a.data[i]) != lower(b.data[i])) return false;
  return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

int http1_hex(char c) {
  c = lower(c);
  if (is_digit(c)) return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* tchar of RFC 9110, 5.6.2 */
static bool is_token(struct slice s) {
  for (size_t i = 0; i < s.len; i++) {
    char c = lower(s.data[i]);
    if (!is_digit(c) && !(c >= 'a' && c <= 'z') && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c))) return false;
  }
  return s.len > 0;
}

static struct slice trim(struct slice s) {
  while (s.len && is_blank(s.data[0])) s = slice_from(s, 1);
  while (s.len && is_blank(s.data[s.len - 1])) s.len--;
  return s;
}

/* ---- the parser's side ---- */

static struct http1_span span_of(const struct http1 *h, const char *at, size_t len) {
  return (struct http1_span){(uint32_t)(at - h->head.data), (uint32_t)len};
}

static int on_url(http_parser *p, const char *at, size_t len) {
  struct http1 *h = p->data;
  h->seen_target = span_of(h, at, len);
  return 0;
}

static int on_name(http_parser *p, const char *at, size_t len) {
  struct http1 *h = p->data;
  h->seen_name = span_of(h, at, len);
  return 0;
}

static int on_value(http_parser *p, const char *at, size_t len) {
  struct http1 *h = p->data;
  if (len) h->seen_value = span_of(h, at, len); /* an empty one is told late, with the next line */
  return 0;
}

static int on_head(http_parser *p) {
  struct http1 *h = p->data;
  h->seen_head = true;
  h->keep_alive = h->minor >= 1 && http_should_keep_alive(p);
  p->upgrade = 0; /* an offer to upgrade may be ignored (RFC 9110, 7.8): the request is a request */
  return 0;
}

static int on_body(http_parser *p, const char *at, size_t len) {
  struct http1 *h = p->data;
  buf_add(&h->body, at, len);
  return 0;
}

static int on_chunk(http_parser *p) {
  struct http1 *h = p->data;
  h->seen_chunk = p->content_length;
  return 0;
}

static int on_end(http_parser *p) {
  struct http1 *h = p->data;
  h->seen_end = true;
  return 0;
}

static const http_parser_settings callbacks = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_end,
    .on_chunk_header = on_chunk,
};

/* False when the parser refuses the bytes. */
static bool parser_takes(struct http1 *h, const char *data, size_t len) {
  h->seen_target = h->seen_name = h->seen_value = (struct http1_span){0};
  size_t n = http_parser_execute(&h->parser, &callbacks, data, len);
  return HTTP_PARSER_ERRNO(&h->parser) == HPE_OK && n == len;
}

/* ---- refusals ---- */

static int refuse(struct http1 *h, int status, const char *why) {
  h->state = STATE_ERROR;
  h->status = status;
  h->why = why;
  return HTTP1_ERROR;
}

/* ---- lines ---- */

static struct slice line(const struct http1 *h) { return slice_make(h->head.data + h->line_at, h->head.len - h->line_at); }

enum line_result { LINE_MORE, LINE_WHOLE, LINE_TOO_LONG };

/* Moves bytes from the input up to and with the next LF; at most max of them may make one line. */
static enum line_result take_line(struct http1 *h, struct input *in, size_t max) {
  size_t have = h->head.len - h->line_at, rest = in->len - in->at;
  if (rest == 0) return LINE_MORE;
  const char *from = in->data + in->at, *lf = memchr(from, '\n', rest);
  size_t n = lf ? (size_t)(lf - from) + 1 : rest;
  if (have + n > max) return LINE_TOO_LONG;
  buf_add(&h->head, from, n);
  in->at += n;
  return lf ? LINE_WHOLE : LINE_MORE;
}

/* Ends in CR LF and has no other CR. */
static bool line_ends_well(struct slice s) { return s.len >= 2 && memchr(s.data, '\r', s.len) == s.data + s.len - 2; }

static const char bad_line_end[] = "A line does not end in CR LF, or has a CR inside; end lines as HTTP/1.1 asks.";

static void keep_line(struct http1 *h) { h->line_at = h->head.len; }

static void drop_line(struct http1 *h) {
  h->head.len = h->line_at;
  h->head.data[h->line_at] = '\0';
}

/* ---- the request line ---- */

static const char bad_request_line[] = "The request line is malformed: it must be METHOD, one space, target, one space, HTTP/1.1.";

/* "HTTP/1.1" -> true and the minor version; else the refusal is filled in. */
static bool read_version(struct http1 *h, struct slice s) {
  bool formed = s.len == 8 && slice_starts(s, SLICE("HTTP/")) && is_digit(s.data[5]) && s.data[6] == '.' && is_digit(s.data[7]);
  if (!formed || s.data[5] != '1') {
    refuse(h, formed ? 505 : 400, formed ? "This server speaks HTTP/1.1 and HTTP/1.0 only." : bad_request_line);
    return false;
  }
  h->minor = s.data[7] == '0' ? 0 : 1; /* a later 1.x is served as 1.1: RFC 9110, 6.2 */
  return true;
}

static int read_target(struct http1 *h, struct slice s) {
  struct target t;
  size_t at = (size_t)(s.data - h->head.data);
  const char *why = target_parse(h->head.data + at, s.len, &t);
  if (why) return refuse(h, 400, why);
  h->path = span_of(h, s.data + t.path_at, t.path_len);
  h->query = span_of(h, s.data + t.query_at, t.query_len);
  return GO_ON;
}

static int request_line(struct http1 *h) {
  struct slice s = line(h);
  if (!line_ends_well(s)) return refuse(h, 400, bad_line_end);
  s.len -= 2;
  if (s.len == 0) {
    drop_line(h);
    return ++h->n_blank > HTTP1_BLANK_LINES_MAX ? refuse(h, 400, "There are too many empty lines in front of the request.") : GO_ON;
  }
  const char *one = memchr(s.data, ' ', s.len);
  struct slice method = slice_make(s.data, one ? (size_t)(one - s.data) : 0);
  struct slice rest = slice_from(s, method.len + 1);
  const char *two = one ? memchr(rest.data, ' ', rest.len) : NULL;
  struct slice target = slice_make(rest.data, two ? (size_t)(two - rest.data) : 0);
  if (!is_token(method) || target.len == 0) return refuse(h, 400, bad_request_line);
  if (!read_version(h, slice_from(rest, target.len + 1))) return HTTP1_ERROR;
  h->method = span_of(h, method.data, method.len);
  h->target = h->path = span_of(h, target.data, target.len); /* a refusal from here on has at least the beginning of the path */
  if (slice_eq(method, SLICE("CONNECT"))) return refuse(h, 501, "This server is no proxy: it has no CONNECT.");
  if (!parser_takes(h, s.data, s.len + 2)) {
    if (HTTP_PARSER_ERRNO(&h->parser) == HPE_INVALID_METHOD) return refuse(h, 501, "This server does not know the request's method.");
    return refuse(h, 400, bad_request_line);
  }
  if (h->seen_target.at != h->target.at || h->seen_target.len != h->target.len) return refuse(h, 400, bad_request_line);
  h->state = STATE_HEADER;
  keep_line(h);
  return read_target(h, target);
}

/* ---- headers ---- */

/* Checks the form of a header line (without CR LF) and tells its name. */
static int header_form(struct http1 *h, struct slice s, struct slice *ret_name) {
  if (is_blank(s.data[0])) return refuse(h, 400, "A header goes on in a second line; write it in one line.");
  const char *colon = memchr(s.data, ':', s.len);
  if (!colon) return refuse(h, 400, "A header line has no colon.");
  *ret_name = slice_make(s.data, (size_t)(colon - s.data));
  if (!is_token(*ret_name))
    return refuse(h, 400, "A header's name is empty, or holds a space or another character that names may not have.");
  return GO_ON;
}

/* Content-Length: one header of digits only, and one number only. */
static int read_length(struct http1 *h, struct slice value) {
  static const char bad[] = "Content-Length must be one number of decimal digits, in one header.";
  if (h->has_length || value.len == 0) return refuse(h, 400, bad);
  uint64_t n = 0;
  for (size_t i = 0; i < value.len; i++) {
    if (!is_digit(value.data[i]) || n > (UINT64_MAX - 9) / 10) return refuse(h, 400, bad);
    n = n * 10 + (uint64_t)(value.data[i] - '0');
  }
  h->has_length = true;
  h->content_length = n;
  return GO_ON;
}

/* A host and a port, as far as their characters go (RFC 3986, 3.2.2). Empty is allowed (RFC 9112, 3.2). */
static bool host_is_formed(struct slice s) {
  for (size_t i = 0; i < s.len; i++) {
    char c = lower(s.data[i]);
    if (!is_digit(c) && !(c >= 'a' && c <= 'z') && (c == '\0' || !strchr("-._~%!$&'()*+;=:[]", c))) return false;
  }
  return true;
}

/* The headers that decide how the connection goes on. */
static int framing_header(struct http1 *h, struct slice name, struct slice value) {
  if (http1_same(name, SLICE("content-length"))) return read_length(h, value);
  if (http1_same(name, SLICE("transfer-encoding"))) {
    if (h->chunked || !http1_same(value, SLICE("chunked")))
      return refuse(h, 400, "Transfer-Encoding must be \"chunked\" and nothing else, in one header.");
    h->chunked = true;
  }
  if (http1_same(name, SLICE("host"))) {
    if (h->has_host) return refuse(h, 400, "There are two Host headers.");
    if (!host_is_formed(value)) return refuse(h, 400, "The Host header is malformed.");
    h->has_host = true;
  }
  return GO_ON;
}

static int header_line(struct http1 *h, struct slice s) {
  struct slice name;
  int step = header_form(h, s, &name);
  if (step != GO_ON) return step;
  if (h->n_headers == h->limits->headers_max) return refuse(h, 431, "The request has too many headers.");
  if (!parser_takes(h, s.data, s.len + 2)) {
    enum http_errno e = HTTP_PARSER_ERRNO(&h->parser);
    if (e == HPE_INVALID_CONTENT_LENGTH || e == HPE_UNEXPECTED_CONTENT_LENGTH)
      return refuse(h, 400, "Content-Length is malformed, doubled, or stands beside Transfer-Encoding.");
    return refuse(h, 400, "A header line holds a character that it may not have.");
  }
  struct slice value = trim(http1_slice(h, h->seen_value));
  step = framing_header(h, name, value);
  if (step != GO_ON) return step;
  h->headers[h->n_headers++] =
      (struct http1_header){span_of(h, name.data, name.len), value.len ? span_of(h, value.data, value.len) : (struct http1_span){0}};
  keep_line(h);
  return GO_ON;
}

/* Expect is read at the end, when the version and all headers are known. */
static int read_expect(struct http1 *h) {
  struct slice value;
  if (h->minor == 0 || !http1_header(h, SLICE("expect"), &value)) return GO_ON; /* RFC 9110, 10.1.1: 1.0 has no Expect */
  if (!http1_same(value, SLICE("100-continue"))) return refuse(h, 417, "The only expectation that this server meets is 100-continue.");
  h->expects_continue = http1_has_body(h);
  return GO_ON;
}

static int head_end(struct http1 *h, struct slice s) {
  if (h->chunked && h->has_length) return refuse(h, 400, "The request has both Content-Length and Transfer-Encoding; send one of them.");
  if (h->chunked && h->minor == 0) return refuse(h, 400, "HTTP/1.0 has no Transfer-Encoding.");
  if (!h->has_host && h->minor >= 1) return refuse(h, 400, "The request has no Host header; HTTP/1.1 asks for one.");
  if (!parser_takes(h, s.data, s.len + 2) || !h->seen_head) return refuse(h, 400, "The headers contradict each other.");
  keep_line(h);
  h->state = STATE_ACCEPT;
  if (h->seen_end == http1_has_body(h)) return refuse(h, 400, "The headers contradict each other about the body.");
  int step = read_expect(h);
  return step == GO_ON ? HTTP1_HEAD : step;
}

static int head_step(struct http1 *h, struct input *in) {
  bool first = h->state == STATE_REQUEST_LINE;
  switch (take_line(h, in, h->limits->head_bytes_max - h->line_at)) {
    case LINE_MORE: return HTTP1_MORE;
    case LINE_TOO_LONG:
      return first ? refuse(h, 414, "The request line is too long.") : refuse(h, 431, "The request's headers are too large.");
    case LINE_WHOLE: break;
  }
  if (first) return request_line(h);
  struct slice s = line(h);
  if (!line_ends_well(s)) return refuse(h, 400, bad_line_end);
  s.len -= 2;
  return s.len ? header_line(h, s) : head_end(h, s);
}

/* ---- bodies ---- */

static const char too_large[] = "The request's body is too large.";

/* Hands n bytes of content to the parser, which hands them to on_body. */
static int body_bytes(struct http1 *h, struct input *in, enum state next) {
  size_t n = in->len - in->at;
  if (n > h->left) n = (size_t)h->left;
  if (n == 0) return HTTP1_MORE;
  if (!parser_takes(h, in->data + in->at, n)) return refuse(h, 400, "The body is malformed.");
  in->at += n;
  h->left -= n;
  if (h->left == 0) h->state = next;
  return GO_ON;
}

/* "1f" or "1f;name=value" -> the size; false when it is malformed. */
static bool chunk_size(struct slice s, uint64_t *ret) {
  uint64_t n = 0;
  size_t i = 0;
  for (; i < s.len && http1_hex(s.data[i]) >= 0; i++) {
    if (n >> 60) return false;
    n = n * 16 + (uint64_t)http1_hex(s.data[i]);
  }
  if (i == 0) return false;
  *ret = n;
  if (i == s.len) return true;
  while (i < s.len && is_blank(s.data[i])) i++;
  if (i == s.len || s.data[i] != ';') return false;
  for (; i < s.len; i++)
    if (((unsigned char)s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7f) return false;
  return true;
}

static int chunk_line(struct http1 *h, struct input *in) {
  static const char bad[] = "A chunk's size line is malformed; it must be hexadecimal digits, and extensions only after a semicolon.";
  switch (take_line(h, in, HTTP1_CHUNK_LINE_MAX)) {
    case LINE_MORE: return HTTP1_MORE;
    case LINE_TOO_LONG: return refuse(h, 400, "A chunk's size line is too long.");
    case LINE_WHOLE: break;
  }
  struct slice s = line(h);
  uint64_t size = 0;
  if (!line_ends_well(s)) return refuse(h, 400, bad_line_end);
  if (!chunk_size(slice_make(s.data, s.len - 2), &size)) return refuse(h, 400, bad);
  if (!parser_takes(h, s.data, s.len) || h->seen_chunk != size) return refuse(h, 400, bad);
  h->framing_bytes += s.len;
  drop_line(h);
  if (h->framing_bytes > HTTP1_FRAMING_BYTES_FREE + h->body.len * HTTP1_FRAMING_BYTES_EACH)
    return refuse(h, 400, "The chunks hold more extensions than content.");
  if (size > h->body_bytes_max - h->body.len) return refuse(h, 413, too_large);
  h->left = size;
  h->state = size ? STATE_CHUNK_DATA : STATE_TRAILER;
  return GO_ON;
}

static int chunk_end(struct http1 *h, struct input *in) {
  static const char bad[] = "A chunk is longer than its size line says.";
  switch (take_line(h, in, 2)) {
    case LINE_MORE: return HTTP1_MORE;
    case LINE_TOO_LONG: return refuse(h, 400, bad);
    case LINE_WHOLE: break;
  }
  if (!slice_eq(line(h), SLICE("\r\n")) || !parser_takes(h, line(h).data, 2)) return refuse(h, 400, bad);
  h->framing_bytes += 2;
  drop_line(h);
  h->state = STATE_CHUNK_LINE;
  return GO_ON;
}

/* A trailer is checked and forgotten. One that would have changed the framing is refused (RFC 9110, 6.5.1). */
static int trailer_form(struct http1 *h, struct slice s) {
  struct slice name;
  int step = header_form(h, s, &name);
  if (step != GO_ON) return step;
  bool framing =
      http1_same(name, SLICE("content-length")) || http1_same(name, SLICE("transfer-encoding")) || http1_same(name, SLICE("host"));
  return framing ? refuse(h, 400, "A trailer must not be Content-Length, Transfer-Encoding or Host.") : GO_ON;
}

static int trailer(struct http1 *h, struct input *in) {
  switch (take_line(h, in, HTTP1_TRAILER_BYTES_MAX - h->trailer_bytes)) {
    case LINE_MORE: return HTTP1_MORE;
    case LINE_TOO_LONG: return refuse(h, 431, "The request's trailers are too large.");
    case LINE_WHOLE: break;
  }
  struct slice s = line(h);
  if (!line_ends_well(s)) return refuse(h, 400, bad_line_end);
  h->trailer_bytes += s.len;
  int step = s.len > 2 ? trailer_form(h, slice_make(s.data, s.len - 2)) : GO_ON;
  if (step != GO_ON) return step;
  if (!parser_takes(h, s.data, s.len) || h->seen_end != (s.len == 2)) return refuse(h, 400, "The trailers are malformed.");
  drop_line(h);
  if (s.len == 2) h->state = STATE_DONE;
  return GO_ON;
}

/* ---- the door ---- */

void http1_init(struct http1 *h, const struct http1_limits *limits) {
  assert(limits->head_bytes_max > 0 && limits->head_bytes_max <= HTTP1_HEAD_BYTES_LIMIT);
  *h = (struct http1){.limits = limits, .state = STATE_REQUEST_LINE};
  http_parser_init(&h->parser, HTTP_REQUEST);
  h->parser.data = h;
  h->headers = mem_zalloc(limits->headers_max, sizeof *h->headers);
  buf_reserve(&h->head, 1000);
}

void http1_deinit(struct http1 *h) {
  buf_free(&h->head);
  buf_free(&h->body);
  free(h->headers);
  *h = (struct http1){0};
}

static int step(struct http1 *h, struct input *in) {
  switch ((enum state)h->state) {
    case STATE_REQUEST_LINE:
    case STATE_HEADER: return head_step(h, in);
    case STATE_BODY: return body_bytes(h, in, STATE_DONE);
    case STATE_CHUNK_LINE: return chunk_line(h, in);
    case STATE_CHUNK_DATA: return body_bytes(h, in, STATE_CHUNK_END);
    case STATE_CHUNK_END: return chunk_end(h, in);
    case STATE_TRAILER: return trailer(h, in);
    case STATE_DONE: return h->seen_end ? (int)HTTP1_DONE : refuse(h, 400, "The body does not end where it should.");
    case STATE_ACCEPT:
    case STATE_ERROR: break;
  }
  assert(!"http1_feed after an error, or before http1_accept_body");
  return HTTP1_ERROR;
}

enum http1_event http1_feed(struct http1 *h, const char *data, size_t len, size_t *ret_used) {
  struct input in = {data, len, 0};
  int event;
  do event = step(h, &in);
  while (event == GO_ON);
  *ret_used = in.at;
  return (enum http1_event)event;
}

bool http1_accept_body(struct http1 *h, size_t body_bytes_max) {
  assert(h->state == STATE_ACCEPT);
  h->body_bytes_max = body_bytes_max;
  if (h->content_length > body_bytes_max) {
    refuse(h, 413, too_large);
    return false;
  }
  h->left = h->content_length;
  h->state = h->chunked ? STATE_CHUNK_LINE : h->left ? STATE_BODY : STATE_DONE;
  return true;
}

bool http1_begun(const struct http1 *h) { return h->head.len > 0; }
bool http1_has_head(const struct http1 *h) { return h->state >= STATE_ACCEPT && h->state != STATE_ERROR; }
bool http1_has_body(const struct http1 *h) { return h->chunked || h->content_length > 0; }

struct slice http1_slice(const struct http1 *h, struct http1_span s) { return slice_make(h->head.data + s.at, s.len); }

bool http1_header(const struct http1 *h, struct slice name, struct slice *ret_value) {
  for (unsigned i = 0; i < h->n_headers; i++) {
    if (!http1_same(http1_slice(h, h->headers[i].name), name)) continue;
    *ret_value = http1_slice(h, h->headers[i].value);
    return true;
  }
  return false;
}
