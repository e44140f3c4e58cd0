/* fair: see fair.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/fair.h"

#include <stdlib.h>

#include "base/mem.h"

static bool flow_before(const struct heap_item *a, const struct heap_item *b) {
  const struct flow *x = heap_of(a, struct flow, queued), *y = heap_of(b, struct flow, queued);
  if (x->counter < y->counter) return true;
  return x->counter <= y->counter && x->waiting.first->arrival < y->waiting.first->arrival;
}

void fair_init(struct fair *f, const double *weights) {
  *f = (struct fair){.queue.before = flow_before};
  for (int i = 0; i < ENGINE_CLASSES; i++) f->weights[i] = weights[i];
}

/* ---- flows ---- */

static struct flow **bucket(struct fair *f, uint64_t principal, unsigned class) {
  uint64_t mixed = (principal ^ class) * 0x9E3779B97F4A7C15u;
  return &f->buckets[mixed >> 32 & (FAIR_BUCKETS - 1)];
}

static void unlink_idle(struct fair *f, struct flow *w) {
  *(w->prev ? &w->prev->next : &f->idle_first) = w->next;
  *(w->next ? &w->next->prev : &f->idle_last) = w->prev;
  w->next = w->prev = NULL;
  f->n_idle--;
}

static void forget(struct fair *f, struct flow *w) {
  struct flow **at = bucket(f, w->principal, w->class);
  while (*at != w) at = &(*at)->hash_next;
  *at = w->hash_next;
  free(w);
}

static void become_idle(struct fair *f, struct flow *w) {
  w->prev = f->idle_last;
  *(f->idle_last ? &f->idle_last->next : &f->idle_first) = w;
  f->idle_last = w;
  if (++f->n_idle <= FAIR_IDLE_MAX) return;
  struct flow *oldest = f->idle_first;
  unlink_idle(f, oldest);
  forget(f, oldest);
}

static struct flow *enter(struct fair *f, const struct engine_request *r) {
  struct flow **first = bucket(f, r->principal, r->class), *w = *first;
  while (w && (w->principal != r->principal || w->class != r->class)) w = w->hash_next;
  if (!w) {
    w = mem_zalloc(1, sizeof *w);
    w->principal = r->principal;
    w->class = r->class;
    w->hash_next = *first;
    *first = w;
  } else if (w->n_alive == 0) {
    unlink_idle(f, w);
  }
  w->n_alive++;
  return w;
}

void fair_deinit(struct fair *f) {
  while (f->idle_first) {
    struct flow *w = f->idle_first;
    unlink_idle(f, w);
    forget(f, w);
  }
  heap_deinit(&f->queue);
}

/* ---- the queue ---- */

/* What a flow that comes to wait has at least. */
static void lift(struct fair *f, struct flow *w) {
  const struct heap_item *least = heap_first(&f->queue);
  double floor = least ? heap_of(least, const struct flow, queued)->counter : f->last_waited;
  if (w->waiting.n == 0 && w->counter < floor) w->counter = floor;
}

static void queue_up(struct fair *f, struct flow *w) {
  f->n_waiting++;
  if (w->waiting.n == 1) heap_push(&f->queue, &w->queued);
  else heap_moved(&f->queue, &w->queued); /* its first may be another one */
}

void fair_add(struct fair *f, struct sequence *s) {
  s->flow = enter(f, &s->request);
  lift(f, s->flow);
  sequence_list_append(&s->flow->waiting, s);
  queue_up(f, s->flow);
}

void fair_put_first(struct fair *f, struct sequence *s) {
  sequence_list_prepend(&s->flow->waiting, s);
  queue_up(f, s->flow);
}

void fair_add_again(struct fair *f, struct sequence *s) {
  lift(f, s->flow);
  fair_put_first(f, s);
}

struct sequence *fair_first(const struct fair *f) {
  struct heap_item *item = heap_first(&f->queue);
  return item ? heap_of(item, struct flow, queued)->waiting.first : NULL;
}

void fair_take(struct fair *f, struct sequence *s) {
  struct flow *w = s->flow;
  f->n_waiting--;
  if (w->waiting.n == 1) {
    heap_remove(&f->queue, &w->queued);
    f->last_waited = w->counter;
  }
  sequence_list_remove(&w->waiting, s);
  heap_moved(&f->queue, &w->queued);
}

void fair_leave(struct fair *f, struct sequence *s) {
  if (--s->flow->n_alive == 0) become_idle(f, s->flow);
  s->flow = NULL;
}

void fair_set_aside(struct fair *f, struct sequence *s) {
  struct flow *w = s->flow;
  heap_remove(&f->queue, &w->queued);
  w->next = f->aside;
  f->aside = w;
}

void fair_put_back(struct fair *f) {
  while (f->aside) {
    struct flow *w = f->aside;
    f->aside = w->next;
    w->next = NULL;
    if (w->waiting.n) heap_push(&f->queue, &w->queued);
  }
}

void fair_charge(struct fair *f, struct sequence *s, double work) {
  s->flow->counter += work / f->weights[s->flow->class];
  heap_moved(&f->queue, &s->flow->queued);
}
