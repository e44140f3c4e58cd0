/* paths: see paths.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/paths.h"

#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "app/suggest.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "file/file.h"

/* The XDG rule: a relative path there counts as unset. Without HOME the password file knows. */
char *paths_data_dir(void) {
  const char *data = getenv("XDG_DATA_HOME");
  if (data && data[0] == '/') return fs_join(data, "plinth");
  const char *home = getenv("HOME");
  const struct passwd *user = home && *home ? NULL : getpwuid(getuid());
  if (user) home = user->pw_dir;
  return fs_join(home && *home ? home : "/", ".local/share/plinth");
}

char *paths_models_dir(void) {
  char *data = paths_data_dir(), *models = fs_join(data, "models");
  free(data);
  return models;
}

/* The last part of a path, without slashes behind it. */
static struct slice last_part(struct slice path) {
  while (path.len > 1 && path.data[path.len - 1] == '/') path.len--;
  for (size_t i = path.len - (path.len > 0); i > 0; i--)
    if (path.data[i - 1] == '/') return slice_from(path, i);
  return path;
}

char *paths_model_name(const char *path) {
  struct slice name = last_part(slice_cstr(path));
  bool relative = slice_eq(name, SLICE(".")) || slice_eq(name, SLICE(".."));
  char *whole = relative ? realpath(path, NULL) : NULL; /* `plinth inspect .` */
  if (whole) name = last_part(slice_cstr(whole));
  name = gguf_stem(name, NULL);
  char *copy = mem_dup(name.data, name.len);
  free(whole);
  return copy;
}

static int compare(const void *a, const void *b) {
  const struct paths_model *x = a, *y = b;
  int order = strcmp(x->name, y->name);
  return order ? order : strcmp(x->path, y->path);
}

int paths_list(const char *dir, struct paths_models *ret_models, struct error *err) {
  DIR *d = opendir(dir);
  if (!d)
    return error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "Cannot open the models folder %s: %s.", dir, strerror(errno));
  struct paths_models found = {0};
  for (struct dirent *entry; (entry = readdir(d));) {
    if (entry->d_name[0] == '.') continue;
    char *path = fs_join(dir, entry->d_name);
    unsigned part; /* a model in parts is listed once, by its first */
    gguf_stem(slice_cstr(entry->d_name), &part);
    if (part != 1 && !fs_is_dir(path)) {
      free(path);
      continue;
    }
    found.items = mem_realloc(found.items, found.n + 1, sizeof *found.items);
    found.items[found.n++] = (struct paths_model){paths_model_name(path), path};
  }
  closedir(d);
  if (found.n) qsort(found.items, found.n, sizeof *found.items, compare);
  *ret_models = found;
  return 0;
}

void paths_list_free(struct paths_models *models) {
  for (size_t i = 0; i < models->n; i++) {
    free(models->items[i].name);
    free(models->items[i].path);
  }
  free(models->items);
  *models = (struct paths_models){0};
}

char *paths_find_in(const char *dir, const char *name, struct error *err) {
  struct paths_models models = {0};
  if (paths_list(dir, &models, NULL) < 0) {
    error_set(err, ERROR_NOT_FOUND, "There is no file, folder or model \"%s\" (the models folder %s does not exist).", name, dir);
    return NULL;
  }
  char *path = NULL;
  const char **names = mem_zalloc(models.n, sizeof *names);
  for (size_t i = 0; i < models.n; i++) {
    names[i] = models.items[i].name;
    if (!path && strcmp(names[i], name) == 0) path = mem_strdup(models.items[i].path);
  }
  for (size_t i = 0; i < models.n && !path; i++) /* hubs write names in any case */
    if (strcasecmp(names[i], name) == 0) path = mem_strdup(models.items[i].path);
  const char *nearest = path ? NULL : suggest_nearest(name, names, models.n);
  if (!path && nearest) {
    error_set(err, ERROR_NOT_FOUND, "There is no file, folder or model \"%s\"; did you mean \"%s\"?", name, nearest);
  } else if (!path) {
    error_set(err, ERROR_NOT_FOUND, "There is no file or folder \"%s\", and no model of that name in %s.", name, dir);
  }
  free(names);
  paths_list_free(&models);
  return path;
}

/* The installed model of exactly that name, or NULL. */
static char *find_installed(const char *dir, const char *name) {
  struct paths_models models = {0};
  char *path = NULL;
  if (strchr(name, '/') || paths_list(dir, &models, NULL) < 0) return NULL;
  for (size_t i = 0; i < models.n && !path; i++)
    if (strcmp(models.items[i].name, name) == 0) path = mem_strdup(models.items[i].path);
  paths_list_free(&models);
  return path;
}

char *paths_find_model(const char *models_dir, const char *path_or_name, struct error *err) {
  char *own = models_dir ? NULL : paths_models_dir();
  const char *dir = models_dir ? models_dir : own;
  char *path = find_installed(dir, path_or_name);
  if (!path && fs_exists(path_or_name)) path = mem_strdup(path_or_name);
  else if (!path && strchr(path_or_name, '/')) error_set(err, ERROR_NOT_FOUND, "There is no file or folder %s.", path_or_name);
  else if (!path) path = paths_find_in(dir, path_or_name, err);
  free(own);
  return path;
}
