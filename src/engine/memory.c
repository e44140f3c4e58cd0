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
/* Of what is free: the KV memory when no other size was asked for; what stays free beside it, for what is allocated apart from weights and pages
 * (a step's activations, texts, the other processes), and no more of it than RESERVE_BYTES_MAX. */
enum { USUAL_SHARE = 4, RESERVE_SHARE = 8, RESERVE_BYTES_MAX = 1 << 30 };
static const uint64_t KEPT_NS = 60 * 1000000000ull, TIDY_EVERY_NS = TIDY_EVERY_MS * 1000000ull;

uint64_t engine_memory_room(uint64_t free_bytes) {
  uint64_t reserve = free_bytes / RESERVE_SHARE;
  return free_bytes - (reserve < RESERVE_BYTES_MAX ? reserve : RESERVE_BYTES_MAX);
}

struct engine_memory *engine_memory_create(uint64_t bytes) {
  struct engine_memory *m = mem_zalloc(1, sizeof *m);
  m->is_fixed = bytes > 0;
  m->bytes_max = bytes;
  if (m->is_fixed) return m;
  uint64_t free_bytes = mem_available_bytes();
  m->bytes_max = m->bytes_usual = free_bytes / USUAL_SHARE;
  m->bytes_fit = engine_memory_room(free_bytes);
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

/* ---- the number ---- */

/* What lies beyond a number that fell, as far as nothing that runs has it. */
static void give_back_excess(struct engine_memory *m) {
  while (m->bytes_held > m->bytes_max) {
    if (release_spare(m, (size_t)(m->bytes_held - m->bytes_max))) continue;
    struct sched *from = oldest_keeper(m);
    if (!from) return;
    pages_give(from->pages, prefix_evict(&from->prefix));
  }
}

uint64_t memory_grow(struct engine_memory *m, uint64_t context_bytes) {
  if (m->is_fixed) return m->bytes_max;
  uint64_t wanted = context_bytes > m->bytes_usual ? context_bytes : m->bytes_usual, needed = 0;
  for (const struct sched *c = m->scheds; c; c = c->peer) {
    if (c->config.whole_context_bytes > wanted) wanted = c->config.whole_context_bytes;
    if (c->config.context_bytes > needed) needed = c->config.context_bytes;
  }
  if (wanted > m->bytes_fit) wanted = m->bytes_fit;
  m->bytes_max = wanted > needed ? wanted : needed;
  give_back_excess(m);
  return m->bytes_max;
}

void engine_memory_fit(struct engine_memory *m, uint64_t free_bytes) {
  m->bytes_fit = m->bytes_held + engine_memory_room(free_bytes);
  memory_grow(m, 0);
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
  give_back_excess(m);
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
