/* loop: what rooms without sockets of their own may ask of the event loop. SPDX-License-Identifier: Apache-2.0
 *
 * An interface; src/net implements it on libevent (net_loop). One thread runs the loop. Only loop_post may be called from
 * other threads; everything else, and every callback, belongs to the loop thread. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H
#include <stdbool.h>

struct loop;
struct loop_timer;
struct loop_watch;

struct loop_ops {
  void (*post)(struct loop *l, void (*fn)(void *arg), void *arg);
  struct loop_timer *(*timer_start)(struct loop *l, unsigned delay_ms, bool repeat, void (*fn)(void *arg), void *arg);
  void (*timer_cancel)(struct loop_timer *t);
  struct loop_watch *(*watch_start)(struct loop *l, int fd, void (*fn)(void *arg, bool readable, bool writable), void *arg);
  void (*watch_writing)(struct loop_watch *w, bool on);
  void (*watch_stop)(struct loop_watch *w);
};

struct loop {
  const struct loop_ops *ops; /* first member of the implementation's own struct */
};

/* Any thread: fn(arg) is called on the loop thread, in order of posting. */
static inline void loop_post(struct loop *l, void (*fn)(void *), void *arg) { l->ops->post(l, fn, arg); }
/* fn(arg) after delay_ms, once or every delay_ms. A timer that fires once is gone after its call; do not cancel it then. */
static inline struct loop_timer *loop_timer_start(struct loop *l, unsigned delay_ms, bool repeat, void (*fn)(void *), void *arg) {
  return l->ops->timer_start(l, delay_ms, repeat, fn, arg);
}
/* The callback will not run any more. NULL is fine. */
static inline void loop_timer_cancel(struct loop *l, struct loop_timer *t) {
  if (t) l->ops->timer_cancel(t);
}
/* Calls fn when fd is readable, or writable while that is asked for. The caller keeps and closes fd, after loop_watch_stop. */
static inline struct loop_watch *loop_watch_start(struct loop *l, int fd, void (*fn)(void *, bool, bool), void *arg) {
  return l->ops->watch_start(l, fd, fn, arg);
}
static inline void loop_watch_writing(struct loop *l, struct loop_watch *w, bool on) { l->ops->watch_writing(w, on); }
static inline void loop_watch_stop(struct loop *l, struct loop_watch *w) {
  if (w) l->ops->watch_stop(w);
}

#endif
