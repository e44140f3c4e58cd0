/* turns: see turns.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/turns.h"

/* The least counter of the busy ones but i; UINT64_MAX: there is no other. */
static uint64_t least_but(const struct turn *turns, size_t n, size_t i) {
  uint64_t least = UINT64_MAX;
  for (size_t k = 0; k < n; k++)
    if (k != i && turns[k].busy && turns[k].spent_ns < least) least = turns[k].spent_ns;
  return least;
}

void turns_tell(struct turn *turns, size_t n, size_t i, bool busy) {
  if (busy && !turns[i].busy) {
    uint64_t least = least_but(turns, n, i);
    if (least != UINT64_MAX && turns[i].spent_ns < least) turns[i].spent_ns = least;
  }
  turns[i].busy = busy;
}

size_t turns_next(const struct turn *turns, size_t n) {
  size_t next = n;
  for (size_t i = 0; i < n; i++)
    if (turns[i].busy && (next == n || turns[i].spent_ns < turns[next].spent_ns)) next = i;
  return next;
}

void turns_took(struct turn *turns, size_t n, size_t i, uint64_t ns, bool idle) {
  turns[i].spent_ns += ns;
  for (size_t k = 0; idle && k < n; k++)
    if (turns[k].busy && turns[i].spent_ns <= turns[k].spent_ns) turns[i].spent_ns = turns[k].spent_ns + (k != i);
}
