/* Tests of base/numa on machines that hwloc makes up. SPDX-License-Identifier: Apache-2.0 */
#include "base/numa.h"

#include <sys/mman.h>

#include "check.h"

/* The nodes for cpus first … last on the machine described. */
static size_t nodes_on(const char *machine, int first, int last, unsigned ids[NUMA_NODES_MAX]) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (int cpu = first; cpu <= last; cpu++) CPU_SET(cpu, &cpus);
  setenv("HWLOC_SYNTHETIC", machine, 1);
  size_t n = numa_nodes(&cpus, ids);
  unsetenv("HWLOC_SYNTHETIC");
  return n;
}

#if defined(PLINTH_HWLOC)
static void one_node_is_found_alone(void **state) {
  (void)state;
  unsigned ids[NUMA_NODES_MAX];
  assert_int_equal(nodes_on("numa:1 core:4 pu:1", 0, 3, ids), 1);
  assert_int_equal(ids[0], 0);
}

static void all_nodes_with_cores_in_use_are_found(void **state) {
  (void)state;
  unsigned ids[NUMA_NODES_MAX];
  assert_int_equal(nodes_on("package:2 numa:2 core:4 pu:2", 0, 31, ids), 4);
  for (unsigned i = 0; i < 4; i++) assert_int_equal(ids[i], i);
}

/* As under taskset: what lies on other nodes would be far from every thread. */
static void nodes_without_cores_in_use_are_left_out(void **state) {
  (void)state;
  unsigned ids[NUMA_NODES_MAX];
  assert_int_equal(nodes_on("numa:4 core:4 pu:1", 4, 7, ids), 1);
  assert_int_equal(ids[0], 1);
  assert_int_equal(nodes_on("numa:4 core:4 pu:1", 7, 8, ids), 2);
  assert_int_equal(ids[0], 1);
  assert_int_equal(ids[1], 2);
  assert_int_equal(nodes_on("numa:4 core:4 pu:1", 100, 101, ids), 0);
}

static void nodes_without_memory_are_left_out(void **state) {
  (void)state;
  unsigned ids[NUMA_NODES_MAX];
  assert_int_equal(nodes_on("package:2 [numa(memory=1GB)] core:2 pu:1", 0, 3, ids), 2);
  assert_int_equal(nodes_on("package:2 [numa(memory=0)] core:2 pu:1", 0, 3, ids), 0);
}

static void more_nodes_than_there_is_room_for_are_not_written(void **state) {
  (void)state;
  unsigned ids[NUMA_NODES_MAX];
  assert_int_equal(nodes_on("numa:100 core:1 pu:1", 0, 99, ids), NUMA_NODES_MAX);
}
#else
static void without_the_library_nothing_is_known(void **state) {
  (void)state;
  unsigned ids[NUMA_NODES_MAX];
  assert_int_equal(nodes_on("numa:2 core:1 pu:1", 0, 1, ids), 0);
}
#endif

/* Whatever this machine is. */
static void memory_that_was_spread_is_memory(void **state) {
  (void)state;
  size_t bytes = 8 << 20;
  unsigned char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(p != MAP_FAILED);
  numa_spread(p, bytes);
  memset(p, 7, bytes);
  assert_int_equal(p[bytes - 1], 7);
  munmap(p, bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#if defined(PLINTH_HWLOC)
      cmocka_unit_test(one_node_is_found_alone),
      cmocka_unit_test(all_nodes_with_cores_in_use_are_found),
      cmocka_unit_test(nodes_without_cores_in_use_are_left_out),
      cmocka_unit_test(nodes_without_memory_are_left_out),
      cmocka_unit_test(more_nodes_than_there_is_room_for_are_not_written),
#else
      cmocka_unit_test(without_the_library_nothing_is_known),
#endif
      cmocka_unit_test(memory_that_was_spread_is_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
