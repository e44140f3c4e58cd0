/* Tests of the loop that net lends to other rooms: posts, timers, watches, the end. SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/net.h"

enum { THREADS = 4, POSTS = 5000 };

struct world {
  struct net *net;
  struct loop *loop;
  int seen[THREADS];
  int total, fired;
  bool in_order;
  struct loop_timer *timer;
  struct loop_watch *watch;
  int pipe[2];
};

static void no_request(void *ctx, struct exchange *x) {
  (void)ctx;
  exchange_reply(x, 404, NULL, SLICE(""));
}

static int setup(void **state) {
  static struct world w;
  struct net_config config = {.on_request = no_request};
  struct error err;
  w = (struct world){.in_order = true};
  w.net = net_create(&config, &err);
  if (!w.net) return -1;
  w.loop = net_loop(w.net);
  *state = &w;
  return 0;
}

static int teardown(void **state) {
  struct world *w = *state;
  net_destroy(w->net);
  return 0;
}

struct post {
  struct world *world;
  int thread, number;
};

static void on_post(void *arg) {
  struct post *p = arg;
  struct world *w = p->world;
  if (w->seen[p->thread] != p->number) w->in_order = false;
  w->seen[p->thread] = p->number + 1;
  free(p);
  if (++w->total == THREADS * POSTS) net_stop(w->net);
}

struct poster {
  struct world *world;
  int thread;
  pthread_t id;
};

static void *post_many(void *arg) {
  struct poster *p = arg;
  for (int i = 0; i < POSTS; i++) {
    struct post *post = malloc(sizeof *post);
    *post = (struct post){p->world, p->thread, i};
    loop_post(p->world->loop, on_post, post);
  }
  return NULL;
}

static void posts_of_many_threads_arrive_whole_and_in_order(void **state) {
  struct world *w = *state;
  struct poster posters[THREADS];
  for (int i = 0; i < THREADS; i++) {
    posters[i] = (struct poster){.world = w, .thread = i};
    assert_int_equal(pthread_create(&posters[i].id, NULL, post_many, &posters[i]), 0);
  }
  net_run(w->net);
  for (int i = 0; i < THREADS; i++) pthread_join(posters[i].id, NULL);
  assert_int_equal(w->total, THREADS * POSTS);
  assert_true(w->in_order);
}

static void count_and_stop(void *arg) {
  struct world *w = arg;
  w->fired++;
  net_stop(w->net);
}

static void a_stop_before_the_run_counts_and_posts_still_run(void **state) {
  struct world *w = *state;
  loop_post(w->loop, count_and_stop, w);
  net_stop(w->net);
  net_run(w->net);
  assert_int_equal(w->fired, 1);
}

static void must_not_fire(void *arg) {
  (void)arg;
  fail_msg("a cancelled timer fired");
}

static void thrice_then_stop(void *arg) {
  struct world *w = arg;
  if (++w->fired < 3) return;
  loop_timer_cancel(w->loop, w->timer);
  net_stop(w->net);
}

static void a_repeating_timer_fires_until_it_is_cancelled_even_by_itself(void **state) {
  struct world *w = *state;
  struct loop_timer *other = loop_timer_start(w->loop, 2, false, must_not_fire, w);
  w->timer = loop_timer_start(w->loop, 1, true, thrice_then_stop, w);
  loop_timer_cancel(w->loop, other);
  loop_timer_cancel(w->loop, NULL);
  net_run(w->net);
  assert_int_equal(w->fired, 3);
}

static void a_single_timer_fires_once(void **state) {
  struct world *w = *state;
  loop_timer_start(w->loop, 0, false, count_and_stop, w);
  net_run(w->net);
  assert_int_equal(w->fired, 1);
}

static void timers_that_are_left_are_freed_with_the_loop(void **state) {
  struct world *w = *state;
  loop_timer_start(w->loop, 100000, true, must_not_fire, w);
  assert_int_equal(w->fired, 0);
}

static void on_pipe(void *arg, bool readable, bool writable) {
  struct world *w = arg;
  char byte;
  assert_false(writable);
  if (readable && read(w->pipe[0], &byte, 1) == 0) { /* end of file is told as readable */
    loop_watch_stop(w->loop, w->watch);
    net_stop(w->net);
    return;
  }
  if (++w->fired == 3) close(w->pipe[1]);
}

static void a_watch_tells_bytes_and_the_end(void **state) {
  struct world *w = *state;
  assert_int_equal(pipe(w->pipe), 0);
  assert_int_equal(write(w->pipe[1], "abc", 3), 3);
  w->watch = loop_watch_start(w->loop, w->pipe[0], on_pipe, w);
  net_run(w->net);
  assert_int_equal(w->fired, 3);
  close(w->pipe[0]);
}

static void on_pipe_writable(void *arg, bool readable, bool writable) {
  struct world *w = arg;
  assert_false(readable);
  if (!writable) return;
  w->fired++;
  loop_watch_writing(w->loop, w->watch, false);
  loop_timer_start(w->loop, 5, false, count_and_stop, w);
}

static void a_watch_tells_writable_only_while_asked(void **state) {
  struct world *w = *state;
  assert_int_equal(pipe(w->pipe), 0);
  w->watch = loop_watch_start(w->loop, w->pipe[1], on_pipe_writable, w);
  loop_watch_writing(w->loop, w->watch, true);
  net_run(w->net);
  assert_int_equal(w->fired, 2);
  loop_watch_stop(w->loop, w->watch);
  close(w->pipe[0]);
  close(w->pipe[1]);
}

static void a_port_in_use_is_told_with_advice(void **state) {
  struct world *w = *state;
  struct net_config config = {.on_request = no_request, .port = net_port(w->net)};
  struct error err = {0};
  assert_null(net_create(&config, &err));
  assert_int_equal(err.code, ERROR_IO);
  assert_non_null(strstr(err.message, "in use"));
  assert_non_null(strstr(err.message, "--port"));
}

static void an_unknown_host_or_a_bad_port_is_told(void **state) {
  (void)state;
  struct net_config config = {.on_request = no_request, .host = "256.1.1.1"};
  struct error err = {0};
  assert_null(net_create(&config, &err));
  assert_non_null(strstr(err.message, "256.1.1.1"));
  config = (struct net_config){.on_request = no_request, .port = 70000};
  assert_null(net_create(&config, &err));
  assert_int_equal(err.code, ERROR_INVALID);
}

static void a_name_is_listened_on_at_all_its_addresses(void **state) {
  (void)state;
  struct net_config config = {.on_request = no_request, .host = "localhost"};
  struct error err = {0};
  struct net *n = net_create(&config, &err);
  if (!n) fail_msg("%s", err.message);
  assert_true(net_port(n) > 0);
  net_destroy(n);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_WORLD(posts_of_many_threads_arrive_whole_and_in_order),
      IN_WORLD(a_stop_before_the_run_counts_and_posts_still_run),
      IN_WORLD(a_repeating_timer_fires_until_it_is_cancelled_even_by_itself),
      IN_WORLD(a_single_timer_fires_once),
      IN_WORLD(timers_that_are_left_are_freed_with_the_loop),
      IN_WORLD(a_watch_tells_bytes_and_the_end),
      IN_WORLD(a_watch_tells_writable_only_while_asked),
      IN_WORLD(a_port_in_use_is_told_with_advice),
      IN_WORLD(an_unknown_host_or_a_bad_port_is_told),
      IN_WORLD(a_name_is_listened_on_at_all_its_addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
