/* kept: see kept.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/kept.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/moving.h"

enum { PIECE_BYTES = 8 << 20, SPARE_BYTES = 64 << 20, LOCK_WAIT_US = 50000 };

struct entry {
  char *name; /* "KEY PACK WIDE N_OUT N_IN" */
  const struct weight *weight;
};

struct kept {
  char *dir, *path; /* the file is DIR/HASH.MODE.LAYOUT.safetensors */
  const char *mode;
  struct safetensors *file; /* what an earlier start wrote, until all of its matrices lie elsewhere; or NULL */
  struct moving moving;     /* those matrices */
  size_t next;              /* tensor of file that is tried first */
  struct entry *entries;    /* what is to be written: every matrix, or none */
  size_t n_entries, cap_entries;
  bool added, broken; /* a matrix was packed; the file is there and cannot be read */
  bool writing;       /* the thread was started */
  pthread_t thread;
  atomic_bool stop;
};

/* ---- names ---- */

static void spell(struct buf *out, const char *key, struct weight_form f) {
  buf_printf(out, "%s %u %d %zu %zu", key, f.pack, f.wide, f.n_out, f.n_in);
}

/* The form behind the key in a tensor's name. */
static bool parse_form(struct slice name, const char *key, struct weight_form *f) {
  struct slice prefix = slice_cstr(key);
  char text[96];
  int wide, end = 0;
  if (!slice_starts(name, prefix)) return false;
  struct slice rest = slice_from(name, prefix.len);
  if (rest.len == 0 || rest.data[0] != ' ' || rest.len >= sizeof text) return false;
  memcpy(text, rest.data, rest.len);
  text[rest.len] = '\0';
  if (sscanf(text, " %u %d %zu %zu%n", &f->pack, &wide, &f->n_out, &f->n_in, &end) != 4 || text[end]) return false;
  f->wide = wide;
  return true;
}

/* ---- reading ---- */

static void open_file(struct kept *k) {
  struct error err = {0};
  if (!fs_exists(k->path)) return;
  k->file = safetensors_open(k->path, &err);
  k->broken = !k->file;
  if (k->broken) log_line(LOG_WARN, "engine", "The kept weights are not used and will be written anew: %s", err.message);
}

struct kept *kept_begin(const char *dir, const struct file_model *file, enum compute_mode mode, struct model_mapped *mapped) {
  char hash[DIGEST_HEX];
  if (!dir || !*dir) return NULL;
  struct kept *k = mem_zalloc(1, sizeof *k);
  k->dir = mem_strdup(dir);
  k->moving.all = mapped;
  file_model_identity(file, hash);
  k->mode = compute_mode_name(mode);
  k->path = file_kept_path(dir, hash, k->mode, WEIGHT_LAYOUT, "safetensors");
  open_file(k);
  return k;
}

/* Tensors lie in the order in which a load asks for them, so the search begins behind the last one found. */
static const struct file_tensor *find_tensor(struct kept *k, const char *key, struct weight_form *form) {
  size_t n = safetensors_n_tensors(k->file);
  for (size_t i = 0; i < n; i++) {
    size_t at = (k->next + i) % n;
    const struct file_tensor *t = safetensors_tensor_at(k->file, at);
    if (!parse_form(t->name, key, form)) continue;
    k->next = at + 1;
    return t;
  }
  return NULL;
}

static void add_entry(struct kept *k, const char *key, const struct weight *w) {
  struct buf name = {0};
  if (k->n_entries == k->cap_entries) {
    k->cap_entries = k->cap_entries * 2 + 64;
    k->entries = mem_realloc(k->entries, k->cap_entries, sizeof *k->entries);
  }
  spell(&name, key, weight_form(w));
  k->entries[k->n_entries++] = (struct entry){name.data, w};
}

struct weight *kept_find(struct kept *k, const char *key, size_t n_out, size_t n_in) {
  struct weight_form form;
  if (!k || !k->file) return NULL;
  const struct file_tensor *t = find_tensor(k, key, &form);
  if (!t || t->dtype != DTYPE_U8 || form.n_out != n_out || form.n_in != n_in) return NULL;
  struct weight *w = weight_view(form, slice_make(t->data, (size_t)t->n_bytes));
  if (!w) return NULL;
  moving_add(&k->moving, w);
  add_entry(k, key, w); /* should another matrix be missing, the new file holds this one too */
  return w;
}

void kept_add(struct kept *k, const char *key, const struct weight *w) {
  if (!k) return;
  k->added = true;
  add_entry(k, key, w);
}

/* ---- writing, on a thread of its own ---- */

/* A writer at a time in a folder: the lock is the folder's. -1 without one. */
static int lock_dir(struct kept *k, struct error *err) {
  if (fs_mkdirs(k->dir, 0700, err) < 0) return -1;
  int fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (fd >= 0 && !atomic_load(&k->stop) && flock(fd, LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) break;
    usleep(LOCK_WAIT_US);
  }
  if (fd < 0) return error_set(err, ERROR_IO, "Cannot open the folder %s: %s.", k->dir, strerror(errno));
  return fd;
}

static int check_room(const struct kept *k, struct error *err) {
  struct statvfs fs;
  uint64_t need = SPARE_BYTES;
  for (size_t i = 0; i < k->n_entries; i++) need += weight_packed(k->entries[i].weight).len;
  if (statvfs(k->dir, &fs) < 0) return error_set(err, ERROR_IO, "Cannot examine the folder %s: %s.", k->dir, strerror(errno));
  uint64_t have = (uint64_t)fs.f_bavail * fs.f_frsize;
  if (have >= need) return 0;
  return error_set(err, ERROR_IO, "%s has %llu MiB free, but %llu MiB are needed.", k->dir, (unsigned long long)(have >> 20),
                   (unsigned long long)(need >> 20));
}

static uint64_t padded(size_t bytes) {
  return ((uint64_t)bytes + SAFETENSORS_ALIGNMENT - 1) / SAFETENSORS_ALIGNMENT * SAFETENSORS_ALIGNMENT;
}

/* The tensors as the file lists them; a matrix whose bytes are no multiple of the alignment is followed by zeros of its own. */
static struct fs_writer *write_header(const struct kept *k, struct error *err) {
  size_t n = 0;
  struct file_tensor *tensors = mem_zalloc(2 * k->n_entries, sizeof *tensors);
  const struct file_tensor **list = mem_zalloc(2 * k->n_entries, sizeof *list);
  char(*pads)[32] = mem_zalloc(k->n_entries, sizeof *pads);
  for (size_t i = 0; i < k->n_entries; i++) {
    size_t bytes = weight_packed(k->entries[i].weight).len, rest = (size_t)(padded(bytes) - bytes);
    tensors[n++] = (struct file_tensor){
        .name = slice_cstr(k->entries[i].name), .dtype = DTYPE_U8, .rank = 1, .shape = {bytes}, .n_elements = bytes, .n_bytes = bytes};
    if (!rest) continue;
    snprintf(pads[i], sizeof pads[i], "pad %zu", i);
    tensors[n++] = (struct file_tensor){
        .name = slice_cstr(pads[i]), .dtype = DTYPE_U8, .rank = 1, .shape = {rest}, .n_elements = rest, .n_bytes = rest};
  }
  for (size_t i = 0; i < n; i++) list[i] = &tensors[i];
  struct fs_writer *w = safetensors_write(k->path, list, n, err);
  free(tensors);
  free(list);
  free(pads);
  return w;
}

static int put_weight(struct kept *k, struct fs_writer *w, struct slice packed, struct error *err) {
  static const char zeros[SAFETENSORS_ALIGNMENT];
  size_t rest = (size_t)(padded(packed.len) - packed.len);
  for (size_t at = 0; at < packed.len; at += PIECE_BYTES) {
    size_t n = packed.len - at < PIECE_BYTES ? packed.len - at : PIECE_BYTES;
    if (atomic_load(&k->stop)) return error_set(err, ERROR_CANCELLED, "The engine ends.");
    if (fs_writer_put(w, packed.data + at, n, err) < 0) return -1;
  }
  return fs_writer_put(w, zeros, rest, err);
}

static int write_file(struct kept *k, struct error *err) {
  if (fs_exists(k->path) && !k->file && !k->broken) return 0; /* somebody else was faster */
  file_kept_remove(k->dir, k->mode, k->path);
  if (check_room(k, err) < 0) return -1;
  struct fs_writer *w = write_header(k, err);
  int result = w ? 0 : -1;
  for (size_t i = 0; result == 0 && i < k->n_entries; i++) result = put_weight(k, w, weight_packed(k->entries[i].weight), err);
  if (result == 0) return fs_writer_commit(w, err);
  fs_writer_abandon(w);
  return -1;
}

static void *write_thread(void *arg) {
  struct kept *k = arg;
  struct error err = {0};
  uint64_t begin_ns = clock_ns();
  int fd = lock_dir(k, &err), result = fd;
  if (fd >= 0) {
    result = atomic_load(&k->stop) ? error_set(&err, ERROR_CANCELLED, "The engine ends.") : write_file(k, &err);
    close(fd);
  }
  if (result == 0)
    log_line(LOG_DEBUG, "engine", "Kept the packed weights in %s, %llu ms.", k->path,
             (unsigned long long)((clock_ns() - begin_ns) / 1000000));
  else if (err.code != ERROR_CANCELLED)
    log_line(LOG_WARN, "engine", "Packed weights are not kept, so the next start packs them again: %s", err.message);
  return NULL;
}

void kept_work(struct kept *k, uint64_t reserved_bytes) {
  if (!k) return;
  if (k->added) k->writing = pthread_create(&k->thread, NULL, write_thread, k) == 0;
  else moving_begin(&k->moving, k->path, reserved_bytes);
}

void kept_take(struct kept *k) {
  if (!k || !k->file || k->added || !moving_take(&k->moving)) return;
  log_line(LOG_DEBUG, "engine", "The weights out of %s lie in memory.", k->path);
  moving_end(&k->moving);
  safetensors_close(k->file);
  k->file = NULL;
}

void kept_end(struct kept *k) {
  if (!k) return;
  moving_end(&k->moving);
  if (!k->writing) return;
  atomic_store(&k->stop, true);
  pthread_join(k->thread, NULL);
  k->writing = false;
}

void kept_free(struct kept *k) {
  if (!k) return;
  assert(!k->writing);
  safetensors_close(k->file);
  for (size_t i = 0; i < k->n_entries; i++) free(k->entries[i].name);
  void *memory[] = {k->entries, k->dir, k->path, k};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
}
