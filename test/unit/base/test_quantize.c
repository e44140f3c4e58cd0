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
  static const double most[N_TYPES] = {0, 3e-4, 3e-3, 6e-3, 2e-2, 3.6e-2, 3.6e-2, 4e-2, 7.2e-2, 7e-2, 8.6e-2};
  float x[N];
  draw(x, N);
  for (size_t i = 0; i < N_TYPES; i++) {
    double error = relative_error(types[i], x);
    print_message("%s: relative error %.5f\n", dtype_info(types[i])->name, error);
    assert_true(error <= most[i]);
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
      cmocka_unit_test(values_come_back_as_near_as_the_type_allows),
      cmocka_unit_test(zeros_constants_and_single_values_stay),
      cmocka_unit_test(integers_of_a_block_come_back_exactly),
      cmocka_unit_test(large_and_small_values_stay_finite),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
