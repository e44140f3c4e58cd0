/* check: a start-up sample for kernel variants; see check.h. SPDX-License-Identifier: Apache-2.0
 * Small on purpose (well under a millisecond each): it catches a miscompiled or unsupported instruction; test/kernel covers shapes. */
#include "tensor/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { N = 96, ROWS = 3, OUT = 40 };

/* A fixed sequence of values in (-2, 2): a linear congruential generator. */
static void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(int32_t)seed * 0x1p-30f;
  }
}

struct sample {
  float x[ROWS * N], gain[N], y[ROWS * N];
  int8_t q8[ROWS * N], low[ROWS * N];
  int16_t q16[ROWS * N];
  float d[ROWS * N / BLOCK], ds[ROWS * N / BLOCK];
  int32_t sum[ROWS * N / BLOCK];
};

static void sample_rows(const struct kernels *k, struct sample *s) {
  for (size_t r = 0; r < ROWS; r++) {
    float *y = s->y + r * N;
    const float *x = s->x + r * N;
    k->rmsnorm(y, x, s->gain, 1e-5f, N - r);
    k->layernorm(y, y, x, s->gain, s->gain, 1e-5f, N - r);
    k->silu_mul(y, y, x, N - r);
    k->gelu(y, y, N - r);
    k->rope(y, s->gain, s->x, 2, 32);
    y[N - 1] = k->softmax_weights(y, y, 1.5f, N - 1) + k->sum_exp(x, k->max(x, N), N);
  }
}

static void sample_linear(const struct kernels *k, struct sample *s, enum pack pack, unsigned char *panels, float *y) {
  size_t panel_bytes = pack == PACK_F32 ? N * PANEL_ROWS * sizeof(float) : N / BLOCK * kernels_block_bytes(pack);
  struct weight w = {.pack = pack, .n_out = OUT, .n_in = N, .n_panels = 3, .n_blocks = N / BLOCK, .panel_bytes = panel_bytes, .data = panels};
  struct act act = {.rows = ROWS, .n = N, .ld = N, .f32 = s->x, .forms = 7};
  act.i8 = (struct act_blocks){.q8 = s->q8, .d = s->d, .ds = s->ds, .sum = s->sum};
  struct linear job = {.w = &w, .bias = s->gain, .y = y, .ldy = OUT};
  struct product p = {.job = &job, .act = &act, .n_rows = ROWS};
  if (pack == PACK_F32) {
    k->linear_f32(&p, 0, w.n_panels);
    return;
  }
  for (size_t r = 0; r < ROWS; r++) k->quantize_i8(&act.i8, r, N, s->x + r * N, N);
  k->linear_i8(&p, 0, w.n_panels);
  act.i16 = (struct act_blocks){.q8 = s->q8, .low = s->low, .q16 = s->q16, .d = s->d, .ds = s->ds, .sum = s->sum};
  for (size_t r = 0; r < ROWS; r++) k->quantize_i16(&act.i16, r, N, s->x + r * N, N);
  job.add = true;
  k->linear_i16(&p, 0, w.n_panels);
}

/* Random bytes, with halves of a moderate size where scales stand. */
static void fill_panels(unsigned char *panels, enum pack pack) {
  float *values = (float *)(void *)panels;
  size_t n = 3 * (size_t)N * PANEL_ROWS, block = kernels_block_bytes(pack), blocks = 3 * (N / BLOCK);
  fill(values, n, 7);
  for (size_t b = 0; pack != PACK_F32 && b < blocks; b++)
    for (size_t i = 0; i < (pack == PACK_Q4M ? 32u : 16u); i++) {
      uint16_t half = (uint16_t)(0x2000 + 37 * (b * 32 + i) % 0x1000);
      memcpy(panels + b * block + 2 * i, &half, sizeof half);
    }
}

static bool same_attention(const struct kernels *k, const struct kernels *truth) {
  enum { TOKENS = 40, HEADS = 4, KV_HEADS = 2, DIM = 16 };
  struct kv_layout kv = kv_layout_make(1, KV_HEADS, DIM, DTYPE_F16);
  unsigned char *memory = mem_aligned(64, 2 * kv.page_bytes);
  float *x = mem_alloc(TOKENS * HEADS * DIM * sizeof *x), *out[2];
  float *scratch = mem_aligned(64, attention_scratch_floats(HEADS / KV_HEADS, DIM) * sizeof *scratch);
  void *pages[] = {memory, memory + kv.page_bytes};
  fill(x, TOKENS * HEADS * DIM, 3);
  memset(memory, 0, 2 * kv.page_bytes);
  for (int side = 0; side < 2; side++) {
    const struct kernels *used = side ? truth : k;
    out[side] = mem_zalloc(TOKENS * HEADS * DIM, sizeof(float));
    for (size_t i = 0; i < TOKENS; i++) used->kv_store(&kv, pages[i / KV_PAGE_TOKENS], i % KV_PAGE_TOKENS, x + i * 64, x + i * 64 + 32);
    struct kv_segment segment = {.n_rows = TOKENS, .pages = pages};
    struct attention a = {.kv = &kv, .n_heads = HEADS, .scale = 0.25f, .causal = true, .q = x, .ldq = HEADS * DIM, .out = out[side], .ldo = HEADS * DIM};
    struct attention_tile t = {.a = &a, .segment = &segment, .kv_head = 1, .row_begin = 24, .n_rows = 16, .scratch = scratch};
    used->attention(&t);
  }
  bool same = memcmp(out[0], out[1], TOKENS * HEADS * DIM * sizeof(float)) == 0;
  void *all[] = {memory, x, out[0], out[1], scratch};
  for (size_t i = 0; i < 5; i++) free(all[i]);
  return same;
}

static bool same_linear(const struct kernels *k, const struct kernels *truth, struct sample *a, struct sample *b, enum pack pack) {
  unsigned char *panels = mem_aligned(64, 3 * (size_t)N * PANEL_ROWS * sizeof(float));
  fill_panels(panels, pack);
  float ya[ROWS * OUT] = {0}, yb[ROWS * OUT] = {0};
  sample_linear(k, a, pack, panels, ya);
  sample_linear(truth, b, pack, panels, yb);
  free(panels);
  return memcmp(ya, yb, sizeof ya) == 0 && memcmp(a->q8, b->q8, sizeof a->q8) == 0 && memcmp(a->ds, b->ds, sizeof a->ds) == 0;
}

const char *check_kernels(const struct kernels *k, const struct kernels *truth) {
  struct sample *s = mem_zalloc(2, sizeof *s);
  for (int i = 0; i < 2; i++) fill(s[i].x, ROWS * N, 1), fill(s[i].gain, N, 2);
  sample_rows(k, &s[0]);
  sample_rows(truth, &s[1]);
  const char *wrong = memcmp(s[0].y, s[1].y, sizeof s[0].y) ? "for rows" : NULL;
  static const char *const names[] = {"for fp32 products", "for 8-bit products", "for 4-bit products", "for 4-bit products with minimum"};
  for (int pack = PACK_F32; pack <= PACK_Q4M && !wrong; pack++)
    if (!same_linear(k, truth, &s[0], &s[1], (enum pack)pack)) wrong = names[pack];
  if (!wrong && !same_attention(k, truth)) wrong = "for attention";
  free(s);
  return wrong;
}
