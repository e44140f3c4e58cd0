/* cores: see cores.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/cores.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The smallest quota from mount/group up to mount; 0 when none is set. */
static double quota_up(const char *mount, const char *group, bool v2) {
  char dir[PATH_MAX];
  if (snprintf(dir, sizeof dir, "%s%s", mount, group) >= (int)sizeof dir) return 0;
  double least = 0;
  for (size_t floor = strlen(mount);;) {
    double quota = quota_of(dir, v2);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
    char *slash = strrchr(dir + floor, '/');
    if (!slash) return least;
    *slash = '\0';
  }
}

/* True when the comma-separated list holds the word. */
static bool list_has(const char *list, const char *word) {
  size_t len = strlen(word);
  for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
    if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0')) return true;
  }
  return false;
}

double cores_quota(const char *root) {
  char path[PATH_MAX], v1[PATH_MAX], v2[PATH_MAX];
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  snprintf(v1, sizeof v1, "%s/sys/fs/cgroup/cpu", root);
  snprintf(v2, sizeof v2, "%s/sys/fs/cgroup", root);
  char line[PATH_MAX + 128];
  double least = 0;
  while (fgets(line, sizeof line, f)) { /* hierarchy:controllers:/path */
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *group++ = '\0';
    controllers++;
    double quota = 0;
    if (*controllers == '\0') quota = quota_up(v2, group, true);
    else if (list_has(controllers, "cpu")) quota = quota_up(v1, group, false);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
  }
  fclose(f);
  return least;
}

int cores_within(int cores, double quota) {
  if (quota > 0 && quota < cores) cores = (int)(quota + 0.5);
  return cores > 0 ? cores : 1;
}

int cores_usable(void) { return cores_within(cores_by_affinity(), cores_quota("")); }
