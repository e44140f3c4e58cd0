/* fair: who is served next: virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024). Private to the
 * room. SPDX-License-Identifier: Apache-2.0
 *
 * A flow is one principal in one class. Its counter is the work that was done for it, divided by the weight of the class. The first to be
 * served is the oldest waiting sequence of the flow with the least counter. A flow that comes to wait again is lifted to the least counter
 * among those that wait (to that of the last flow that waited, when none does): nobody saves up a claim while idle. So the counters of flows
 * that wait stay within what one admission can add, and two that both wait all the time get work in the ratio of their weights.
 *
 * A flow that has nothing in the engine is remembered (else going away would wipe out what it had used), the FAIR_IDLE_MAX last of them. */
#ifndef ENGINE_FAIR_H
#define ENGINE_FAIR_H
#include "engine/heap.h"
#include "engine/sequence.h"

enum { FAIR_IDLE_MAX = 4096, FAIR_BUCKETS = 1024 };

struct flow {
  uint64_t principal;
  unsigned class;
  double counter;
  struct sequence_list waiting; /* in order of arrival */
  size_t n_alive;               /* waiting and running */
  struct heap_item queued;      /* while something waits, and it is not set aside */
  struct flow *hash_next;
  struct flow *next, *prev; /* among the idle, or next of those set aside */
};

struct fair {
  double weights[ENGINE_CLASSES];
  struct flow *buckets[FAIR_BUCKETS];
  struct heap queue;  /* of flows, least counter first */
  struct flow *aside; /* passed over for now */
  double last_waited; /* the counter of the flow that was the last to wait */
  struct flow *idle_first, *idle_last;
  size_t n_idle, n_waiting; /* n_waiting: sequences */
};

/* weights: of each class, above 0. */
void fair_init(struct fair *f, const double *weights);
void fair_deinit(struct fair *f); /* no sequence is left */

/* A new sequence waits; one that ran waits again, in front of its principal's others. */
void fair_add(struct fair *f, struct sequence *s);
void fair_add_again(struct fair *f, struct sequence *s);
/* Undoes fair_take: s is its flow's first again, and the flow is not lifted. */
void fair_put_first(struct fair *f, struct sequence *s);
/* The one to be served next; NULL: none waits that was not set aside. */
struct sequence *fair_first(const struct fair *f);
/* s waits no longer: it runs, or is about to leave. */
void fair_take(struct fair *f, struct sequence *s);
/* s is gone, after fair_take or from running. */
void fair_leave(struct fair *f, struct sequence *s);
/* The flow of the waiting s is passed over by fair_first, until all are put back. */
void fair_set_aside(struct fair *f, struct sequence *s);
void fair_put_back(struct fair *f);
/* Work was done for s; negative: was charged too much before. */
void fair_charge(struct fair *f, struct sequence *s, double work);

#endif
