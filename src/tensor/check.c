/* check: a start-up sample for kernel variants; see check.h. SPDX-License-Identifier: Apache-2.0
 * Small on purpose (well under a millisecond each): it catches a miscompiled or unsupported instruction; test/kernel covers shapes. */
#include "tensor/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { N = 288, ROWS = 3, OUT = 40, Y_ROWS = ROWS + KERNELS_OPEN_ROWS };

/* A fixed sequence of values in (-2, 2): a linear congruential generator. */
static void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(int32_t)seed * 0x1p-30f;
  }
}

struct sample {
  float x[ROWS * N], gain[N], y[ROWS * N];
  struct act8 i8[ROWS * N / BLOCK];
  struct act_k8 k8[2 * ROWS]; /* more than a unit each */
  struct act16 i16[ROWS * N / BLOCK];
  struct act14 i14[ROWS * N / BLOCK];
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

/* y: [Y_ROWS][OUT], for a few rows and for many. */
static void sample_linear(const struct kernels *k, struct sample *s, enum pack pack, unsigned char *panels, float *y) {
  struct weight w = {.pack = pack,
                     .n_out = OUT,
                     .n_in = N,
                     .n_panels = 3,
                     .n_blocks = N / BLOCK,
                     .panel_bytes = pack_panel_bytes(pack, N),
                     .data = panels};
  struct act act = {.rows = ROWS, .n = N, .ld = N, .f32 = s->x, .i8 = s->i8, .k8 = s->k8, .i16 = s->i16, .i14 = s->i14, .forms = 31};
  struct linear job = {.w = &w, .bias = s->gain, .y = y, .ldy = OUT};
  struct product p = {.job = &job, .act = &act, .n_rows = ROWS};
  if (pack_is_float(pack)) {
    k->linear_f32(&p, 0, w.n_panels);
    return;
  }
  for (size_t r = 0; r < ROWS; r++) {
    k->quantize_i8(s->i8 + r * (N / BLOCK), s->x + r * N, N);
    k->quantize_k8(s->k8 + 2 * r, s->x + r * N, N);
    k->quantize_i16(s->i16 + r * (N / BLOCK), s->x + r * N, N);
    k->quantize_i14(s->i14 + r * (N / BLOCK), s->x + r * N, N);
  }
  if (pack == PACK_I14) {
    k->linear_i14(&p, 0, w.n_panels);
    return;
  }
  void (*narrow)(const struct product *, size_t, size_t) = pack_form(pack).sub ? k->linear_k8 : k->linear_i8;
  narrow(&p, 0, w.n_panels);
  job.add = true;
  k->linear_i16(&p, 0, w.n_panels);
  if (!pack_form(pack).sub) return;
  job.add = false; /* K packs may take another way with many rows; one panel, as the plain C needs its time at each start */
  int32_t rows[KERNELS_OPEN_ROWS];
  for (int i = 0; i < KERNELS_OPEN_ROWS; i++) rows[i] = i % ROWS;
  job.y = y + (size_t)(ROWS * OUT);
  p.row_index = rows, p.n_rows = KERNELS_OPEN_ROWS, p.scratch = mem_aligned(64, KERNELS_SCRATCH_BYTES);
  narrow(&p, 0, 1);
  job.add = true;
  k->linear_i16(&p, 0, 1);
  free(p.scratch);
}

/* Finite values of a moderate size, in every type. Quants of types with minimums are small. */
static void fill_panels(unsigned char *panels, enum pack pack) {
  struct pack_form form = pack_form(pack);
  size_t bytes = 3 * pack_panel_bytes(pack, N);
  uint32_t seed = 7;
  for (size_t i = 0; i < bytes; i++) {
    seed = seed * 1664525u + 1013904223u;
    panels[i] = (unsigned char)(seed >> 24 & (form.bits == 16 || pack == PACK_F32 ? pack == PACK_I14 ? 0x1F : 0x3F : 0xFF));
  }
  if (pack_is_float(pack)) return;
  size_t unit = pack_unit_bytes(pack), scales = pack_scales_bytes(pack) * (form.minimum ? 2 : 1);
  for (size_t at = 0; at < bytes; at += unit)
    for (size_t i = 0; i < scales; i += (size_t)form.scale_bytes) {
      float value = (float)(at / unit + i) * 0x1p-12f;
      uint16_t half = pack == PACK_I14 ? dtype_f32_to_bf16(value) : dtype_f32_to_f16(value);
      if (form.scale_bytes == 2) memcpy(panels + at + i, &half, 2);
      else memcpy(panels + at + i, &value, 4);
    }
}

/* rules: with a window and ALiBi. */
static bool same_attention(const struct kernels *k, const struct kernels *truth, enum dtype dtype, bool rules) {
  static const float slopes[] = {0.5f, 0.25f, 0.125f, 0.0625f};
  enum { TOKENS = 40, HEADS = 4, KV_HEADS = 2, DIM = 16 };
  struct kv_layout kv = kv_layout_make(1, KV_HEADS, DIM, dtype);
  unsigned char *memory = mem_aligned(64, 2 * kv.page_bytes);
  float *x = mem_alloc(TOKENS * HEADS * DIM * sizeof *x), *out[2];
  float *scratch = mem_aligned(64, kernels_attention_floats(HEADS / KV_HEADS, DIM) * sizeof *scratch);
  void *pages[] = {memory, memory + kv.page_bytes};
  fill(x, TOKENS * HEADS * DIM, 3);
  memset(memory, 0, 2 * kv.page_bytes);
  for (int side = 0; side < 2; side++) {
    const struct kernels *used = side ? truth : k;
    out[side] = mem_zalloc(TOKENS * HEADS * DIM, sizeof(float));
    for (size_t i = 0; i < TOKENS; i++) used->kv_store(&kv, pages[i / KV_PAGE_TOKENS], i % KV_PAGE_TOKENS, x + i * 64, x + i * 64 + 32);
    struct kv_segment segment = {.n_rows = TOKENS, .pages = pages};
    struct attention a = {
        .kv = &kv, .n_heads = HEADS, .scale = 0.25f, .causal = true, .q = x, .ldq = HEADS * DIM, .out = out[side], .ldo = HEADS * DIM};
    if (rules) a.window = 5, a.slopes = slopes;
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
  float ya[Y_ROWS * OUT] = {0}, yb[Y_ROWS * OUT] = {0};
  sample_linear(k, a, pack, panels, ya);
  sample_linear(truth, b, pack, panels, yb);
  free(panels);
  return memcmp(ya, yb, sizeof ya) == 0 && memcmp(a->i8, b->i8, sizeof a->i8) == 0 && memcmp(a->k8, b->k8, sizeof a->k8) == 0 &&
         memcmp(a->i16, b->i16, sizeof a->i16) == 0 && memcmp(a->i14, b->i14, sizeof a->i14) == 0;
}

const char *check_kernels(const struct kernels *k, const struct kernels *truth) {
  struct sample *s = mem_zalloc(2, sizeof *s);
  for (int i = 0; i < 2; i++) fill(s[i].x, ROWS * N, 1), fill(s[i].gain, N, 2);
  sample_rows(k, &s[0]);
  sample_rows(truth, &s[1]);
  const char *wrong = memcmp(s[0].y, s[1].y, sizeof s[0].y) ? "for rows" : NULL;
  for (int pack = PACK_F32; pack < PACK_COUNT && !wrong; pack++)
    if (!same_linear(k, truth, &s[0], &s[1], (enum pack)pack))
      wrong = pack_is_float((enum pack)pack) ? "for float products" : "for integer products";
  for (int rules = 0; rules < 2 && !wrong; rules++)
    for (int kv = 0; kv < KV_TYPES && !wrong; kv++)
      if (!same_attention(k, truth, kv_type_dtype((enum kv_type)kv, COMPUTE_FAST), rules)) wrong = "for attention";
  free(s);
  return wrong;
}
