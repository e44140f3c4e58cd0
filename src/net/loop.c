/* loop: base/loop.h on libevent. SPDX-License-Identifier: Apache-2.0
 *
 * The event base is used by one thread only and so has no lock. Other threads put a call in the queue and write to an eventfd,
 * once for as many calls as come before the loop looks; writing to it is also all that stopping needs, so a signal handler may. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/net_room.h"

struct loop_timer {
  LIST_ENTRY(loop_timer) link;
  struct event *event;
  void (*fn)(void *arg);
  void *arg;
  bool repeat;
};

struct loop_watch {
  LIST_ENTRY(loop_watch) link;
  struct event *read, *write;
  void (*fn)(void *arg, bool readable, bool writable);
  void *arg;
};

uint64_t net__now_ms(void) { return clock_ns() / 1000000u; }

struct timeval net__timeval(uint64_t ms) { return (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)}; }

/* ---- posts ---- */

static void ring(struct net__loop *l) {
  uint64_t one = 1;
  ssize_t n = write(l->wake_fd, &one, sizeof one); /* full means that it rings already */
  (void)n;
}

static void post(struct loop *loop, void (*fn)(void *), void *arg) {
  struct net__loop *l = (struct net__loop *)loop;
  pthread_mutex_lock(&l->lock);
  if (l->n_posts == l->cap_posts) {
    l->cap_posts = l->cap_posts ? 2 * l->cap_posts : 64;
    l->posts = mem_realloc(l->posts, l->cap_posts, sizeof *l->posts);
  }
  bool first = l->n_posts == 0;
  l->posts[l->n_posts++] = (struct net__post){fn, arg};
  pthread_mutex_unlock(&l->lock);
  if (first) ring(l);
}

/* Runs what is in the queue now; what the calls post comes in the next round, so that sockets get their turn. */
static void run_posts(struct net__loop *l) {
  pthread_mutex_lock(&l->lock);
  struct net__post *posts = l->posts;
  size_t n = l->n_posts;
  l->posts = NULL;
  l->n_posts = l->cap_posts = 0;
  pthread_mutex_unlock(&l->lock);
  for (size_t i = 0; i < n; i++) posts[i].fn(posts[i].arg);
  free(posts);
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
  (void)what;
  struct net__loop *l = arg;
  uint64_t count;
  ssize_t n = read(fd, &count, sizeof count); /* before the queue is taken: a post after it rings again */
  (void)n;
  run_posts(l);
  if (atomic_load(&l->stop)) event_base_loopbreak(l->base);
}

/* ---- timers ---- */

static void timer_free(struct loop_timer *t) {
  LIST_REMOVE(t, link);
  event_free(t->event);
  free(t);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  struct loop_timer *t = arg;
  void (*fn)(void *) = t->fn;
  void *fn_arg = t->arg;
  if (!t->repeat) timer_free(t);
  fn(fn_arg);
}

static struct loop_timer *timer_start(struct loop *loop, unsigned delay_ms, bool repeat, void (*fn)(void *), void *arg) {
  struct net__loop *l = (struct net__loop *)loop;
  assert(!repeat || delay_ms > 0);
  struct loop_timer *t = mem_zalloc(1, sizeof *t);
  struct timeval delay = net__timeval(delay_ms);
  *t = (struct loop_timer){.fn = fn, .arg = arg, .repeat = repeat};
  t->event = event_new(l->base, -1, repeat ? EV_PERSIST : 0, on_timer, t);
  if (!t->event) abort(); /* out of memory: base/mem.h */
  event_add(t->event, &delay);
  LIST_INSERT_HEAD(&l->timers, t, link);
  return t;
}

/* ---- watches ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  struct loop_watch *w = arg;
  w->fn(w->arg, true, false);
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  struct loop_watch *w = arg;
  w->fn(w->arg, false, true);
}

static struct loop_watch *watch_start(struct loop *loop, int fd, void (*fn)(void *, bool, bool), void *arg) {
  struct net__loop *l = (struct net__loop *)loop;
  struct loop_watch *w = mem_zalloc(1, sizeof *w);
  *w = (struct loop_watch){.fn = fn, .arg = arg};
  w->read = event_new(l->base, fd, EV_READ | EV_PERSIST, on_readable, w);
  w->write = event_new(l->base, fd, EV_WRITE | EV_PERSIST, on_writable, w);
  if (!w->read || !w->write) abort(); /* out of memory: base/mem.h */
  event_add(w->read, NULL);
  LIST_INSERT_HEAD(&l->watches, w, link);
  return w;
}

static void watch_writing(struct loop_watch *w, bool on) {
  if (on) event_add(w->write, NULL);
  else event_del(w->write);
}

static void watch_stop(struct loop_watch *w) {
  LIST_REMOVE(w, link);
  event_free(w->read);
  event_free(w->write);
  free(w);
}

/* ---- the loop ---- */

static const struct loop_ops ops = {post, timer_start, timer_free, watch_start, watch_writing, watch_stop};

int net__loop_init(struct net__loop *l, struct error *err) {
  l->loop.ops = &ops;
  LIST_INIT(&l->timers);
  LIST_INIT(&l->watches);
  pthread_mutex_init(&l->lock, NULL);
  l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct event_config *config = event_config_new();
  if (config) {
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    l->base = event_base_new_with_config(config);
    event_config_free(config);
  }
  if (l->base && l->wake_fd >= 0) l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
  if (!l->wake || event_add(l->wake, NULL) != 0)
    return error_set(err, ERROR_IO, "cannot make the event loop: %s; raise the limit of open files", strerror(errno));
  return 0;
}

void net__loop_run(struct net__loop *l) {
  while (!atomic_load(&l->stop) && event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY) == 0) {}
  run_posts(l);
  atomic_store(&l->stop, false);
}

void net__loop_stop(struct net__loop *l) {
  atomic_store(&l->stop, true);
  ring(l);
}

void net__loop_deinit(struct net__loop *l) {
  while (!LIST_EMPTY(&l->timers)) timer_free(LIST_FIRST(&l->timers));
  while (!LIST_EMPTY(&l->watches)) watch_stop(LIST_FIRST(&l->watches));
  if (l->wake) event_free(l->wake);
  if (l->base) event_base_free(l->base);
  if (l->wake_fd >= 0) close(l->wake_fd);
  free(l->posts);
  pthread_mutex_destroy(&l->lock);
}
