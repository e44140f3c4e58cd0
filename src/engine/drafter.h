/* drafter: a small model of the same vocabulary guesses what a large one will say. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * Its guesses are drafts like those of speculate.h: they never change what comes out. Each is chosen with the sequence's own sampling, seed and
 * position, so that where the two models think alike they draw alike.
 *
 * Keys and values of the draft model lie in the sequence's own pages, behind those of the large model: a page is one of both. So they are
 * admitted, preempted, shared by prefix and freed together, and nothing has to be counted twice. What they hold may lag behind:
 * sequence.model_draft.n_kv positions are there, and a page of the prefix tree says whether its part of the draft model is whole
 * (prefix_node.drafted). A pass over several sequences writes into no page that is shared; what is missing there is computed for one sequence after
 * the other. */
#ifndef ENGINE_DRAFTER_H
#define ENGINE_DRAFTER_H
#include "engine/cost.h"
#include "engine/sched.h"

struct drafter;

struct drafter_config {
  struct model *model;  /* borrowed */
  struct model *target; /* whose sequences these are */
  size_t page_offset;   /* where the draft model's part of a page begins */
  uint64_t (*clock_ns)(void *ctx);
  void *clock_ctx;
};

/* Whether model can draft for target; ERROR_INVALID says why not. What its tokens mean is for the caller to compare. */
int drafter_check(const struct model *model, const struct model *target, struct error *err);
/* The configuration was checked. */
struct drafter *drafter_create(const struct drafter_config *config);
void drafter_destroy(struct drafter *d); /* NULL is fine */
/* Brings each sequence up to its last token, within ask.rows_max, and makes ask.n guesses, or fewer: ask.n says how many there are then. Pages
 * for all guesses but the last are there. cost learns what passes took. At most SCHED_DRAFTED_MAX asks. */
void drafter_guess(struct drafter *d, struct draft_ask *asks, size_t n, struct cost *cost);
/* The time of a pass over one of the target's, as far as the weights tell. */
double drafter_weight(const struct drafter *d);

#endif
