/* stage: see stage.h. SPDX-License-Identifier: Apache-2.0 */
#include "intake/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

enum { PIECE_BYTES = 1 << 20, OPEN_FOLDERS_MAX = 16 };

static int io_fail(const char *doing, const char *path, struct error *err) {
  if (errno == ENOSPC || errno == EDQUOT)
    return error_set(err, ERROR_IO, "The disk is full: cannot %s %s. Make room and run the same command again.", doing, path);
  return error_set(err, ERROR_IO, "Cannot %s %s: %s.", doing, path, strerror(errno));
}

uint64_t stage_free_bytes(const char *dir) {
  struct statvfs st;
  return statvfs(dir, &st) == 0 ? (uint64_t)st.f_bavail * st.f_frsize : UINT64_MAX;
}

/* ---- folders ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st, (void)kind, (void)at;
  return remove(path);
}

int stage_remove_tree(const char *path, struct error *err) {
  if (nftw(path, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return 0;
  return io_fail("remove", path, err);
}

/* 1: the lock is ours; 0: it went away meanwhile, with an import that ended; -1: it is another's, or cannot be made. */
static int try_lock(struct stage *s, struct error *err) {
  struct stat ours, there;
  if (mkdir(s->incoming, 0755) < 0 && errno != EEXIST) return io_fail("create", s->incoming, err);
  int fd = open(s->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return errno == ENOENT ? 0 : io_fail("create", s->lock_path, err);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    close(fd);
    return error_set(err, ERROR_UNAVAILABLE, "Another import of the same model is running. Wait for it to end.");
  }
  bool same = fstat(fd, &ours) == 0 && stat(s->lock_path, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
  if (same) s->lock_fd = fd;
  else close(fd);
  return same;
}

int stage_open(struct stage *s, const char *models_dir, const char *key, struct error *err) {
  enum { TRIES = 1000 };
  struct buf lock = {0};
  *s = (struct stage){.lock_fd = -1};
  s->incoming = fs_join(models_dir, ".incoming");
  s->path = fs_join(s->incoming, key);
  buf_printf(&lock, "%s.lock", s->path);
  s->lock_path = lock.data;
  if (fs_mkdirs(models_dir, 0755, err) < 0) return -1;
  int locked = 0;
  for (int i = 0; i < TRIES && locked == 0; i++) locked = try_lock(s, err);
  if (locked == 0) return error_set(err, ERROR_UNAVAILABLE, "Other imports come and go in %s too fast. Try again.", s->incoming);
  return locked < 0 ? -1 : fs_mkdirs(s->path, 0755, err);
}

void stage_close(struct stage *s, bool keep) {
  if (s->lock_fd >= 0) { /* the lock is ours, and so is the folder */
    if (!keep) stage_remove_tree(s->path, NULL);
    unlink(s->lock_path);
    close(s->lock_fd);
    rmdir(s->incoming); /* when it is empty */
  }
  free(s->incoming);
  free(s->path);
  free(s->lock_path);
  *s = (struct stage){.lock_fd = -1};
}

static struct {
  bool (*keep)(void *arg, const char *inside);
  void *arg;
  size_t prefix;
} sweep; /* nftw hands nothing through; one import at a time */

static int sweep_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st;
  if (at->level == 0 || kind == FTW_DP) return 0;
  return sweep.keep(sweep.arg, path + sweep.prefix) ? 0 : remove(path);
}

int stage_sweep(struct stage *s, bool (*keep)(void *arg, const char *inside), void *arg, struct error *err) {
  sweep.keep = keep;
  sweep.arg = arg;
  sweep.prefix = strlen(s->path) + 1;
  return nftw(s->path, sweep_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : io_fail("clear", s->path, err);
}

/* ---- files ---- */

char *stage_file(struct stage *s, const char *to, struct error *err) {
  char *path = fs_join(s->path, to), *slash = strrchr(path, '/');
  *slash = '\0';
  int made = fs_mkdirs(path, 0755, err);
  *slash = '/';
  if (made == 0) return path;
  free(path);
  return NULL;
}

static int copy_fd(int in, int out, const char *from, const char *to, bool (*cancelled)(void *arg), void *arg, struct digest *d,
                   struct error *err) {
  char *piece = mem_alloc(PIECE_BYTES);
  int result = 0;
  for (ssize_t n; result == 0 && (n = read(in, piece, PIECE_BYTES)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) result = io_fail("read", from, err);
    for (ssize_t done = 0, w; result == 0 && done < n; done += w) {
      w = write(out, piece + done, (size_t)(n - done));
      if (w < 0 && errno == EINTR) w = 0;
      else if (w <= 0) result = io_fail("write", to, err), w = 0;
    }
    if (result == 0) digest_add(d, piece, (size_t)n);
    if (result == 0 && cancelled && cancelled(arg)) result = error_set(err, ERROR_CANCELLED, "Interrupted; nothing was imported.");
  }
  free(piece);
  if (result == 0 && fsync(out) < 0) result = io_fail("sync", to, err);
  return result;
}

static int copy(const char *from, const char *to, bool (*cancelled)(void *arg), void *arg, char sha256[DIGEST_HEX], struct error *err) {
  char hex[DIGEST_HEX];
  int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (in < 0) return io_fail("open", from, err);
  int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), result = -1;
  struct digest *d = digest_begin();
  if (out < 0) io_fail("create", to, err);
  else result = copy_fd(in, out, from, to, cancelled, arg, d, err);
  digest_end(d, hex);
  if (result == 0) memcpy(sha256, hex, sizeof hex);
  close(in);
  if (out >= 0 && close(out) < 0 && result == 0) result = io_fail("write", to, err);
  return result;
}

static int make_link(const char *from, const char *to, struct error *err) {
  char *real = realpath(from, NULL); /* the link is to the bytes, not to another link */
  int rc = real ? link(real, to) : -1;
  if (rc < 0 && real && (errno == EXDEV || errno == EPERM || errno == EMLINK || errno == EACCES)) rc = symlink(real, to);
  if (rc < 0) io_fail("link", to, err);
  free(real);
  return rc;
}

int stage_bring(struct stage *s, const char *from, const char *to, bool link_it, bool (*cancelled)(void *arg), void *arg,
                char sha256[DIGEST_HEX], struct error *err) {
  char *path = stage_file(s, to, err);
  if (!path) return -1;
  unlink(path);
  int result = link_it ? make_link(from, path, err) : copy(from, path, cancelled, arg, sha256, err);
  if (result == 0 && link_it) result = digest_file(path, cancelled, arg, sha256, err);
  free(path);
  return result;
}

/* ---- the name ---- */

static void sync_dir(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

static int sync_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st, (void)at;
  if (kind == FTW_DP) sync_dir(path);
  return 0;
}

/* Moves the stage to target; what was there, if anything, is then at the stage's path. */
static int move(const char *stage_path, const char *target, bool exchange, struct error *err) {
  int rc = renameat2(AT_FDCWD, stage_path, AT_FDCWD, target, exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE);
  if (rc < 0 && (errno == EINVAL || errno == ENOSYS) && !exchange)
    rc = fs_exists(target) ? (errno = EEXIST, -1) : rename(stage_path, target);
  if (rc == 0) return 0;
  if (errno == EEXIST || errno == ENOTEMPTY)
    return error_set(err, ERROR_INVALID, "There is already a model at %s. Choose another --name, or pass --replace.", target);
  return io_fail("move the model to", target, err);
}

int stage_publish(struct stage *s, const char *target, const char *replaced, struct error *err) {
  nftw(s->path, sync_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS);
  bool exchange = replaced && strcmp(replaced, target) == 0;
  if (move(s->path, target, exchange, err) < 0) return -1;
  if (replaced && !exchange && stage_remove_tree(replaced, err) < 0) return -1; /* NAME.gguf gave way to NAME/ */
  char *models_dir = mem_strdup(s->incoming), *slash = strrchr(models_dir, '/');
  *slash = '\0';
  sync_dir(models_dir);
  free(models_dir);
  return exchange ? stage_remove_tree(s->path, err) : 0;
}

/* ---- what is there already ---- */

char *stage_installed(const char *models_dir, const char *name, bool any_case) {
  char *found = NULL;
  DIR *d = opendir(models_dir);
  for (struct dirent *entry; d && !found && (entry = readdir(d));) {
    struct slice s = slice_cstr(entry->d_name);
    if (s.data[0] == '.') continue;
    if (slice_ends(s, SLICE(".gguf"))) s.len -= 5;
    bool same = s.len == strlen(name) && (any_case ? strncasecmp(s.data, name, s.len) : strncmp(s.data, name, s.len)) == 0;
    char *path = same ? fs_join(models_dir, entry->d_name) : NULL;
    bool gguf = s.len < strlen(entry->d_name);
    if (path && (gguf || fs_is_dir(path))) found = path;
    else free(path);
  }
  if (d) closedir(d);
  return found;
}
