/* memory: see memory.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/memory.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/sched.h"

/* Prefixes may keep KEPT_SHARE of the memory for ever, so that they outlive idle times; what they keep beyond that goes when it was unused for
 * KEPT_NS. Spare pages go when they were not needed from one tidying to the next. */
enum { KEPT_SHARE = 4, TIDY_EVERY_MS = 2000 };
static const uint64_t KEPT_NS = 60 * 1000000000ull, TIDY_EVERY_NS = TIDY_EVERY_MS * 1000000ull;

struct engine_memory *engine_memory_create(uint64_t bytes) {
  struct engine_memory *m = mem_zalloc(1, sizeof *m);
  m->bytes_max = bytes ? bytes : mem_available_bytes() / 4;
  m->grows = bytes == 0;
  return m;
}

void engine_memory_destroy(struct engine_memory *m) {
  assert(!m || (!m->scheds && m->bytes_held == 0));
  free(m);
}

void memory_add(struct engine_memory *m, struct sched *c) {
  c->peer = m->scheds;
  m->scheds = c;
}

void memory_remove(struct engine_memory *m, struct sched *c) {
  struct sched **at = &m->scheds;
  while (*at != c) at = &(*at)->peer;
  *at = c->peer;
}

/* ---- the books ---- */

static uint64_t kept_bytes(const struct engine_memory *m) {
  uint64_t bytes = 0;
  for (const struct sched *c = m->scheds; c; c = c->peer) bytes += c->prefix.n_unused * (uint64_t)c->pages->page_bytes;
  return bytes;
}

uint64_t memory_promised(const struct engine_memory *m) {
  uint64_t bytes = 0;
  for (const struct sched *c = m->scheds; c; c = c->peer) {
    const struct pages *p = c->pages;
    bytes += (p->n_pages - p->n_free - c->prefix.n_unused + c->reserved) * (uint64_t)p->page_bytes;
  }
  return bytes;
}

void engine_memory_stats(const struct engine_memory *m, struct engine_memory_stats *out) {
  *out = (struct engine_memory_stats){.bytes_max = m->bytes_max, .bytes_held = m->bytes_held, .bytes_kept = kept_bytes(m)};
}

/* ---- making room ---- */

/* Whose prefix was unused for longest; NULL: nobody keeps one. */
static struct sched *oldest_keeper(const struct engine_memory *m) {
  struct sched *found = NULL;
  for (struct sched *c = m->scheds; c; c = c->peer)
    if (c->prefix.lru_first && (!found || c->prefix.lru_first->unused_ns < found->prefix.lru_first->unused_ns)) found = c;
  return found;
}

static bool release_spare(const struct engine_memory *m, size_t bytes) {
  for (struct sched *c = m->scheds; c; c = c->peer)
    if (c->pages->n_spare) {
      pages_release(c->pages, (bytes + c->pages->page_bytes - 1) / c->pages->page_bytes);
      return true;
    }
  return false;
}

void *memory_take(struct engine_memory *m, struct sched *c) {
  for (;;) {
    void *page = pages_take(c->pages);
    if (page) return page;
    if (c->pages->n_free && release_spare(m, c->pages->page_bytes)) continue;
    struct sched *from = c->pages->n_free ? oldest_keeper(m) : c; /* with its address range used up only its own can help */
    assert(from);
    page = prefix_evict(&from->prefix);
    assert(page);
    if (from == c) return page;
    pages_give(from->pages, page);
  }
}

/* ---- what nobody needs goes back to the system ---- */

static void drop_old_prefixes(struct engine_memory *m) {
  uint64_t kept = kept_bytes(m);
  for (struct sched *c; kept > m->bytes_max / KEPT_SHARE && (c = oldest_keeper(m));) {
    if (c->prefix.lru_first->unused_ns + KEPT_NS > m->now_ns) return;
    pages_give(c->pages, prefix_evict(&c->prefix));
    kept -= c->pages->page_bytes;
  }
}

static bool has_more(const struct engine_memory *m) {
  for (const struct sched *c = m->scheds; c; c = c->peer)
    if (c->pages->n_spare) return true;
  return kept_bytes(m) > m->bytes_max / KEPT_SHARE;
}

unsigned engine_memory_tidy(struct engine_memory *m, uint64_t now_ns) {
  if (now_ns > m->now_ns) m->now_ns = now_ns;
  if (m->now_ns - m->tidied_ns >= TIDY_EVERY_NS) {
    m->tidied_ns = m->now_ns;
    drop_old_prefixes(m);
    for (struct sched *c = m->scheds; c; c = c->peer) {
      pages_release(c->pages, c->pages->n_spare_low);
      c->pages->n_spare_low = c->pages->n_spare;
    }
  }
  return has_more(m) ? TIDY_EVERY_MS : 0;
}
