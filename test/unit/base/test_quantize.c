/* Tests of base/quantize: what comes back is near, and exact where it can be. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/quantize.h"

enum { N = 1024 };

static const enum dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q6_K, DTYPE_Q5_K,
                                   DTYPE_Q5_1, DTYPE_Q5_0, DTYPE_Q4_K, DTYPE_Q4_1, DTYPE_Q4_0};
enum { N_TYPES = sizeof types / sizeof types[0] };

/* Numbers of a bell shape, the same every time. */
static void draw(float *x, size_t n) {
  uint32_t seed = 1;
  for (size_t i = 0; i < n; i++) {
    float sum = 0;
    for (int k = 0; k < 12; k++) sum += (float)((seed = 1664525u * seed + 1013904223u) >> 8) / (float)(1 << 24);
    x[i] = sum - 6;
  }
}

static double relative_error(enum dtype type, const float *x) {
  static unsigned char blocks[4 * N];
  float back[N];
  quantize_row(type, x, N, blocks);
  assert_true(dtype_to_f32(type, blocks, back, N));
  double wrong = 0, all = 0;
  for (size_t i = 0; i < N; i++) wrong += (x[i] - back[i]) * (x[i] - back[i]), all += x[i] * x[i];
  return sqrt(wrong / all);
}

static void values_come_back_as_near_as_the_type_allows(void **state) {
  (void)state;
  static const double most[N_TYPES] = {0, 3e-4, 3e-3, 6e-3, 1.7e-2, 3.52e-2, 3.45e-2, 4e-2, 6.97e-2, 7e-2, 8e-2};
  float x[N];
  draw(x, N);
  for (size_t i = 0; i < N_TYPES; i++) {
    double error = relative_error(types[i], x);
    print_message("%s: relative error %.5f\n", dtype_info(types[i])->name, error);
    assert_true(error <= most[i]);
  }
}

/* Squared error of the plain rule for blocks of 32: the scale (and minimum) of the extremes, values rounded with it before it is rounded to fp16
 * itself. levels: of one side, or 0 for a scale with minimum and `top` steps. */
static double plain_error(const float *x, int levels, int top) {
  float low = x[0], high = x[0], largest = 0;
  for (int i = 0; i < 32; i++) {
    low = fminf(low, x[i]), high = fmaxf(high, x[i]);
    if (fabsf(x[i]) > fabsf(largest)) largest = x[i];
  }
  float d = levels == 127 ? fabsf(largest) / 127 : levels ? largest / (float)-levels : (high - low) / (float)top, m = levels ? 0 : low;
  float stored = dtype_f16_to_f32(dtype_f32_to_f16(d)), stored_m = dtype_f16_to_f32(dtype_f32_to_f16(m));
  double wrong = 0;
  for (int i = 0; i < 32; i++) {
    float q = roundf((x[i] - m) * (1 / d));
    if (levels && levels < 127) q = fminf(q, (float)(levels - 1));
    double e = (double)x[i] - ((double)stored * q + stored_m);
    wrong += e * e;
  }
  return wrong;
}

static void each_type_is_nearer_than_its_plain_rule(void **state) {
  (void)state;
  static const struct {
    enum dtype type;
    int levels, top;
    double share; /* of the plain rule's squared error, at most */
  } cases[] = {{DTYPE_Q8_0, 127, 0, 0.9999},
               {DTYPE_Q5_1, 0, 31, 0.85},
               {DTYPE_Q5_0, 16, 0, 0.93},
               {DTYPE_Q4_1, 0, 15, 0.85},
               {DTYPE_Q4_0, 8, 0, 0.93}};
  float x[N];
  draw(x, N);
  double squares = 0;
  for (size_t i = 0; i < N; i++) squares += (double)x[i] * x[i];
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    double ours = relative_error(cases[i].type, x), plain = 0;
    for (size_t b = 0; b < N; b += 32) plain += plain_error(x + b, cases[i].levels, cases[i].top);
    double share = ours * ours * squares / plain;
    print_message("%s: %.5f of the plain rule's squared error\n", dtype_info(cases[i].type)->name, share);
    assert_true(share <= cases[i].share);
  }
}

/* Rounding with the scale that the block stores: no other integer would be nearer. */
static void eight_bits_are_the_nearest_to_the_stored_scale(void **state) {
  (void)state;
  float x[N];
  unsigned char blocks[2 * N];
  draw(x, N);
  quantize_row(DTYPE_Q8_0, x, N, blocks);
  for (size_t i = 0; i < N; i++) {
    const unsigned char *b = blocks + i / 32 * 34;
    double d = (double)dtype_f16_to_f32((uint16_t)(b[0] | b[1] << 8)), q = (double)(int8_t)b[2 + i % 32];
    assert_true(fabs(q) == 127 || fabs((double)x[i] - d * q) <= d * 0.500001);
  }
}

static void zeros_constants_and_single_values_stay(void **state) {
  (void)state;
  float zeros[N] = {0}, ones[N], single[N] = {0};
  for (size_t i = 0; i < N; i++) ones[i] = 1;
  for (size_t i = 0; i < N; i += 32) single[i + 7] = -4;
  unsigned char blocks[4 * N];
  float back[N];
  for (size_t i = 0; i < N_TYPES; i++) {
    quantize_row(types[i], zeros, N, blocks);
    dtype_to_f32(types[i], blocks, back, N);
    for (size_t k = 0; k < N; k++) assert_true(back[k] == 0);
    assert_true(relative_error(types[i], ones) < 0.01);
    assert_true(relative_error(types[i], single) < 0.02);
  }
}

static void integers_of_a_block_come_back_exactly(void **state) {
  (void)state;
  float x[32], back[32];
  unsigned char block[64];
  for (int i = 0; i < 32; i++) x[i] = 0.5f * (float)(i % 16 - 8);
  quantize_row(DTYPE_Q4_0, x, 32, block);
  dtype_to_f32(DTYPE_Q4_0, block, back, 32);
  assert_memory_equal(x, back, sizeof x);
  for (int i = 0; i < 32; i++) x[i] = 0.25f * (float)(i * 8 - 127);
  quantize_row(DTYPE_Q8_0, x, 32, block);
  dtype_to_f32(DTYPE_Q8_0, block, back, 32);
  assert_memory_equal(x, back, sizeof x);
}

static void large_and_small_values_stay_finite(void **state) {
  (void)state;
  float x[N], back[N];
  unsigned char blocks[4 * N];
  draw(x, N);
  static const float sizes[] = {1e4f, 1e-7f, 1e-30f};
  for (size_t s = 0; s < 3; s++)
    for (size_t i = 0; i < N_TYPES; i++) {
      float scaled[N];
      for (size_t k = 0; k < N; k++) scaled[k] = x[k] * sizes[s];
      quantize_row(types[i], scaled, N, blocks);
      dtype_to_f32(types[i], blocks, back, N);
      for (size_t k = 0; k < N; k++) assert_true(isfinite(back[k]) && fabsf(back[k]) <= 8 * sizes[s] + 1e-6f);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_come_back_as_near_as_the_type_allows),    cmocka_unit_test(each_type_is_nearer_than_its_plain_rule),
      cmocka_unit_test(eight_bits_are_the_nearest_to_the_stored_scale), cmocka_unit_test(zeros_constants_and_single_values_stay),
      cmocka_unit_test(integers_of_a_block_come_back_exactly),          cmocka_unit_test(large_and_small_values_stay_finite),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
