/* moving: see moving.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/moving.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

enum { PIECE_BYTES = 8 << 20, LOWEST_PRIORITY = 19 };

void moving_add(struct moving *m, struct weight *view) {
  if (m->n == m->cap) m->views = mem_realloc(m->views, m->cap = m->cap * 2 + 64, sizeof *m->views);
  m->views[m->n++] = (struct moving_view){.weight = view, .mapped = weight_packed(view)};
  m->bytes += weight_bytes(view);
  if (m->all) atomic_fetch_add(&m->all->bytes, weight_bytes(view));
}

/* Its pages need not stay: what still reads them gets them from the file again. */
static void let_go(struct slice mapped) {
  uintptr_t page = mem_page_bytes(), begin = ((uintptr_t)mapped.data + page - 1) / page * page,
            end = ((uintptr_t)mapped.data + mapped.len) / page * page;
  if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* False when it is to stop, or there is no memory. */
static bool copy_view(struct moving *m, struct moving_view *v) {
  const struct slice from = v->mapped;
  unsigned char *to = v->copy = huge_take(&m->memory, from.len);
  for (size_t at = 0; to && at < from.len; at += PIECE_BYTES) {
    if (atomic_load(&m->stop)) return false;
    memcpy(to + at, from.data + at, from.len - at < PIECE_BYTES ? from.len - at : PIECE_BYTES);
  }
  if (to) let_go(from);
  return to != NULL;
}

static void *copy_thread(void *arg) {
  struct moving *m = arg;
  setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST_PRIORITY); /* of this thread */
  size_t n = 0;
  for (; n < m->n && copy_view(m, &m->views[n]); n++) {
    atomic_store(&m->n_copied, n + 1);
    if (m->all) atomic_fetch_sub(&m->all->bytes, m->views[n].mapped.len);
  }
  for (size_t i = 0; i < n; i++) let_go(m->views[i].mapped); /* what came back with its neighbours */
  atomic_store(&m->ended, true);
  if (m->all) atomic_fetch_sub(&m->all->copying, 1); /* m stays until the thread is joined */
  return NULL;
}

void moving_begin(struct moving *m, const char *path, uint64_t reserved_bytes) {
  uint64_t have = mem_available_bytes();
  if (m->n == 0) return;
  if (have < reserved_bytes || have - reserved_bytes < m->bytes) {
    log_line(LOG_INFO, "engine", "%llu MiB of weights stay in the mapped file %s: there is no room for a copy, which would be read faster.",
             (unsigned long long)(m->bytes >> 20), path);
    return;
  }
  if (m->all) atomic_fetch_add(&m->all->copying, 1);
  m->started = pthread_create(&m->thread, NULL, copy_thread, m) == 0;
  if (!m->started && m->all) atomic_fetch_sub(&m->all->copying, 1);
}

bool moving_take(struct moving *m) {
  bool ended = atomic_load(&m->ended);
  size_t n = atomic_load(&m->n_copied);
  for (; m->n_taken < n; m->n_taken++) weight_take(m->views[m->n_taken].weight, m->views[m->n_taken].copy);
  return ended && n == m->n;
}

void moving_end(struct moving *m) {
  atomic_store(&m->stop, true);
  if (m->started) pthread_join(m->thread, NULL);
  size_t n_copied = atomic_load(&m->n_copied);
  for (size_t i = m->n_taken; i < m->n; i++)
    if (m->views[i].copy) huge_give(m->views[i].copy, m->views[i].mapped.len);
  for (size_t i = n_copied; i < m->n && m->all; i++) atomic_fetch_sub(&m->all->bytes, m->views[i].mapped.len);
  huge_close(&m->memory);
  free(m->views);
  *m = (struct moving){0};
}
