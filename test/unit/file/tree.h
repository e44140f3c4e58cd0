/* tree: a temporary folder with files, for tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_FILE_TREE_H
#define TEST_FILE_TREE_H
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"

struct tree {
  char dir[64];
};

static inline void tree_make(struct tree *t) {
  snprintf(t->dir, sizeof t->dir, "/tmp/plinth-test-XXXXXX");
  if (!mkdtemp(t->dir)) abort();
}
/* A static string: the path of name in the folder. */
static inline const char *tree_path(const struct tree *t, const char *name) {
  static char paths[4][512];
  static unsigned turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", t->dir, name);
  return path;
}
static inline void tree_write(const struct tree *t, const char *name, struct slice data) {
  if (fs_write_atomic(tree_path(t, name), data, 0600, NULL) < 0) abort();
}
static inline void tree_mkdir(const struct tree *t, const char *name) {
  if (fs_mkdirs(tree_path(t, name), 0700, NULL) < 0) abort();
}
static inline void tree_remove(const struct tree *t) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", t->dir);
  if (system(command) != 0) abort();
}

#endif
