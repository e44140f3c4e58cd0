/* cores: see cores.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/cores.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/groups.h"

static int cores_by_affinity(void) {
  for (int n_cpus = 1024; n_cpus <= 1 << 20; n_cpus *= 2) {
    cpu_set_t *set = CPU_ALLOC(n_cpus);
    if (!set) break;
    size_t size = CPU_ALLOC_SIZE(n_cpus);
    int rc = sched_getaffinity(0, size, set), count = rc == 0 ? CPU_COUNT_S(size, set) : 0;
    int code = errno;
    CPU_FREE(set);
    if (rc == 0) return count;
    if (code != EINVAL) break; /* EINVAL: the kernel knows more CPUs than the set has room for */
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

/* The first line of dir/name; false when there is none. */
static bool read_line(const char *dir, const char *name, char *line, int size) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) return false;
  FILE *f = fopen(path, "re");
  if (!f) return false;
  bool ok = fgets(line, size, f) != NULL;
  fclose(f);
  return ok;
}

/* The quota of one cgroup directory in cores; 0 when it sets none. */
static double quota_of(const char *dir, bool v2) {
  char line[128], period_line[64];
  long long quota, period;
  if (v2)
    return read_line(dir, "cpu.max", line, sizeof line) && sscanf(line, "%lld %lld", &quota, &period) == 2 && period > 0
               ? (double)quota / (double)period
               : 0;
  if (!read_line(dir, "cpu.cfs_quota_us", line, sizeof line) || !read_line(dir, "cpu.cfs_period_us", period_line, sizeof period_line))
    return 0;
  quota = atoll(line);
  period = atoll(period_line);
  return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static void take_least(void *ctx, const char *dir, bool v2) {
  double *least = ctx, quota = quota_of(dir, v2);
  if (quota > 0 && (*least == 0 || quota < *least)) *least = quota;
}

double cores_quota(const char *root) {
  double least = 0;
  groups_visit(root, "cpu", take_least, &least);
  return least;
}

int cores_within(int cores, double quota) {
  if (quota > 0 && quota < cores) cores = (int)(quota + 0.5);
  return cores > 0 ? cores : 1;
}

int cores_usable(void) { return cores_within(cores_by_affinity(), cores_quota("")); }
