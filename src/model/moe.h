/* moe: mixtures of experts: a router chooses k of E gated feed-forward layers for each row. Private to the room.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_MOE_H
#define MODEL_MOE_H
#include "model/arch.h"

/* How the weights of the chosen experts are scaled. */
enum moe_norm {
  MOE_NORM_NONE, /* as the softmax over all experts gave them */
  MOE_NORM_SUM,  /* their sum becomes 1 */
  MOE_NORM_L2,   /* their Euclidean norm becomes 1 */
};

struct moe_rules {
  size_t n_experts, n_used; /* E, k */
  enum moe_norm norm;
};

/* Tensor names, looked for in this order; what a family does not have is {0}. */
struct moe_names {
  struct weight_name router;                     /* [E, D] */
  struct weight_name gate, up;                   /* [E·F, D] or [E, F, D] */
  struct weight_name down;                       /* [E·D, F] or [E, D, F] */
  struct weight_name down_transposed;            /* [E·F, D] */
  struct weight_name gate_up;                    /* [E, 2F, D]: an expert's gate rows, then its up rows */
  struct weight_name one_gate, one_up, one_down; /* of one expert, whose number fills the second "%zu" */
};

struct moe_layer {
  struct weight *router;              /* [E, D], fp32 */
  struct weight **gate, **up, **down; /* [E] of [F, D], [F, D], [D, F]; NULL without experts */
};

struct moe_scratch;

int moe_load(struct moe_layer *l, const struct moe_names *names, const struct moe_rules *rules, struct weights *w, size_t layer, size_t D,
             size_t F, struct error *err);
void moe_free(struct moe_layer *l, size_t n_experts);
/* For passes of up to rows_max rows. */
struct moe_scratch *moe_scratch_create(struct compute *c, const struct moe_rules *rules, size_t rows_max, size_t D, size_t F,
                                       struct error *err);
void moe_scratch_free(struct moe_scratch *s); /* NULL is fine */
/* The forms that the input of moe_add must have. */
unsigned moe_forms(const struct moe_layer *l, const struct moe_rules *rules);
/* x += what the experts make of act's rows, which are those of the batch; adapters of layer n take part, that of the router at router_site.
 * x [rows, D] */
void moe_add(struct compute *c, struct moe_scratch *s, const struct moe_layer *l, const struct moe_rules *rules, const struct act *act,
             const struct model_batch *b, size_t n, size_t router_site, float *x);

#endif
