/* fs: see fs.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static int io_error(struct error *err, const char *doing, const char *path) {
  enum error_code code = errno == ENOENT || errno == ENOTDIR ? ERROR_NOT_FOUND : ERROR_IO;
  return error_set(err, code, "Cannot %s %s: %s.", doing, path, strerror(errno));
}

static int read_all(int fd, const char *path, size_t bytes_max, struct buf *out, struct error *err) {
  size_t total = 0;
  for (;;) {
    char *to = buf_reserve(out, 64 * 1024);
    ssize_t n = read(fd, to, 64 * 1024);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error(err, "read", path);
    if (n == 0) return 0;
    total += (size_t)n;
    if (total > bytes_max) return error_set(err, ERROR_TOO_LARGE, "The file %s is larger than %zu bytes.", path, bytes_max);
    buf_advance(out, (size_t)n);
  }
}

/* Whether what is open is a file with an end of its own. A folder passes: reading it says what it is. */
static int check_regular(int fd, const char *path, struct error *err) {
  struct stat st;
  if (fstat(fd, &st) < 0) return io_error(err, "examine", path);
  return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? 0 : error_set(err, ERROR_INVALID, "%s is not a regular file.", path);
}

static int read_and_close(int fd, const char *path, size_t bytes_max, struct buf *out, struct error *err) {
  size_t len_before = out->len;
  int result = read_all(fd, path, bytes_max, out, err);
  close(fd);
  if (result < 0) { /* all or nothing */
    out->len = len_before;
    out->data[out->len] = '\0';
  }
  return result;
}

int fs_read(const char *path, size_t bytes_max, struct buf *out, struct error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a pipe that nobody writes to does not wait */
  if (fd < 0) return io_error(err, "open", path);
  if (check_regular(fd, path, err) == 0) return read_and_close(fd, path, bytes_max, out, err);
  close(fd);
  return -1;
}

int fs_read_any(const char *path, size_t bytes_max, struct buf *out, struct error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  return fd < 0 ? io_error(err, "open", path) : read_and_close(fd, path, bytes_max, out, err);
}

/* ---- writing ---- */

struct fs_writer {
  char *path, *temporary;
  FILE *file;
  bool failed;
};

static void writer_free(struct fs_writer *w) {
  if (w->file) fclose(w->file);
  free(w->path);
  free(w->temporary);
  free(w);
}

struct fs_writer *fs_writer_open(const char *path, unsigned mode, struct error *err) {
  static atomic_uint serial; /* two threads may write the same file */
  struct fs_writer *w = mem_zalloc(1, sizeof *w);
  struct buf temporary = {0};
  buf_printf(&temporary, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&serial, 1));
  w->path = mem_strdup(path);
  w->temporary = temporary.data;
  unlink(w->temporary); /* left by a process that had this number before: neither its mode nor a link may live on */
  int fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd >= 0) w->file = fdopen(fd, "wb");
  if (w->file) return w;
  io_error(err, "create", w->temporary);
  writer_free(w);
  return NULL;
}

int fs_writer_put(struct fs_writer *w, const void *data, size_t n, struct error *err) {
  if (!w->failed && (n == 0 || fwrite(data, 1, n, w->file) == n)) return 0;
  w->failed = true;
  return io_error(err, "write", w->temporary);
}

int fs_writer_commit(struct fs_writer *w, struct error *err) {
  if (!w->failed && (fflush(w->file) != 0 || fsync(fileno(w->file)) < 0)) {
    w->failed = true;
    io_error(err, "write", w->temporary);
  }
  if (!w->failed && rename(w->temporary, w->path) < 0) {
    w->failed = true;
    io_error(err, "rename a new file to", w->path);
  }
  int result = w->failed ? -1 : 0;
  if (w->failed) unlink(w->temporary);
  writer_free(w);
  return result;
}

void fs_writer_abandon(struct fs_writer *w) {
  if (!w) return;
  unlink(w->temporary);
  writer_free(w);
}

int fs_write_atomic(const char *path, struct slice data, unsigned mode, struct error *err) {
  struct fs_writer *w = fs_writer_open(path, mode, err);
  if (!w) return -1;
  int result = fs_writer_put(w, data.data, data.len, err);
  return fs_writer_commit(w, err) < 0 ? -1 : result;
}

/* ---- paths ---- */

bool fs_exists(const char *path) { return access(path, F_OK) == 0; }

bool fs_is_dir(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int fs_mkdirs(const char *path, unsigned mode, struct error *err) {
  char *copy = mem_strdup(path);
  int result = 0;
  for (char *p = copy + 1; result == 0; p++) {
    if (*p != '/' && *p != '\0') continue;
    char c = *p;
    *p = '\0';
    if (mkdir(copy, mode) < 0 && !(errno == EEXIST && fs_is_dir(copy))) result = io_error(err, "create the folder", copy);
    *p = c;
    if (c == '\0') break;
  }
  free(copy);
  return result;
}

char *fs_join(const char *dir, const char *name) {
  struct buf path = {0};
  buf_add_cstr(&path, dir);
  if (path.len == 0 || path.data[path.len - 1] != '/') buf_add_byte(&path, '/');
  buf_add_cstr(&path, name);
  return path.data;
}

static struct fs_stamp stamp_from(const struct stat *st) {
  return (struct fs_stamp){.bytes = (uint64_t)st->st_size,
                           .inode = st->st_ino,
                           .device = st->st_dev,
                           .mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec};
}

bool fs_stamp_of(const char *path, struct fs_stamp *ret) {
  struct stat st;
  *ret = (struct fs_stamp){0};
  if (stat(path, &st) < 0) return false;
  *ret = stamp_from(&st);
  return true;
}

static int map_fd(struct fs_map *m, int fd, const char *path, struct error *err) {
  struct stat st;
  if (fstat(fd, &st) < 0) return io_error(err, "examine", path);
  if (!S_ISREG(st.st_mode)) return error_set(err, ERROR_INVALID, "%s is not a regular file.", path);
  *m = (struct fs_map){.stamp = stamp_from(&st)};
  if (st.st_size == 0) return 0;
  void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return io_error(err, "map", path);
  m->data = data;
  m->size = (size_t)st.st_size;
  return 0;
}

int fs_map_open(struct fs_map *m, const char *path, struct error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO in place of a file must not hold us up */
  if (fd < 0) return io_error(err, "open", path);
  int result = map_fd(m, fd, path, err);
  close(fd);
  return result;
}

void fs_map_close(struct fs_map *m) {
  if (m->data) munmap((void *)m->data, m->size);
  *m = (struct fs_map){0};
}
