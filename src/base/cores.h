/* cores: how many CPU cores this process may really use. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CORES_H
#define BASE_CORES_H

/* By the affinity mask of the calling thread and the quota of its cgroups (v1 and v2), rounded down; at least 1. */
int cores_usable(void);
/* The smallest quota, in cores, of the cgroups that root/proc/self/cgroup names, below root/sys/fs/cgroup; 0: none. root is "" but in tests. */
double cores_quota(const char *root);

#endif
