/* groups: see groups.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/groups.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct visitor {
  void (*visit)(void *ctx, const char *dir, bool v2);
  void *ctx;
};

/* From mount/group up to mount. */
static void visit_up(const struct visitor *v, const char *mount, const char *group, bool v2) {
  char dir[PATH_MAX];
  if (snprintf(dir, sizeof dir, "%s%s", mount, group) >= (int)sizeof dir) return;
  for (size_t floor = strlen(mount);;) {
    v->visit(v->ctx, dir, v2);
    char *slash = strrchr(dir + floor, '/');
    if (!slash) return;
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

void groups_visit(const char *root, const char *controller, void (*visit)(void *ctx, const char *dir, bool v2), void *ctx) {
  struct visitor v = {visit, ctx};
  char path[PATH_MAX], v1[PATH_MAX], v2[PATH_MAX];
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *f = fopen(path, "re");
  if (!f) return;
  snprintf(v1, sizeof v1, "%s/sys/fs/cgroup/%s", root, controller);
  snprintf(v2, sizeof v2, "%s/sys/fs/cgroup", root);
  char line[PATH_MAX + 128];
  while (fgets(line, sizeof line, f)) { /* hierarchy:controllers:/path */
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *group++ = '\0';
    controllers++;
    if (*controllers == '\0') visit_up(&v, v2, group, true);
    else if (list_has(controllers, controller)) visit_up(&v, v1, group, false);
  }
  fclose(f);
}
