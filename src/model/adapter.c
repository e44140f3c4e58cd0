/* adapter: LoRA adapters on a loaded model; see model.h. SPDX-License-Identifier: Apache-2.0
 *
 *   y = x Wᵀ + s · (x Aᵀ) Bᵀ        A [r, n_in], B [n_out, r], s = α/r, or α/√r with use_rslora      (Hu et al. 2021, arXiv:2106.09685)
 *
 * The base's weights stay as they are and are shared; rows of one batch may go through different adapters, or none. Both products are in
 * fp32 whatever the compute mode, and s is multiplied into A once, so a row's bits depend on its own adapter alone. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/adapter.h"
#include "model/arch.h"

/* What one product gets; both NULL where the adapter has nothing. */
struct pair {
  struct weight *a, *b;
};

struct adapter {
  const struct model *model; /* borrowed */
  struct pair *pairs;        /* [n_layers · n_slots], slots as in struct adapter_table */
  size_t n_slots, n_pairs, rank_max, bytes;
  /* of one application, rows_max rows each */
  struct act *act;
  float *t;      /* [T, rank_max] */
  int32_t *rows; /* [T] */
};

/* ---- loading ---- */

static struct weight *pack(struct compute *c, const struct file_adapter *f, const struct file_tensor *t, float *values, size_t n_out,
                           size_t n_in, struct error *err) {
  struct weight *w = NULL;
  if (values)
    w = weight_pack(c, &(struct weight_source){.dtype = DTYPE_F32, .data = values, .n_out = n_out, .n_in = n_in, .exact = true}, err);
  if (values && !w) error_prefix(err, "%s, tensor %.*s", f->path, SLICE_ARG(t->name));
  free(values);
  return w;
}

static int load_pair(struct adapter *a, const struct file_adapter *f, struct compute *packer, const struct adapter_share *s, struct pair *p,
                     const struct weight *base, struct error *err) {
  size_t rank;
  if (!s->a && !s->b) return 0;
  if (!base)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s belongs to a product that this model does not have.", f->path,
                     SLICE_ARG((s->a ? s->a : s->b)->name));
  size_t n_out = weight_n_out(base), n_in = weight_n_in(base);
  if (adapter__check_share(f, s, n_out, n_in, &rank, err) < 0) return -1;
  p->a = pack(packer, f, s->a, adapter__a(f, s, rank, err), rank, n_in, err);
  p->b = p->a ? pack(packer, f, s->b, adapter__b(f, s, rank, n_out, err), n_out, rank, err) : NULL;
  if (!p->b) return -1;
  a->bytes += weight_bytes(p->a) + weight_bytes(p->b);
  if (a->rank_max < rank) a->rank_max = rank;
  return 0;
}

static const struct weight *base_of(const struct model *m, size_t layer, size_t slot) {
  const struct model_arch *arch = m->arch;
  if (slot < arch->n_sites) return arch->site_weight(m, slot, layer);
  slot -= arch->n_sites;
  return arch->experts->weight(m, layer, slot / 3, slot % 3);
}

static int load_pairs(struct adapter *a, const struct file_adapter *f, struct compute *packer, struct error *err) {
  struct adapter_table t;
  int result = adapter__table(&t, f, a->model->arch, &a->model->info, err);
  for (size_t i = 0; i < a->n_pairs && result == 0; i++)
    result = load_pair(a, f, packer, &t.shares[i], &a->pairs[i], base_of(a->model, i / a->n_slots, i % a->n_slots), err);
  adapter__table_free(&t);
  return result;
}

struct adapter *adapter_load(const struct file_adapter *file, const struct model *m, struct compute *packer, struct error *err) {
  if (m->arch->n_sites == 0) {
    error_set(err, ERROR_UNSUPPORTED, "%s: adapters on %s models are not supported.", file->path, m->info.architecture);
    return NULL;
  }
  struct adapter *a = mem_zalloc(1, sizeof *a);
  a->model = m;
  a->n_slots = adapter__slots(m->arch, &m->info);
  a->n_pairs = m->info.n_layers * a->n_slots;
  a->pairs = mem_zalloc(a->n_pairs, sizeof *a->pairs);
  if (adapter__check(file, err) < 0 || load_pairs(a, file, packer ? packer : m->compute, err) < 0) goto fail;
  a->act = act_create(m->compute, m->rows_max, a->rank_max, err);
  if (!a->act) goto fail;
  a->t = mem_aligned(64, m->rows_max * a->rank_max * sizeof *a->t + 64);
  a->rows = mem_alloc(m->rows_max * sizeof *a->rows);
  return a;
fail:
  adapter_free(a);
  return NULL;
}

void adapter_free(struct adapter *a) {
  if (!a) return;
  for (size_t i = 0; i < a->n_pairs; i++) {
    weight_free(a->pairs[i].a);
    weight_free(a->pairs[i].b);
  }
  act_free(a->act);
  void *memory[] = {a->pairs, a->t, a->rows};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  free(a);
}

const struct model *adapter_model(const struct adapter *a) { return a->model; }
size_t adapter_weight_bytes(const struct adapter *a) { return a->bytes; }

/* ---- applying ---- */

unsigned adapter_forms(const struct model_batch *b) { return b->adapters ? ACT_F32 : 0; }

/* y [n, …] gets the share of the rows `rows` of act. */
static void add_rows(struct adapter *a, const struct pair *p, const struct act *act, const int32_t *rows, size_t n, float *y, size_t ldy) {
  struct compute *c = a->model->compute;
  size_t rank = weight_n_out(p->a);
  op_linear(c, act, &(struct linear){.w = p->a, .y = a->t, .ldy = rank}, 1, rows, n);
  op_prepare(c, a->act, weight_act_form(p->b), a->t, rank, n, rank);
  op_linear(c, a->act, &(struct linear){.w = p->b, .y = y, .ldy = ldy, .add = true}, 1, NULL, n);
}

/* Neighbouring segments of the same adapter, from segment i on: the rows [*begin, *end), and the segment behind them. */
static size_t next_run(const struct model_batch *b, size_t i, size_t *begin, size_t *end) {
  size_t next = i + 1;
  while (next < b->n_segments && b->adapters[next] == b->adapters[i]) next++;
  *begin = b->segments[i].row_begin;
  *end = b->segments[next - 1].row_begin + b->segments[next - 1].n_rows;
  return next;
}

void adapter_add(const struct model_batch *b, const struct act *act, size_t site, size_t layer, float *y, size_t ldy) {
  if (!b->adapters) return;
  for (size_t i = 0, next, begin, end; i < b->n_segments; i = next) {
    struct adapter *a = b->adapters[i];
    next = next_run(b, i, &begin, &end);
    const struct pair *p = a ? &a->pairs[layer * a->n_slots + site] : NULL;
    if (!p || !p->a) continue;
    for (size_t r = begin; r < end; r++) a->rows[r - begin] = (int32_t)r;
    add_rows(a, p, act, a->rows, end - begin, y + begin * ldy, ldy);
  }
}

void adapter_add_expert(const struct model_batch *b, const struct act *act, enum adapter_expert which, size_t layer, size_t expert,
                        const struct adapter_slots *s, float *y, size_t ldy) {
  if (!b->adapters) return;
  size_t at = 0;
  for (size_t i = 0, next, begin, end; i < b->n_segments; i = next) {
    struct adapter *a = b->adapters[i];
    next = next_run(b, i, &begin, &end);
    while (at < s->n && (size_t)s->row[at] < begin) at++;
    size_t first = at;
    while (at < s->n && (size_t)s->row[at] < end) at++;
    const struct pair *p = a ? &a->pairs[layer * a->n_slots + a->model->arch->n_sites + 3 * expert + which] : NULL;
    if (p && p->a && at > first) add_rows(a, p, act, s->act_row + first, at - first, y + first * ldy, ldy);
  }
}
