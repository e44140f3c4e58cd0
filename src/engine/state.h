/* state: what engine.c (the door) and step.c (one step) share. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H
#include "engine/engine.h"
#include "engine/pages.h"
#include "engine/sampler.h"
#include "engine/sched.h"

/* One row of logits and what is to be learned from it. */
struct scored {
  struct sequence *sequence;
  float *logits;
  bool prompt;     /* the token is known: report its logprob */
  size_t position; /* of the token */
  int32_t token;
  bool is_eos;
  enum engine_finish finish;
  float logprob;
  int n_top;
  struct engine_logprob top[ENGINE_TOP_LOGPROBS_MAX];
};

/* Rows that one thread looks at, one after the other: a row of a prompt, or all of a sequence's that choose tokens. */
struct score_run {
  size_t first, n; /* of scored; after the run n counts those that count: behind a wrong draft none does */
};

struct engine {
  struct engine_config config; /* stop_ids is our copy, without those that the vocabulary lacks */
  struct model *model;
  const struct model_info *info;
  struct kv_layout kv;
  struct engine_memory *own_memory; /* NULL: it is somebody else's */
  size_t page_bytes;                /* of both models */
  size_t context_tokens;            /* that are served: the model's own, or what of it the memory can hold */
  struct drafter *drafter;          /* NULL: none */
  struct pages pages;
  struct sched sched;
  /* the step under way; arrays sized for the model's rows */
  int32_t *tokens, *out_rows;
  struct kv_segment *segments;
  struct adapter **adapters; /* of each segment */
  size_t *offsets;           /* embedding: where each text begins */
  float *logits;             /* [out_rows_max, n_vocab], or [rows_max, n_embd] of an embedding model */
  struct scored *scored;     /* [out_rows_max] */
  struct score_run *runs;    /* [out_rows_max] */
  struct sampler **samplers; /* one per compute thread */
  struct engine_event *events;
  size_t n_events, cap_events;
  uint64_t steps, finished, step_ns_total;
  uint64_t computed_ns; /* when the step under way had its results */
  uint64_t decode_ns, prefill_ns;
  double decode_bytes, prefill_operations;
  size_t step_tokens, step_sequences;
};

/* Ends the sequence. */
void engine__finish(struct engine *e, struct sequence *s);
struct engine_event *engine__add_event(struct engine *e);
/* The first event of a sequence says what it waited and took. */
void engine__time(const struct engine *e, struct sequence *s, struct engine_event *event);
/* A pass was computed from begin_ns to now. */
void engine__count_pass(struct engine *e, uint64_t begin_ns, bool decodes, double bytes, double operations);
uint64_t engine__clock_ns(const struct engine *e);
/* One step of a generating model (step.c) and of an embedding model (step_embed.c). */
void step_generate(struct engine *e);
void step_embed(struct engine *e);

#endif
