/* turns: which of several busy models makes the next step. SPDX-License-Identifier: Apache-2.0
 *
 * By work: each has a counter of the time that its steps took, and the least is next. So two models that always have work get equal time, however long
 * a step of each lasts; and one that is alone gets all. One that comes to have work is lifted to the least counter of those that have: nobody saves
 * up a claim while idle. One that had its turn and could do nothing (others hold the memory that it needs) lets all others go first. */
#ifndef APP_TURNS_H
#define APP_TURNS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct turn {
  bool busy;         /* it had work when it was last asked about */
  uint64_t spent_ns; /* its counter */
};

/* Tells whether the model has work now, before turns_next. */
void turns_tell(struct turn *turns, size_t n, size_t i, bool busy);
/* The busy one with the least counter, the first of equal ones; n when none is busy. */
size_t turns_next(const struct turn *turns, size_t n);
/* The step of i took ns; idle: it could do nothing. */
void turns_took(struct turn *turns, size_t n, size_t i, uint64_t ns, bool idle);

#endif
