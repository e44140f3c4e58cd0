/* Tests of base/cores. SPDX-License-Identifier: Apache-2.0 */
#include "base/cores.h"

#include <math.h>
#include <sched.h>
#include <unistd.h>

#include "base/pool.h"
#include "made_up.h"

static void assert_quota(double cores) {
  double quota = cores_quota(root);
  if (fabs(quota - cores) > 1e-9) fail_msg("%g cores instead of %g", quota, cores);
}

static void without_cgroups_there_is_no_quota(void **state) {
  (void)state;
  assert_quota(0);
  put("proc/self/cgroup", "0::/\n");
  assert_quota(0);
}

static void a_quota_of_version_2_counts(void **state) {
  (void)state;
  put("proc/self/cgroup", "0::/system.slice/plinth.service\n");
  put("sys/fs/cgroup/system.slice/plinth.service/cpu.max", "max 100000\n");
  assert_quota(0);
  put("sys/fs/cgroup/system.slice/plinth.service/cpu.max", "150000 100000\n");
  assert_quota(1.5);
}

static void the_smallest_quota_of_all_groups_above_counts(void **state) {
  (void)state;
  put("proc/self/cgroup", "0::/a/b/c\n");
  put("sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
  put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  put("sys/fs/cgroup/a/cpu.max", "250000 100000\n");
  assert_quota(2.5);
}

static void a_quota_of_version_1_counts(void **state) {
  (void)state;
  put("proc/self/cgroup", "12:memory:/x\n4:cpu,cpuacct:/docker/1\n3:cpuset:/x\n");
  put("sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n");
  assert_quota(0);
  put("sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "300000\n");
  put("sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "50000\n");
  assert_quota(6);
}

/* In a container the path is often that of the host, and only the root of the mount can be seen. */
static void a_group_that_cannot_be_seen_leaves_the_root_of_the_mount(void **state) {
  (void)state;
  put("proc/self/cgroup", "1:cpu:/docker/of/the/host\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  assert_quota(2);
}

static void nonsense_is_no_quota(void **state) {
  (void)state;
  put("proc/self/cgroup", "\n:::\nx\n0::/a\n1:cpu:/a\n");
  put("sys/fs/cgroup/a/cpu.max", "100000 0\n");
  put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "many\n");
  put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "\n");
  assert_quota(0);
}

static void a_quota_counts_as_the_nearest_number_of_cores(void **state) {
  (void)state;
  assert_int_equal(cores_within(4, 0), 4);
  assert_int_equal(cores_within(4, 1.4), 1);
  assert_int_equal(cores_within(4, 1.5), 2);
  assert_int_equal(cores_within(4, 3.9), 4);
  assert_int_equal(cores_within(4, 9), 4);
  assert_int_equal(cores_within(4, 0.2), 1);
}

/* As under taskset. */
static void the_affinity_mask_bounds_cores_and_pool(void **state) {
  (void)state;
  cpu_set_t old, one;
  assert_int_equal(sched_getaffinity(0, sizeof old, &old), 0);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
    if (CPU_ISSET(i, &old)) CPU_SET(i, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
  struct pool *p = pool_create(0, NULL);
  assert_int_equal(cores_usable(), 1);
  assert_int_equal(pool_threads(p), 1);
  pool_destroy(p);
  assert_int_equal(sched_setaffinity(0, sizeof old, &old), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(without_cgroups_there_is_no_quota),
      CASE(a_quota_of_version_2_counts),
      CASE(the_smallest_quota_of_all_groups_above_counts),
      CASE(a_quota_of_version_1_counts),
      CASE(a_group_that_cannot_be_seen_leaves_the_root_of_the_mount),
      CASE(nonsense_is_no_quota),
      cmocka_unit_test(a_quota_counts_as_the_nearest_number_of_cores),
      cmocka_unit_test(the_affinity_mask_bounds_cores_and_pool),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
