/* prefix: KV pages that sequences share: a tree of full pages, keyed by tenant, adapter and all tokens up to the page's end. Private to
 * the room. SPDX-License-Identifier: Apache-2.0
 *
 *     root (tenant, adapter) -> node (32 tokens) -> node (32 tokens) …
 *
 * A node is found by hash and then compared token by token: two contents never share a page by accident of a hash. It is in one of these
 * states:
 *
 *   ready   it has a page; the `refs` running sequences that use it hold the page. With refs 0 the page is kept until memory is needed: the
 *           least recently used goes first. A sequence lets go of its last page first, so that leaves go before what they hang on.
 *   claimed it has no page: `owner` is computing it, and others wait for that rather than do the same work.
 *   hollow  neither; it only holds nodes below it, and goes with the last of them.
 *
 * Pages of a tree belong to the tree, and go back to the free list only from here. */
#ifndef ENGINE_PREFIX_H
#define ENGINE_PREFIX_H
#include "engine/pages.h"
#include "tensor/tensor.h"

struct adapter;

struct prefix_node {
  struct prefix_node *parent, *hash_next;
  struct prefix_node *lru_next, *lru_prev; /* ready with refs 0 … */
  uint64_t unused_ns;                      /* … since then, by the memory's clock */
  uint64_t hash;
  void *page;        /* NULL: claimed, hollow, or a root */
  bool drafted;      /* the part of the page that is the draft model's is whole */
  const void *owner; /* who computes it */
  size_t refs;       /* sequences; of a root too */
  size_t n_children;
  uint64_t tenant; /* of a root, with its adapter; a root has no parent */
  const struct adapter *adapter;
  int32_t tokens[KV_PAGE_TOKENS];
};

struct prefix {
  struct pages *pages; /* borrowed */
  struct prefix_node **buckets;
  size_t n_buckets; /* a power of two */
  size_t n_nodes;
  struct prefix_node *lru_first, *lru_last; /* first: to go next */
  size_t n_unused;                          /* pages with refs 0 */
  size_t n_pages;                           /* in the tree */
  uint64_t salt;                            /* of the hashes: nobody outside can choose tokens that collide */
};

void prefix_init(struct prefix *t, struct pages *pages);
void prefix_deinit(struct prefix *t); /* nothing is referenced or claimed any more */

/* The root is made when it is missing; it stays while it is held or has nodes. */
struct prefix_node *prefix_hold_root(struct prefix *t, uint64_t tenant, const struct adapter *adapter);
void prefix_release_root(struct prefix *t, struct prefix_node *root);
struct prefix_node *prefix_root(const struct prefix *t, uint64_t tenant, const struct adapter *adapter); /* NULL when missing */
/* The node below parent with these KV_PAGE_TOKENS tokens, in any state; NULL when missing. */
struct prefix_node *prefix_find(const struct prefix *t, const struct prefix_node *parent, const int32_t *tokens);

/* A ready node is used by one more sequence, or by one less. */
void prefix_hold(struct prefix *t, struct prefix_node *node);
void prefix_release(struct prefix *t, struct prefix_node *node);

/* The node that owner will compute; NULL when it is ready, or another is computing it. */
struct prefix_node *prefix_claim(struct prefix *t, struct prefix_node *parent, const int32_t *tokens, const void *owner);
/* The owner gives up. */
void prefix_disclaim(struct prefix *t, struct prefix_node *node);
/* Puts a computed page, which belongs to the tree from now on, under the node that its owner had claimed or, with claimed NULL, under parent
 * and tokens; held once for the caller. When the tree has these tokens already, the page goes back to the free list, and that node is held
 * instead. NULL when another is computing it: the page stays the caller's. */
struct prefix_node *prefix_put(struct prefix *t, struct prefix_node *claimed, struct prefix_node *parent, const int32_t *tokens,
                               void *page);

/* The page of the least recently used node that nobody holds, now the caller's; NULL when there is none. */
void *prefix_evict(struct prefix *t);

#endif
