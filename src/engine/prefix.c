/* prefix: see prefix.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/prefix.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/mix.h"
#include "engine/memory.h"

enum { TOKENS_BYTES = KV_PAGE_TOKENS * sizeof(int32_t) };

void prefix_init(struct prefix *t, struct pages *pages) {
  *t = (struct prefix){.pages = pages, .n_buckets = 64};
  while (t->n_buckets < pages->n_pages) t->n_buckets *= 2;
  t->buckets = mem_zalloc(t->n_buckets, sizeof(struct prefix_node *));
  if (getrandom(&t->salt, sizeof t->salt, GRND_NONBLOCK) != sizeof t->salt) t->salt = clock_ns();
}

void prefix_deinit(struct prefix *t) {
  for (void *page; t->buckets && (page = prefix_evict(t));) pages_give(t->pages, page);
  assert(t->n_nodes == 0);
  free(t->buckets);
  *t = (struct prefix){0};
}

/* ---- the table ---- */

static uint64_t hash_node(const struct prefix *t, const struct prefix_node *parent, const int32_t *tokens) {
  uint64_t h = parent->hash + t->salt;
  for (int i = 0; i < KV_PAGE_TOKENS; i += 2) h = mix(h, (uint64_t)(uint32_t)tokens[i] << 32 | (uint32_t)tokens[i + 1]);
  return h;
}

static uint64_t hash_root(const struct prefix *t, uint64_t tenant, const struct adapter *adapter) {
  return mix(mix(t->salt, tenant), (uint64_t)(uintptr_t)adapter);
}

static struct prefix_node *add_node(struct prefix *t, struct prefix_node *parent, uint64_t hash) {
  struct prefix_node *n = mem_zalloc(1, sizeof *n);
  struct prefix_node **first = &t->buckets[hash & (t->n_buckets - 1)];
  n->parent = parent;
  n->hash = hash;
  n->hash_next = *first;
  *first = n;
  t->n_nodes++;
  if (parent) parent->n_children++;
  return n;
}

static void remove_node(struct prefix *t, struct prefix_node *n) {
  struct prefix_node **at = &t->buckets[n->hash & (t->n_buckets - 1)];
  while (*at != n) at = &(*at)->hash_next;
  *at = n->hash_next;
  t->n_nodes--;
  free(n);
}

/* What has no page, no owner, no holder and nothing below goes, and so do those above that were only there for it. */
static void prune(struct prefix *t, struct prefix_node *n) {
  while (n && !n->page && !n->owner && n->refs == 0 && n->n_children == 0) {
    struct prefix_node *parent = n->parent;
    if (parent) parent->n_children--;
    remove_node(t, n);
    n = parent;
  }
}

struct prefix_node *prefix_root(const struct prefix *t, uint64_t tenant, const struct adapter *adapter) {
  struct prefix_node *n = t->buckets[hash_root(t, tenant, adapter) & (t->n_buckets - 1)];
  while (n && (n->parent || n->tenant != tenant || n->adapter != adapter)) n = n->hash_next;
  return n;
}

struct prefix_node *prefix_hold_root(struct prefix *t, uint64_t tenant, const struct adapter *adapter) {
  struct prefix_node *n = prefix_root(t, tenant, adapter);
  if (!n) {
    n = add_node(t, NULL, hash_root(t, tenant, adapter));
    n->tenant = tenant;
    n->adapter = adapter;
  }
  n->refs++;
  return n;
}

void prefix_release_root(struct prefix *t, struct prefix_node *root) {
  assert(root->refs > 0 && !root->parent);
  root->refs--;
  prune(t, root);
}

static struct prefix_node *find(const struct prefix *t, const struct prefix_node *parent, const int32_t *tokens, uint64_t hash) {
  struct prefix_node *n = t->buckets[hash & (t->n_buckets - 1)];
  while (n && (n->hash != hash || n->parent != parent || memcmp(n->tokens, tokens, TOKENS_BYTES) != 0)) n = n->hash_next;
  return n;
}

struct prefix_node *prefix_find(const struct prefix *t, const struct prefix_node *parent, const int32_t *tokens) {
  return find(t, parent, tokens, hash_node(t, parent, tokens));
}

static struct prefix_node *find_or_add(struct prefix *t, struct prefix_node *parent, const int32_t *tokens) {
  uint64_t hash = hash_node(t, parent, tokens);
  struct prefix_node *n = find(t, parent, tokens, hash);
  if (n) return n;
  n = add_node(t, parent, hash);
  memcpy(n->tokens, tokens, TOKENS_BYTES);
  return n;
}

/* ---- pages that nobody holds, least recently used first ---- */

static void lru_append(struct prefix *t, struct prefix_node *n) {
  n->lru_prev = t->lru_last;
  n->lru_next = NULL;
  n->unused_ns = t->pages->shared->now_ns;
  *(t->lru_last ? &t->lru_last->lru_next : &t->lru_first) = n;
  t->lru_last = n;
  t->n_unused++;
}

static void lru_remove(struct prefix *t, struct prefix_node *n) {
  *(n->lru_prev ? &n->lru_prev->lru_next : &t->lru_first) = n->lru_next;
  *(n->lru_next ? &n->lru_next->lru_prev : &t->lru_last) = n->lru_prev;
  t->n_unused--;
}

void prefix_hold(struct prefix *t, struct prefix_node *node) {
  assert(node->page);
  if (node->refs++ == 0) lru_remove(t, node);
}

void prefix_release(struct prefix *t, struct prefix_node *node) {
  assert(node->page && node->refs > 0);
  if (--node->refs == 0) lru_append(t, node);
}

void *prefix_evict(struct prefix *t) {
  struct prefix_node *n = t->lru_first;
  if (!n) return NULL;
  void *page = n->page;
  lru_remove(t, n);
  n->page = NULL;
  t->n_pages--;
  prune(t, n);
  return page;
}

/* ---- who computes what ---- */

struct prefix_node *prefix_claim(struct prefix *t, struct prefix_node *parent, const int32_t *tokens, const void *owner) {
  struct prefix_node *n = find_or_add(t, parent, tokens);
  if (n->page || n->owner) return NULL;
  n->owner = owner;
  return n;
}

void prefix_disclaim(struct prefix *t, struct prefix_node *node) {
  assert(node->owner && !node->page);
  node->owner = NULL;
  prune(t, node);
}

struct prefix_node *prefix_put(struct prefix *t, struct prefix_node *claimed, struct prefix_node *parent, const int32_t *tokens,
                               void *page) {
  struct prefix_node *n = claimed ? claimed : find_or_add(t, parent, tokens);
  if (!claimed && n->owner) return NULL;
  assert(!claimed || !n->page);
  n->owner = NULL;
  if (n->page) {
    pages_give(t->pages, page);
    prefix_hold(t, n);
    return n;
  }
  n->page = page;
  n->refs = 1;
  t->n_pages++;
  return n;
}
