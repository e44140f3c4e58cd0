/* sched_embed: which texts make the next pass of an embedding model. SPDX-License-Identifier: Apache-2.0
 *
 * Texts lie one behind the other, so a pass has no padding; it takes about ROWS tokens, which is enough to keep the kernels busy and short
 * enough that a text which comes meanwhile soon has its turn. Of the first texts in the order of fair share the shortest go first, so that a
 * long one does not hold up many; one that was passed over OVERTAKEN_MAX times goes before all. A text longer than ROWS has a pass of its own. */
#include <stdlib.h>

#include "engine/sched.h"

enum { ROWS = 512, OVERTAKEN_MAX = 8, LOOK_AHEAD = 64 /* passes' worth of tokens among which is chosen */ };

static int by_length(const void *a, const void *b) {
  const struct sequence *x = *(struct sequence *const *)a, *y = *(struct sequence *const *)b;
  bool due_x = x->n_overtaken >= OVERTAKEN_MAX, due_y = y->n_overtaken >= OVERTAKEN_MAX;
  if (due_x != due_y) return due_x ? -1 : 1;
  if (!due_x && x->n_tokens != y->n_tokens) return x->n_tokens < y->n_tokens ? -1 : 1;
  return (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

/* The first in turn, charged as if they ran. */
static size_t look(struct sched *c) {
  size_t n = 0, tokens = 0;
  for (struct sequence *s; n < SCHED_TEXTS_MAX && tokens < (size_t)LOOK_AHEAD * ROWS && (s = fair_first(&c->fair)); n++) {
    fair_charge(&c->fair, s, (double)(s->n_tokens * SCHED_PROMPT_WORK));
    fair_take(&c->fair, s);
    s->n_rows = 0;
    tokens += s->n_tokens;
    c->order[n] = c->plan.items[n] = s;
  }
  return n;
}

static void choose(struct sched *c, size_t n) {
  size_t room = c->config.rows_max < ROWS ? c->config.rows_max : ROWS, used = 0;
  qsort(c->order, n, sizeof(struct sequence *), by_length);
  for (size_t i = 0; i < n; i++) {
    struct sequence *s = c->order[i];
    if (used > 0 && used + s->n_tokens > room) break;
    s->n_rows = s->n_tokens;
    used += s->n_tokens;
  }
}

/* Those that were not chosen wait on, in their old order. */
static void put_back(struct sched *c, size_t n) {
  bool passed = false;
  for (size_t i = n; i-- > 0;) {
    struct sequence *s = c->plan.items[i];
    passed |= s->n_rows > 0;
    if (s->n_rows) continue;
    s->n_overtaken += passed;
    fair_charge(&c->fair, s, -(double)(s->n_tokens * SCHED_PROMPT_WORK));
    fair_put_first(&c->fair, s);
  }
}

void sched_embed_plan(struct sched *c, uint64_t now_ns) {
  struct sched_plan *p = &c->plan;
  *p = (struct sched_plan){.items = p->items};
  size_t n = look(c);
  choose(c, n);
  put_back(c, n);
  for (size_t i = 0; i < n; i++) {
    struct sequence *s = p->items[i];
    if (s->n_rows == 0) continue;
    s->place = SEQUENCE_TAKEN;
    sched__started(c, s, now_ns);
    p->items[p->n++] = s;
    p->n_rows += s->n_rows;
  }
  c->stats.embed_tokens += p->n_rows;
}
