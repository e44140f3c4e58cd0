/* state: what engine.c (admission, lists) and step.c (one step) share. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H
#include "engine/engine.h"
#include "engine/pages.h"
#include "engine/sampler.h"
#include "engine/sequence.h"

/* One row of logits and what is to be learned from it. */
struct scored {
  struct sequence *sequence;
  float *logits;
  bool prompt;     /* the token is known: report its logprob */
  size_t position; /* of the token */
  int32_t token;
  float logprob;
  int n_top;
  struct engine_logprob top[ENGINE_TOP_LOGPROBS_MAX];
};

struct engine {
  struct engine_config config; /* stop_ids is our copy, without those that the vocabulary lacks */
  struct model *model;
  const struct model_info *info;
  struct kv_layout kv;
  struct pages pages;
  struct sequence_list waiting, running; /* running: in order of admission */
  /* the step under way; arrays sized for the model's rows */
  int32_t *tokens, *out_rows;
  struct kv_segment *segments;
  struct adapter **adapters; /* of each segment */
  size_t *offsets;           /* embedding: where each text begins */
  float *logits;             /* [out_rows_max, n_vocab], or [rows_max, n_embd] of an embedding model */
  struct scored *scored;     /* [out_rows_max] */
  struct sampler **samplers; /* one per compute thread */
  struct engine_event *events;
  size_t n_events, cap_events;
  struct engine_stats stats;
};

/* Gives the pages back and ends the sequence. */
void engine__finish(struct engine *e, struct sequence_list *l, struct sequence *s);
struct engine_event *engine__add_event(struct engine *e);
/* One step of a generating model (step.c) and of an embedding model (step_embed.c). */
void step_generate(struct engine *e);
void step_embed(struct engine *e);

#endif
