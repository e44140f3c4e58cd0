/* groups: the control groups of this process, whose limits are its own too. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_GROUPS_H
#define BASE_GROUPS_H
#include <stdbool.h>

/* Calls visit with the folder of each group that root/proc/self/cgroup names for the controller, below root/sys/fs/cgroup, and of all groups above
 * it: of version 2, and of version 1. In a container the name is often that of the host and leads nowhere; the uppermost folder is visited always.
 * root is "" but in tests. */
void groups_visit(const char *root, const char *controller, void (*visit)(void *ctx, const char *dir, bool v2), void *ctx);

#endif
