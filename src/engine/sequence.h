/* sequence: one generation or one text to embed, from submission to its last event. Private to the room.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SEQUENCE_H
#define ENGINE_SEQUENCE_H
#include "base/buf.h"
#include "engine/engine.h"
#include "engine/heap.h"
#include "engine/speculate.h"
#include "engine/tally.h"

struct flow;
struct prefix_node;

/* What the draft model knows of a sequence and guessed for it. */
struct model_draft {
  int32_t guess[SPECULATE_ROWS_MAX];
  size_t n_kv;     /* positions whose keys and values of the draft model lie in the pages */
  double right;    /* chance of a guess */
  bool learns;     /* right was set to its first value */
  size_t tried_at; /* tokens when it was last tried */
};

struct sequence {
  struct engine_request request; /* its lists point into this sequence */
  int32_t *tokens;               /* [n_tokens] prompt, then what was generated */
  size_t n_tokens, cap_tokens;
  size_t n_prompt;       /* tokens not generated here: request.n_prompt - request.n_done */
  size_t n_tokens_max;   /* generation ends when n_tokens reaches it */
  size_t n_computed;     /* positions whose K and V lie in pages */
  size_t n_reported;     /* prompt tokens whose logprobs were reported */
  struct slice *stops;   /* [request.n_stops] copies */
  size_t stop_bytes_max; /* longest stop string */
  struct buf tail;       /* last bytes of the generated text, enough to see a stop string */
  int32_t *end_ids;      /* [n_end_ids] what ends it: the model's end-of-generation ids unless ignored, and request.stop_ids */
  size_t n_end_ids;
  bool penalized;     /* a penalty is set: … */
  struct tally tally; /* … of its tokens; without the prompt's when only the generated ones count */
  struct speculation speculation;
  struct model_draft model_draft;

  /* the scheduler's */
  struct sequence *next, *prev, *hash_next; /* in its flow's waiting list, or in the running list */
  struct heap_item expires;                 /* while it waits and has a deadline */
  struct flow *flow;
  enum { SEQUENCE_WAITS, SEQUENCE_RUNS, SEQUENCE_TAKEN } place; /* TAKEN: in no list; a text being embedded */
  uint64_t arrival;                                             /* counts up */
  uint64_t waits_ns;                                            /* since when it waits */
  bool was_started, timed;                                      /* it ran before; its times were told */
  uint64_t queue_ns, started_ns;                                /* was_started: until the first start, and when that was */
  unsigned n_overtaken;                                         /* later ones that were served while it was first and found no room */
  uint64_t started;                                             /* counts up over all models: when it began to run */
  struct prefix_node *root;                                     /* while it runs */
  void **pages;                                                 /* [n_pages]; NULL: let go of, behind the window */
  struct prefix_node **nodes; /* [n_pages] of the prefix tree: held for i < n_shared, claimed behind; NULL: the page is its own */
  size_t n_pages, cap_pages, n_shared;
  size_t n_left;   /* pages behind the window, let go */
  size_t n_lacks;  /* pages that it still needs, as counted in reserved */
  size_t n_worked; /* most positions that were ever computed */
  size_t n_paid;   /* prompt positions that are charged for and not computed yet */

  /* the step under way */
  size_t n_rows;        /* positions from n_computed on; 0: none */
  size_t n_draft;       /* of these rows, the last ones, whose tokens are draft */
  const int32_t *draft; /* speculation.guess or model_draft.guess */
  enum engine_draft_kind draft_kind;
  size_t n_new;              /* tokens that came out of it */
  enum engine_finish finish; /* of the last of them */
};

/* eos_ids: the model's end-of-generation ids. */
struct sequence *sequence_create(const struct engine_request *r, size_t context_tokens, const int32_t *eos_ids, size_t n_eos_ids);
void sequence_destroy(struct sequence *s);
/* A token that was generated. */
void sequence_add_token(struct sequence *s, int32_t token);
/* Whether the next token may end the sequence, and whether the last one that was added did by its id. */
bool sequence_may_end(const struct sequence *s);
bool sequence_ended_by(const struct sequence *s, int32_t token);
/* Takes the bytes of a new token into account; true when they complete a stop string. */
bool sequence_completes_stop(struct sequence *s, struct slice bytes);
/* The token at a position of the step under way: of the sequence, or of its draft. */
int32_t sequence_token_at(const struct sequence *s, size_t position);
/* Whether the logits of the row at position p are wanted for the prompt token behind it. */
bool sequence_reports(const struct sequence *s, size_t p);
/* Pages for n positions. */
size_t sequence_pages_for(size_t n_positions);

struct sequence_list {
  struct sequence *first, *last;
  size_t n;
};

void sequence_list_append(struct sequence_list *l, struct sequence *s);
void sequence_list_prepend(struct sequence_list *l, struct sequence *s);
void sequence_list_remove(struct sequence_list *l, struct sequence *s);

#endif
