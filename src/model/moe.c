/* moe: see moe.h. SPDX-License-Identifier: Apache-2.0
 *
 *   p = softmax(b Wrᵀ) over all E;  e₁ … e_k: the k largest p;  w_j = p_e_j / norm
 *   y = Σ_j w_j · (silu(b Gᵀ) ⊙ (b Uᵀ)) Dᵀ with the matrices of expert e_j
 *
 * The router works in fp32 whatever the compute mode and the type it is stored in. Of equal p the lower number is chosen; results are added
 * by ascending expert number. So what a row gets depends on nothing but the row. Rows are grouped by expert, so that each expert's weights
 * are read once a pass. A (row, expert) pair is a *slot*; slots are numbered by expert, then row. */
#include "model/moe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

struct moe_scratch {
  struct act *act;  /* [T·k, F] */
  float *logits;    /* [T, E] */
  float *gate, *up; /* [T·k, F] */
  float *out;       /* [T·k, D] */
  float *weight;    /* [T·k]: of row t's j-th expert at t·k + j, experts ascending */
  int32_t *expert;  /* [T·k] alike */
  int32_t *slot;    /* [T·k] alike */
  int32_t *row;     /* [T·k]: by slot */
  int32_t *self;    /* [T·k]: 0, 1, 2 … */
  size_t *begin;    /* [E + 1]: first slot of each expert */
};

/* ---- loading ---- */

static bool has(const struct weights *w, const struct weight_name *name, size_t layer) { return weights_find(w, name, layer) != NULL; }

static int load_router(struct moe_layer *l, const struct weight_name *name, struct weights *w, size_t layer, size_t E, size_t D,
                       struct error *err) {
  float *table = weights_table(w, name, layer, E, D, err);
  if (!table) return -1;
  l->router = weight_pack(w->options->packer,
                          &(struct weight_source){.dtype = DTYPE_F32, .data = table, .n_out = E, .n_in = D, .exact = true}, err);
  free(table);
  if (!l->router) return -1;
  w->bytes += weight_bytes(l->router) - E * D * sizeof(float);
  w->stream_bytes += weight_stream_bytes(l->router);
  return 0;
}

enum { NAME_BYTES = 160 };

static void spell_expert(char out[NAME_BYTES], const char *pattern, size_t e) {
  const char *hole = strstr(strstr(pattern, "%zu") + 3, "%zu");
  snprintf(out, NAME_BYTES, "%.*s%zu%s", (int)(hole - pattern), pattern, e, hole + 3);
}

/* A matrix that is a tensor of its own: the second hole of its name is filled with the expert, the first is left for the layer. */
static struct weight *load_one(struct weights *w, const struct weight_name *name, size_t layer, size_t e, size_t n_out, size_t n_in,
                               struct error *err) {
  char gguf[NAME_BYTES] = "", hf[NAME_BYTES] = "";
  if (name->gguf) spell_expert(gguf, name->gguf, e);
  if (name->hf) spell_expert(hf, name->hf, e);
  struct weight_name spelled = {name->gguf ? gguf : NULL, name->hf ? hf : NULL, NULL};
  return weights_matrix(w, &spelled, layer, n_out, n_in, NULL, false, err);
}

/* Gate and up of expert e, out of whatever the file calls them. */
static int load_gate_up(struct moe_layer *l, const struct moe_names *n, struct weights *w, size_t layer, size_t e, const size_t *EDF,
                        struct error *err) {
  size_t E = EDF[0], D = EDF[1], F = EDF[2];
  struct weight_part part = {.rows = E * F, .begin = e * F, .n_experts = E, .n_out = F, .n_in = D};
  if (has(w, &n->gate_up, layer)) {
    struct weight_part gate = {.rows = 2 * E * F, .begin = 2 * e * F, .n_experts = E, .n_out = F, .n_in = D}, up = gate;
    up.begin += F;
    l->gate[e] = weights_part(w, &n->gate_up, layer, &gate, err);
    l->up[e] = l->gate[e] ? weights_part(w, &n->gate_up, layer, &up, err) : NULL;
  } else if (has(w, &n->gate, layer) || !weights_part_names(w, &n->one_gate)) {
    l->gate[e] = weights_part(w, &n->gate, layer, &part, err);
    l->up[e] = l->gate[e] ? weights_part(w, &n->up, layer, &part, err) : NULL;
  } else {
    l->gate[e] = load_one(w, &n->one_gate, layer, e, F, D, err);
    l->up[e] = l->gate[e] ? load_one(w, &n->one_up, layer, e, F, D, err) : NULL;
  }
  return l->up[e] ? 0 : -1;
}

static int load_down(struct moe_layer *l, const struct moe_names *n, struct weights *w, size_t layer, size_t e, const size_t *EDF,
                     struct error *err) {
  size_t E = EDF[0], D = EDF[1], F = EDF[2];
  struct weight_part part = {.rows = E * D, .begin = e * D, .n_experts = E, .n_out = D, .n_in = F};
  struct weight_part transposed = {.rows = E * F, .begin = e * F, .n_experts = E, .n_out = D, .n_in = F, .transposed = true};
  if (weights_part_names(w, &n->down_transposed)) l->down[e] = weights_part(w, &n->down_transposed, layer, &transposed, err);
  else if (has(w, &n->down, layer) || !weights_part_names(w, &n->one_down)) l->down[e] = weights_part(w, &n->down, layer, &part, err);
  else l->down[e] = load_one(w, &n->one_down, layer, e, D, F, err);
  return l->down[e] ? 0 : -1;
}

int moe_load(struct moe_layer *l, const struct moe_names *names, const struct moe_rules *rules, struct weights *w, size_t layer, size_t D,
             size_t F, struct error *err) {
  size_t E = rules->n_experts;
  if (load_router(l, &names->router, w, layer, E, D, err) < 0) return -1;
  l->gate = mem_zalloc(E, sizeof(struct weight *));
  l->up = mem_zalloc(E, sizeof(struct weight *));
  l->down = mem_zalloc(E, sizeof(struct weight *));
  size_t before = w->stream_bytes;
  double operations = w->operations;
  size_t sizes[] = {E, D, F};
  for (size_t e = 0; e < E; e++)
    if (load_gate_up(l, names, w, layer, e, sizes, err) < 0 || load_down(l, names, w, layer, e, sizes, err) < 0) return -1;
  size_t used = (w->stream_bytes - before) / E * rules->n_used; /* one token reads those that it uses */
  w->stream_bytes = before + used;
  w->expert_bytes += used;
  w->operations = operations + (w->operations - operations) / (double)E * (double)rules->n_used;
  return 0;
}

void moe_free(struct moe_layer *l, size_t n_experts) {
  weight_free(l->router);
  struct weight **lists[] = {l->gate, l->up, l->down};
  for (size_t i = 0; i < 3; i++) {
    for (size_t e = 0; lists[i] && e < n_experts; e++) weight_free(lists[i][e]);
    free(lists[i]);
  }
}

/* ---- one pass ---- */

static float *rows_of(size_t rows, size_t n) { return mem_aligned(64, rows * n * sizeof(float) + 64); }

struct moe_scratch *moe_scratch_create(struct compute *c, const struct moe_rules *rules, size_t rows_max, size_t D, size_t F,
                                       struct error *err) {
  size_t slots = rows_max * rules->n_used;
  struct act *act = act_create(c, slots, F, err);
  if (!act) return NULL;
  struct moe_scratch *s = mem_zalloc(1, sizeof *s);
  s->act = act;
  s->logits = rows_of(rows_max, rules->n_experts);
  s->gate = rows_of(slots, F);
  s->up = rows_of(slots, F);
  s->out = rows_of(slots, D);
  s->weight = rows_of(slots, 1);
  s->expert = mem_alloc(slots * sizeof *s->expert);
  s->slot = mem_alloc(slots * sizeof *s->slot);
  s->row = mem_alloc(slots * sizeof *s->row);
  s->self = mem_alloc(slots * sizeof *s->self);
  s->begin = mem_alloc((rules->n_experts + 1) * sizeof *s->begin);
  for (size_t i = 0; i < slots; i++) s->self[i] = (int32_t)i;
  return s;
}

void moe_scratch_free(struct moe_scratch *s) {
  if (!s) return;
  act_free(s->act);
  void *memory[] = {s->logits, s->gate, s->up, s->out, s->weight, s->expert, s->slot, s->row, s->self, s->begin, s};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
}

unsigned moe_forms(const struct moe_layer *l, const struct moe_rules *rules) {
  unsigned forms = weight_act_form(l->router);
  for (size_t e = 0; e < rules->n_experts; e++) forms |= weight_act_form(l->gate[e]) | weight_act_form(l->up[e]);
  return forms;
}

/* p becomes the probabilities; sums ascend by number. */
static void softmax(float *p, size_t n) {
  float max = p[0], sum = 0;
  for (size_t i = 1; i < n; i++)
    if (p[i] > max) max = p[i];
  for (size_t i = 0; i < n; i++) sum += p[i] = tensor_exp(p[i] - max);
  for (size_t i = 0; i < n; i++) p[i] /= sum;
}

/* The k largest of p, by ascending number. Always k different ones, whatever p holds. */
static void choose(const struct moe_rules *rules, const float *p, int32_t *expert, float *weight) {
  size_t n = 0;
  for (size_t round = 0; round < rules->n_used; round++) {
    size_t best = rules->n_experts;
    for (size_t e = 0; e < rules->n_experts; e++) {
      bool taken = false;
      for (size_t i = 0; i < n; i++) taken = taken || expert[i] == (int32_t)e;
      if (!taken && (best == rules->n_experts || p[e] > p[best])) best = e;
    }
    expert[n++] = (int32_t)best;
  }
  for (size_t i = 1; i < n; i++) /* few: by insertion */
    for (size_t j = i; j > 0 && expert[j] < expert[j - 1]; j--) {
      int32_t swap = expert[j];
      expert[j] = expert[j - 1], expert[j - 1] = swap;
    }
  for (size_t i = 0; i < n; i++) weight[i] = p[expert[i]];
}

static void normalize(enum moe_norm norm, float *weight, size_t n) {
  if (norm == MOE_NORM_NONE) return;
  float sum = 0;
  for (size_t i = 0; i < n; i++) sum += norm == MOE_NORM_L2 ? weight[i] * weight[i] : weight[i];
  if (norm == MOE_NORM_L2) sum = sqrtf(sum);
  for (size_t i = 0; i < n; i++) weight[i] /= sum;
}

/* Chooses for every row and numbers the slots. */
static void route(struct moe_scratch *s, const struct moe_rules *rules, size_t rows) {
  size_t E = rules->n_experts, k = rules->n_used;
  for (size_t e = 0; e <= E; e++) s->begin[e] = 0;
  for (size_t t = 0; t < rows; t++) {
    softmax(s->logits + t * E, E);
    choose(rules, s->logits + t * E, s->expert + t * k, s->weight + t * k);
    normalize(rules->norm, s->weight + t * k, k);
    for (size_t j = 0; j < k; j++) s->begin[s->expert[t * k + j] + 1]++;
  }
  for (size_t e = 0; e < E; e++) s->begin[e + 1] += s->begin[e];
  for (size_t i = 0; i < rows * k; i++) { /* begin[e] moves to the end of e and is set back */
    s->slot[i] = (int32_t)s->begin[s->expert[i]]++;
    s->row[s->slot[i]] = (int32_t)(i / k);
  }
  for (size_t e = E; e > 0; e--) s->begin[e] = s->begin[e - 1];
  s->begin[0] = 0;
}

/* y of expert e's slots for two of its products, or for one. */
static void expert_products(struct compute *c, struct moe_scratch *s, const struct act *act, const struct linear *jobs, size_t n_jobs,
                            enum adapter_expert first, const struct model_batch *b, size_t n, size_t e, const int32_t *act_row) {
  size_t begin = s->begin[e], count = s->begin[e + 1] - begin;
  op_linear(c, act, jobs, n_jobs, act_row + begin, count);
  struct adapter_slots slots = {.row = s->row + begin, .act_row = act_row + begin, .n = count};
  for (size_t i = 0; i < n_jobs; i++) adapter_add_expert(b, act, first + (enum adapter_expert)i, n, e, &slots, jobs[i].y, jobs[i].ldy);
}

void moe_add(struct compute *c, struct moe_scratch *s, const struct moe_layer *l, const struct moe_rules *rules, const struct act *act,
             const struct model_batch *b, size_t n, size_t router_site, float *x) {
  size_t E = rules->n_experts, F = weight_n_out(l->gate[0]), D = weight_n_in(l->gate[0]), rows = b->n_rows;
  op_linear(c, act, &(struct linear){.w = l->router, .y = s->logits, .ldy = E}, 1, NULL, rows);
  adapter_add(b, act, router_site, n, s->logits, E);
  route(s, rules, rows);
  for (size_t e = 0; e < E; e++) {
    size_t begin = s->begin[e];
    struct linear gate_up[] = {{.w = l->gate[e], .y = s->gate + begin * F, .ldy = F}, {.w = l->up[e], .y = s->up + begin * F, .ldy = F}};
    expert_products(c, s, act, gate_up, 2, ADAPTER_GATE, b, n, e, s->row);
  }
  unsigned forms = adapter_forms(b);
  for (size_t e = 0; e < E; e++) forms |= weight_act_form(l->down[e]);
  op_silu_mul(c, NULL, s->act, forms, s->gate, s->up, rows * rules->n_used, F);
  for (size_t e = 0; e < E; e++)
    expert_products(c, s, s->act, &(struct linear){.w = l->down[e], .y = s->out + s->begin[e] * D, .ldy = D}, 1, ADAPTER_DOWN, b, n, e,
                    s->self);
  op_mix_rows(c, x, s->out, s->slot, s->weight, rules->n_used, rows, D);
}
