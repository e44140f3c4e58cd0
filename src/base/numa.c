/* numa: see numa.h. SPDX-License-Identifier: Apache-2.0
 * The library takes some ten milliseconds to look at a machine: it is only asked where the system says that there are several nodes. */
#include "base/numa.h"

#if defined(PLINTH_HWLOC)
#include <errno.h>
#include <hwloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* NULL when the machine cannot be looked at. */
static hwloc_topology_t look(void) {
  hwloc_topology_t t;
  if (hwloc_topology_init(&t) < 0) return NULL;
  hwloc_topology_set_type_filter(t, HWLOC_OBJ_PU, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (hwloc_topology_load(t) == 0) return t;
  hwloc_topology_destroy(t);
  return NULL;
}

static bool is_beside(hwloc_obj_t node, const cpu_set_t *cpus) {
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, cpus) && hwloc_bitmap_isset(node->cpuset, (unsigned)cpu)) return true;
  return false;
}

static size_t nodes_of(hwloc_topology_t t, const cpu_set_t *cpus, unsigned ids[NUMA_NODES_MAX]) {
  size_t n = 0;
  for (hwloc_obj_t o = NULL; n < NUMA_NODES_MAX && (o = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, o));)
    if (o->attr->numanode.local_memory > 0 && is_beside(o, cpus)) ids[n++] = o->os_index;
  return n;
}

size_t numa_nodes(const cpu_set_t *cpus, unsigned ids[NUMA_NODES_MAX]) {
  hwloc_topology_t t = look();
  size_t n = t ? nodes_of(t, cpus, ids) : 0;
  if (t) hwloc_topology_destroy(t);
  return n;
}

/* ---- this machine, looked at once ---- */

static hwloc_topology_t machine; /* NULL: nothing to spread over */
static hwloc_nodeset_t nodes;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* "0" where there is one node; "0-3", "0,2" where there are several. */
static bool has_several_nodes(void) {
  char line[256] = "";
  FILE *f = fopen("/sys/devices/system/node/has_memory", "re");
  if (f && !fgets(line, sizeof line, f)) line[0] = '\0';
  if (f) fclose(f);
  return strpbrk(line, ",-") != NULL;
}

static void plan(void) {
  unsigned ids[NUMA_NODES_MAX];
  cpu_set_t cpus;
  if (!has_several_nodes() || sched_getaffinity(0, sizeof cpus, &cpus) < 0) return;
  hwloc_topology_t t = look();
  size_t n = t ? nodes_of(t, &cpus, ids) : 0;
  if (n > 1 && (nodes = hwloc_bitmap_alloc())) {
    for (size_t i = 0; i < n; i++) hwloc_bitmap_set(nodes, ids[i]);
    machine = t;
    log_line(LOG_INFO, "base", "Weights are spread over %zu NUMA nodes.", n);
  } else if (t) {
    hwloc_topology_destroy(t);
  }
}

void numa_spread(void *memory, size_t bytes) {
  pthread_once(&once, plan);
  if (machine && hwloc_set_area_membind(machine, memory, bytes, nodes, HWLOC_MEMBIND_INTERLEAVE, HWLOC_MEMBIND_BYNODESET) < 0)
    log_line(LOG_DEBUG, "base", "Memory cannot be spread over the NUMA nodes: %s.", strerror(errno));
}

#else

size_t numa_nodes(const cpu_set_t *cpus, unsigned ids[NUMA_NODES_MAX]) {
  (void)cpus, (void)ids;
  return 0;
}
void numa_spread(void *memory, size_t bytes) { (void)memory, (void)bytes; }

#endif
