/* recheck: an installed model looked at again, renamed or removed; see intake.h. SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/digest.h"
#include "intake/intake.h"
#include "intake/record.h"
#include "intake/stage.h"

enum { DEPTH_MAX = 3 };

struct looker {
  bool (*cancelled)(void *arg);
  void *arg;
};

/* ---- a model that has a manifest ---- */

/* 1: all as written down. A file that only its time tells from before gets the new time. */
static int compare(struct manifest *m, const char *path, const struct looker *l, char **ret_what, struct error *err) {
  for (size_t i = 0; i < m->n_files; i++) {
    char sha256[DIGEST_HEX] = "", *file = manifest_file_path(path, &m->files[i]);
    int result = fs_exists(file) ? digest_file(file, l->cancelled, l->arg, sha256, err) : 0;
    bool same = result == 0 && strcmp(sha256, m->files[i].sha256) == 0;
    if (same) record_time(&m->files[i], file);
    free(file);
    if (result < 0) return -1;
    if (same) continue;
    *ret_what = mem_strdup(m->files[i].path);
    return 0;
  }
  return 1;
}

/* ---- one that has none ---- */

static int add_files(struct manifest *m, const char *root, const char *prefix, unsigned depth, const struct looker *l, struct error *err) {
  char *dir = *prefix ? fs_join(root, prefix) : mem_strdup(root);
  DIR *d = opendir(dir);
  int result = d ? 0 : error_set(err, ERROR_IO, "Cannot open the folder %s: %s.", dir, strerror(errno));
  for (struct dirent *entry; result == 0 && (entry = readdir(d));) {
    if (entry->d_name[0] == '.' || strcmp(entry->d_name, "plinth.json") == 0) continue;
    char *inside = *prefix ? fs_join(prefix, entry->d_name) : mem_strdup(entry->d_name), *path = fs_join(root, inside);
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
      result = add_files(m, root, inside, depth + 1, l, err);
    } else if (S_ISREG(st.st_mode) && manifest_safe_path(slice_cstr(inside))) {
      struct manifest_file *f = manifest_add_file(m, inside);
      result = digest_file(path, l->cancelled, l->arg, f->sha256, err);
      record_time(f, path);
    }
    free(inside);
    free(path);
  }
  if (d) closedir(d);
  free(dir);
  return result;
}

static int adopt(struct manifest *m, const char *path, int threads, const struct looker *l, char **ret_what, struct error *err) {
  struct intake_checks checks = {0};
  int result = 0;
  m->adapter = file_is_adapter(path);
  if (fs_is_dir(path)) {
    result = add_files(m, path, "", 0, l, err);
  } else {
    const char *slash = strrchr(path, '/');
    struct manifest_file *f = manifest_add_file(m, slash ? slash + 1 : path);
    result = digest_file(path, l->cancelled, l->arg, f->sha256, err);
    record_time(f, path);
  }
  if (result == 0 && !m->adapter) record_examine(path, false, threads, &checks, m);
  for (size_t i = 0; result == 0 && i < checks.n; i++)
    if (checks.items[i].result == INTAKE_FAILED) {
      *ret_what = mem_strdup(checks.items[i].detail);
      intake_checks_free(&checks);
      manifest_free(m);
      return 0;
    }
  if (result == 0) record_settle(m, &checks);
  intake_checks_free(&checks);
  return result < 0 ? -1 : 1;
}

int intake_recheck(const char *path, int threads, bool (*cancelled)(void *arg), void *arg, struct manifest *ret, char **ret_what,
                   struct error *err) {
  struct looker l = {cancelled, arg};
  *ret_what = NULL;
  int had = manifest_read(path, ret, err);
  if (had < 0) return -1;
  int result = had ? compare(ret, path, &l, ret_what, err) : adopt(ret, path, threads, &l, ret_what, err);
  struct error unwritable = {0}; /* a folder that is only read stays as it is */
  if (result == 1 && (!had || manifest_changed(ret, path) == NULL)) manifest_write(ret, path, &unwritable);
  return result;
}

/* ---- names ---- */

static int rename_beside(const char *from, const char *to, struct error *err) {
  if (fs_exists(to)) return error_set(err, ERROR_INVALID, "There is already something at %s.", to);
  if (rename(from, to) == 0) return 0;
  return error_set(err, ERROR_IO, "Cannot rename %s to %s: %s.", from, to, strerror(errno));
}

int intake_rename(const char *path, const char *models_dir, const char *new_name, struct error *err) {
  if (!intake_name_valid(new_name))
    return error_set(err, ERROR_INVALID, "The name \"%.100s\" cannot be an endpoint's: letters, digits, '.', '-' and '_', at most 100.",
                     new_name);
  struct buf file = {0};
  bool is_dir = fs_is_dir(path);
  buf_printf(&file, "%s%s", new_name, is_dir ? "" : ".gguf");
  char *target = fs_join(models_dir, file.data), *other = fs_join(models_dir, new_name), *old = is_dir ? NULL : manifest_path(path);
  int result = is_dir || !fs_exists(other) ? rename_beside(path, target, err)
                                           : error_set(err, ERROR_INVALID, "There is already something at %s.", other);
  if (result == 0 && old && fs_exists(old)) {
    char *manifest = manifest_path(target);
    result = rename_beside(old, manifest, err);
    free(manifest);
  }
  buf_free(&file);
  free(target);
  free(other);
  free(old);
  return result;
}

int intake_remove(const char *models_dir, const char *path, struct error *err) {
  char *trash = NULL;
  struct buf name = {0};
  if (!fs_is_dir(path)) {
    char *manifest = manifest_path(path);
    int result = unlink(path) < 0 ? error_set(err, ERROR_IO, "Cannot remove %s: %s.", path, strerror(errno)) : 0;
    if (result == 0) unlink(manifest);
    free(manifest);
    return result;
  }
  /* First out of sight, so that no half of it is seen. */
  buf_printf(&name, ".removed-%ld", (long)getpid());
  trash = fs_join(models_dir, name.data);
  int result =
      rename(path, trash) < 0 ? error_set(err, ERROR_IO, "Cannot remove %s: %s.", path, strerror(errno)) : stage_remove_tree(trash, err);
  buf_free(&name);
  free(trash);
  return result;
}
