/* fs: whole files and maps. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FS_H
#define BASE_FS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* Appends the file's bytes to out; nothing when it fails. A file over bytes_max is refused (ERROR_TOO_LARGE), and what is no regular file
 * too (ERROR_INVALID): a pipe within a folder must not hold its reader up. */
int fs_read(const char *path, size_t bytes_max, struct buf *out, struct error *err);
/* The same for a path that a person names: pipes and devices are read to their end, which may wait for a writer. */
int fs_read_any(const char *path, size_t bytes_max, struct buf *out, struct error *err);
/* Writes to a temporary name beside path, syncs, renames: a reader sees the old bytes or the new ones. mode: e.g. 0600. */
int fs_write_atomic(const char *path, struct slice data, unsigned mode, struct error *err);

/* A file written piece by piece under a temporary name; it takes its own name, synced, when all is there. */
struct fs_writer;
struct fs_writer *fs_writer_open(const char *path, unsigned mode, struct error *err);
int fs_writer_put(struct fs_writer *w, const void *data, size_t n, struct error *err);
/* Syncs, renames and frees w; also after a failed put, when it only removes what was written and fails. */
int fs_writer_commit(struct fs_writer *w, struct error *err);
void fs_writer_abandon(struct fs_writer *w); /* removes what was written; NULL is fine */

bool fs_exists(const char *path);
bool fs_is_dir(const char *path);
int fs_mkdirs(const char *path, unsigned mode, struct error *err); /* like mkdir -p */
/* "dir/name" in new memory; free it. */
char *fs_join(const char *dir, const char *name);

/* What tells that a file is the one that was seen earlier, without reading it. */
struct fs_stamp {
  uint64_t bytes, inode, device;
  int64_t mtime_ns;
};

bool fs_stamp_of(const char *path, struct fs_stamp *ret); /* false, and {0}, when there is none */

/* A read-only map of a whole file. */
struct fs_map {
  const unsigned char *data; /* NULL when size is 0 */
  size_t size;
  struct fs_stamp stamp; /* of the file that was mapped */
};
int fs_map_open(struct fs_map *m, const char *path, struct error *err);
void fs_map_close(struct fs_map *m); /* leaves {0}; fine on {0} */

#endif
