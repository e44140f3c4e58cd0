/* A made-up system for tests: files below a folder that stands for "/". SPDX-License-Identifier: Apache-2.0 */
#ifndef MADE_UP_H
#define MADE_UP_H
#include <ftw.h>
#include <unistd.h>

#include "base/fs.h"
#include "check.h"

static char root[64];

static int set_up(void **state) {
  (void)state;
  strcpy(root, "/tmp/plinth-made-up-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st, (void)type, (void)at;
  return remove(path);
}

static int tear_down(void **state) {
  (void)state;
  return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A file of a made-up system, with its folders. */
static void put(const char *path, const char *text) {
  char whole[512], folder[512];
  snprintf(whole, sizeof whole, "%s/%s", root, path);
  snprintf(folder, sizeof folder, "%s", whole);
  *strrchr(folder, '/') = '\0';
  assert_int_equal(fs_mkdirs(folder, 0700, NULL), 0);
  assert_int_equal(fs_write_atomic(whole, (struct slice){text, strlen(text)}, 0600, NULL), 0);
}

#endif
