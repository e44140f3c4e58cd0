/* kept_name: names of what is kept for a model, so that a later start need not compute it again; see file.h. SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "file/file.h"

enum { HASH_CHARS = 24 };

char *file_kept_path(const char *dir, const char *identity, const char *kind, unsigned layout, const char *ext) {
  struct buf name = {0};
  buf_printf(&name, "%.*s.%s.%u.%s", HASH_CHARS, identity, kind, layout, ext);
  char *path = fs_join(dir, name.data);
  buf_free(&name);
  return path;
}

/* Takes a run of these characters and the dot behind it off the front. */
static bool take(struct slice *s, size_t n, const char *characters) {
  if (n == 0 || n >= s->len || s->data[n] != '.') return false;
  for (size_t i = 0; i < n; i++)
    if (!strchr(characters, s->data[i])) return false;
  *s = slice_from(*s, n + 1);
  return true;
}

static size_t to_dot(struct slice s) {
  const char *dot = s.len ? memchr(s.data, '.', s.len) : NULL;
  return dot ? (size_t)(dot - s.data) : s.len;
}

bool file_kept_is(const char *file, const char *kind) {
  struct slice s = slice_cstr(file);
  if (!take(&s, HASH_CHARS, "0123456789abcdef")) return false;
  struct slice found = slice_make(s.data, to_dot(s));
  if (kind && !slice_eq(found, slice_cstr(kind))) return false;
  if (!take(&s, found.len, "abcdefghijklmnopqrstuvwxyz0123456789") || !take(&s, to_dot(s), "0123456789")) return false;
  struct slice ext = slice_make(s.data, to_dot(s)), rest = slice_from(s, ext.len);
  if (!slice_eq(ext, SLICE("safetensors")) && !slice_eq(ext, SLICE("tables"))) return false;
  return rest.len == 0 || slice_ends(rest, SLICE(".tmp"));
}

void file_kept_remove(const char *dir, const char *kind, const char *but_path) {
  DIR *d = opendir(dir);
  for (struct dirent *entry; d && (entry = readdir(d));) {
    if (!file_kept_is(entry->d_name, kind)) continue;
    char *path = fs_join(dir, entry->d_name);
    if (!but_path || strcmp(path, but_path) != 0) unlink(path);
    free(path);
  }
  if (d) closedir(d);
}
