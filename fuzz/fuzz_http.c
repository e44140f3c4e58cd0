/* fuzz_http: any bytes through the request reader, twice: whole, and cut where the input says. Both must tell the same story.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Input: one byte n, n bytes that are the lengths of the pieces (repeated), then what the connection carries. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "net/http1.h"

enum { BODY_MAX = 4096 };
static const struct http1_limits limits = {2048, 16};

struct cuts {
  const uint8_t *lengths; /* NULL: all at once */
  size_t n, next;
};

static size_t next_piece(struct cuts *c, size_t rest) {
  if (!c->lengths || c->n == 0) return rest;
  size_t n = (size_t)c->lengths[c->next++ % c->n] + 1;
  return n < rest ? n : rest;
}

static void check(int good) {
  if (!good) abort();
}

/* What a handler may rely on. */
static void check_request(const struct http1 *h) {
  struct slice path = http1_slice(h, h->path), value;
  check(path.len > 0 && (path.data[0] == '/' || slice_eq(path, SLICE("*"))));
  check(utf8_valid(path) && !memchr(path.data, '\0', path.len));
  check(h->body.len <= BODY_MAX && h->head.len <= limits.head_bytes_max && h->n_headers <= limits.headers_max);
  check(h->minor == 0 || http1_header(h, SLICE("host"), &value));
  check(!h->has_length || h->content_length == h->body.len);
}

static void tell_slice(struct buf *story, const char *name, struct slice s) {
  buf_printf(story, "%s %zu ", name, s.len);
  buf_add_slice(story, s);
  buf_add_byte(story, '\n');
}

static void tell_request(const struct http1 *h, struct buf *story) {
  check_request(h);
  tell_slice(story, "method", http1_slice(h, h->method));
  tell_slice(story, "path", http1_slice(h, h->path));
  tell_slice(story, "query", http1_slice(h, h->query));
  for (unsigned i = 0; i < h->n_headers; i++) {
    tell_slice(story, "name", http1_slice(h, h->headers[i].name));
    tell_slice(story, "value", http1_slice(h, h->headers[i].value));
  }
  tell_slice(story, "body", buf_view(&h->body));
  buf_printf(story, "keep %d expect %d\n", h->keep_alive, h->expects_continue);
}

/* Reads one request from *rest. False when the connection ends there. */
static bool read_request(struct slice *rest, struct cuts *cuts, struct buf *story) {
  struct http1 h;
  enum http1_event event = HTTP1_MORE;
  http1_init(&h, &limits);
  while (event == HTTP1_MORE && rest->len > 0) {
    size_t piece = next_piece(cuts, rest->len), used = 0;
    char *copy = malloc(piece); /* of its own size, so that a read over its end is seen */
    memcpy(copy, rest->data, piece);
    event = http1_feed(&h, copy, piece, &used);
    if (event == HTTP1_HEAD) {
      size_t more = 0;
      event = http1_accept_body(&h, BODY_MAX) ? http1_feed(&h, copy + used, piece - used, &more) : HTTP1_ERROR;
      used += more;
    }
    check(used <= piece && (event != HTTP1_MORE || used == piece));
    free(copy);
    *rest = slice_from(*rest, used);
  }
  if (event == HTTP1_DONE) tell_request(&h, story);
  if (event == HTTP1_ERROR) buf_printf(story, "refused %d %s\n", h.status, h.why);
  http1_deinit(&h);
  return event == HTTP1_DONE;
}

static void read_connection(struct slice bytes, struct cuts cuts, struct buf *story) {
  while (read_request(&bytes, &cuts, story)) {}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0 || size < 1u + data[0]) return 0;
  struct slice bytes = slice_make(data + 1 + data[0], size - 1 - data[0]);
  struct buf whole = {0}, cut = {0};
  read_connection(bytes, (struct cuts){0}, &whole);
  read_connection(bytes, (struct cuts){.lengths = data + 1, .n = data[0]}, &cut);
  check(slice_eq(buf_view(&whole), buf_view(&cut)));
  buf_free(&whole);
  buf_free(&cut);
  return 0;
}
