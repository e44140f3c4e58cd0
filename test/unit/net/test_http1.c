/* Tests of the request reader: what it takes and what it refuses, however the bytes are cut. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/http1.h"

static const struct http1_limits limits = {32 * 1024, 100};
enum { BODY_MAX = 1 << 20 };

/* Reads one request from text in pieces of `piece` bytes. *ret_used: bytes it took. */
static enum http1_event read_pieces(struct http1 *h, struct slice text, size_t piece, size_t body_max, size_t *ret_used) {
  enum http1_event event = HTTP1_MORE;
  size_t at = 0, end = 0;
  http1_init(h, &limits);
  while (event == HTTP1_MORE || event == HTTP1_HEAD) {
    size_t used = 0;
    if (event == HTTP1_HEAD && !http1_accept_body(h, body_max)) return HTTP1_ERROR;
    if (event == HTTP1_MORE && at == end) {
      if (end == text.len) break;
      end = end + piece > text.len ? text.len : end + piece;
    }
    event = http1_feed(h, text.data + at, end - at, &used);
    at += used;
  }
  *ret_used = at;
  return event;
}

static enum http1_event read_all(struct http1 *h, struct slice text) {
  size_t used;
  return read_pieces(h, text, text.len, BODY_MAX, &used);
}

#define HOST "Host: h\r\n"
#define POST "POST /p HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* status 0: the request is good */
static const struct refusal {
  const char *name;
  struct slice text;
  int status;
} refusals[] = {
    {"plain get", SLICE("GET / HTTP/1.1\r\n" HOST "\r\n"), 0},
    {"http 1.0 without host", SLICE("GET / HTTP/1.0\r\n\r\n"), 0},
    {"a later 1.x", SLICE("GET / HTTP/1.7\r\n" HOST "\r\n"), 0},
    {"empty lines in front", SLICE("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 0},
    {"empty host", SLICE("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 0},
    {"empty value", SLICE("GET / HTTP/1.1\r\nA:\r\n" HOST "B: \t \r\n\r\n"), 0},
    {"upgrade offered", SLICE(POST "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"), 0},
    {"content-length 0", SLICE(POST "Content-Length: 0\r\n\r\n"), 0},
    {"chunked", SLICE(CHUNKED "5\r\nhello\r\n0\r\n\r\n"), 0},
    {"chunked in capitals", SLICE(POST "TRANSFER-ENCODING: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 0},
    {"chunk extension", SLICE(CHUNKED "5 ; a=\"b\"\r\nhello\r\n0;x\r\n\r\n"), 0},
    {"trailer", SLICE(CHUNKED "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), 0},
    {"both lengths", SLICE(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"both lengths, other order", SLICE(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), 400},
    {"two lengths", SLICE(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 400},
    {"two equal lengths", SLICE(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400},
    {"list of lengths", SLICE(POST "Content-Length: 5, 5\r\n\r\nhello"), 400},
    {"signed length", SLICE(POST "Content-Length: +5\r\n\r\nhello"), 400},
    {"negative length", SLICE(POST "Content-Length: -5\r\n\r\nhello"), 400},
    {"hexadecimal length", SLICE(POST "Content-Length: 0x5\r\n\r\nhello"), 400},
    {"empty length", SLICE(POST "Content-Length: \r\n\r\nhello"), 400},
    {"length with a space", SLICE(POST "Content-Length: 5 5\r\n\r\nhello"), 400},
    {"length that overflows", SLICE(POST "Content-Length: 18446744073709551621\r\n\r\nhello"), 400},
    {"length over the limit", SLICE(POST "Content-Length: 1048577\r\n\r\nhello"), 413},
    {"gzip, chunked", SLICE(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400},
    {"gzip, chunked and a length", SLICE(POST "Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n\r\nhello"), 400},
    {"chunked, gzip", SLICE(POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), 400},
    {"xchunked", SLICE(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400},
    {"identity", SLICE(POST "Transfer-Encoding: identity\r\n\r\n"), 400},
    {"empty coding", SLICE(POST "Transfer-Encoding:\r\n\r\n"), 400},
    {"chunked twice", SLICE(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"chunked, chunked", SLICE(POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400},
    {"chunked in 1.0", SLICE("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"space before the colon", SLICE(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400},
    {"tab before the colon", SLICE("GET / HTTP/1.1\r\nHost\t: h\r\n\r\n"), 400},
    {"space in a name", SLICE("GET / HTTP/1.1\r\n" HOST "X Y: z\r\n\r\n"), 400},
    {"no colon", SLICE("GET / HTTP/1.1\r\n" HOST "XY\r\n\r\n"), 400},
    {"no name", SLICE("GET / HTTP/1.1\r\n" HOST ": z\r\n\r\n"), 400},
    {"chunk size 0x5", SLICE(CHUNKED "0x5\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size +5", SLICE(CHUNKED "+5\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size empty", SLICE(CHUNKED "\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size with a space", SLICE(CHUNKED "5 \r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size overflow", SLICE(CHUNKED "10000000000000005\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size far too large", SLICE(CHUNKED "fffffffffffffff0\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk over the limit", SLICE(CHUNKED "100001\r\nhello"), 413},
    {"chunks over the limit together", SLICE(CHUNKED "5\r\nhello\r\nffffc\r\n"), 413},
    {"chunk longer than its size", SLICE(CHUNKED "5\r\nhelloXX0\r\n\r\n"), 400},
    {"chunk ended by LF", SLICE(CHUNKED "5\r\nhello\n0\r\n\r\n"), 400},
    {"chunk line ended by LF", SLICE(CHUNKED "5\nhello\r\n0\r\n\r\n"), 400},
    {"extension ended by LF", SLICE(CHUNKED "5;a\nhello\r\n0\r\n\r\n"), 400},
    {"control character in an extension", SLICE(CHUNKED "5;a\001\r\nhello\r\n0\r\n\r\n"), 400},
    {"trailer that frames", SLICE(CHUNKED "0\r\nContent-Length: 5\r\n\r\n"), 400},
    {"folded trailer", SLICE(CHUNKED "0\r\nA: b\r\n c\r\n\r\n"), 400},
    {"trailers ended by LF", SLICE(CHUNKED "0\r\n\n"), 400},
    {"control character in a name", SLICE("GET / HTTP/1.1\r\n" HOST "X\001Y: z\r\n\r\n"), 400},
    {"control character in a value", SLICE("GET / HTTP/1.1\r\n" HOST "X: a\001b\r\n\r\n"), 400},
    {"NUL in a value", SLICE("GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n"), 400},
    {"DEL in a value", SLICE("GET / HTTP/1.1\r\n" HOST "X: a\177b\r\n\r\n"), 400},
    {"CR in a value", SLICE("GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n"), 400},
    {"no host", SLICE("GET / HTTP/1.1\r\n\r\n"), 400},
    {"two hosts", SLICE("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400},
    {"host with a slash", SLICE("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400},
    {"host with a user", SLICE("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), 400},
    {"two hosts in one", SLICE("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400},
    {"http 9.1", SLICE("GET / HTTP/9.1\r\n" HOST "\r\n"), 505},
    {"http 2.0", SLICE("GET / HTTP/2.0\r\n" HOST "\r\n"), 505},
    {"http 0.9", SLICE("GET /\r\n"), 400},
    {"http 1.10", SLICE("GET / HTTP/1.10\r\n" HOST "\r\n"), 400},
    {"another protocol", SLICE("GET / ICE/1.0\r\n" HOST "\r\n"), 400},
    {"lower-case protocol", SLICE("GET / http/1.1\r\n" HOST "\r\n"), 400},
    {"bare LF in the request line", SLICE("GET / HTTP/1.1\nHost: h\r\n\r\n"), 400},
    {"bare LF in the headers", SLICE("GET / HTTP/1.1\r\nHost: h\n\r\n"), 400},
    {"bare LF at the end", SLICE("GET / HTTP/1.1\r\nHost: h\r\n\n"), 400},
    {"CR CR LF", SLICE("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"), 400},
    {"folded header", SLICE("GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n"), 400},
    {"folded first header", SLICE("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), 400},
    {"two spaces", SLICE("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"two spaces behind", SLICE("GET /  HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"space at the end", SLICE("GET / HTTP/1.1 \r\n" HOST "\r\n"), 400},
    {"space at the beginning", SLICE(" GET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"tab for a space", SLICE("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"too many empty lines", SLICE("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"unknown method", SLICE("BREW / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {"lower-case method", SLICE("get / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {"malformed method", SLICE("G@T / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"connect", SLICE("CONNECT h:80 HTTP/1.1\r\n" HOST "\r\n"), 501},
    {"tls", SLICE("\026\003\001\002\000\001\000\001\374\003\003\n"), 400},
    {"bytes above ASCII in the target", SLICE("GET /\303\244 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"dots in the path", SLICE("GET /a/../b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"another expectation", SLICE(POST "Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello"), 417},
};

static void each_malformed_request_is_refused_with_its_status(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    const struct refusal *r = &refusals[i];
    struct http1 h;
    enum http1_event event = read_all(&h, r->text);
    if (event != (r->status ? HTTP1_ERROR : HTTP1_DONE) || h.status != r->status)
      fail_msg("%s: event %d, status %d (%s), not %d", r->name, event, h.status, h.why ? h.why : "", r->status);
    if (r->status) assert_non_null(h.why);
    http1_deinit(&h);
  }
}

static void the_result_does_not_depend_on_where_the_bytes_are_cut(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    const struct refusal *r = &refusals[i];
    for (size_t piece = 1; piece <= r->text.len; piece++) {
      struct http1 h;
      size_t used;
      enum http1_event event = read_pieces(&h, r->text, piece, BODY_MAX, &used);
      if (event != (r->status ? HTTP1_ERROR : HTTP1_DONE) || h.status != r->status)
        fail_msg("%s in pieces of %zu: event %d, status %d", r->name, piece, event, h.status);
      http1_deinit(&h);
    }
  }
}

static void the_parts_of_a_request_are_told(void **state) {
  (void)state;
  struct slice text = SLICE(
      "POST http://h/a%20b?x=%20 HTTP/1.1\r\nHost: h\r\nX-One:  \t first \r\nx-one: second\r\nEmpty:\r\nContent-Length: 5\r\n\r\nhello");
  struct http1 h;
  struct slice value;
  assert_int_equal(read_all(&h, text), HTTP1_DONE);
  assert_true(slice_eq(http1_slice(&h, h.method), SLICE("POST")));
  assert_true(slice_eq(http1_slice(&h, h.path), SLICE("/a b")));
  assert_true(slice_eq(http1_slice(&h, h.query), SLICE("x=%20")));
  assert_true(slice_eq(buf_view(&h.body), SLICE("hello")));
  assert_true(http1_header(&h, SLICE("X-ONE"), &value) && slice_eq(value, SLICE("first")));
  assert_true(http1_header(&h, SLICE("empty"), &value) && value.len == 0);
  assert_false(http1_header(&h, SLICE("X-Two"), &value));
  assert_int_equal(h.n_headers, 5);
  http1_deinit(&h);
}

static void chunks_are_joined_and_extensions_and_trailers_dropped(void **state) {
  (void)state;
  struct slice text = SLICE(CHUNKED "1;a=b\r\nh\r\n004\r\nello\r\nA\r\n, chunked!\r\n0\r\nSum: 1\r\n\r\nGET /");
  for (size_t piece = 1; piece <= text.len; piece++) {
    struct http1 h;
    struct slice value;
    size_t used;
    assert_int_equal(read_pieces(&h, text, piece, BODY_MAX, &used), HTTP1_DONE);
    assert_true(slice_eq(buf_view(&h.body), SLICE("hello, chunked!")));
    assert_int_equal(used, text.len - 5);
    assert_false(http1_header(&h, SLICE("sum"), &value));
    http1_deinit(&h);
  }
}

static void bytes_behind_a_request_are_left_for_the_next(void **state) {
  (void)state;
  struct slice text = SLICE("POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nokGET /next HTTP/1.1\r\n");
  struct http1 h;
  size_t used;
  assert_int_equal(read_pieces(&h, text, text.len, BODY_MAX, &used), HTTP1_DONE);
  assert_true(slice_starts(slice_from(text, used), SLICE("GET /next")));
  http1_deinit(&h);
}

static void keep_alive_follows_version_and_connection(void **state) {
  (void)state;
  const struct {
    struct slice text;
    bool keep;
  } cases[] = {
      {SLICE("GET / HTTP/1.1\r\n" HOST "\r\n"), true},
      {SLICE("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"), false},
      {SLICE("GET / HTTP/1.1\r\n" HOST "Connection: TE, Close\r\n\r\n"), false},
      {SLICE("GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n"), false},
      {SLICE("GET / HTTP/1.0\r\n\r\n"), false},
      {SLICE("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct http1 h;
    assert_int_equal(read_all(&h, cases[i].text), HTTP1_DONE);
    assert_int_equal(h.keep_alive, cases[i].keep);
    http1_deinit(&h);
  }
}

static void expect_counts_only_where_a_body_comes(void **state) {
  (void)state;
  struct http1 h;
  assert_int_equal(read_all(&h, SLICE(POST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nok")), HTTP1_DONE);
  assert_true(h.expects_continue);
  http1_deinit(&h);
  assert_int_equal(read_all(&h, SLICE("GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n")), HTTP1_DONE);
  assert_false(h.expects_continue);
  http1_deinit(&h);
  assert_int_equal(read_all(&h, SLICE("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok")), HTTP1_DONE);
  assert_false(h.expects_continue);
  http1_deinit(&h);
}

/* first + n times middle + last, read in two ways: at once, and in small pieces */
static void expect_repeated(const char *first, const char *middle, size_t n, const char *last, int status) {
  struct buf b = {0};
  struct http1 h;
  size_t used;
  buf_add_cstr(&b, first);
  for (size_t i = 0; i < n; i++) buf_add_cstr(&b, middle);
  buf_add_cstr(&b, last);
  for (int turn = 0; turn < 2; turn++) {
    enum http1_event event = read_pieces(&h, buf_view(&b), turn ? 7 : b.len, BODY_MAX, &used);
    if (event != (status ? HTTP1_ERROR : HTTP1_DONE) || h.status != status) fail_msg("%zu x %s: %d, not %d", n, middle, h.status, status);
    http1_deinit(&h);
  }
  buf_free(&b);
}

static void sizes_of_the_head_are_bounded(void **state) {
  (void)state;
  expect_repeated("GET /", "a", 30000, " HTTP/1.1\r\n" HOST "\r\n", 0);
  expect_repeated("GET /", "a", 33000, " HTTP/1.1\r\n" HOST "\r\n", 414);
  expect_repeated("GET / HTTP/1.1\r\n" HOST "X: ", "a", 30000, "\r\n\r\n", 0);
  expect_repeated("GET / HTTP/1.1\r\n" HOST "X: ", "a", 33000, "\r\n\r\n", 431);
  expect_repeated("GET / HTTP/1.1\r\n" HOST, "X: y\r\n", 99, "\r\n", 0);
  expect_repeated("GET / HTTP/1.1\r\n" HOST, "X: y\r\n", 100, "\r\n", 431);
}

static void the_head_may_be_exactly_as_large_as_the_limit(void **state) {
  (void)state;
  size_t rest = sizeof("GET / HTTP/1.1\r\n" HOST "X: \r\n\r\n") - 1;
  expect_repeated("GET / HTTP/1.1\r\n" HOST "X: ", "a", limits.head_bytes_max - rest, "\r\n\r\n", 0);
  expect_repeated("GET / HTTP/1.1\r\n" HOST "X: ", "a", limits.head_bytes_max - rest + 1, "\r\n\r\n", 431);
}

static void extensions_and_trailers_are_bounded(void **state) {
  (void)state;
  expect_repeated(CHUNKED "5;", "a", 200, "\r\nhello\r\n0\r\n\r\n", 0);
  expect_repeated(CHUNKED "5;", "a", 300, "\r\nhello\r\n0\r\n\r\n", 400);
  expect_repeated(CHUNKED "0\r\nX: ", "a", 8000, "\r\n\r\n", 0);
  expect_repeated(CHUNKED "0\r\nX: ", "a", 8200, "\r\n\r\n", 431);
  expect_repeated(CHUNKED "0\r\n", "X: y\r\n", 2000, "\r\n", 431);
  expect_repeated(CHUNKED, "1\r\na\r\n", 100000, "0\r\n\r\n", 0);
  expect_repeated(CHUNKED, "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n", 100000, "0\r\n\r\n", 400);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_malformed_request_is_refused_with_its_status),
      cmocka_unit_test(the_result_does_not_depend_on_where_the_bytes_are_cut),
      cmocka_unit_test(the_parts_of_a_request_are_told),
      cmocka_unit_test(chunks_are_joined_and_extensions_and_trailers_dropped),
      cmocka_unit_test(bytes_behind_a_request_are_left_for_the_next),
      cmocka_unit_test(keep_alive_follows_version_and_connection),
      cmocka_unit_test(expect_counts_only_where_a_body_comes),
      cmocka_unit_test(sizes_of_the_head_are_bounded),
      cmocka_unit_test(the_head_may_be_exactly_as_large_as_the_limit),
      cmocka_unit_test(extensions_and_trailers_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
