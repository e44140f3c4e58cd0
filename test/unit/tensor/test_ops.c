/* The operations of tensor.h against arithmetic written out here, and the promises of the door. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/tensor.h"

static struct pool *pool;
static struct compute *compute; /* fast */

static float value(size_t i, uint32_t seed) {
  uint32_t x = (uint32_t)i * 2654435761u + seed * 40503u;
  x ^= x >> 15;
  x *= 2246822519u;
  x ^= x >> 13;
  return (float)(int32_t)(x * 3266489917u) * 0x1p-30f;
}

static float *values(size_t n, uint32_t seed) {
  float *x = mem_alloc(n * sizeof *x);
  for (size_t i = 0; i < n; i++) x[i] = value(i, seed);
  return x;
}

static void assert_close(double got, double want, double tolerance) {
  if (!(fabs(got - want) <= tolerance)) fail_msg("%.9g instead of %.9g", got, want);
}

static void names_of_modes_go_both_ways(void **state) {
  (void)state;
  assert_int_equal(compute_mode_parse("f32"), COMPUTE_F32);
  assert_int_equal(compute_mode_parse("fast"), COMPUTE_FAST);
  assert_int_equal(compute_mode_parse("precise"), COMPUTE_PRECISE);
  assert_int_equal(compute_mode_parse("slow"), -1);
  assert_int_equal(compute_mode_parse(""), -1);
  assert_string_equal(compute_mode_name(COMPUTE_F32), "f32");
  assert_string_equal(compute_mode_name(COMPUTE_PRECISE), "precise");
  char listed[64] = ""; /* every mode is offered, and no other name */
  for (const char *at = COMPUTE_MODE_CHOICES; *at; at += strspn(at, "|")) {
    size_t n = strcspn(at, "|");
    snprintf(listed, sizeof listed, "%.*s", (int)n, at);
    assert_true(compute_mode_parse(listed) >= 0);
    at += n;
  }
  for (int mode = 0; mode < COMPUTE_MODES; mode++)
    assert_non_null(strstr(COMPUTE_MODE_CHOICES, compute_mode_name((enum compute_mode)mode)));
  assert_string_equal(compute_mode_name(compute_mode_of(compute)), "fast");
}

static void a_mask_limits_the_instruction_sets(void **state) {
  (void)state;
  struct compute *c = compute_create(COMPUTE_F32, pool, COMPUTE_ISA_REF, NULL);
  assert_string_equal(compute_isa_name(c), "ref");
  assert_ptr_equal(compute_pool(c), pool);
  compute_destroy(c);
}

/* ---- rows ---- */

static void norms_follow_their_formulas(void **state) {
  (void)state;
  enum { ROWS = 3, N = 100 };
  float *x = values(ROWS * N, 1), *add = values(ROWS * N, 2), *gain = values(N, 3), *bias = values(N, 4), y[ROWS * N];
  op_rmsnorm(compute, y, NULL, 0, x, gain, 1e-5f, ROWS, N);
  for (size_t r = 0; r < ROWS; r++) {
    double squares = 0;
    for (size_t i = 0; i < N; i++) squares += (double)x[r * N + i] * (double)x[r * N + i];
    for (size_t i = 0; i < N; i++)
      assert_close((double)y[r * N + i], (double)x[r * N + i] / sqrt(squares / N + 1e-5) * (double)gain[i], 1e-5);
  }
  op_layernorm(compute, y, NULL, 0, x, add, gain, bias, 1e-12f, ROWS, N);
  for (size_t r = 0; r < ROWS; r++) {
    double mean = 0, variance = 0;
    for (size_t i = r * N; i < (r + 1) * N; i++) mean += ((double)x[i] + (double)add[i]) / N;
    for (size_t i = r * N; i < (r + 1) * N; i++) variance += pow((double)x[i] + (double)add[i] - mean, 2) / N;
    for (size_t i = 0; i < N; i++) {
      double v = (double)x[r * N + i] + (double)add[r * N + i];
      assert_close((double)y[r * N + i], (v - mean) / sqrt(variance) * (double)gain[i] + (double)bias[i], 1e-5);
    }
  }
  free(x), free(add), free(gain), free(bias);
}

static void activation_functions_follow_their_formulas(void **state) {
  (void)state;
  enum { N = 77 };
  float *x = values(N, 1), *up = values(N, 2), y[N];
  for (size_t i = 0; i < N; i++) x[i] *= 5;
  op_silu_mul(compute, y, NULL, 0, x, up, 1, N);
  for (size_t i = 0; i < N; i++) assert_close((double)y[i], (double)x[i] / (1 + exp(-(double)x[i])) * (double)up[i], 2e-6);
  op_gelu(compute, y, NULL, 0, x, 1, N);
  for (size_t i = 0; i < N; i++) assert_close((double)y[i], (double)x[i] / 2 * (1 + erf((double)x[i] / sqrt(2))), 2e-6);
  op_gelu_mul(compute, y, NULL, 0, x, up, 1, N);
  for (size_t i = 0; i < N; i++) assert_close((double)y[i], (double)x[i] / 2 * (1 + erf((double)x[i] / sqrt(2))) * (double)up[i], 1e-5);
  free(x), free(up);
}

static void clamping_holds_values_and_passes_nan(void **state) {
  (void)state;
  enum { N = 20000 };
  float *x = values(N, 1);
  x[3] = NAN, x[4] = INFINITY, x[5] = -INFINITY;
  float *clamped = mem_dup(x, N * sizeof *x);
  op_clamp(compute, clamped, N, 0.75f);
  assert_true(isnan(clamped[3]) && clamped[4] == 0.75f && clamped[5] == -0.75f);
  for (size_t i = 6; i < N; i++) assert_true(clamped[i] == (x[i] > 0.75f ? 0.75f : x[i] < -0.75f ? -0.75f : x[i]));
  free(x), free(clamped);
}

static void mixed_rows_are_weighted_sums(void **state) {
  (void)state;
  enum { ROWS = 40, K = 3, N = 150 };
  float *x = values(ROWS * K * N, 1), *y = values(ROWS * N, 2), *was = mem_dup(y, ROWS * N * sizeof *y), *weight = values(ROWS * K, 3);
  int32_t slot[ROWS * K];
  for (int32_t i = 0; i < ROWS * K; i++) slot[i] = (i * 7 + 5) % (ROWS * K);
  op_mix_rows(compute, y, x, slot, weight, K, ROWS, N);
  for (size_t r = 0; r < ROWS; r++)
    for (size_t i = 0; i < N; i++) {
      float sum = 0;
      for (size_t e = 0; e < K; e++) sum += weight[r * K + e] * x[(size_t)slot[r * K + e] * N + i];
      assert_true(y[r * N + i] == was[r * N + i] + sum);
    }
  free(x), free(y), free(was), free(weight);
}

static void large_gates_neither_overflow_nor_become_nan(void **state) {
  (void)state;
  float gate[] = {-1000, -100, -88.5f, 88.5f, 100, 1000, 0, -0.0f}, up[] = {1, 1, 1, 1, 1, 1, 1, 1}, y[8];
  op_silu_mul(compute, y, NULL, 0, gate, up, 1, 8);
  for (int i = 0; i < 3; i++) assert_true(fabsf(y[i]) < 1e-30f);
  for (int i = 3; i < 6; i++) assert_true(y[i] == gate[i]);
  assert_true(y[6] == 0 && y[7] == 0);
}

/* A norm straight into activations gives the product of a norm and a preparation. */
static void a_fused_form_equals_the_two_steps(void **state) {
  (void)state;
  enum { ROWS = 9, N = 96, OUT = 40 };
  float *x = values(ROWS * N, 1), *gain = values(N, 2), *m = values(OUT * N, 3), normed[ROWS * N], one[ROWS * OUT], two[ROWS * OUT];
  struct weight *w =
      weight_pack(compute, &(struct weight_source){.dtype = DTYPE_F32, .data = m, .n_out = OUT, .n_in = N, .exact = true}, NULL);
  struct act *act = act_create(compute, ROWS, N, NULL);
  struct linear job = {.w = w, .y = one, .ldy = OUT};
  op_rmsnorm(compute, NULL, act, ACT_F32 | ACT_I8 | ACT_I16, x, gain, 1e-5f, ROWS, N);
  op_linear(compute, act, &job, 1, NULL, ROWS);
  op_rmsnorm(compute, normed, NULL, 0, x, gain, 1e-5f, ROWS, N);
  op_prepare(compute, act, ACT_F32, normed, N, ROWS, N);
  job.y = two;
  op_linear(compute, act, &job, 1, NULL, ROWS);
  assert_memory_equal(one, two, sizeof one);
  assert_true(act_bytes(act) >= ROWS * N * sizeof(float));
  act_free(act);
  weight_free(w);
  free(x), free(gain), free(m);
}

/* ---- weights ---- */

static void an_embedding_is_the_row_of_the_matrix(void **state) {
  (void)state;
  enum { ROWS = 50, N = 64 };
  float *m = values(ROWS * N, 1), y[3 * N];
  struct weight_source source = {.dtype = DTYPE_F32, .data = m, .n_out = ROWS, .n_in = N, .head = true};
  for (int exact = 0; exact < 2; exact++) {
    source.exact = exact;
    struct weight *w = weight_pack(compute, &source, NULL);
    const int32_t ids[] = {49, 0, 17};
    op_embed(compute, y, w, ids, 3);
    for (size_t i = 0; i < 3; i++) {
      if (exact) assert_memory_equal(y + i * N, m + (size_t)ids[i] * N, N * sizeof *y);
      for (size_t k = 0; k < N; k++) assert_close((double)y[i * N + k], (double)m[(size_t)ids[i] * N + k], 5e-4); /* 14 bits of at most 4 */
    }
    assert_int_equal(weight_n_out(w), ROWS);
    assert_int_equal(weight_n_in(w), N);
    assert_int_equal(weight_bytes(w), weight_packed_bytes(exact ? COMPUTE_F32 : COMPUTE_FAST, DTYPE_F32, ROWS, N));
    weight_free(w);
  }
  free(m);
}

static void packing_tells_what_is_wrong(void **state) {
  (void)state;
  struct error err = {0};
  float m[40];
  memset(m, 0, sizeof m);
  assert_null(weight_pack(compute, &(struct weight_source){.dtype = DTYPE_Q8_0, .data = m, .n_out = 1, .n_in = 40}, &err));
  assert_int_equal(err.code, ERROR_CORRUPT);
  assert_null(weight_pack(compute, &(struct weight_source){.dtype = DTYPE_F32, .data = m, .n_out = SIZE_MAX / 64, .n_in = 1u << 20}, &err));
  assert_int_equal(err.code, ERROR_NO_MEMORY);
  assert_true(weight_packed_bytes(COMPUTE_FAST, DTYPE_F32, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
}

static void the_head_takes_wider_activations_and_under_precise_all_do(void **state) {
  (void)state;
  unsigned char m[34 * 2] = {0};
  struct weight_source source = {.dtype = DTYPE_Q8_0, .data = m, .n_out = 2, .n_in = 32};
  struct weight *w = weight_pack(compute, &source, NULL);
  source.head = true;
  struct weight *head = weight_pack(compute, &source, NULL);
  assert_int_equal(weight_act_form(w), ACT_I8);
  assert_int_equal(weight_act_form(head), ACT_I16);
  weight_free(w), weight_free(head);
  unsigned char k[144 * 2] = {0};
  struct weight_source k_source = {.dtype = DTYPE_Q4_K, .data = k, .n_out = 2, .n_in = 256};
  w = weight_pack(compute, &k_source, NULL);
  k_source.head = true;
  head = weight_pack(compute, &k_source, NULL);
  assert_int_equal(weight_act_form(w), ACT_K8);
  assert_int_equal(weight_act_form(head), ACT_I16);
  weight_free(w), weight_free(head);
  struct compute *precise = compute_create(COMPUTE_PRECISE, pool, COMPUTE_ISA_ALL, NULL);
  source.head = false;
  w = weight_pack(precise, &source, NULL);
  assert_int_equal(weight_act_form(w), ACT_I16);
  weight_free(w);
  compute_destroy(precise);
  struct compute *exact = compute_create(COMPUTE_F32, pool, COMPUTE_ISA_ALL, NULL);
  w = weight_pack(exact, &source, NULL);
  assert_int_equal(weight_act_form(w), ACT_F32);
  weight_free(w);
  compute_destroy(exact);
}

/* ---- positions ---- */

static void a_weight_with_an_order_of_its_own_meets_its_inputs_in_that_order(void **state) {
  (void)state;
  enum { N_OUT = 40, N_IN = 96, N_ROWS = 7, N_PICKED = 3 };
  static unsigned char data[N_OUT * N_IN / 32 * 34];
  uint32_t random = 1, order[N_IN];
  static float x[N_ROWS * N_IN], turned[N_PICKED * N_IN], got[2][N_PICKED * N_OUT], want[2][N_PICKED * N_OUT], row[N_IN], plain_row[N_IN];
  static const int32_t picked[N_PICKED] = {5, 0, 6};
  for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)((random = random * 1664525u + 1013904223u) >> 24);
  for (size_t i = 0; i < sizeof data; i += 34) data[i] = 0, data[i + 1] = 0x2C; /* the scale of a block */
  for (size_t i = 0; i < N_ROWS * N_IN; i++) x[i] = (float)((int)((random = random * 1664525u + 1013904223u) >> 16) - 32768) * 1e-4f;
  for (uint32_t i = 0; i < N_IN; i++) order[i] = i * 37 % N_IN;
  for (size_t i = 0; i < N_PICKED; i++)
    for (size_t k = 0; k < N_IN; k++) turned[i * N_IN + k] = x[(size_t)picked[i] * N_IN + order[k]];
  struct weight_source source = {.dtype = DTYPE_Q8_0, .data = data, .n_out = N_OUT, .n_in = N_IN}, ordered_source = source;
  ordered_source.in_order = order;
  struct weight *plain = weight_pack(compute, &source, NULL), *ordered = weight_pack(compute, &ordered_source, NULL);
  struct act *act = act_create(compute, N_ROWS, N_IN, NULL);
  assert_int_equal(weight_act_form(ordered), ACT_F32);
  assert_int_equal(weight_bytes(ordered), weight_bytes(plain) + N_IN * sizeof *order);
  op_prepare(compute, act, weight_act_form(plain), turned, N_IN, N_PICKED, N_IN);
  op_linear(compute, act, &(struct linear){.w = plain, .y = want[0], .ldy = N_OUT}, 1, NULL, N_PICKED);
  op_prepare(compute, act, ACT_F32 | weight_act_form(plain), x, N_IN, N_ROWS, N_IN);
  op_linear(compute, act, &(struct linear){.w = plain, .y = want[1], .ldy = N_OUT}, 1, picked, N_PICKED);
  struct linear both[] = {{.w = ordered, .y = got[0], .ldy = N_OUT}, {.w = plain, .y = got[1], .ldy = N_OUT}};
  op_linear(compute, act, both, 2, picked, N_PICKED);
  assert_memory_equal(got, want, sizeof want);
  struct slice packed = weight_packed(ordered);
  struct weight *view = weight_view(weight_form(ordered), packed);
  both[0].w = view;
  op_linear(compute, act, both, 2, picked, N_PICKED);
  assert_memory_equal(got, want, sizeof want);
  weight_free(view);
  assert_null(weight_view(weight_form(ordered), slice_make(packed.data, packed.len - 4)));
  uint32_t *twice = (uint32_t *)(uintptr_t)(packed.data + packed.len - 4), last = *twice;
  *twice = order[0]; /* no permutation any more */
  assert_null(weight_view(weight_form(ordered), packed));
  *twice = last;
  weight_row(plain, 17, plain_row);
  weight_row(ordered, 17, row);
  for (size_t k = 0; k < N_IN; k++) assert_true(row[order[k]] == plain_row[k]);
  weight_free(plain);
  weight_free(ordered);
  act_free(act);
}

static void rope_turns_pairs_half_a_head_apart(void **state) {
  (void)state;
  enum { ROWS = 3, HEADS = 2, D = 8, LD = HEADS * D + 4 };
  const int32_t pos[ROWS] = {0, 5, 100000};
  float inv_freq[D / 2] = {1, 0.1f, 0.01f, 0.001f}, cosine[ROWS * D / 2], sine[ROWS * D / 2], *x = values(ROWS * LD, 1), y[ROWS * LD];
  memcpy(y, x, sizeof y);
  op_rope_table(compute, cosine, sine, pos, ROWS, inv_freq, D / 2);
  op_rope(compute, y, LD, cosine, sine, ROWS, HEADS, D);
  for (size_t r = 0; r < ROWS; r++) {
    for (size_t i = 0; i < D / 2; i++)
      for (size_t h = 0; h < HEADS; h++) {
        double angle = (double)((float)pos[r] * inv_freq[i]), a = (double)x[r * LD + h * D + i], b = (double)x[r * LD + h * D + i + D / 2];
        assert_close((double)y[r * LD + h * D + i], a * cos(angle) - b * sin(angle), 1e-6);
        assert_close((double)y[r * LD + h * D + i + D / 2], b * cos(angle) + a * sin(angle), 1e-6);
      }
    assert_memory_equal(y + r * LD + HEADS * D, x + r * LD + HEADS * D, 4 * sizeof *x);
  }
  assert_memory_equal(y, x, HEADS * D * sizeof *x); /* position 0 turns nothing */
  free(x);
}

static void kv_layouts_have_room_for_all_layers(void **state) {
  (void)state;
  struct kv_layout kv = kv_layout_make(30, 3, 64, DTYPE_F16);
  assert_int_equal(kv.layer_bytes, 2 * 3 * 64 * 32 * 2);
  assert_int_equal(kv.page_bytes, 30 * kv.layer_bytes);
  kv = kv_layout_make(1, 1, 5, DTYPE_F32);
  assert_true(kv.page_bytes >= kv.layer_bytes && kv.page_bytes % 64 == 0);
}

static void kv_rows_land_where_the_layout_says(void **state) {
  (void)state;
  enum { HEADS = 2, D = 6, ROWS = 5, FIRST = 30 }; /* across a page */
  struct kv_layout kv = kv_layout_make(2, HEADS, D, DTYPE_F32);
  void *pages[2] = {mem_aligned(64, kv.page_bytes), mem_aligned(64, kv.page_bytes)};
  float *k = values(ROWS * HEADS * D, 1), *v = values(ROWS * HEADS * D, 2);
  memset(pages[0], 0, kv.page_bytes), memset(pages[1], 0, kv.page_bytes);
  struct kv_segment segment = {.n_rows = ROWS, .pos_begin = FIRST, .pages = pages};
  op_kv_store(compute, &kv, 1, &segment, 1, k, v, HEADS * D);
  for (size_t r = 0; r < ROWS; r++)
    for (size_t h = 0; h < HEADS; h++)
      for (size_t i = 0; i < D; i++) {
        size_t position = FIRST + r, slot = position % 32;
        const float *head = (const float *)(const void *)((const char *)pages[position / 32] + kv.layer_bytes) + h * 2 * D * 32;
        assert_true(head[i * 32 + slot] == k[(r * HEADS + h) * D + i]);
        assert_true(head[D * 32 + slot * D + i] == v[(r * HEADS + h) * D + i]);
      }
  free(pages[0]), free(pages[1]), free(k), free(v);
}

/* ---- pooling and scores ---- */

static void pooling_averages_and_normalizes(void **state) {
  (void)state;
  enum { ROWS = 7, N = 21 };
  float *x = values(ROWS * N, 1), y[N];
  op_mean_rows(y, x, ROWS, N);
  for (size_t i = 0; i < N; i++) {
    double sum = 0;
    for (size_t r = 0; r < ROWS; r++) sum += (double)x[r * N + i];
    assert_close((double)y[i], sum / ROWS, 1e-6);
  }
  op_l2_normalize(y, N);
  double squares = 0;
  for (size_t i = 0; i < N; i++) squares += (double)y[i] * (double)y[i];
  assert_close(squares, 1, 1e-6);
  memset(y, 0, sizeof y);
  op_l2_normalize(y, N);
  for (size_t i = 0; i < N; i++) assert_true(y[i] == 0);
  free(x);
}

static void scores_reduce_to_what_they_mean(void **state) {
  (void)state;
  enum { N = 1003 };
  float *x = values(N, 1), *weights = values(N, 2);
  for (size_t i = 0; i < N; i++) x[i] = x[i] * 20 + 300;
  double sum = 0, weight_sum = 0;
  float max = x[op_argmax(x, N)];
  for (size_t i = 0; i < N; i++) {
    assert_true(x[i] <= max);
    sum += exp((double)x[i] - (double)max);
    weight_sum += exp(((double)x[i] - (double)max) * 0.5);
  }
  assert_close((double)op_log_sum_exp(x, N), (double)max + log(sum), 1e-4);
  assert_close((double)op_softmax_weights(weights, x, 0.5f, N), weight_sum, 1e-3);
  for (size_t i = 0; i < N; i++) assert_close((double)weights[i], exp(((double)x[i] - (double)max) * 0.5), 1e-6);
  free(x), free(weights);
}

static void argmax_takes_the_first_of_equals_and_never_nan(void **state) {
  (void)state;
  float x[40];
  for (int i = 0; i < 40; i++) x[i] = -5;
  assert_int_equal(op_argmax(x, 40), 0);
  x[33] = x[21] = 2;
  assert_int_equal(op_argmax(x, 40), 21);
  x[3] = NAN, x[39] = NAN, x[0] = -INFINITY;
  assert_int_equal(op_argmax(x, 40), 21);
  x[38] = INFINITY;
  assert_int_equal(op_argmax(x, 40), 38);
  assert_int_equal(op_argmax(x, 1), 0);
}

/* ---- elementary functions ---- */

static void elementary_functions_keep_their_stated_errors(void **state) {
  (void)state;
  for (float x = -87; x < 88; x += 0.0137f) assert_close((double)tensor_exp(x) / exp((double)x), 1, 1.4e-7);
  for (float x = -5; x < 5; x += 0.00037f) assert_close((double)tensor_erf(x), erf((double)x), 1.0e-7);
  for (float x = -12; x < 12; x += 0.0017f) assert_close((double)tensor_tanh(x), tanh((double)x), 6.1e-8);
  for (float x = 1e-38f; x < 1e38f; x *= 1.0173f) assert_close((double)tensor_log(x), log((double)x), 6.1e-8 * (1 + fabs(log((double)x))));
  for (float x = -1048576; x < 1048576; x += 97.31f) {
    float sine, cosine;
    tensor_sincos(x, &sine, &cosine);
    assert_close((double)sine, sin((double)x), 6.1e-8);
    assert_close((double)cosine, cos((double)x), 6.1e-8);
  }
}

static void elementary_functions_are_right_at_their_ends(void **state) {
  (void)state;
  assert_true(tensor_exp(-INFINITY) == 0 && tensor_exp(-200) == 0 && tensor_exp(0) == 1);
  assert_true(isinf(tensor_exp(INFINITY)) && isinf(tensor_exp(100)));
  assert_true(tensor_erf(0) == 0 && tensor_erf(10) == 1 && tensor_erf(-10) == -1);
  assert_true(tensor_tanh(100) == 1 && tensor_tanh(-100) == -1 && tensor_tanh(0) == 0);
  assert_true(tensor_log(1) == 0 && isinf(tensor_log(0)) && isnan(tensor_log(-1)) && isinf(tensor_log(INFINITY)));
}

static void figures_of_the_machine_are_positive(void **state) {
  (void)state;
  assert_true(tensor_read_bandwidth(pool, 0.01) > 1e8);
  assert_true(tensor_dot_peak(compute, 0.01) > 1e8);
}

static int setup(void **state) {
  (void)state;
  pool = pool_create(2, NULL);
  compute = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, NULL);
  return pool && compute ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  compute_destroy(compute);
  pool_destroy(pool);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_of_modes_go_both_ways),
      cmocka_unit_test(a_mask_limits_the_instruction_sets),
      cmocka_unit_test(norms_follow_their_formulas),
      cmocka_unit_test(activation_functions_follow_their_formulas),
      cmocka_unit_test(clamping_holds_values_and_passes_nan),
      cmocka_unit_test(mixed_rows_are_weighted_sums),
      cmocka_unit_test(large_gates_neither_overflow_nor_become_nan),
      cmocka_unit_test(a_fused_form_equals_the_two_steps),
      cmocka_unit_test(an_embedding_is_the_row_of_the_matrix),
      cmocka_unit_test(packing_tells_what_is_wrong),
      cmocka_unit_test(the_head_takes_wider_activations_and_under_precise_all_do),
      cmocka_unit_test(a_weight_with_an_order_of_its_own_meets_its_inputs_in_that_order),
      cmocka_unit_test(rope_turns_pairs_half_a_head_apart),
      cmocka_unit_test(kv_layouts_have_room_for_all_layers),
      cmocka_unit_test(kv_rows_land_where_the_layout_says),
      cmocka_unit_test(pooling_averages_and_normalizes),
      cmocka_unit_test(scores_reduce_to_what_they_mean),
      cmocka_unit_test(argmax_takes_the_first_of_equals_and_never_nan),
      cmocka_unit_test(elementary_functions_keep_their_stated_errors),
      cmocka_unit_test(elementary_functions_are_right_at_their_ends),
      cmocka_unit_test(figures_of_the_machine_are_positive),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
