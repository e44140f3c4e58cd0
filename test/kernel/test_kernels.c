/* test_kernels: every variant that this machine has against the plain C, for equal bits. SPDX-License-Identifier: Apache-2.0
 * Shapes, tails and values are random from a fixed seed; values mix magnitudes, zeros and subnormals. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/kernels.h"
#include "tensor/quants.h"

static uint64_t state = 88172645463325252u;

static uint32_t next(void) { /* xorshift */
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16);
}

static size_t between(size_t low, size_t high) { return low + next() % (high - low + 1); }

static float value(void) {
  uint32_t kind = next() % 40;
  if (kind == 0) return 0;
  if (kind == 1) return -0.0f;
  if (kind == 2) return 1e-41f;
  float unit = (float)(int32_t)next() * 0x1p-31f;
  return kind == 3 ? unit * 300 : kind == 4 ? unit * 1e-6f : unit * 2;
}

static float *values(size_t n) {
  float *x = mem_aligned(64, n * sizeof *x + 64);
  for (size_t i = 0; i < n; i++) x[i] = value();
  return x;
}

static void same(const char *what, const char *isa, const void *a, const void *b, size_t bytes) {
  if (memcmp(a, b, bytes) == 0) return;
  const float *x = a, *y = b;
  for (size_t i = 0; i < bytes / 4; i++)
    if (memcmp(&x[i], &y[i], 4)) fail_msg("%s of %s: element %zu is %a, the truth is %a", what, isa, i, (double)x[i], (double)y[i]);
}

static const struct kernels *variants[2];
static size_t n_variants;
static const struct kernels *truth;

/* ---- rows ---- */

static void rows_equal_the_truth(void **unused) {
  (void)unused;
  for (int round = 0; round < 300; round++) {
    size_t n = between(1, 700);
    float *x = values(n), *g = values(n), *u = values(n), *b = values(n), *want = values(n), *got = mem_dup(want, n * 4);
    for (size_t v = 0; v < n_variants; v++) {
      const struct kernels *k = variants[v];
      truth->rmsnorm(want, x, g, 1e-5f, n), k->rmsnorm(got, x, g, 1e-5f, n);
      same("rmsnorm", k->name, got, want, n * 4);
      truth->layernorm(want, x, u, g, b, 1e-12f, n), k->layernorm(got, x, u, g, b, 1e-12f, n);
      same("layernorm", k->name, got, want, n * 4);
      truth->layernorm(want, x, NULL, g, NULL, 1e-5f, n), k->layernorm(got, x, NULL, g, NULL, 1e-5f, n);
      same("layernorm without bias", k->name, got, want, n * 4);
      truth->silu_mul(want, x, u, n), k->silu_mul(got, x, u, n);
      same("silu_mul", k->name, got, want, n * 4);
      truth->gelu(want, x, n), k->gelu(got, x, n);
      same("gelu", k->name, got, want, n * 4);
      float a = truth->softmax_weights(want, x, 0.7f, n), c = k->softmax_weights(got, x, 0.7f, n);
      same("softmax weights", k->name, got, want, n * 4);
      same("softmax sum", k->name, &c, &a, 4);
      a = truth->sum_exp(x, 2, n), c = k->sum_exp(x, 2, n);
      same("sum_exp", k->name, &c, &a, 4);
      assert_true(truth->max(x, n) == k->max(x, n));
    }
    void *all[] = {x, g, u, b, want, got};
    for (size_t i = 0; i < 6; i++) free(all[i]);
  }
}

static void rope_equals_the_truth(void **unused) {
  (void)unused;
  for (int round = 0; round < 100; round++) {
    size_t d = 2 * between(1, 80), heads = between(1, 9);
    float *x = values(d * heads), *c = values(d), *s = values(d);
    for (size_t v = 0; v < n_variants; v++) {
      float *want = mem_dup(x, d * heads * 4), *got = mem_dup(x, d * heads * 4);
      truth->rope(want, c, s, heads, d), variants[v]->rope(got, c, s, heads, d);
      same("rope", variants[v]->name, got, want, d * heads * 4);
      free(want), free(got);
    }
    free(x), free(c), free(s);
  }
}

/* ---- products ---- */

static void quantization_equals_the_truth(void **unused) {
  (void)unused;
  for (int round = 0; round < 200; round++) {
    size_t n = between(1, 800), blocks = (n + BLOCK - 1) / BLOCK;
    float *x = values(n);
    if (round % 3 == 0)
      for (size_t i = 0; i < n && i < BLOCK; i++) x[i] = round % 2 ? 0 : 1e-42f;
    if (round % 5 == 0) x[next() % n] = round % 2 ? NAN : INFINITY;
    for (size_t v = 0; v < n_variants; v++) {
      struct act8 *want8 = mem_zalloc(blocks, sizeof *want8), *got8 = mem_zalloc(blocks, sizeof *got8);
      struct act_k8 *want_k8 = mem_zalloc(act_units(n), sizeof *want_k8), *got_k8 = mem_zalloc(act_units(n), sizeof *got_k8);
      struct act16 *want16 = mem_zalloc(blocks, sizeof *want16), *got16 = mem_zalloc(blocks, sizeof *got16);
      struct act14 *want14 = mem_zalloc(blocks, sizeof *want14), *got14 = mem_zalloc(blocks, sizeof *got14);
      truth->quantize_i8(want8, x, n), variants[v]->quantize_i8(got8, x, n);
      truth->quantize_k8(want_k8, x, n), variants[v]->quantize_k8(got_k8, x, n);
      same("8-bit units", variants[v]->name, got_k8, want_k8, act_units(n) * sizeof *want_k8);
      truth->quantize_i16(want16, x, n), variants[v]->quantize_i16(got16, x, n);
      same("8-bit blocks", variants[v]->name, got8, want8, blocks * sizeof *want8);
      truth->quantize_i14(want14, x, n), variants[v]->quantize_i14(got14, x, n);
      same("16-bit blocks", variants[v]->name, got16, want16, blocks * sizeof *want16);
      same("14-bit blocks", variants[v]->name, got14, want14, blocks * sizeof *want14);
      free(want8), free(got8), free(want_k8), free(got_k8), free(want16), free(got16), free(want14), free(got14);
    }
    free(x);
  }
}

/* x = d · steps · q within half a step, with the fewest steps that hold the block's largest, and the sums are those of q. */
static void quantized_units_stand_for_their_values(void **unused) {
  (void)unused;
  for (int round = 0; round < 50; round++) {
    enum { N = 2 * UNIT };
    float *x = values(N);
    for (size_t i = 0; i < N; i++) x[i] *= (float)(1 + i / BLOCK % 5);
    struct act_k8 units[2];
    truth->quantize_k8(units, x, N);
    for (size_t b = 0; b < N / BLOCK; b++) {
      const struct act_k8 *u = &units[b / UNIT_BLOCKS];
      size_t at = b % UNIT_BLOCKS;
      int sum[2] = {0}, most = 0;
      assert_in_range(u->steps[at], 1, UNIT_STEPS);
      for (size_t i = 0; i < BLOCK; i++) {
        int q = u->q[at * BLOCK + i];
        double step = (double)u->d * u->steps[at];
        assert_true(fabs(step * q - (double)x[b * BLOCK + i]) <= 0.5001 * step);
        sum[i / 16] += q;
        most = abs(q) > most ? abs(q) : most;
      }
      assert_true(u->steps[at] == 1 || most * u->steps[at] >= 126 * (u->steps[at] - 1));
      assert_int_equal(u->bias[2 * at], -32 * sum[0]);
      assert_int_equal(u->bias[2 * at + 1], -32 * sum[1]);
      assert_int_equal(u->sum_half[2 * at], u->steps[at] * sum[0]);
      assert_int_equal(u->sum_half[2 * at + 1], u->steps[at] * sum[1]);
      assert_int_equal(u->sum[at], u->steps[at] * (sum[0] + sum[1]));
    }
    free(x);
  }
}

/* x = d · q within half a step, and 256 · high + low = q. */
static void quantized_blocks_stand_for_their_values(void **unused) {
  (void)unused;
  for (int round = 0; round < 50; round++) {
    enum { N = 3 * BLOCK };
    float *x = values(N);
    struct act8 narrow[3];
    struct act16 wide[3];
    struct act14 middle[3];
    truth->quantize_i8(narrow, x, N);
    truth->quantize_i16(wide, x, N);
    truth->quantize_i14(middle, x, N);
    for (size_t i = 0; i < N; i++) {
      const struct act8 *a = &narrow[i / BLOCK];
      const struct act16 *b = &wide[i / BLOCK];
      const struct act14 *m = &middle[i / BLOCK];
      assert_true(fabs((double)m->d * m->q[i % BLOCK] - (double)x[i]) <= 0.5101 * (double)m->d);
      assert_in_range(m->q[i % BLOCK] + I14_LARGEST, 0, 2 * I14_LARGEST);
      size_t k = i % BLOCK;
      assert_true(fabs((double)a->terms.d * a->q[k] - (double)x[i]) <= 0.5001 * (double)a->terms.d);
      assert_true(fabs((double)b->terms.d * b->q[k] - (double)x[i]) <= 0.5101 * (double)b->terms.d);
      assert_int_equal(256 * b->high[k] + b->low[k], b->q[k]);
    }
    free(x);
  }
}

static struct weight random_weight(enum pack pack, size_t n_out, size_t n_in) {
  struct weight w = {.pack = pack, .n_out = n_out, .n_in = n_in, .panel_bytes = pack_panel_bytes(pack, n_in)};
  struct pack_form form = pack_form(pack);
  w.n_panels = (n_out + PANEL_ROWS - 1) / PANEL_ROWS;
  w.n_blocks = (n_in + BLOCK - 1) / BLOCK;
  size_t bytes = w.n_panels * w.panel_bytes, unit = pack_is_float(pack) ? bytes : pack_unit_bytes(pack),
         scales = pack_scales_bytes(pack) * (form.minimum ? 2 : 1);
  w.data = mem_aligned(64, bytes);
  for (size_t i = 0; i < bytes; i++) w.data[i] = (unsigned char)(next() & (pack == PACK_I14 ? 0x1F : form.bits == 16 ? 0x3F : 0xFF));
  for (size_t i = 0; pack == PACK_F32 && i < bytes; i += 4) memcpy(w.data + i, &(float){value()}, 4);
  for (size_t at = 0; !pack_is_float(pack) && at < bytes; at += unit)
    for (size_t i = 0; i < scales; i += (size_t)form.scale_bytes) {
      float scale = (float)(int32_t)next() * 0x1p-36f;
      uint16_t half = pack == PACK_I14 ? dtype_f32_to_bf16(scale) : dtype_f32_to_f16(scale);
      if (form.scale_bytes == 2) memcpy(w.data + at + i, &half, 2);
      else memcpy(w.data + at + i, &scale, 4);
    }
  return w;
}

static void run_product(const struct kernels *k, const struct product *p, bool wide) {
  const struct weight *w = p->job->w;
  if (pack_is_float(w->pack)) k->linear_f32(p, 0, w->n_panels);
  else if (w->pack == PACK_I14) k->linear_i14(p, 0, w->n_panels);
  else if (wide) k->linear_i16(p, 0, w->n_panels);
  else if (pack_form(w->pack).sub) k->linear_k8(p, 0, w->n_panels);
  else k->linear_i8(p, 0, w->n_panels);
}

/* Rows of values, prepared in every form. */
static struct act make_act(const struct kernels *k, size_t rows, size_t n) {
  struct act act = {.rows = rows, .n = n, .ld = (n + BLOCK - 1) / BLOCK * BLOCK};
  size_t blocks = act.ld / BLOCK;
  act.f32 = values(rows * act.ld);
  act.i8 = mem_zalloc(rows * blocks, sizeof *act.i8);
  act.k8 = mem_zalloc(rows * act_units(act.ld), sizeof *act.k8);
  act.i16 = mem_zalloc(rows * blocks, sizeof *act.i16);
  act.i14 = mem_zalloc(rows * blocks, sizeof *act.i14);
  for (size_t r = 0; r < rows; r++) {
    k->quantize_i8(act.i8 + r * blocks, act.f32 + r * act.ld, n);
    k->quantize_k8(act.k8 + r * act_units(act.ld), act.f32 + r * act.ld, n);
    k->quantize_i16(act.i16 + r * blocks, act.f32 + r * act.ld, n);
    k->quantize_i14(act.i14 + r * blocks, act.f32 + r * act.ld, n);
  }
  return act;
}

static void free_act(struct act *act) { free(act->f32), free(act->i8), free(act->k8), free(act->i16), free(act->i14); }

static void check_product(enum pack pack, bool wide, size_t n_out, size_t n_in, size_t rows) {
  struct weight w = random_weight(pack, n_out, n_in);
  struct act act = make_act(truth, rows, n_in);
  int32_t *index = mem_alloc(rows * sizeof *index);
  for (size_t r = 0; r < rows; r++) index[r] = (int32_t)(next() % rows);
  float *bias = values(n_out + 16), *want = values(rows * n_out), *got = mem_dup(want, rows * n_out * 4),
        *before = mem_dup(want, rows * n_out * 4);
  bool add = next() % 2;
  unsigned char *scratch = mem_aligned(64, KERNELS_SCRATCH_BYTES);
  for (size_t v = 0; v < n_variants; v++) {
    struct linear job = {.w = &w, .bias = next() % 2 ? bias : NULL, .y = want, .ldy = n_out, .add = add};
    struct product p = {.job = &job, .act = &act, .row_index = next() % 2 ? index : NULL, .n_rows = rows};
    p.scratch = rows % 16 ? scratch : NULL;
    memcpy(want, before, rows * n_out * 4), memcpy(got, before, rows * n_out * 4);
    run_product(truth, &p, wide);
    job.y = got;
    run_product(variants[v], &p, wide);
    same(wide ? "16-bit product" : pack_is_float(pack) ? "float product" : "8-bit product", variants[v]->name, got, want, rows * n_out * 4);
  }
  free(w.data), free_act(&act), free(index), free(bias), free(want), free(got), free(before), free(scratch);
}

static void products_equal_the_truth(void **unused) {
  (void)unused;
  for (int round = 0; round < 60; round++)
    for (int pack = PACK_F32; pack < PACK_COUNT; pack++) {
      size_t n_in = pack_is_float((enum pack)pack) ? between(1, 200) : BLOCK * between(1, round % 3 ? 12 : 40);
      size_t rows = round % 6 == 5 ? between(60, 150) : between(1, 21); /* many: from KERNELS_OPEN_ROWS on weights may be opened once */
      check_product((enum pack)pack, round / 6 % 2, between(1, 100), n_in, rows);
    }
  for (int pack = PACK_I14 + 1; pack < PACK_COUNT; pack++) /* beyond the rows whose sums the scratch holds */
    for (int wide = 0; wide < 2; wide++) check_product((enum pack)pack, wide, between(1, 40), BLOCK * between(9, 20), 530);
}

/* Quants, sub-scales and sub-minimums as large as they can be, all activations of one sign: no sum leaves its integers. */
static void the_largest_integers_equal_the_truth(void **unused) {
  (void)unused;
  enum { OUT = 20, IN = 2 * UNIT, ROWS = KERNELS_OPEN_ROWS + 1 };
  unsigned char *scratch = mem_aligned(64, KERNELS_SCRATCH_BYTES);
  for (int pack = PACK_K2M; pack <= PACK_K6; pack++)
    for (int signs = 0; signs < 4; signs++) {
      struct weight w = random_weight((enum pack)pack, OUT, IN);
      const size_t unit = pack_unit_bytes(w.pack), subs = pack_sub_at(w.pack, false, 0, 0), quants = pack_quants_at(w.pack, 0);
      for (size_t at = 0; at < w.n_panels * w.panel_bytes; at += unit) {
        memset(w.data + at + subs, signs & 1 ? 0x80 : 0x7F, quants - subs);
        memset(w.data + at + quants, 0xFF, unit - quants);
      }
      struct act act = make_act(truth, ROWS, IN);
      for (size_t i = 0; i < ROWS * act.ld; i++) act.f32[i] = signs & 2 ? -1 : 1;
      for (size_t r = 0; r < ROWS; r++) truth->quantize_k8(act.k8 + r * act_units(act.ld), act.f32 + r * act.ld, IN);
      float want[ROWS * OUT], got[ROWS * OUT];
      for (size_t v = 0; v < n_variants; v++)
        for (size_t rows = 1; rows <= ROWS; rows += ROWS - 1) {
          struct linear job = {.w = &w, .y = want, .ldy = OUT};
          truth->linear_k8(&(struct product){&job, &act, NULL, rows, scratch}, 0, w.n_panels);
          job.y = got;
          variants[v]->linear_k8(&(struct product){&job, &act, NULL, rows, scratch}, 0, w.n_panels);
          same("largest product", variants[v]->name, got, want, rows * OUT * sizeof *want);
        }
      free(w.data), free_act(&act);
    }
  free(scratch);
}

/* One column alone and among others: the same bits. */
static void a_row_gets_the_same_bits_alone_and_in_a_batch(void **unused) {
  (void)unused;
  enum { ROWS = KERNELS_OPEN_ROWS + 3, OUT = 50, IN = 288 };
  _Alignas(64) static unsigned char scratch[KERNELS_SCRATCH_BYTES];
  for (int pack = PACK_F32; pack < PACK_COUNT; pack++)
    for (size_t v = 0; v < n_variants; v++) {
      struct weight w = random_weight((enum pack)pack, OUT, IN);
      struct act act = make_act(variants[v], ROWS, IN);
      float all[ROWS * OUT], alone[OUT];
      struct linear job = {.w = &w, .y = all, .ldy = OUT};
      for (int wide = 0; wide < 2; wide++) {
        job.y = all;
        run_product(variants[v], &(struct product){&job, &act, NULL, ROWS, scratch}, wide);
        job.y = alone;
        for (int32_t r = 0; r < ROWS; r++) {
          run_product(variants[v], &(struct product){.job = &job, .act = &act, .row_index = &r, .n_rows = 1}, wide);
          same("row alone", variants[v]->name, alone, all + r * OUT, sizeof alone);
        }
      }
      free(w.data), free_act(&act);
    }
}

/* ---- attention ---- */

struct scene {
  struct kv_layout kv;
  void *pages[16];
  float *q, *k, *v, *out;
  size_t heads, keys;
};

static void run_attention(const struct kernels *kernels, struct scene *s, const struct kv_segment *segment, bool causal) {
  size_t d = s->kv.head_dim;
  for (size_t i = 0; i < s->keys; i++)
    kernels->kv_store(&s->kv, (unsigned char *)s->pages[i / KV_PAGE_TOKENS] + s->kv.layer_bytes, i % KV_PAGE_TOKENS,
                      s->k + i * s->kv.n_kv_heads * d, s->v + i * s->kv.n_kv_heads * d);
  float *scratch = mem_aligned(64, kernels_attention_floats(s->heads / s->kv.n_kv_heads, d) * 4);
  struct attention a = {.kv = &s->kv,
                        .layer = 1,
                        .n_heads = s->heads,
                        .scale = 0.17f,
                        .causal = causal,
                        .q = s->q,
                        .ldq = s->heads * d,
                        .out = s->out,
                        .ldo = s->heads * d};
  for (size_t h = 0; h < s->kv.n_kv_heads; h++)
    for (size_t begin = 0; begin < segment->n_rows; begin += ATTENTION_ROWS) {
      size_t n = segment->n_rows - begin < ATTENTION_ROWS ? segment->n_rows - begin : ATTENTION_ROWS;
      kernels->attention(
          &(struct attention_tile){.a = &a, .segment = segment, .kv_head = h, .row_begin = begin, .n_rows = n, .scratch = scratch});
    }
  free(scratch);
}

static void check_attention(size_t d, size_t kv_heads, size_t group, enum dtype dtype, bool causal) {
  struct scene s = {.kv = kv_layout_make(2, kv_heads, d, dtype), .heads = kv_heads * group};
  struct kv_segment segment = {.n_rows = between(1, 70), .pos_begin = causal ? between(0, 200) : 0, .pages = s.pages};
  s.keys = segment.pos_begin + segment.n_rows;
  s.q = values(segment.n_rows * s.heads * d);
  s.k = values(s.keys * kv_heads * d);
  s.v = values(s.keys * kv_heads * d);
  size_t n_out = segment.n_rows * s.heads * d, n_pages = (s.keys + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  float *want = mem_zalloc(n_out, 4), *got = mem_zalloc(n_out, 4);
  for (size_t v = 0; v < n_variants; v++)
    for (int side = 0; side < 2; side++) {
      for (size_t i = 0; i < n_pages; i++) {
        s.pages[i] = mem_aligned(64, s.kv.page_bytes);
        memset(s.pages[i], 0xFF, s.kv.page_bytes); /* NaN: slots without a key must not be felt */
      }
      s.out = side ? want : got;
      run_attention(side ? truth : variants[v], &s, &segment, causal);
      for (size_t i = 0; i < n_pages; i++) free(s.pages[i]);
      if (side) same("attention", variants[v]->name, got, want, n_out * 4);
    }
  free(s.q), free(s.k), free(s.v), free(want), free(got);
}

static void attention_equals_the_truth_and_ignores_stale_slots(void **unused) {
  (void)unused;
  static const size_t dims[] = {16, 32, 64, 80, 96, 128, 24};
  for (int round = 0; round < 4; round++)
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
      check_attention(dims[i], between(1, 3), between(1, 4), DTYPE_F16, true);
      check_attention(dims[i], between(1, 3), between(1, 4), DTYPE_F32, round % 2);
    }
}

/* ---- elementary functions ---- */

static void exp_and_erf_are_within_their_stated_error(void **unused) {
  (void)unused;
  for (int i = -8000; i <= 8000; i++) {
    float x = (float)i * 0.01f;
    double e = exp((double)x);
    if (x > -87) assert_true(fabs((double)tensor_exp(x) / e - 1) < 1.3e-7);
    assert_true(fabs((double)tensor_erf(x) - erf((double)x)) < 1e-7);
    assert_true(fabs((double)tensor_tanh(x) - tanh((double)x)) < 6.1e-8);
    if (x > 0) assert_true(fabs((double)tensor_log(x) - log((double)x)) < 3e-7);
  }
  assert_true(tensor_exp(-INFINITY) == 0);
  assert_true(isinf(tensor_exp(100)));
}

static void sine_and_cosine_keep_full_precision_at_large_angles(void **unused) {
  (void)unused;
  for (int i = 0; i < 200000; i++) {
    float x = (float)next() * 0x1p-32f * (i % 2 ? 131072.0f : 8.0f), s, c;
    tensor_sincos(x, &s, &c);
    assert_true(fabs((double)s - sin((double)x)) < 6.1e-8);
    assert_true(fabs((double)c - cos((double)x)) < 6.1e-8);
  }
}

/* ---- packing ---- */

/* A value as its block of 14 bits gives it back. */
static float rounded(const float *block, size_t n, size_t k) {
  float padded[BLOCK] = {0};
  int16_t q[BLOCK];
  memcpy(padded, block, n * sizeof *block);
  float scale = dtype_bf16_to_f32(quants_round(padded, q));
  return scale * (float)q[k];
}

static void a_14_bit_block_is_within_half_a_step_of_its_values(void **unused) {
  (void)unused;
  for (int round = 0; round < 2000; round++) {
    float x[BLOCK], largest = 0, size = ldexpf(1, (int)between(0, 250) - 126);
    for (int k = 0; k < BLOCK; k++) x[k] = value() * (size / 512), largest = fmaxf(largest, fabsf(x[k]));
    if (round % 50 == 0) x[round % BLOCK] = largest = FLT_MAX;
    int16_t q[BLOCK];
    double scale = (double)dtype_bf16_to_f32(quants_round(x, q)); /* the largest is at least 4,096 steps, or the step is the least */
    assert_true(scale == 0 ? largest == 0 : scale <= fmax((double)largest / 4095, 0x1p-133));
    for (int k = 0; k < BLOCK; k++) {
      assert_true(abs(q[k]) <= I14_LARGEST);
      assert_true(fabs(scale * q[k] - (double)x[k]) <= scale / 2);
    }
  }
}

/* Within 2^5 of the block's largest a bf16 loses nothing. */
static void a_14_bit_block_keeps_bf16_values_of_like_size(void **unused) {
  (void)unused;
  for (int round = 0; round < 2000; round++) {
    float x[BLOCK], base = ldexpf(1, (int)between(0, 220) - 110);
    for (int k = 0; k < BLOCK; k++)
      x[k] = dtype_bf16_to_f32((uint16_t)(dtype_f32_to_bf16(ldexpf(base, (int)between(0, 5))) | between(0, 0x7F) | between(0, 1) << 15));
    for (size_t k = 0; k < BLOCK; k++) assert_true(rounded(x, BLOCK, k) == x[k]);
  }
}

/* A broken weight breaks its products as it would in fp32; it is never taken for a number. */
static void a_14_bit_block_with_a_nan_or_an_infinity_is_nan(void **unused) {
  (void)unused;
  static const float broken[] = {NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < 3; i++) {
    float m[2 * BLOCK], row[2 * BLOCK], y;
    for (size_t k = 0; k < 2 * BLOCK; k++) m[k] = 1;
    m[BLOCK + i] = broken[i];
    struct pool *pool = pool_create(1, NULL);
    struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, NULL);
    struct weight *w = weight_pack(c, &(struct weight_source){.dtype = DTYPE_F32, .data = m, .n_out = 1, .n_in = 2 * BLOCK}, NULL);
    struct act *act = act_create(c, 1, 2 * BLOCK, NULL);
    weight_row(w, 0, row);
    for (size_t k = 0; k < 2 * BLOCK; k++) assert_true(k < BLOCK ? row[k] == 1 : isnan(row[k]));
    memset(row, 0, sizeof row);
    op_prepare(c, act, weight_act_form(w), row, 2 * BLOCK, 1, 2 * BLOCK);
    op_linear(c, act, &(struct linear){.w = w, .y = &y, .ldy = 1}, 1, NULL, 1);
    assert_true(isnan(y));
    act_free(act), weight_free(w), compute_destroy(c), pool_destroy(pool);
  }
}

/* Every bit counts, those of integers and of sub-scales too; drawn anew until all values are finite. */
static void random_block(enum dtype dtype, unsigned char *block) {
  const struct dtype_info *type = dtype_info(dtype);
  float values[256];
  for (bool finite = false; !finite;) {
    for (size_t i = 0; i < type->block_bytes; i++) block[i] = (unsigned char)(next() & 0xFF);
    dtype_to_f32(dtype, block, values, type->block_elements);
    finite = true;
    for (size_t i = 0; i < type->block_elements; i++) finite = finite && isfinite(values[i]);
  }
}

static void check_packing(enum dtype dtype, enum compute_mode mode) {
  struct error err;
  struct pool *pool = pool_create(2, &err);
  struct compute *c = compute_create(mode, pool, COMPUTE_ISA_ALL, &err);
  const struct dtype_info *type = dtype_info(dtype);
  size_t n_out = between(1, 40), n_in = type->block_elements == 1 ? between(1, 100) : type->block_elements * between(1, 3),
         row_bytes = n_in / type->block_elements * type->block_bytes;
  unsigned char *data = mem_alloc(n_out * row_bytes);
  for (size_t i = 0; i < n_out * row_bytes; i += type->block_bytes) random_block(dtype, data + i);
  uint32_t *order = mem_alloc(n_out * sizeof *order);
  for (size_t r = 0; r < n_out; r++) order[r] = (uint32_t)(n_out - 1 - r);
  struct weight *w =
      weight_pack(c, &(struct weight_source){.dtype = dtype, .data = data, .n_out = n_out, .n_in = n_in, .row_order = order}, &err);
  if (!w) fail_msg("%s: %s", type->name, err.message);
  float *want = values(n_in), *got = values(n_in);
  for (size_t r = 0; r < n_out; r++) {
    assert_true(dtype_to_f32(dtype, data + order[r] * row_bytes, want, n_in));
    weight_row(w, r, got);
    float exact[BLOCK];
    for (size_t k = 0; w->pack == PACK_I14 && k < n_in; k++) {
      if (k % BLOCK == 0) memcpy(exact, want + k, (n_in - k < BLOCK ? n_in - k : BLOCK) * sizeof *want);
      want[k] = rounded(exact, n_in - k / BLOCK * BLOCK < BLOCK ? n_in % BLOCK : BLOCK, k % BLOCK);
    }
    same("packed row", type->name, got, want, n_in * 4);
  }
  weight_free(w), free(data), free(order), free(want), free(got);
  compute_destroy(c), pool_destroy(pool);
}

static void packed_weights_dequantize_to_the_originals_or_their_14_bits(void **unused) {
  (void)unused;
  static const enum dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16,   DTYPE_Q4_0,   DTYPE_Q4_1,  DTYPE_Q5_0,
                                     DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q2_K,   DTYPE_Q3_K,   DTYPE_Q4_K,  DTYPE_Q5_K,
                                     DTYPE_Q6_K, DTYPE_Q8_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4, DTYPE_TQ2_0};
  for (int round = 0; round < 3; round++)
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
      for (int mode = 0; mode < COMPUTE_MODES; mode++) check_packing(types[i], (enum compute_mode)mode);
    }
}

int main(void) {
  truth = kernels_best(COMPUTE_ISA_REF);
  static const unsigned isas[] = {COMPUTE_ISA_AVX2, COMPUTE_ISA_AVX512, COMPUTE_ISA_NEON, COMPUTE_ISA_DOTPROD};
  const struct kernels *last = truth;
  for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) { /* from the narrowest to the widest: what is not there is what stood below */
    const struct kernels *k = kernels_best(COMPUTE_ISA_REF | (2 * isas[i] - 1));
    if (k != truth && k != last && strcmp(k->name, last->name) != 0) variants[n_variants++] = last = k;
  }
  for (size_t i = 0; i < n_variants; i++) print_message("variant: %s\n", variants[i]->name);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_equal_the_truth),
      cmocka_unit_test(rope_equals_the_truth),
      cmocka_unit_test(quantization_equals_the_truth),
      cmocka_unit_test(quantized_blocks_stand_for_their_values),
      cmocka_unit_test(quantized_units_stand_for_their_values),
      cmocka_unit_test(products_equal_the_truth),
      cmocka_unit_test(the_largest_integers_equal_the_truth),
      cmocka_unit_test(a_row_gets_the_same_bits_alone_and_in_a_batch),
      cmocka_unit_test(attention_equals_the_truth_and_ignores_stale_slots),
      cmocka_unit_test(exp_and_erf_are_within_their_stated_error),
      cmocka_unit_test(sine_and_cosine_keep_full_precision_at_large_angles),
      cmocka_unit_test(a_14_bit_block_is_within_half_a_step_of_its_values),
      cmocka_unit_test(a_14_bit_block_keeps_bf16_values_of_like_size),
      cmocka_unit_test(a_14_bit_block_with_a_nan_or_an_infinity_is_nan),
      cmocka_unit_test(packed_weights_dequantize_to_the_originals_or_their_14_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
