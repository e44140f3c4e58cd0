/* test_kernels: every variant that this machine has against the plain C, for equal bits. SPDX-License-Identifier: Apache-2.0
 * Shapes, tails and values are random from a fixed seed; values mix magnitudes, zeros and subnormals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/kernels.h"

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

static struct act_blocks make_blocks(size_t rows, size_t ld) {
  struct act_blocks b = {.q8 = mem_zalloc(rows, ld + 64), .low = mem_zalloc(rows, ld + 64), .q16 = mem_zalloc(rows, 2 * ld + 64)};
  b.d = mem_zalloc(rows * ld / BLOCK + 1, 4);
  b.ds = mem_zalloc(rows * ld / BLOCK + 1, 4);
  b.sum = mem_zalloc(rows * ld / BLOCK + 1, 4);
  return b;
}

static void free_blocks(struct act_blocks *b) { free(b->q8), free(b->low), free(b->q16), free(b->d), free(b->ds), free(b->sum); }

static void quantization_equals_the_truth(void **unused) {
  (void)unused;
  for (int round = 0; round < 200; round++) {
    size_t n = between(1, 500), ld = (n + BLOCK - 1) / BLOCK * BLOCK, blocks = ld / BLOCK;
    float *x = values(n);
    if (round % 3 == 0)
      for (size_t i = 0; i < n && i < BLOCK; i++) x[i] = round % 2 ? 0 : 1e-42f;
    for (size_t v = 0; v < n_variants; v++)
      for (int wide = 0; wide < 2; wide++) {
        struct act_blocks want = make_blocks(1, ld), got = make_blocks(1, ld);
        if (wide) truth->quantize_i16(&want, 0, ld, x, n), variants[v]->quantize_i16(&got, 0, ld, x, n);
        else truth->quantize_i8(&want, 0, ld, x, n), variants[v]->quantize_i8(&got, 0, ld, x, n);
        same("scales", variants[v]->name, got.d, want.d, blocks * 4);
        same("scaled sums", variants[v]->name, got.ds, want.ds, blocks * 4);
        assert_memory_equal(got.sum, want.sum, blocks * 4);
        assert_memory_equal(got.q8, want.q8, ld);
        assert_memory_equal(got.low, want.low, ld);
        assert_memory_equal(got.q16, want.q16, 2 * ld);
        free_blocks(&want), free_blocks(&got);
      }
    free(x);
  }
}

static struct weight random_weight(enum pack pack, size_t n_out, size_t n_in) {
  struct weight w = {.pack = pack, .n_out = n_out, .n_in = n_in};
  w.n_panels = (n_out + PANEL_ROWS - 1) / PANEL_ROWS;
  w.n_blocks = (n_in + BLOCK - 1) / BLOCK;
  w.panel_bytes = pack == PACK_F32 ? n_in * PANEL_ROWS * 4 : w.n_blocks * kernels_block_bytes(pack);
  w.data = mem_aligned(64, w.n_panels * w.panel_bytes);
  if (pack == PACK_F32) {
    for (size_t i = 0; i < w.n_panels * w.panel_bytes / 4; i++) ((float *)(void *)w.data)[i] = value();
    return w;
  }
  for (size_t i = 0; i < w.n_panels * w.panel_bytes; i++) w.data[i] = (unsigned char)next();
  for (size_t b = 0; b < w.n_panels * w.n_blocks; b++)
    for (size_t i = 0; i < (pack == PACK_Q4M ? 32u : 16u); i++) {
      uint16_t half = dtype_f32_to_f16((float)(int32_t)next() * 0x1p-36f);
      memcpy(w.data + b * kernels_block_bytes(pack) + 2 * i, &half, 2);
    }
  return w;
}

static void run_product(const struct kernels *k, const struct product *p, bool wide) {
  const struct weight *w = p->job->w;
  if (w->pack == PACK_F32) k->linear_f32(p, 0, w->n_panels);
  else if (wide) k->linear_i16(p, 0, w->n_panels);
  else k->linear_i8(p, 0, w->n_panels);
}

static void check_product(enum pack pack, bool wide, size_t n_out, size_t n_in, size_t rows) {
  struct weight w = random_weight(pack, n_out, n_in);
  size_t ld = (n_in + BLOCK - 1) / BLOCK * BLOCK;
  struct act act = {.rows = rows, .n = n_in, .ld = ld, .f32 = values(rows * ld)};
  struct act_blocks blocks = make_blocks(rows, ld);
  for (size_t r = 0; r < rows; r++) {
    if (wide) truth->quantize_i16(&blocks, r, ld, act.f32 + r * ld, n_in);
    else truth->quantize_i8(&blocks, r, ld, act.f32 + r * ld, n_in);
  }
  act.i8 = act.i16 = blocks;
  if (!wide) act.i8.low = NULL, act.i8.q16 = NULL;
  int32_t *index = mem_alloc(rows * sizeof *index);
  for (size_t r = 0; r < rows; r++) index[r] = (int32_t)(next() % rows);
  float *bias = values(n_out + 16), *want = values(rows * n_out), *got = mem_dup(want, rows * n_out * 4);
  bool add = next() % 2;
  for (size_t v = 0; v < n_variants; v++) {
    struct linear job = {.w = &w, .bias = next() % 2 ? bias : NULL, .y = want, .ldy = n_out, .add = add};
    struct product p = {.job = &job, .act = &act, .row_index = next() % 2 ? index : NULL, .n_rows = rows};
    run_product(truth, &p, wide);
    job.y = got;
    run_product(variants[v], &p, wide);
    same(wide ? "16-bit product" : pack == PACK_F32 ? "fp32 product" : "8-bit product", variants[v]->name, got, want, rows * n_out * 4);
  }
  free(w.data), free(act.f32), free_blocks(&blocks), free(index), free(bias), free(want), free(got);
}

static void products_equal_the_truth(void **unused) {
  (void)unused;
  for (int round = 0; round < 60; round++)
    for (int pack = PACK_F32; pack <= PACK_Q4M; pack++) {
      size_t n_in = pack == PACK_F32 ? between(1, 200) : BLOCK * between(1, 12);
      check_product((enum pack)pack, round % 2, between(1, 100), n_in, between(1, 21));
    }
}

/* One column alone and among others: the same bits. */
static void a_row_gets_the_same_bits_alone_and_in_a_batch(void **unused) {
  (void)unused;
  enum { ROWS = 23, OUT = 50, IN = 96 };
  for (int pack = PACK_F32; pack <= PACK_Q4M; pack++)
    for (size_t v = 0; v < n_variants; v++) {
      struct weight w = random_weight((enum pack)pack, OUT, IN);
      struct act act = {.rows = ROWS, .n = IN, .ld = IN, .f32 = values(ROWS * IN), .i8 = make_blocks(ROWS, IN)};
      for (size_t r = 0; r < ROWS; r++) variants[v]->quantize_i8(&act.i8, r, IN, act.f32 + r * IN, IN);
      free(act.i8.low), free(act.i8.q16);
      act.i8.low = NULL, act.i8.q16 = NULL;
      float all[ROWS * OUT], alone[OUT];
      struct linear job = {.w = &w, .y = all, .ldy = OUT};
      run_product(variants[v], &(struct product){.job = &job, .act = &act, .n_rows = ROWS}, false);
      job.y = alone;
      for (int32_t r = 0; r < ROWS; r++) {
        run_product(variants[v], &(struct product){.job = &job, .act = &act, .row_index = &r, .n_rows = 1}, false);
        same("row alone", variants[v]->name, alone, all + r * OUT, sizeof alone);
      }
      free(w.data), free(act.f32), free_blocks(&act.i8);
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
  float *scratch = mem_aligned(64, attention_scratch_floats(s->heads / s->kv.n_kv_heads, d) * 4);
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

static void check_packing(enum dtype dtype, enum compute_mode mode) {
  struct error err;
  struct pool *pool = pool_create(2, &err);
  struct compute *c = compute_create(mode, pool, COMPUTE_ISA_ALL, &err);
  const struct dtype_info *type = dtype_info(dtype);
  size_t n_out = between(1, 40), n_in = type->block_elements * between(1, 3) * (type->block_elements == 1 ? 32 : 1),
         row_bytes = n_in / type->block_elements * type->block_bytes;
  unsigned char *data = mem_alloc(n_out * row_bytes);
  for (size_t i = 0; i < n_out * row_bytes; i++) data[i] = (unsigned char)(next() & 0x3F); /* finite in every float type */
  uint32_t *order = mem_alloc(n_out * sizeof *order);
  for (size_t r = 0; r < n_out; r++) order[r] = (uint32_t)(n_out - 1 - r);
  struct weight *w =
      weight_pack(c, &(struct weight_source){.dtype = dtype, .data = data, .n_out = n_out, .n_in = n_in, .row_order = order}, &err);
  if (!w) fail_msg("%s: %s", type->name, err.message);
  float *want = values(n_in), *got = values(n_in);
  for (size_t r = 0; r < n_out; r++) {
    assert_true(dtype_to_f32(dtype, data + order[r] * row_bytes, want, n_in));
    weight_row(w, r, got);
    same("packed row", type->name, got, want, n_in * 4);
  }
  weight_free(w), free(data), free(order), free(want), free(got);
  compute_destroy(c), pool_destroy(pool);
}

static void packed_weights_dequantize_to_the_originals_bit_for_bit(void **unused) {
  (void)unused;
  static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q8_0, DTYPE_Q6_K};
  for (int round = 0; round < 3; round++)
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
      check_packing(types[i], COMPUTE_FAST);
      check_packing(types[i], COMPUTE_F32);
    }
}

int main(void) {
  truth = kernels_best(COMPUTE_ISA_REF);
  const struct kernels *avx2 = kernels_best(COMPUTE_ISA_REF | COMPUTE_ISA_AVX2), *avx512 = kernels_best(COMPUTE_ISA_ALL);
  if (avx2 != truth && strcmp(avx2->name, "avx2") == 0) variants[n_variants++] = avx2;
  if (strcmp(avx512->name, "avx512") == 0) variants[n_variants++] = avx512;
  for (size_t i = 0; i < n_variants; i++) print_message("variant: %s\n", variants[i]->name);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_equal_the_truth),
      cmocka_unit_test(rope_equals_the_truth),
      cmocka_unit_test(quantization_equals_the_truth),
      cmocka_unit_test(products_equal_the_truth),
      cmocka_unit_test(a_row_gets_the_same_bits_alone_and_in_a_batch),
      cmocka_unit_test(attention_equals_the_truth_and_ignores_stale_slots),
      cmocka_unit_test(exp_and_erf_are_within_their_stated_error),
      cmocka_unit_test(sine_and_cosine_keep_full_precision_at_large_angles),
      cmocka_unit_test(packed_weights_dequantize_to_the_originals_bit_for_bit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
