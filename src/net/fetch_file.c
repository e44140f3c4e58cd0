/* fetch_file: one big file in byte ranges; see fetch.h. SPDX-License-Identifier: Apache-2.0
 *
 * The part has its full size from the start (so a full disk is noticed before the first byte), and is written in place, chunk by chunk.
 * PART.state remembers how far each chunk is:
 *
 *     "plinthpt" | u64 bytes | u64 bytes of a chunk | char id[72] | u64 done[n]     little-endian, n = chunks
 *
 * It is written about once a second and whenever a chunk ends; what it says is never more than what was written. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "net/fetch_private.h"

enum { CHUNK_BYTES_MIN = 1 << 20, CHUNK_BYTES_MAX = 64 << 20, CONNECTIONS_MAX = 32, STATE_MS = 1000, PROGRESS_MS = 200 };

struct header {
  char magic[8];
  uint64_t bytes, chunk_bytes;
  char id[72];
};

struct chunk {
  uint64_t done;
  bool taken; /* a transfer works on it */
};

struct part {
  const struct fetch_file *file;
  char *state_path;
  int fd, state_fd;
  struct header header;
  struct chunk *chunks;
  size_t n_chunks;
  bool whole;     /* the server knows no ranges: one request for all */
  bool no_ranges; /* it has just shown that */
  uint64_t saved_ns, told_ns;
};

/* What one transfer works on. */
struct piece {
  struct part *part;
  struct chunk *chunk;
};

static char *state_path(const char *part_path) {
  struct buf path = {0};
  buf_printf(&path, "%s.state", part_path);
  return path.data;
}

void fetch_forget_state(const char *part_path) {
  char *path = state_path(part_path);
  unlink(path);
  free(path);
}

void fetch_discard_part(const char *part_path) {
  fetch_forget_state(part_path);
  unlink(part_path);
}

static uint64_t chunk_begin(const struct part *p, const struct chunk *c) { return (uint64_t)(c - p->chunks) * p->header.chunk_bytes; }

static uint64_t chunk_size(const struct part *p, const struct chunk *c) {
  uint64_t left = p->header.bytes - chunk_begin(p, c);
  return left < p->header.chunk_bytes ? left : p->header.chunk_bytes;
}

static uint64_t bytes_done(const struct part *p) {
  uint64_t sum = 0;
  for (size_t i = 0; i < p->n_chunks; i++) sum += p->chunks[i].done;
  return sum;
}

/* ---- the state ---- */

static void save(struct part *p) {
  size_t size = sizeof p->header + p->n_chunks * sizeof(uint64_t);
  char *bytes = mem_alloc(size);
  memcpy(bytes, &p->header, sizeof p->header);
  for (size_t i = 0; i < p->n_chunks; i++) memcpy(bytes + sizeof p->header + i * sizeof(uint64_t), &p->chunks[i].done, sizeof(uint64_t));
  /* When this fails a later run only has more to fetch. */
  if (pwrite(p->state_fd, bytes, size, 0) != (ssize_t)size) p->saved_ns = 0;
  else p->saved_ns = clock_ns();
  free(bytes);
}

static void divide(struct part *p, uint64_t chunk_bytes) {
  p->header.chunk_bytes = chunk_bytes;
  p->n_chunks = (size_t)((p->header.bytes + chunk_bytes - 1) / chunk_bytes);
  free(p->chunks);
  p->chunks = mem_zalloc(p->n_chunks ? p->n_chunks : 1, sizeof *p->chunks);
}

/* Takes over what an earlier run has left; false: nothing that fits. */
static bool load(struct part *p) {
  struct header h;
  struct stat st;
  if (fstat(p->fd, &st) < 0 || (uint64_t)st.st_size != p->header.bytes) return false;
  if (pread(p->state_fd, &h, sizeof h, 0) != sizeof h || memcmp(h.magic, p->header.magic, sizeof h.magic) != 0) return false;
  if (h.bytes != p->header.bytes || memcmp(h.id, p->header.id, sizeof h.id) != 0) return false;
  if (h.chunk_bytes < CHUNK_BYTES_MIN || (h.bytes > h.chunk_bytes && h.chunk_bytes > CHUNK_BYTES_MAX)) return false;
  divide(p, h.chunk_bytes);
  for (size_t i = 0; i < p->n_chunks; i++) {
    uint64_t done;
    if (pread(p->state_fd, &done, sizeof done, (off_t)(sizeof h + i * sizeof done)) != sizeof done) return false;
    if (done > chunk_size(p, &p->chunks[i])) return false;
    p->chunks[i].done = done;
  }
  return true;
}

static int io_fail(const char *doing, const char *path, struct error *err) {
  if (errno == ENOSPC || errno == EDQUOT)
    return error_set(err, ERROR_IO, "The disk is full: %s cannot grow. Make room and run the same command again; what has arrived is kept.",
                     path);
  return error_set(err, ERROR_IO, "Cannot %s %s: %s.", doing, path, strerror(errno));
}

static int start_fresh(struct part *p, unsigned connections, struct error *err) {
  uint64_t chunk = p->header.bytes / (4 * (uint64_t)connections);
  divide(p, chunk < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : chunk > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : chunk);
  if (ftruncate(p->fd, 0) < 0 || ftruncate(p->state_fd, 0) < 0) return io_fail("empty", p->file->part_path, err);
  int rc = p->header.bytes ? fallocate(p->fd, 0, 0, (off_t)p->header.bytes) : 0;
  if (rc < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) rc = ftruncate(p->fd, (off_t)p->header.bytes);
  if (rc < 0) {
    int reason = errno;
    if (ftruncate(p->fd, 0) < 0) reason = errno; /* what was taken of the disk is given back */
    errno = reason;
    return io_fail("make room for", p->file->part_path, err);
  }
  save(p);
  return 0;
}

static int part_open(struct part *p, const struct fetch_file *file, unsigned connections, struct error *err) {
  *p = (struct part){.file = file, .fd = -1, .state_fd = -1, .header = {.magic = "plinthpt", .bytes = file->bytes}};
  snprintf(p->header.id, sizeof p->header.id, "%s", file->id);
  p->state_path = state_path(file->part_path);
  p->fd = open(file->part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (p->fd < 0) return io_fail("create", file->part_path, err);
  p->state_fd = open(p->state_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (p->state_fd < 0) return io_fail("create", p->state_path, err);
  return load(p) ? 0 : start_fresh(p, connections, err);
}

static void part_close(struct part *p) {
  if (p->state_fd >= 0 && p->chunks) save(p);
  if (p->fd >= 0) close(p->fd);
  if (p->state_fd >= 0) close(p->state_fd);
  free(p->chunks);
  free(p->state_path);
}

/* ---- transfers ---- */

static void tell(struct part *p) {
  uint64_t now = clock_ns();
  if (now - p->saved_ns >= (uint64_t)STATE_MS * 1000000) save(p);
  if (!p->file->on_progress || now - p->told_ns < (uint64_t)PROGRESS_MS * 1000000) return;
  p->told_ns = now;
  p->file->on_progress(p->file->arg, bytes_done(p));
}

static void piece_tick(struct fetch_transfer *t) { tell(((struct piece *)t->work)->part); }

static bool piece_next(struct fetch_transfer *t) {
  struct piece *w = t->work;
  struct part *p = w->part;
  if (w->chunk) w->chunk->taken = false;
  w->chunk = NULL;
  for (size_t i = 0; i < p->n_chunks && !w->chunk; i++)
    if (!p->chunks[i].taken && p->chunks[i].done < chunk_size(p, &p->chunks[i])) w->chunk = &p->chunks[i];
  tell(p);
  if (!w->chunk) return false;
  if (p->whole) w->chunk->done = 0;
  w->chunk->taken = true;
  t->ranged = !p->whole;
  t->begin = chunk_begin(p, w->chunk) + w->chunk->done;
  t->end = chunk_begin(p, w->chunk) + chunk_size(p, w->chunk);
  return true;
}

static int check_answer(struct fetch_transfer *t, struct part *p, struct error *err) {
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  if (status == 206 && t->ranged) {
    if (t->has_range && t->range_begin == t->begin && t->range_end == t->end && t->range_total == p->header.bytes) return 0;
    return error_set(err, ERROR_UNAVAILABLE,
                     "The server sent another range of the file than was asked for, or the file has another size (%llu "
                     "bytes were announced).",
                     (unsigned long long)p->header.bytes);
  }
  if (!t->ranged || (t->begin == 0 && t->end == p->header.bytes)) return 0;
  p->no_ranges = true;
  return error_set(err, ERROR_UNAVAILABLE, "The server does not serve ranges.");
}

static int piece_take(struct fetch_transfer *t, const char *data, size_t n, struct error *err) {
  struct piece *w = t->work;
  struct part *p = w->part;
  if (t->n_bytes == n && check_answer(t, p, err) < 0) return -1;
  if (n > chunk_size(p, w->chunk) - w->chunk->done)
    return error_set(err, ERROR_CORRUPT, "The server sends more than the %llu bytes that it announced.",
                     (unsigned long long)p->header.bytes);
  while (n) {
    ssize_t written = pwrite(p->fd, data, n, (off_t)(chunk_begin(p, w->chunk) + w->chunk->done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return io_fail("write", p->file->part_path, err);
    data += written;
    n -= (size_t)written;
    w->chunk->done += (uint64_t)written;
  }
  return 0;
}

static bool piece_complete(struct fetch_transfer *t) {
  struct piece *w = t->work;
  return w->chunk->done == chunk_size(w->part, w->chunk);
}

static int run(struct fetch *f, struct part *p, struct fetch_reply *reply, struct error *err) {
  struct fetch_transfer ts[CONNECTIONS_MAX] = {0};
  struct piece pieces[CONNECTIONS_MAX] = {0};
  size_t n = p->whole ? 1 : f->config.connections < CONNECTIONS_MAX ? f->config.connections : CONNECTIONS_MAX;
  if (n > p->n_chunks) n = p->n_chunks ? p->n_chunks : 1;
  for (size_t i = 0; i < n; i++) {
    pieces[i].part = p;
    ts[i] = (struct fetch_transfer){.first_url = p->file->url,
                                    .next = piece_next,
                                    .complete = piece_complete,
                                    .take = piece_take,
                                    .tick = piece_tick,
                                    .work = &pieces[i]};
  }
  return net__fetch_run(f, ts, n, reply, err);
}

int fetch_file(struct fetch *f, const struct fetch_file *file, struct fetch_reply *reply, struct error *err) {
  struct part p;
  int result = part_open(&p, file, f->config.connections, err);
  if (result == 0) result = run(f, &p, reply, err);
  if (result < 0 && p.no_ranges) {
    divide(&p, p.header.bytes);
    p.whole = true;
    result = run(f, &p, reply, err);
  }
  if (result == 0 && fsync(p.fd) < 0) result = io_fail("sync", file->part_path, err);
  if (result == 0 && file->on_progress) file->on_progress(file->arg, file->bytes);
  part_close(&p);
  return result;
}
