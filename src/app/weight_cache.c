/* weight_cache: see weight_cache.h. SPDX-License-Identifier: Apache-2.0
 * The folder may be one that somebody named by mistake, so only files are removed whose names the engine gives. */
#include "app/weight_cache.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/slice.h"

enum { HASH_CHARS = 24 };

char *weight_cache_path(const char *cache, const char *model_path) {
  char *name = paths_model_name(model_path), *path = fs_join(cache, name);
  free(name);
  return path;
}

/* HASH.MODE.LAYOUT.safetensors, or such a one with ".….tmp" behind it. */
static bool is_kept(const char *file) {
  const char *tail = strstr(file, ".safetensors");
  if (strspn(file, "0123456789abcdef") != HASH_CHARS || file[HASH_CHARS] != '.' || !tail) return false;
  tail += strlen(".safetensors");
  return *tail == '\0' || (*tail == '.' && slice_ends(slice_cstr(tail), SLICE(".tmp")));
}

static void remove_kept(const char *folder) {
  DIR *d = opendir(folder);
  for (struct dirent *entry; d && (entry = readdir(d));) {
    if (!is_kept(entry->d_name)) continue;
    char *path = fs_join(folder, entry->d_name);
    unlink(path);
    free(path);
  }
  if (d) closedir(d);
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
