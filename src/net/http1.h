/* http1: bytes in, one strict HTTP/1.x request out; no I/O. Private to net. SPDX-License-Identifier: Apache-2.0
 *
 * The bytes pass two checks. The gate here cuts them into lines that end in CR LF, and holds each line to the rules of
 * doc/design/http.md; then http-parser reads the same line and gives its parts. What either refuses is refused. The result
 * does not depend on how the bytes are cut into calls.
 *
 *   request line -> header lines -> HTTP1_HEAD -> [body] -> HTTP1_DONE
 *
 * Head and target stay where they were read; every slice points into `head` and lives as long as the request does. */
#ifndef NET_HTTP1_H
#define NET_HTTP1_H
#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum {
  HTTP1_CHUNK_LINE_MAX = 256,           /* a chunk's size and extensions, bytes with CR LF. Over it: 400 */
  HTTP1_TRAILER_BYTES_MAX = 8 * 1024,   /* all trailers. Over it: 431 */
  HTTP1_FRAMING_BYTES_FREE = 16 * 1024, /* bytes around chunks that any body may have, */
  HTTP1_FRAMING_BYTES_EACH = 16,        /* and for every byte of body so many more. Over it: 400 */
  HTTP1_HEAD_BYTES_LIMIT = 64 * 1024,   /* the most that head_bytes_max may be (the parser's own limit is 80 KiB) */
  HTTP1_BLANK_LINES_MAX = 4,            /* empty lines in front of a request that are skipped (RFC 9112, 2.2). More: 400 */
};

enum http1_event {
  HTTP1_MORE,  /* all bytes were used; more are needed */
  HTTP1_HEAD,  /* the head is complete: read it, call http1_accept_body, feed on (with no bytes, too) */
  HTTP1_DONE,  /* the request is complete; the bytes not used belong to the next one */
  HTTP1_ERROR, /* refused: `status` and `why` say how to answer; the connection cannot go on */
};

struct http1_limits {
  size_t head_bytes_max; /* request line and headers; at most HTTP1_HEAD_BYTES_LIMIT */
  unsigned headers_max;  /* count */
};

struct http1_span {
  uint32_t at, len; /* bytes of `head` */
};

struct http1_header {
  struct http1_span name, value; /* value without the white space around it */
};

struct http1 {
  const struct http1_limits *limits; /* borrowed */
  struct http_parser parser;
  struct buf head;              /* the lines of the head; behind them the line that is being read */
  struct buf body;              /* decoded */
  struct http1_header *headers; /* owned, room for limits->headers_max */
  unsigned n_headers;
  struct http1_span method, target, path, query; /* path: percent-decoded in place; query: raw, without "?" */
  uint64_t content_length;                       /* as declared; 0 without one */
  uint64_t left;                                 /* bytes of the body, or of this chunk, that are still to come */
  size_t body_bytes_max;                         /* set by http1_accept_body */
  size_t framing_bytes, trailer_bytes, line_at;
  int status;           /* of the refusal; 0: none so far */
  const char *why;      /* a sentence for the client; static */
  uint8_t state, minor; /* minor: 0 or 1, of HTTP/1.x */
  uint8_t n_blank;
  bool chunked, has_length, has_host, keep_alive, expects_continue;
  /* What the parser's callbacks saw while it read the last line. */
  struct http1_span seen_target, seen_name, seen_value;
  uint64_t seen_chunk;
  bool seen_head, seen_end;
};

void http1_init(struct http1 *h, const struct http1_limits *limits);
void http1_deinit(struct http1 *h); /* releases all; fine on {0} */

/* Reads from data[0, len) and says in *ret_used how much of it. After HTTP1_DONE or HTTP1_ERROR not to be called again. */
enum http1_event http1_feed(struct http1 *h, const char *data, size_t len, size_t *ret_used);
/* After HTTP1_HEAD: how long the body may be. False when it is declared longer: refused with 413. */
bool http1_accept_body(struct http1 *h, size_t body_bytes_max);
/* The request was read as far as its first byte. */
bool http1_begun(const struct http1 *h);
/* HTTP1_HEAD was returned. */
bool http1_has_head(const struct http1 *h);
/* A body was announced. */
bool http1_has_body(const struct http1 *h);

struct slice http1_slice(const struct http1 *h, struct http1_span s);
/* First header of that name, in any case; false when absent. */
bool http1_header(const struct http1 *h, struct slice name, struct slice *ret_value);
/* Equal but for the case of ASCII letters. */
bool http1_same(struct slice a, struct slice b);
/* The value of a hexadecimal digit; -1 for another character. */
int http1_hex(char c);

#endif
