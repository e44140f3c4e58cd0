/* moving: see moving.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/moving.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

enum { PIECE_BYTES = 8 << 20, PAGE_BYTES = 4096, LOWEST_PRIORITY = 19 };

void moving_add(struct moving *m, struct weight *view) {
  if (m->n == m->cap) m->views = mem_realloc(m->views, m->cap = m->cap * 2 + 64, sizeof *m->views);
  m->views[m->n++] = (struct moving_view){.weight = view, .mapped = weight_packed(view)};
  m->bytes += weight_bytes(view);
  if (m->mapped) atomic_fetch_add(m->mapped, weight_bytes(view));
}

/* Its pages need not stay: what still reads them gets them from the file again. */
static void let_go(struct slice mapped) {
  uintptr_t begin = ((uintptr_t)mapped.data + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
  uintptr_t end = ((uintptr_t)mapped.data + mapped.len) / PAGE_BYTES * PAGE_BYTES;
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
  if (!to) return false;
  let_go(from);
  if (m->mapped) atomic_fetch_sub(m->mapped, from.len);
  return true;
}

static void *copy_thread(void *arg) {
  struct moving *m = arg;
  setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST_PRIORITY); /* of this thread */
  for (size_t i = 0; i < m->n && copy_view(m, &m->views[i]); i++) atomic_store(&m->n_copied, i + 1);
  for (size_t i = 0; i < atomic_load(&m->n_copied); i++) let_go(m->views[i].mapped); /* what came back with its neighbours */
  return NULL;
}

void moving_begin(struct moving *m, uint64_t reserved_bytes) {
  uint64_t have = mem_available_bytes();
  if (m->n == 0) return;
  if (have < reserved_bytes || have - reserved_bytes < m->bytes) {
    log_line(LOG_INFO, "engine", "%llu MiB of weights stay in their mapped file: there is no room for a copy, which is read faster.",
             (unsigned long long)(m->bytes >> 20));
    return;
  }
  m->started = pthread_create(&m->thread, NULL, copy_thread, m) == 0;
}

bool moving_take(struct moving *m) {
  size_t n = atomic_load(&m->n_copied);
  for (; m->n_taken < n; m->n_taken++) weight_take(m->views[m->n_taken].weight, m->views[m->n_taken].copy);
  return n == m->n;
}

void moving_end(struct moving *m) {
  atomic_store(&m->stop, true);
  if (m->started) pthread_join(m->thread, NULL);
  size_t n_copied = atomic_load(&m->n_copied);
  for (size_t i = m->n_taken; i < m->n; i++)
    if (m->views[i].copy) huge_give(m->views[i].copy, m->views[i].mapped.len);
  for (size_t i = n_copied; i < m->n && m->mapped; i++) atomic_fetch_sub(m->mapped, m->views[i].mapped.len);
  huge_close(&m->memory);
  free(m->views);
  *m = (struct moving){0};
}
