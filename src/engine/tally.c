/* tally: see tally.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/tally.h"

#include <stdlib.h>

#include "base/mem.h"

/* The slot of id: its own, or the free one where it belongs. */
static uint32_t *slot_of(const struct tally *t, int32_t id) {
  size_t at = ((uint32_t)id * 0x9E3779B1u) >> 7;
  for (;; at++) {
    uint32_t *slot = &t->slots[at & (t->n_slots - 1)];
    if (!*slot || t->entries[*slot - 1].id == id) return slot;
  }
}

/* At most half of the slots are taken, so that a search is short. */
static void grow(struct tally *t) {
  t->cap = t->cap ? t->cap * 2 : 64;
  t->entries = mem_realloc(t->entries, t->cap, sizeof *t->entries);
  free(t->slots);
  t->n_slots = 2 * t->cap;
  t->slots = mem_zalloc(t->n_slots, sizeof *t->slots);
  for (size_t i = 0; i < t->n; i++) *slot_of(t, t->entries[i].id) = (uint32_t)i + 1;
}

void tally_add(struct tally *t, int32_t id, uint32_t n_generated) {
  if (t->n == t->cap) grow(t);
  uint32_t *slot = slot_of(t, id);
  if (!*slot) {
    t->entries[t->n] = (struct tally_entry){.id = id};
    *slot = (uint32_t)++t->n;
  }
  t->entries[*slot - 1].n_generated += n_generated;
}

void tally_deinit(struct tally *t) {
  free(t->entries);
  free(t->slots);
  *t = (struct tally){0};
}
