/* sim: a model of hashes and a clock of its own under the scheduler, for tests. SPDX-License-Identifier: Apache-2.0
 *
 * What the model "computes" for a position is a hash of the position before it and the token, kept in the KV page as the real one keeps keys
 * and values. So a wrong, stale or foreign page shows at the next row; and the tokens that come out depend on the prompt alone, as promised. */
#ifndef SIM_H
#define SIM_H
#include "engine/sched.h"

enum { SIM_CONTEXT = 256, SIM_IDS = 1 << 13 /* alive at once, at most; ids are taken modulo this */ };

/* What the test knows of a request, apart from the scheduler. */
struct sim_request {
  bool alive;
  uint64_t id, begun_step;
  uint64_t chain[SIM_CONTEXT]; /* the truth for each position */
  size_t n_chain;
  size_t n_prompt, n_tokens; /* n_tokens: of the whole, as last seen */
};

struct sim {
  struct sched sched;
  struct engine_memory *memory, *own_memory; /* own_memory: NULL when it is shared */
  struct pages pages;
  uint64_t random, now_ns, n_steps;
  uint64_t ns_fixed, ns_row; /* a step lasts fixed + row · rows */
  uint64_t last_ns;          /* of the last step */
  int vocab;                 /* of what comes out: few make texts that repeat */
  uint64_t stop_one_in;      /* 0: only the limit ends a text */
  struct sim_request *requests;
  uint64_t n_submitted, n_ended, n_cancelled, n_expired;
  uint64_t longest_steps; /* from submission to end */
  double *work;           /* by principal, or NULL */
  uint64_t n_guessed;     /* by the draft model */
};

struct sim_options {
  struct engine_memory *memory;                /* shared with other models; NULL: n_pages of its own */
  size_t page_bytes;                           /* 0: the least */
  uint64_t context_bytes, whole_context_bytes; /* as in sched_config */
  size_t n_pages, running_max, rows_max, prefill_rows_max;
  enum engine_speculation speculation;
  bool embeds, drafts; /* drafts: with a draft model */
  size_t window;
  const double *weights;
};

void sim_open(struct sim *m, const struct sim_options *options);
void sim_close(struct sim *m);
uint64_t sim_random(struct sim *m, uint64_t below);
/* The prompt is copied. r's id is chosen and returned. */
uint64_t sim_submit(struct sim *m, struct engine_request *r);
void sim_cancel(struct sim *m, uint64_t id);
bool sim_alive(const struct sim *m, uint64_t id);
/* One round; false when nothing is left to do. */
bool sim_step(struct sim *m);
/* Asserts every invariant that the scheduler promises. */
void sim_check(struct sim *m);

#endif
