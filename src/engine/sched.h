/* sched: which rows of which sequences make the next step. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * Decides and keeps the books, and computes nothing: so it can be driven by a test with a clock and a model of its own. A round is
 *
 *     while ((s = sched_expire(c, now))) …; sched_plan(c, now); [compute the rows of plan.items]; sched_commit(c, s) for each; sched_took(c, ns)
 *
 * sched_plan, in this order (doc/design/engine.md says why):
 *   1. Every running sequence must be able to get the pages of all its tokens; while that is not so, the youngest of the lowest class, of
 *      whatever model, gives its own back and waits again.
 *   2. Waiting ones start, by fair share (fair.h), while pages for all their tokens are there.
 *   3. Pages that the prefix tree has are taken from it.
 *   4. Rows: one for each sequence that only lacks its last token, with those of its draft; then prompt rows, as many as the cost of a step
 *      (cost.h) allows.
 *
 * Invariants: a page is on the free list, in the tree, or some sequence's own, and in one place only. reserved (the pages that running
 * sequences still need for their tokens, as far as the window lets them hold pages) never exceeds what the shared memory (memory.h) can give: a row that is planned has its page.
 *
 * Schedulers that share memory must rest, between commit and plan, while another one plans: it may take pages and preempt among them. */
#ifndef ENGINE_SCHED_H
#define ENGINE_SCHED_H
#include "engine/cost.h"
#include "engine/fair.h"
#include "engine/pages.h"
#include "engine/prefix.h"
#include "engine/sequence.h"

enum { SCHED_OVERTAKEN_MAX = 16, SCHED_ASIDE_MAX = 8, SCHED_TEXTS_MAX = 256 };
enum { SCHED_DRAFTED_MAX = 16 }; /* sequences for which a draft model guesses; beside more nothing is gained */
/* What a token costs its principal. */
enum { SCHED_PROMPT_WORK = 1, SCHED_OUTPUT_WORK = 2 };

/* Guesses that a draft model is to make. */
struct draft_ask {
  struct sequence *sequence; /* into model_draft.guess */
  size_t n;                  /* so many; then how many there are */
  size_t rows_max; /* that may be computed for what it has not seen yet; when they are not enough there are no guesses this time */
  void **pages;    /* the drafter's own */
};

struct sched_config {
  size_t running_max;      /* <= rows_max and <= out_rows_max */
  size_t rows_max;         /* of a step */
  size_t out_rows_max;     /* of these with logits */
  size_t prefill_rows_max; /* prompt rows beside decode rows */
  size_t window;           /* positions that a row sees; 0: all. Pages behind it are let go */
  size_t held_max;         /* with a window: positions that a sequence holds at once, at most: window + rows_max + a page */
  /* Of the shared memory: what a sequence of the served context holds, below which it never falls, and one of the model's whole context. */
  uint64_t context_bytes, whole_context_bytes;
  double slowdown;
  enum engine_speculation speculation;
  /* A draft model: guesses what each ask wants (drafter.h says how). NULL: none. Not with a window. */
  void (*guess)(void *ctx, struct draft_ask *asks, size_t n);
  void *guess_ctx;
  size_t draft_context; /* positions that it can take */
  double draft_weight;  /* the time of its pass over one of the model's, until that was measured */
  double weights[ENGINE_CLASSES];
};

struct sched_plan {
  struct sequence **items; /* [n] those with rows, each once: first those that decode */
  size_t n, n_rows, n_out;
  size_t n_decode, n_prompt; /* rows: with drafts, and of prompts */
};

struct sched {
  struct sched_config config;
  struct pages *pages;          /* NULL: texts to embed */
  struct engine_memory *memory; /* of the pages; shared with the schedulers of other models, its peers */
  struct sched *peer;           /* the next of them */
  struct sequence *blocked;     /* the first in turn, when it found too little memory */
  struct prefix prefix;
  struct fair fair;
  struct cost cost, draft_cost; /* of a step, of a pass of the draft model */
  double draft_right;           /* of a guess of the draft model, over all sequences */
  bool draft_seen;              /* one was tried */
  /* What drafts cost is compared with steps that had none, which are made now and then: ns of one by the sequences in it (0: not known), and of
   * a row of a draft beside them. */
  double plain_ns[SCHED_DRAFTED_MAX + 1], draft_row_ns;
  unsigned n_since_plain;
  struct sequence_list running; /* in order of admission */
  struct heap deadlines;        /* of waiting sequences */
  struct sequence **buckets;    /* by id */
  size_t n_buckets, n_alive;
  uint64_t n_arrivals;
  size_t reserved; /* pages */
  struct sched_plan plan;
  struct sequence **order; /* of the plan under way; like plan.items [running_max], or SCHED_TEXTS_MAX when that is more */
  struct engine_stats stats;
};

void sched_init(struct sched *c, const struct sched_config *config, struct pages *pages);
void sched_deinit(struct sched *c); /* ends all that is left; fine on {0} */

void sched_add(struct sched *c, struct sequence *s, uint64_t now_ns);                /* now the scheduler's, until sched_remove */
struct sequence *sched_find(const struct sched *c, uint64_t id);                     /* NULL when unknown */
struct sequence *sched_find_adapter(const struct sched *c, const struct adapter *a); /* any that goes through it, or NULL */
/* Takes it out, in any state, and gives its pages back; the caller destroys it. Not between plan and commit of its rows. */
void sched_remove(struct sched *c, struct sequence *s);
/* A waiting sequence whose deadline has passed, taken out; NULL: none. */
struct sequence *sched_expire(struct sched *c, uint64_t now_ns);

void sched_plan(struct sched *c, uint64_t now_ns);
/* The rows of s were computed and s->n_new tokens were added to it: of its draft the first n_new - 1 were right. */
void sched_commit(struct sched *c, struct sequence *s);
/* How long the step took. */
void sched_took(struct sched *c, uint64_t ns);

/* The texts of the next pass of an embedding model, in plan.items, taken out of waiting; at most rows_max tokens (sched_embed.c). */
void sched_embed_plan(struct sched *c, uint64_t now_ns);

/* Drops what the tree holds for nobody. */
void sched_flush(struct sched *c);
bool sched_busy(const struct sched *c);

/* Between the files of sched: s, which was taken from its flow, begins. */
void sched__started(struct sched *c, struct sequence *s, uint64_t now_ns);
/* How many tokens the draft model shall guess for s, at most `most`; text_speed: tokens for the time of one with the text's own draft (1: none). */
size_t sched__model_draft(struct sched *c, struct sequence *s, size_t most, size_t n_decoding, double text_speed);
/* Rows of a prompt that the draft model may catch up in a step. */
size_t sched__catch_up_rows(const struct sched *c, size_t n_decoding);
/* Shared pages whose part of the draft model others computed; and to others those that are whole by now. Between: s's rows alone, if any of them
 * lies in a shared page. */
void sched__draft_take(struct sequence *s);
void sched__draft_tell(const struct sequence *s);
/* Whether this step shall have no drafts, to see what it costs without. */
bool sched__is_plain(struct sched *c, size_t n_decoding);
/* A step without prompt rows took so long. */
void sched__learn_cost(struct sched *c, size_t n_decoding, size_t draft_rows, uint64_t ns);
/* What came in the place of the draft model's guesses. */
void sched__learn_draft(struct sched *c, struct sequence *s, const int32_t *came, size_t n);

#endif
