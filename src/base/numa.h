/* numa: spreads memory over the nodes of a machine that has several. SPDX-License-Identifier: Apache-2.0
 *
 * Which thread computes which tile of a matrix differs from run to run, so any of them may read any part of it: its pages lie on all nodes whose cores work, by
 * turns, and the memory of each is asked for its share. On a machine with one node, or without the library (hwloc), nothing happens. */
#ifndef BASE_NUMA_H
#define BASE_NUMA_H
#include <sched.h>
#include <stddef.h>

enum { NUMA_NODES_MAX = 64 };

/* The nodes with memory beside at least one of the cpus, as the system numbers them; returns how many. 0 when that cannot be known. */
size_t numa_nodes(const cpu_set_t *cpus, unsigned ids[NUMA_NODES_MAX]);
/* Memory that was not touched yet, from the start of a page on. Where the system refuses, it lies as it would have. */
void numa_spread(void *memory, size_t bytes);

#endif
