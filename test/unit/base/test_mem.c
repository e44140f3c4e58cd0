/* Tests of what base/mem takes for free. SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include "made_up.h"

static void assert_available(uint64_t bytes) { assert_int_equal(mem_available_in(root), bytes); }

static void without_limits_it_is_what_the_system_says(void **state) {
  (void)state;
  assert_available(0);
  put("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 5000 kB\nMemFree: 1 kB\n");
  put("proc/self/cgroup", "0::/a\n");
  put("sys/fs/cgroup/a/memory.max", "max\n");
  put("sys/fs/cgroup/a/memory.current", "123\n");
  assert_available(5000 * 1024);
}

static void the_least_of_the_limits_of_all_groups_above_counts(void **state) {
  (void)state;
  put("proc/meminfo", "MemAvailable: 5000 kB\n");
  put("proc/self/cgroup", "0::/system.slice/plinth.service\n");
  put("sys/fs/cgroup/system.slice/plinth.service/memory.max", "3000000\n");
  put("sys/fs/cgroup/system.slice/plinth.service/memory.current", "1000000\n");
  assert_available(2000000);
  put("sys/fs/cgroup/system.slice/memory.max", "1500000\n");
  put("sys/fs/cgroup/system.slice/memory.current", "1000000\n");
  assert_available(500000);
  put("sys/fs/cgroup/system.slice/memory.current", "1600000\n");
  assert_available(0);
}

static void cached_files_that_a_limit_counts_are_free(void **state) {
  (void)state;
  put("proc/meminfo", "MemAvailable: 5000 kB\n");
  put("proc/self/cgroup", "0::/\n");
  put("sys/fs/cgroup/memory.max", "3000000\n");
  put("sys/fs/cgroup/memory.current", "2900000\n");
  put("sys/fs/cgroup/memory.stat", "anon 100000\nfile 2800000\ninactive_file 1000000\nactive_file 1500000\ninactive_anon 5\n");
  assert_available(2600000);
}

static void limits_of_version_1_count(void **state) {
  (void)state;
  put("proc/meminfo", "MemAvailable: 5000 kB\n");
  put("proc/self/cgroup", "5:memory:/docker/of/the/host\n4:cpu:/x\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000000\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "2000000\n");
  put("sys/fs/cgroup/memory/memory.stat", "active_file 7\ntotal_active_file 100000\ntotal_inactive_file 200000\n");
  assert_available(1300000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(without_limits_it_is_what_the_system_says, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_least_of_the_limits_of_all_groups_above_counts, set_up, tear_down),
      cmocka_unit_test_setup_teardown(cached_files_that_a_limit_counts_are_free, set_up, tear_down),
      cmocka_unit_test_setup_teardown(limits_of_version_1_count, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
