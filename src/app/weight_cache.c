/* weight_cache: see weight_cache.h. SPDX-License-Identifier: Apache-2.0
 * The folder may be one that somebody named by mistake, so only files are removed whose names are those of kept ones. */
#include "app/weight_cache.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "file/file.h"

char *weight_cache_path(const char *cache, const char *model_path) {
  char *name = paths_model_name(model_path), *path = fs_join(cache, name);
  free(name);
  return path;
}

static void remove_kept(const char *folder) {
  file_kept_remove(folder, NULL, NULL);
  rmdir(folder); /* only when it is empty */
}

static bool is_served(const struct paths_models *models, const char *name) {
  for (size_t i = 0; i < models->n; i++)
    if (strcmp(models->items[i].name, name) == 0) return true;
  return false;
}

void weight_cache_tidy(const char *cache, const struct paths_models *models) {
  DIR *d = opendir(cache);
  for (struct dirent *entry; d && (entry = readdir(d));) {
    char *folder = fs_join(cache, entry->d_name);
    if (entry->d_name[0] != '.' && fs_is_dir(folder) && !is_served(models, entry->d_name)) remove_kept(folder);
    free(folder);
  }
  if (d) closedir(d);
}
