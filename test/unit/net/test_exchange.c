/* Tests of an exchange's life: replies, streams, leaving clients, and on_gone exactly once. SPDX-License-Identifier: Apache-2.0
 *
 * The loop runs on the test's thread; a client of a few lines runs on another one and stops the loop when it is through. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/net.h"

struct world {
  struct net *net;
  void (*handler)(struct world *w, struct exchange *x);
  struct exchange *x;
  int requests, gone, left;
  size_t written;
  /* the client's side */
  pthread_t client;
  const char *request;
  bool leave; /* close once `requests` were seen, without reading */
  int fd;
  struct buf reply;
};

static void on_gone(void *owner, bool left) {
  struct world *w = owner;
  w->gone++;
  w->left += left;
  w->x = NULL;
}

static void on_request(void *ctx, struct exchange *x) {
  struct world *w = ctx;
  w->requests++;
  w->x = x;
  exchange_set_owner(x, w, on_gone);
  assert_ptr_equal(exchange_owner(x), w);
  w->handler(w, x);
}

static int setup(void **state) {
  static struct world w;
  struct error err;
  struct net_config config = {.on_request = on_request, .ctx = &w, .unsent_bytes_max = 64 * 1024};
  w = (struct world){.fd = -1};
  w.net = net_create(&config, &err);
  *state = &w;
  return w.net ? 0 : -1;
}

static int teardown(void **state) {
  struct world *w = *state;
  net_destroy(w->net);
  if (w->fd >= 0) close(w->fd);
  buf_free(&w->reply);
  return 0;
}

/* ---- the client ---- */

static int dial(struct world *w) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)net_port(w->net)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  return connect(fd, (struct sockaddr *)&to, sizeof to) == 0 ? fd : -1;
}

static void *converse(void *arg) {
  struct world *w = arg;
  w->fd = dial(w);
  ssize_t n = write(w->fd, w->request, strlen(w->request));
  if (w->leave) return NULL;
  do {
    n = read(w->fd, buf_reserve(&w->reply, 4096), 4096);
    if (n > 0) buf_advance(&w->reply, (size_t)n);
  } while (n > 0);
  net_stop(w->net);
  return NULL;
}

/* Serves until the client has seen the end of the connection, or somebody stops the loop. */
static void serve(struct world *w, const char *request, void (*handler)(struct world *, struct exchange *)) {
  w->request = request;
  w->handler = handler;
  assert_int_equal(pthread_create(&w->client, NULL, converse, w), 0);
  net_run(w->net);
  pthread_join(w->client, NULL);
}

#define CLOSING "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define WAITING "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

static bool said(const struct world *w, const char *text) { return w->reply.data && strstr(w->reply.data, text); }

/* ---- tests ---- */

static void reply_at_once(struct world *w, struct exchange *x) {
  exchange_add_header(x, "X-Own", SLICE("a\r\nSet: b\001"));
  exchange_reply(x, 200, "text/plain", SLICE("hello"));
  assert_int_equal(w->gone, 1);
}

static void a_reply_ends_the_exchange_once(void **state) {
  struct world *w = *state;
  serve(w, CLOSING, reply_at_once);
  assert_int_equal(w->gone, 1);
  assert_int_equal(w->left, 0);
  assert_int_equal(net_n_exchanges(w->net), 0);
  assert_true(said(w, "HTTP/1.1 200 OK\r\n") && said(w, "Content-Length: 5\r\n") && said(w, "Connection: close\r\n"));
  assert_true(slice_ends(buf_view(&w->reply), SLICE("\r\n\r\nhello")));
}

static void reply_and_count(struct world *w, struct exchange *x) {
  exchange_reply(x, 200, "text/plain", SLICE("hello"));
  assert_int_equal(w->gone, 1);
  assert_int_equal(net_n_exchanges(w->net), 1);
}

static void a_reply_counts_until_it_is_sent(void **state) {
  struct world *w = *state;
  serve(w, CLOSING, reply_and_count);
  assert_int_equal(net_n_exchanges(w->net), 0);
}

static void a_header_value_cannot_leave_its_line(void **state) {
  struct world *w = *state;
  serve(w, CLOSING, reply_at_once);
  assert_true(said(w, "X-Own: a??Set: b?\r\n"));
}

static void reply_posted(void *arg) {
  struct world *w = arg;
  assert_int_equal(net_n_exchanges(w->net), 1);
  exchange_reply(w->x, 503, NULL, SLICE(""));
}

static void reply_later(struct world *w, struct exchange *x) {
  (void)x;
  loop_post(net_loop(w->net), reply_posted, w);
}

static void a_reply_may_come_later(void **state) {
  struct world *w = *state;
  serve(w, CLOSING, reply_later);
  assert_int_equal(w->gone, 1);
  assert_true(said(w, "HTTP/1.1 503 Service Unavailable\r\n"));
}

static void pipelined_requests_are_answered_each_once(void **state) {
  struct world *w = *state;
  serve(w, WAITING WAITING WAITING CLOSING, reply_later);
  assert_int_equal(w->requests, 4);
  assert_int_equal(w->gone, 4);
  assert_int_equal(w->left, 0);
}

static void stream_at_once(struct world *w, struct exchange *x) {
  (void)w;
  exchange_stream_begin(x, 200, "text/event-stream");
  assert_true(exchange_stream_write(x, SLICE("abc")));
  assert_true(exchange_stream_write(x, SLICE("")));
  assert_true(exchange_stream_write(x, SLICE("0123456789abcdef")));
  exchange_stream_end(x);
}

static void a_stream_is_chunked_and_an_empty_write_does_not_end_it(void **state) {
  struct world *w = *state;
  serve(w, CLOSING, stream_at_once);
  assert_true(said(w, "Transfer-Encoding: chunked\r\n"));
  assert_true(slice_ends(buf_view(&w->reply), SLICE("\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n")));
  assert_int_equal(w->gone, 1);
}

static void a_stream_to_1_0_goes_until_close(void **state) {
  struct world *w = *state;
  serve(w, "GET / HTTP/1.0\r\n\r\n", stream_at_once);
  assert_false(said(w, "Transfer-Encoding"));
  assert_true(slice_ends(buf_view(&w->reply), SLICE("\r\n\r\nabc0123456789abcdef")));
}

static void a_stream_for_head_has_no_body(void **state) {
  struct world *w = *state;
  serve(w, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", stream_at_once);
  assert_true(slice_ends(buf_view(&w->reply), SLICE("\r\n\r\n")));
}

static void abort_at_once(struct world *w, struct exchange *x) {
  (void)w;
  exchange_stream_begin(x, 200, "text/event-stream");
  exchange_stream_write(x, SLICE("abc"));
  exchange_stream_abort(x);
}

static void an_aborted_stream_shows_what_it_had_and_no_end(void **state) {
  struct world *w = *state;
  serve(w, WAITING, abort_at_once);
  assert_true(slice_ends(buf_view(&w->reply), SLICE("3\r\nabc\r\n")));
  assert_int_equal(w->gone, 1);
  assert_int_equal(w->left, 0);
}

static void flood(void *arg) {
  struct world *w = arg;
  static const char bytes[1024];
  if (!w->x) {
    net_stop(w->net);
    return;
  }
  for (int i = 0; i < 8 && exchange_stream_write(w->x, slice_make(bytes, sizeof bytes)); i++) w->written += sizeof bytes;
  loop_post(net_loop(w->net), flood, w);
}

static void begin_flood(struct world *w, struct exchange *x) {
  exchange_stream_begin(x, 200, "text/plain");
  flood(w);
}

static void a_reader_that_does_not_read_is_let_go_once(void **state) {
  struct world *w = *state;
  w->leave = true; /* it does not leave here: fd stays open, nothing is read */
  serve(w, WAITING, begin_flood);
  assert_int_equal(w->gone, 1);
  assert_int_equal(w->left, 1);
  assert_true(w->written >= 64 * 1024);
}

static void write_small(void *arg) {
  struct world *w = arg;
  assert_true(exchange_stream_write(w->x, SLICE("small")));
  exchange_stream_end(w->x);
}

static void write_large(struct world *w, struct exchange *x) {
  char *bytes = mem_zalloc(1, 4 << 20);
  exchange_stream_begin(x, 200, "text/plain");
  assert_true(exchange_stream_write(x, slice_make(bytes, 4 << 20)));
  free(bytes);
  loop_post(net_loop(w->net), write_small, w); /* long before the client has read it */
}

static void one_large_piece_makes_no_slow_reader(void **state) {
  struct world *w = *state;
  serve(w, CLOSING, write_large);
  assert_int_equal(w->left, 0);
  assert_true(slice_ends(buf_view(&w->reply), SLICE("5\r\nsmall\r\n0\r\n\r\n")));
}

static void flood_then_end(struct world *w, struct exchange *x) {
  static const char bytes[1024];
  exchange_stream_begin(x, 200, "text/plain");
  while (exchange_stream_write(x, slice_make(bytes, sizeof bytes))) w->written += sizeof bytes;
  assert_int_equal(w->gone, 0);
  assert_false(exchange_stream_write(x, SLICE("more")));
  exchange_stream_end(x);
  assert_int_equal(w->gone, 1);
  assert_int_equal(w->left, 1);
  net_stop(w->net);
}

static void a_stream_that_was_closed_may_still_be_ended_by_its_owner(void **state) {
  struct world *w = *state;
  w->leave = true;
  serve(w, WAITING, flood_then_end);
  assert_int_equal(w->gone, 1);
}

static void stop_when_gone(void *owner, bool left) {
  struct world *w = owner;
  on_gone(owner, left);
  net_stop(w->net);
}

static void hang_up(void *arg) {
  struct world *w = arg;
  pthread_join(w->client, NULL);
  close(w->fd);
  w->fd = -1;
}

static void wait_for_leave(struct world *w, struct exchange *x) {
  exchange_set_owner(x, w, stop_when_gone);
  loop_post(net_loop(w->net), hang_up, w);
}

static void a_client_that_leaves_before_its_reply_is_noticed(void **state) {
  struct world *w = *state;
  w->leave = true;
  w->request = WAITING;
  w->handler = wait_for_leave;
  assert_int_equal(pthread_create(&w->client, NULL, converse, w), 0);
  net_run(w->net);
  assert_int_equal(w->gone, 1);
  assert_int_equal(w->left, 1);
  assert_int_equal(net_n_exchanges(w->net), 0);
}

static void stop_without_reply(struct world *w, struct exchange *x) {
  (void)x;
  net_stop(w->net);
}

static void destroy_tells_owners_that_their_client_is_gone(void **state) {
  struct world *w = *state;
  w->leave = true;
  serve(w, WAITING, stop_without_reply);
  assert_int_equal(w->gone, 0);
  net_destroy(w->net);
  w->net = NULL;
  assert_int_equal(w->gone, 1);
  assert_int_equal(w->left, 1);
}

static void reasons_have_their_phrases(void **state) {
  (void)state;
  assert_string_equal(net_reason(404), "Not Found");
  assert_string_equal(net_reason(431), "Request Header Fields Too Large");
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_WORLD(a_reply_ends_the_exchange_once),
      IN_WORLD(a_reply_counts_until_it_is_sent),
      IN_WORLD(a_header_value_cannot_leave_its_line),
      IN_WORLD(a_reply_may_come_later),
      IN_WORLD(pipelined_requests_are_answered_each_once),
      IN_WORLD(a_stream_is_chunked_and_an_empty_write_does_not_end_it),
      IN_WORLD(a_stream_to_1_0_goes_until_close),
      IN_WORLD(a_stream_for_head_has_no_body),
      IN_WORLD(an_aborted_stream_shows_what_it_had_and_no_end),
      IN_WORLD(a_reader_that_does_not_read_is_let_go_once),
      IN_WORLD(one_large_piece_makes_no_slow_reader),
      IN_WORLD(a_stream_that_was_closed_may_still_be_ended_by_its_owner),
      IN_WORLD(a_client_that_leaves_before_its_reply_is_noticed),
      IN_WORLD(destroy_tells_owners_that_their_client_is_gone),
      cmocka_unit_test(reasons_have_their_phrases),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
