/* cores: how many CPU cores this process may really use. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CORES_H
#define BASE_CORES_H

/* By the affinity mask of the calling thread and the quota of its cgroups (v1 and v2); at least 1. */
int cores_usable(void);
/* A quota (0: none) counts as the nearest whole number of cores. A thread more than it pays for is stopped at times, yet with one and a half cores
 * two threads decode 1.16 times as fast as one, and prefill 1.4 times. */
int cores_within(int cores, double quota);
/* The smallest quota, in cores, of the cgroups that root/proc/self/cgroup names, below root/sys/fs/cgroup; 0: none. root is "" but in tests. */
double cores_quota(const char *root);

#endif
