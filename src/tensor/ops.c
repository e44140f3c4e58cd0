/* ops: the operations of tensor.h: what is spread over the pool, in which tiles. SPDX-License-Identifier: Apache-2.0
 * Small work runs on the calling thread without waking anyone; which thread computes a tile never matters to the bits. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/compute.h"

enum {
  INLINE_ELEMENTS = 8192, /* row operations of fewer elements stay on the caller */
  ROWS_PER_TILE = 8,
  TILE_BYTES = 48 * 1024, /* weights of a tile that stay in the second cache for the next columns */
  TILES_PER_THREAD = 6,
};

/* ---- activations ---- */

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

struct act *act_create(struct compute *c, size_t rows_max, size_t in_max, struct error *err) {
  (void)err;
  struct act *a = mem_zalloc(1, sizeof *a);
  a->rows_max = rows_max;
  a->in_max = in_max;
  a->ld = round_up(in_max, BLOCK);
  a->f32 = mem_aligned(64, rows_max * a->ld * sizeof(float) + 64);
  a->row_scratch = mem_aligned(64, (size_t)pool_threads(c->pool) * a->ld * sizeof(float) + 64);
  a->bytes = rows_max * a->ld * sizeof(float);
  size_t blocks = rows_max * (a->ld / BLOCK);
  if (c->mode == COMPUTE_FAST) {
    a->i8 = mem_aligned(64, blocks * sizeof *a->i8 + 64);
    a->k8 = mem_aligned(64, rows_max * act_units(a->ld) * sizeof *a->k8 + 64);
    a->bytes += blocks * sizeof *a->i8 + rows_max * act_units(a->ld) * sizeof *a->k8;
  }
  if (c->mode != COMPUTE_F32) {
    a->i16 = mem_aligned(64, blocks * sizeof *a->i16 + 64);
    a->i14 = mem_aligned(64, blocks * sizeof *a->i14 + 64);
    a->bytes += blocks * (sizeof *a->i16 + sizeof *a->i14);
  }
  return a;
}

void act_free(struct act *a) {
  if (!a) return;
  free(a->f32);
  free(a->row_scratch);
  free(a->i8);
  free(a->k8);
  free(a->i16);
  free(a->i14);
  free(a);
}

size_t act_bytes(const struct act *a) { return a->bytes; }

static void begin_act(struct act *a, unsigned forms, size_t rows, size_t n) {
  if (!a) return;
  assert(rows <= a->rows_max && n <= a->in_max);
  assert(!(forms & ACT_I8) || a->i8);
  assert(!(forms & ACT_K8) || a->k8);
  assert(!(forms & ACT_I16) || a->i16);
  assert(!(forms & ACT_I14) || a->i14);
  a->rows = rows;
  a->n = n;
  a->forms = forms;
}

/* ---- operations on rows ---- */

enum row_op { ROW_PREPARE, ROW_RMSNORM, ROW_LAYERNORM, ROW_SILU_MUL, ROW_GELU, ROW_GELU_MUL };

struct row_job {
  struct compute *c;
  enum row_op op;
  float *y;
  struct act *act;
  const float *x, *other; /* other: add, or up */
  size_t ldx;
  const float *gain, *bias;
  float eps;
  size_t rows, n;
};

/* Where row r's fp32 result goes: to y, else into act, else into scratch. */
static float *row_target(const struct row_job *j, size_t r, int worker) {
  if (j->y) return j->y + r * j->n;
  if (j->act->forms & ACT_F32) return j->act->f32 + r * j->act->ld;
  return j->act->row_scratch + (size_t)worker * j->act->ld;
}

static const float *compute_row(const struct row_job *j, size_t r, int worker) {
  const struct kernels *k = j->c->kernels;
  const float *x = j->x + r * j->ldx, *other = j->other ? j->other + r * j->n : NULL;
  if (j->op == ROW_PREPARE) return x;
  float *y = row_target(j, r, worker);
  switch (j->op) {
    case ROW_RMSNORM: k->rmsnorm(y, x, j->gain, j->eps, j->n); break;
    case ROW_LAYERNORM: k->layernorm(y, x, other, j->gain, j->bias, j->eps, j->n); break;
    case ROW_SILU_MUL: k->silu_mul(y, x, other, j->n); break;
    case ROW_GELU: k->gelu(y, x, j->n); break;
    case ROW_GELU_MUL:
      k->gelu(y, x, j->n);
      for (size_t i = 0; i < j->n; i++) y[i] *= other[i];
      break;
    case ROW_PREPARE: break;
  }
  return y;
}

/* Values from … from + n − 1 of row r; from is a multiple of BLOCK, and of UNIT where ACT_K8 is asked for. */
static void put_forms(const struct kernels *k, struct act *a, unsigned forms, size_t r, size_t from, const float *y, size_t n) {
  float *f32 = a->f32 + r * a->ld + from;
  size_t block = (r * a->ld + from) / BLOCK;
  if ((forms & ACT_F32) && y != f32) memcpy(f32, y, n * sizeof *y);
  if (forms & ACT_I8) k->quantize_i8(a->i8 + block, y, n);
  if (forms & ACT_K8) k->quantize_k8(a->k8 + r * act_units(a->ld) + from / UNIT, y, n);
  if (forms & ACT_I16) k->quantize_i16(a->i16 + block, y, n);
  if (forms & ACT_I14) k->quantize_i14(a->i14 + block, y, n);
}

static void run_row_tile(void *job, int tile, int worker) {
  const struct row_job *j = job;
  size_t begin = (size_t)tile * ROWS_PER_TILE, end = begin + ROWS_PER_TILE < j->rows ? begin + ROWS_PER_TILE : j->rows;
  for (size_t r = begin; r < end; r++) {
    const float *y = compute_row(j, r, worker);
    if (j->act) put_forms(j->c->kernels, j->act, j->act->forms, r, 0, y, j->n);
  }
}

static void run_tiles(struct compute *c, pool_fn *fn, void *job, size_t n_tiles, bool small) {
  if (!small) {
    pool_run(c->pool, fn, job, (int)n_tiles);
    return;
  }
  for (size_t i = 0; i < n_tiles; i++) fn(job, (int)i, 0);
}

static void run_rows(struct row_job *j, unsigned forms) {
  assert(j->y || j->act);
  begin_act(j->act, forms, j->rows, j->n);
  run_tiles(j->c, run_row_tile, j, (j->rows + ROWS_PER_TILE - 1) / ROWS_PER_TILE, j->rows * j->n < INLINE_ELEMENTS);
}

void op_prepare(struct compute *c, struct act *act, unsigned forms, const float *x, size_t ldx, size_t rows, size_t n) {
  run_rows(&(struct row_job){.c = c, .op = ROW_PREPARE, .act = act, .x = x, .ldx = ldx, .rows = rows, .n = n}, forms);
}

void op_rmsnorm(struct compute *c, float *y, struct act *act, unsigned forms, const float *x, const float *gain, float eps, size_t rows,
                size_t n) {
  run_rows(
      &(struct row_job){.c = c, .op = ROW_RMSNORM, .y = y, .act = act, .x = x, .ldx = n, .gain = gain, .eps = eps, .rows = rows, .n = n},
      forms);
}

void op_layernorm(struct compute *c, float *y, struct act *act, unsigned forms, const float *x, const float *add, const float *gain,
                  const float *bias, float eps, size_t rows, size_t n) {
  run_rows(&(struct row_job){.c = c,
                             .op = ROW_LAYERNORM,
                             .y = y,
                             .act = act,
                             .x = x,
                             .ldx = n,
                             .other = add,
                             .gain = gain,
                             .bias = bias,
                             .eps = eps,
                             .rows = rows,
                             .n = n},
           forms);
}

void op_silu_mul(struct compute *c, float *y, struct act *act, unsigned forms, const float *gate, const float *up, size_t rows, size_t n) {
  run_rows(&(struct row_job){.c = c, .op = ROW_SILU_MUL, .y = y, .act = act, .x = gate, .ldx = n, .other = up, .rows = rows, .n = n},
           forms);
}

void op_gelu(struct compute *c, float *y, struct act *act, unsigned forms, const float *x, size_t rows, size_t n) {
  run_rows(&(struct row_job){.c = c, .op = ROW_GELU, .y = y, .act = act, .x = x, .ldx = n, .rows = rows, .n = n}, forms);
}

void op_gelu_mul(struct compute *c, float *y, struct act *act, unsigned forms, const float *gate, const float *up, size_t rows, size_t n) {
  run_rows(&(struct row_job){.c = c, .op = ROW_GELU_MUL, .y = y, .act = act, .x = gate, .ldx = n, .other = up, .rows = rows, .n = n},
           forms);
}

struct clamp_job {
  float *x;
  size_t n;
  float limit;
};

static void clamp_tile(void *job, int tile, int worker) {
  (void)worker;
  const struct clamp_job *j = job;
  size_t begin = (size_t)tile * INLINE_ELEMENTS, end = j->n - begin < INLINE_ELEMENTS ? j->n : begin + INLINE_ELEMENTS;
  for (size_t i = begin; i < end; i++) {
    float x = j->x[i], high = x > j->limit ? j->limit : x;
    j->x[i] = high < -j->limit ? -j->limit : high;
  }
}

void op_clamp(struct compute *c, float *x, size_t n, float limit) {
  struct clamp_job j = {x, n, limit};
  run_tiles(c, clamp_tile, &j, (n + INLINE_ELEMENTS - 1) / INLINE_ELEMENTS, n <= INLINE_ELEMENTS);
}

struct mix_job {
  float *y;
  const float *x;
  const int32_t *slot;
  const float *weight;
  size_t k, n;
};

enum { MIX_BLOCK = 64 };

/* One row, in blocks that stay in registers; a product and a sum round on their own. */
static void mix_row(void *job, int row, int worker) {
  (void)worker;
  const struct mix_job *j = job;
  const int32_t *slot = j->slot + (size_t)row * j->k;
  const float *weight = j->weight + (size_t)row * j->k;
  float *y = j->y + (size_t)row * j->n;
  for (size_t begin = 0; begin < j->n; begin += MIX_BLOCK) {
    size_t n = j->n - begin < MIX_BLOCK ? j->n - begin : MIX_BLOCK;
    float sum[MIX_BLOCK] = {0};
    for (size_t e = 0; e < j->k; e++) {
      const float *x = j->x + (size_t)slot[e] * j->n + begin;
      for (size_t i = 0; i < n; i++) sum[i] += weight[e] * x[i];
    }
    for (size_t i = 0; i < n; i++) y[begin + i] += sum[i];
  }
}

void op_mix_rows(struct compute *c, float *y, const float *x, const int32_t *slot, const float *weight, size_t k, size_t rows, size_t n) {
  struct mix_job j = {y, x, slot, weight, k, n};
  run_tiles(c, mix_row, &j, rows, rows * n * k < INLINE_ELEMENTS);
}

struct embed_job {
  float *y;
  const struct weight *w;
  const int32_t *ids;
};

static void embed_row(void *job, int tile, int worker) {
  (void)worker;
  const struct embed_job *j = job;
  weight_row(j->w, (size_t)j->ids[tile], j->y + (size_t)tile * j->w->n_in);
}

void op_embed(struct compute *c, float *y, const struct weight *w, const int32_t *ids, size_t n) {
  struct embed_job j = {y, w, ids};
  for (size_t i = 0; i < n; i++) assert(ids[i] >= 0 && (size_t)ids[i] < w->n_out);
  run_tiles(c, embed_row, &j, n, n * w->n_in < INLINE_ELEMENTS);
}

/* ---- products ---- */

enum { JOBS_MAX = 8 };

struct linear_run {
  const struct compute *c;
  struct product products[JOBS_MAX];
  size_t first_tile[JOBS_MAX + 1]; /* tiles of job i: first_tile[i] … first_tile[i + 1] */
  size_t panels_per_tile[JOBS_MAX];
  size_t n_jobs;
};

static void multiply_panels(const struct kernels *k, const struct product *p, size_t begin, size_t end) {
  const struct weight *w = p->job->w;
  if (pack_is_float(w->pack)) k->linear_f32(p, begin, end);
  else if (w->pack == PACK_I14) k->linear_i14(p, begin, end);
  else if (w->wide) k->linear_i16(p, begin, end);
  else if (pack_form(w->pack).sub) k->linear_k8(p, begin, end);
  else k->linear_i8(p, begin, end);
}

/* What the thread `worker` of a run may open weights into. */
static struct product with_scratch(struct product p, const struct compute *c, int worker) {
  p.scratch = c->product_scratch[worker];
  return p;
}

static void make_product_scratch(struct compute *c, size_t n_rows) {
  if (n_rows < KERNELS_OPEN_ROWS || c->product_scratch[0]) return;
  for (int i = 0; i < pool_threads(c->pool); i++) c->product_scratch[i] = mem_aligned(64, KERNELS_SCRATCH_BYTES);
}

static void run_linear_tile(void *job, int tile, int worker) {
  const struct linear_run *run = job;
  size_t i = 0;
  while ((size_t)tile >= run->first_tile[i + 1]) i++;
  const struct product p = with_scratch(run->products[i], run->c, worker);
  const struct weight *w = p.job->w;
  size_t begin = ((size_t)tile - run->first_tile[i]) * run->panels_per_tile[i], end = begin + run->panels_per_tile[i];
  if (end > w->n_panels) end = w->n_panels;
  multiply_panels(run->c->kernels, &p, begin, end);
}

/* Few rows stream the weights: long runs, but enough of them that no thread waits long for the last. Many rows: tiles that a cache keeps. */
static size_t panels_per_tile(const struct compute *c, const struct weight *w, size_t n_rows, size_t n_panels_all) {
  size_t by_bytes = TILE_BYTES / w->panel_bytes, by_run = c->tile_bytes / w->panel_bytes,
         by_share = n_panels_all / ((size_t)pool_threads(c->pool) * TILES_PER_THREAD), n = by_share;
  if (n_rows <= 4 && n > by_run) n = by_run;
  if (n_rows <= 4 && n < by_bytes) n = by_bytes;
  if (n_rows > 4 && n > by_bytes && by_bytes > 1) n = by_bytes;
  if (pack_form(w->pack).sub && n_rows >= KERNELS_OPEN_ROWS && n < 4 && by_share >= 4) n = 4; /* open_avx512.h takes several at once */
  n -= n % 2;                                                                                 /* kernels take panels in pairs */
  return n < 2 ? 2 : n;
}

static void multiply(struct compute *c, const struct act *act, const struct linear *jobs, size_t n_jobs, const int32_t *row_index,
                     size_t n_rows) {
  struct linear_run run = {.c = c, .n_jobs = n_jobs};
  size_t n_panels = 0, work = 0;
  make_product_scratch(c, n_rows);
  for (size_t i = 0; i < n_jobs; i++) n_panels += jobs[i].w->n_panels;
  for (size_t i = 0; i < n_jobs; i++) {
    const struct weight *w = jobs[i].w;
    assert(w->n_in == act->n && (act->forms & pack_act_form(w)));
    run.products[i] = (struct product){.job = &jobs[i], .act = act, .row_index = row_index, .n_rows = n_rows};
    run.panels_per_tile[i] = panels_per_tile(c, w, n_rows, n_panels);
    run.first_tile[i + 1] = run.first_tile[i] + (w->n_panels + run.panels_per_tile[i] - 1) / run.panels_per_tile[i];
    work += w->n_out * w->n_in * n_rows;
  }
  run_tiles(c, run_linear_tile, &run, run.first_tile[n_jobs], work < 32 * 1024);
}

/* Room for rows of n values in the order of a weight. */
static void grow_ordered(struct compute *c, size_t rows, size_t n) {
  struct act *a = c->ordered;
  if (a && rows <= a->rows_max && n <= a->in_max) return;
  size_t rows_max = a && a->rows_max > rows ? a->rows_max : rows, in_max = a && a->in_max > n ? a->in_max : n;
  act_free(a);
  free(c->ordered_rows);
  c->ordered = act_create(c, rows_max, in_max, NULL);
  c->ordered_rows = mem_aligned(64, rows_max * c->ordered->ld * sizeof(float) + 64);
}

struct order_job {
  const struct act *act;
  const struct weight *w;
  const int32_t *row_index;
  float *out;
};

static void order_row(void *job, int tile, int worker) {
  (void)worker;
  const struct order_job *j = job;
  size_t row = j->row_index ? (size_t)j->row_index[tile] : (size_t)tile;
  const float *x = j->act->f32 + row * j->act->ld;
  float *out = j->out + (size_t)tile * j->w->n_in;
  for (size_t k = 0; k < j->w->n_in; k++) out[k] = x[j->w->in_order[k]];
}

static bool same_order(const struct weight *a, const struct weight *b) {
  if (!a->in_order || !b->in_order) return a->in_order == b->in_order;
  return a->n_in == b->n_in && memcmp(a->in_order, b->in_order, a->n_in * sizeof *a->in_order) == 0;
}

void op_linear(struct compute *c, const struct act *act, const struct linear *jobs, size_t n_jobs, const int32_t *row_index,
               size_t n_rows) {
  assert(n_jobs <= JOBS_MAX);
  if (n_rows == 0) return;
  for (size_t i = 0, n; i < n_jobs; i += n) { /* together those of one order: mostly all */
    const struct weight *w = jobs[i].w;
    unsigned forms = 0;
    for (n = 0; i + n < n_jobs && same_order(w, jobs[i + n].w); n++) forms |= pack_act_form(jobs[i + n].w);
    if (!w->in_order) {
      multiply(c, act, jobs + i, n, row_index, n_rows);
      continue;
    }
    assert(w->n_in == act->n && (act->forms & ACT_F32));
    grow_ordered(c, n_rows, w->n_in);
    struct order_job j = {act, w, row_index, c->ordered_rows};
    run_tiles(c, order_row, &j, n_rows, n_rows * w->n_in < INLINE_ELEMENTS);
    op_prepare(c, c->ordered, forms, c->ordered_rows, w->n_in, n_rows, w->n_in);
    multiply(c, c->ordered, jobs + i, n, NULL, n_rows);
  }
}

struct then_run {
  const struct compute *c;
  struct product up, gate; /* gate.job NULL: none */
  enum linear_then then;
  struct act *out;
  size_t panels_per_tile;
};

static void run_then_tile(void *job, int tile, int worker) {
  const struct then_run *run = job;
  const struct kernels *k = run->c->kernels;
  const struct product up_panels = with_scratch(run->up, run->c, worker), gate_panels = with_scratch(run->gate, run->c, worker);
  const struct weight *w = run->up.job->w;
  size_t begin = (size_t)tile * run->panels_per_tile, end = begin + run->panels_per_tile;
  if (end > w->n_panels) end = w->n_panels;
  multiply_panels(k, &up_panels, begin, end);
  if (run->gate.job) multiply_panels(k, &gate_panels, begin, end);
  size_t from = begin * PANEL_ROWS, n = (end * PANEL_ROWS < w->n_out ? end * PANEL_ROWS : w->n_out) - from;
  for (size_t r = 0; r < run->up.n_rows; r++) {
    float *up = run->up.job->y + r * run->up.job->ldy + from, *y = up;
    if (run->gate.job) y = run->gate.job->y + r * run->gate.job->ldy + from;
    if (run->then == LINEAR_SILU_MUL) k->silu_mul(y, y, up, n);
    else k->gelu(y, y, n);
    for (size_t i = 0; run->then == LINEAR_GELU_MUL && i < n; i++) y[i] *= up[i];
    put_forms(k, run->out, run->out->forms & ~(unsigned)ACT_K8, r, from, y, n);
  }
}

/* Units are wider than tiles: they are made of whole rows in the end. */
static void put_units_row(void *job, int row, int worker) {
  (void)worker;
  const struct then_run *run = job;
  const struct linear *last = run->gate.job ? run->gate.job : run->up.job;
  put_forms(run->c->kernels, run->out, ACT_K8, (size_t)row, 0, last->y + (size_t)row * last->ldy, run->out->n);
}

/* Rows whose order a weight has of its own are prepared for one product after the other. */
static void linear_then_apart(struct compute *c, const struct act *act, const struct linear *jobs, enum linear_then then, struct act *out,
                              unsigned forms, size_t n_rows) {
  size_t n = jobs[0].w->n_out;
  op_linear(c, act, jobs, then == LINEAR_GELU ? 1 : 2, NULL, n_rows);
  if (then == LINEAR_GELU) op_gelu(c, NULL, out, forms, jobs[0].y, n_rows, n);
  else if (then == LINEAR_SILU_MUL) op_silu_mul(c, NULL, out, forms, jobs[1].y, jobs[0].y, n_rows, n);
  else op_gelu_mul(c, NULL, out, forms, jobs[1].y, jobs[0].y, n_rows, n);
}

void op_linear_then(struct compute *c, const struct act *act, const struct linear *jobs, enum linear_then then, struct act *out,
                    unsigned forms, size_t n_rows) {
  size_t n_jobs = then == LINEAR_GELU ? 1 : 2, n_panels = jobs[0].w->n_panels;
  struct then_run run = {.c = c, .then = then, .out = out};
  for (size_t i = 0; i < n_jobs; i++) {
    const struct weight *w = jobs[i].w;
    assert(w->n_in == act->n && (act->forms & weight_act_form(w)) && out != act);
    assert(w->n_out == jobs[0].w->n_out && jobs[i].ldy == w->n_out && !jobs[i].add);
    if (w->in_order) {
      linear_then_apart(c, act, jobs, then, out, forms, n_rows);
      return;
    }
    *(i == 0 ? &run.up : &run.gate) = (struct product){.job = &jobs[i], .act = act, .n_rows = n_rows};
  }
  begin_act(out, forms, n_rows, jobs[0].w->n_out);
  make_product_scratch(c, n_rows);
  run.panels_per_tile = panels_per_tile(c, jobs[0].w, n_rows, n_panels); /* even: whole blocks */
  size_t n_tiles = (n_panels + run.panels_per_tile - 1) / run.panels_per_tile;
  run_tiles(c, run_then_tile, &run, n_tiles, jobs[0].w->n_out * act->n * n_rows * n_jobs < 32 * 1024);
  if (forms & ACT_K8) run_tiles(c, put_units_row, &run, n_rows, n_rows * out->n < INLINE_ELEMENTS);
}

/* ---- rotary positions ---- */

struct rope_job {
  struct compute *c;
  float *x;
  size_t ldx;
  float *cos, *sin;
  const int32_t *pos;
  const float *inv_freq;
  size_t n_heads, half, rows;
};

static void rope_table_tile(void *job, int tile, int worker) {
  (void)worker;
  const struct rope_job *j = job;
  for (size_t r = (size_t)tile * ROWS_PER_TILE; r < j->rows && r < (size_t)(tile + 1) * ROWS_PER_TILE; r++)
    for (size_t i = 0; i < j->half; i++)
      tensor_sincos((float)j->pos[r] * j->inv_freq[i], &j->sin[r * j->half + i], &j->cos[r * j->half + i]);
}

void op_rope_table(struct compute *c, float *cos, float *sin, const int32_t *pos, size_t rows, const float *inv_freq, size_t half_dim) {
  struct rope_job j = {.c = c, .cos = cos, .sin = sin, .pos = pos, .inv_freq = inv_freq, .half = half_dim, .rows = rows};
  run_tiles(c, rope_table_tile, &j, (rows + ROWS_PER_TILE - 1) / ROWS_PER_TILE, rows * half_dim < 512);
}

static void rope_tile(void *job, int tile, int worker) {
  (void)worker;
  const struct rope_job *j = job;
  for (size_t r = (size_t)tile * ROWS_PER_TILE; r < j->rows && r < (size_t)(tile + 1) * ROWS_PER_TILE; r++)
    j->c->kernels->rope(j->x + r * j->ldx, j->cos + r * j->half, j->sin + r * j->half, j->n_heads, 2 * j->half);
}

void op_rope(struct compute *c, float *x, size_t ldx, const float *cos, const float *sin, size_t rows, size_t n_heads, size_t head_dim) {
  assert(head_dim % 2 == 0);
  struct rope_job j = {
      .c = c, .x = x, .ldx = ldx, .cos = (float *)cos, .sin = (float *)sin, .n_heads = n_heads, .half = head_dim / 2, .rows = rows};
  run_tiles(c, rope_tile, &j, (rows + ROWS_PER_TILE - 1) / ROWS_PER_TILE, rows * n_heads * head_dim < INLINE_ELEMENTS);
}

/* ---- single rows on the calling thread ---- */

void op_mean_rows(float *y, const float *x, size_t rows, size_t n) {
  memset(y, 0, n * sizeof *y);
  for (size_t r = 0; r < rows; r++)
    for (size_t i = 0; i < n; i++) y[i] += x[r * n + i];
  float share = 1.0f / (float)rows;
  for (size_t i = 0; i < n; i++) y[i] *= share;
}

void op_l2_normalize(float *x, size_t n) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  float norm = sqrtf(lane[0]);
  if (norm < 1e-12f) norm = 1e-12f;
  for (size_t i = 0; i < n; i++) x[i] /= norm;
}

float op_log_sum_exp(const float *x, size_t n) {
  const struct kernels *k = kernels_best(COMPUTE_ISA_ALL);
  float max = k->max(x, n);
  if (!isfinite(max)) return max;
  return max + tensor_log(k->sum_exp(x, max, n));
}

float op_softmax_weights(float *y, const float *x, float scale, size_t n) {
  return kernels_best(COMPUTE_ISA_ALL)->softmax_weights(y, x, scale, n);
}

size_t op_argmax(const float *x, size_t n) {
  float max = kernels_best(COMPUTE_ISA_ALL)->max(x, n);
  for (size_t i = 0; i < n; i++)
    if (x[i] == max) return i;
  return 0;
}
