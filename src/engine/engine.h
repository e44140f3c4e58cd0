/* engine: sequences, KV pages, the step scheduler and the sampler. The door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * Token ids in, tokens out; knows no text beyond the bytes of each token, no HTTP, no person. One thread drives an engine:
 *     engine_submit / engine_cancel …  then  while (engine_busy(e)) { engine_step(e); take the events; }
 * A step is one batched forward pass: prefill chunks and one token of every running sequence together.
 *
 * Promises: what a sequence gets depends only on its prompt, sampling and seed, never on the batch, chunking, shared prefixes, drafts or
 * preemption (doc/design/engine.md). Memory is admitted before it is used: a sequence starts when the pages of its prompt are free and waits
 * otherwise; when pages run out the youngest gives its own back and is recomputed later. Principals get equal shares of the work. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "model/model.h"

enum { ENGINE_TOP_LOGPROBS_MAX = 20, ENGINE_STOPS_MAX = 16, ENGINE_STOP_IDS_MAX = 128, ENGINE_BIASES_MAX = 300, ENGINE_CLASSES = 4 };

/* Drafts of tokens to come (speculate.h). They never change what comes out. ALWAYS drafts whenever there is a guess: for tests. */
enum engine_speculation { ENGINE_SPECULATE_AUTO, ENGINE_SPECULATE_OFF, ENGINE_SPECULATE_ALWAYS };

struct engine;

/* ---- KV memory that the engines of a process share ----
 *
 * Each engine takes pages of it as sequences need them; what one keeps for prefixes goes to another that needs it, the least recently used of all
 * first. The thread that drives the engines owns it. */

struct engine_memory;

/* bytes 0: a quarter of the memory that is free now, more when a model's whole context needs it, and never more than the machine has room for.
 * A model is served with as much of its context as the memory can hold. */
struct engine_memory *engine_memory_create(uint64_t bytes);
/* The system could give so many bytes now, beside all that others are to take (weights that are still to come, mapped files that it calls free).
 * Where no size was asked for the memory shrinks to that, less a reserve, as far as the models that are served can do with it; or grows
 * again. Between steps. */
void engine_memory_fit(struct engine_memory *m, uint64_t free_bytes);
/* Of so many free bytes those that KV memory may take: all but a reserve. */
uint64_t engine_memory_room(uint64_t free_bytes);
void engine_memory_destroy(struct engine_memory *m); /* after its engines; NULL is fine */
/* Gives memory back to the system that nothing needed for a while (doc/design/engine.md). In how many milliseconds to call again; 0: there is
 * nothing to give back as long as the engines rest. */
unsigned engine_memory_tidy(struct engine_memory *m, uint64_t now_ns);

struct engine_memory_stats {
  uint64_t bytes_max;
  uint64_t bytes_held; /* what the system may have given memory for */
  uint64_t bytes_kept; /* of these: for prefixes alone */
};
void engine_memory_stats(const struct engine_memory *m, struct engine_memory_stats *out);

/* ---- an engine ---- */

struct engine_config {
  struct model *model;          /* borrowed */
  struct model *draft;          /* a small model whose tokens are the same ids, which guesses ahead; borrowed; NULL: none */
  struct engine_memory *memory; /* MODEL_GENERATE: borrowed; NULL: memory of its own … */
  uint64_t kv_bytes_max;        /* … of so many bytes, as for engine_memory_create */
  size_t running_max;           /* sequences in a step; 0: 64 */
  size_t prefill_rows_max;      /* prompt rows in one step while others decode; 0: 256 */
  double slowdown;              /* a step may last so many times as long as without prompt rows, as far as that can be foreseen; 0: 2 */
  enum engine_speculation speculation;
  double class_weights[ENGINE_CLASSES]; /* work that a class gets in proportion to the others; 0: 1, 2, 4 and 8 */
  uint64_t (*clock_ns)(void *ctx);      /* monotonic; NULL: the real one. It moves deadlines and what shares a step, never a result */
  void *clock_ctx;
  /* The bytes that token i adds to the text, none for a special token: token_bytes(ctx, i). For stop strings. NULL: stop strings are refused. */
  struct slice (*token_bytes)(void *ctx, int32_t id);
  void *token_bytes_ctx;
  const int32_t *stop_ids; /* end-of-generation ids, copied */
  size_t n_stop_ids;
};

struct engine *engine_create(const struct engine_config *config, struct error *err);
void engine_destroy(struct engine *e); /* NULL is fine */
/* Tokens of a sequence, prompt and output: the model's own context, or as much of it as the KV memory could hold when the engine was made. */
size_t engine_context_tokens(const struct engine *e);

struct engine_bias {
  int32_t id;
  float bias; /* finite */
};

/* sampler.h has the order in which these are applied. */
struct engine_sampling {
  float temperature;                         /* 0: greedy */
  float top_p;                               /* (0, 1]; 1: off */
  float min_p;                               /* [0, 1]; 0: off */
  int32_t top_k;                             /* 0: off */
  float repetition_penalty;                  /* above 0; 1: off, and so is 0, which nobody set */
  float presence_penalty, frequency_penalty; /* 0: off */
  const struct engine_bias *biases;          /* added to the logits of these ids */
  size_t n_biases;                           /* at most ENGINE_BIASES_MAX */
  uint64_t seed;                             /* with the position it determines each draw (Philox 4x32-10) */
};

/* All pointers are copied. */
struct engine_request {
  uint64_t id;           /* the caller's, unique among those alive */
  const int32_t *prompt; /* 1 … context tokens; for embeddings the text */
  size_t n_prompt;
  struct adapter
      *adapter;         /* of the engine's model, borrowed while the engine lives or until engine_forget_adapter; NULL: the model itself */
  uint64_t tenant;      /* KV pages of equal beginnings are shared within one tenant (and one adapter), never across */
  uint64_t principal;   /* who asks: principals of a class get equal shares of the work */
  unsigned class;       /* < ENGINE_CLASSES; a higher one has more weight and is preempted later */
  uint64_t deadline_ns; /* of the engine's clock: a request that waits when it passes ends with ENGINE_EXPIRED; 0: none */
  struct engine_sampling sampling;
  size_t max_tokens; /* 0: up to the context */
  /* The first min_tokens tokens end nothing: ids that would end the sequence cannot be chosen, and a stop string counts from the token
   * on that is number min_tokens + 1 and completes it; it may have begun before. max_tokens and the context end it all the same. */
  size_t min_tokens;
  bool ignore_eos;           /* the model's end-of-generation ids are tokens like any other */
  const int32_t *stop_ids;   /* further ids that end the sequence, with ignore_eos too */
  size_t n_stop_ids;         /* at most ENGINE_STOP_IDS_MAX */
  const struct slice *stops; /* stop strings, none empty; a match ends the sequence with the token that completes it */
  size_t n_stops;
  int top_logprobs;     /* -1: no logprobs; 0 … 20 alternatives beside the chosen one */
  bool prompt_logprobs; /* report the prompt's tokens too (with the same number of alternatives) */
  size_t n_done;        /* the last n_done ids of prompt were generated earlier by this request (resumption): positions of draws,
                                  penalties, min_tokens, max_tokens and stop matching count them; 0 for a new one */
};

/* ERROR_INVALID: ids out of range; ERROR_TOO_LARGE: longer than the context that is served, so it can never fit, with the numbers. */
int engine_submit(struct engine *e, const struct engine_request *r, struct error *err);
/* Takes effect before the next step; no further event of this id follows. Unknown ids are ignored. */
void engine_cancel(struct engine *e, uint64_t id);

/* Drops the KV pages that are kept for prefixes and that nothing running uses. For measurements. */
void engine_flush(struct engine *e);
/* Ends, as if cancelled, what goes through the adapter, and drops what is kept for it. Before the adapter is freed. */
void engine_forget_adapter(struct engine *e, const struct adapter *a);

enum engine_finish { ENGINE_RUNNING, ENGINE_STOP, ENGINE_LENGTH, ENGINE_EXPIRED };
enum engine_event_kind { ENGINE_TOKEN, ENGINE_PROMPT_TOKEN, ENGINE_EMBEDDING, ENGINE_END }; /* END: nothing but the finish */

struct engine_logprob {
  int32_t id;
  float logprob;
};

struct engine_event {
  uint64_t id;
  enum engine_event_kind kind;
  int32_t token;             /* chosen id; one that ends the sequence comes with finish ENGINE_STOP and is no text */
  bool is_eos;               /* token is an end-of-generation or stop id that ended the sequence */
  enum engine_finish finish; /* the last event of a sequence says how it ended */
  float
      logprob; /* of token, under the model's own distribution: before bias, penalties, temperature and filters; NAN for the first prompt token */
  int n_top;                        /* alternatives, most likely first */
  const struct engine_logprob *top; /* borrowed until the next step */
  const float *embedding;           /* ENGINE_EMBEDDING: [n_embd], borrowed until the next step */
  bool timed;                       /* the sequence's first token, or its embedding: its times are there */
  uint64_t queue_ns, prefill_ns;    /* timed: from submission to the first start; from there to this event, preemptions included */
};

bool engine_busy(const struct engine *e); /* something waits or runs */
/* One step; *ret_events are valid until the next call that changes the engine (engine_stats and engine_busy do not). */
void engine_step(struct engine *e, const struct engine_event **ret_events, size_t *ret_n);

/* Where drafts come from. */
enum engine_draft_kind { ENGINE_DRAFT_TEXT /* looked up in it */, ENGINE_DRAFT_MODEL, ENGINE_DRAFT_KINDS };

struct engine_drafts {
  uint64_t n;                 /* drafts: one for a sequence in a step */
  uint64_t drafted, accepted; /* their tokens, which went through the model; and of these that came out */
};

struct engine_stats {
  size_t waiting, running;
  size_t pages_used, pages_cached; /* by what runs; kept for prefixes alone */
  uint64_t steps, prefill_tokens, decode_tokens, embed_tokens, preemptions, finished;
  uint64_t prefix_query_tokens; /* tokens of prompts that started, counted once */
  uint64_t prefix_hit_tokens;   /* of these not computed, since their pages were there */
  struct engine_drafts drafts[ENGINE_DRAFT_KINDS];
  uint64_t started, expired; /* left the queue to run; or past their deadline */
  uint64_t queue_ns_total;   /* of all that started: from submission, or preemption */
  uint64_t step_ns_total;    /* time inside steps */
  /* Of steps without prompt rows: their time, and what they read of weights and KV pages. Of the others, and of texts: their time, and the
   * operations (two for a product and its sum) of their products with weights. */
  uint64_t decode_ns, decode_bytes, prefill_ns, prefill_operations;
  size_t step_tokens, step_sequences; /* of the last step: rows, and sequences that had any */
  size_t page_bytes;                  /* of a KV page, with the part of the draft model */
  uint64_t kv_bytes;                  /* of the memory that the engine shares with others, in all; 0 of an embedding model */
};
void engine_stats(const struct engine *e, struct engine_stats *out);

#endif
