/* memory: the KV memory that the models of a process share. Private to the room; the door makes it (engine.h). SPDX-License-Identifier: Apache-2.0
 *
 * One number of bytes for all. Each model has page sizes and an address range of its own (pages.h); what a page holds is charged here when it is
 * taken and given back when it is released to the system. So bytes_held, what the system may have given memory for, never exceeds bytes_max.
 *
 * The books, in bytes over all schedulers:
 *
 *   held      pages with running sequences
 *   reserved  pages that running sequences still lack for their tokens
 *   kept      pages of prefix trees that nobody holds
 *   spare     free pages that still have memory
 *
 * Promise: after a plan held + reserved <= bytes_max; so any page of those can be had, by releasing spare ones and then evicting what was unused for
 * longest, of whatever model. One thread uses all of this.
 *
 * Without a given number bytes_max follows what the machine has room for (engine_memory_fit). It never falls below what a sequence of any
 * model's served context holds, so the oldest sequence always goes on; what is held beyond a number that fell is given back, or
 * preempted by the next plan. */
#ifndef ENGINE_MEMORY_H
#define ENGINE_MEMORY_H
#include "engine/engine.h"

struct sched;
struct sequence;

struct engine_memory {
  uint64_t bytes_max;
  uint64_t bytes_held;  /* of pages with memory: taken and spare */
  bool is_fixed;        /* bytes_max was asked for */
  uint64_t bytes_usual; /* else: what it is, where models need no more and the machine has no less */
  uint64_t bytes_fit;   /* and what the machine has room for */
  uint64_t now_ns;      /* of the last plan or tidying */
  uint64_t n_starts;    /* sequences that were started, ever: their order */
  uint64_t tidied_ns;   /* 0: never */
  struct sched *scheds; /* those with pages, linked by `peer` */
};

void memory_add(struct engine_memory *m, struct sched *c);
void memory_remove(struct engine_memory *m, struct sched *c);

/* The number, for one more model, whose whole context needs so many bytes: as much of them as there is room for. */
uint64_t memory_grow(struct engine_memory *m, uint64_t context_bytes);
/* Bytes that sequences of all models hold or are to get. */
uint64_t memory_promised(const struct engine_memory *m);
/* A page for c, which is reserved or unpromised: taken from others if need be. */
void *memory_take(struct engine_memory *m, struct sched *c);

#endif
