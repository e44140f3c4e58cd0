/* Every operation on rows gives the bits of the plain C in every variant: any length, tails, extreme values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernel_test.h"

enum { ROUNDS = 300, N_MAX = 700 };

struct rows {
  size_t n;
  float *x, *other, *gain, *bias;
};

static struct rows make_rows(size_t round) {
  size_t n = round < 70 ? round + 1 : 1 + random_below(N_MAX);
  enum character kind = (enum character)(round % CHARACTERS);
  return (struct rows){n, random_values(n, kind), random_values(n, PLAIN), random_values(n, PLAIN), random_values(n, MIXED)};
}

static void free_rows(struct rows *r) { free(r->x), free(r->other), free(r->gain), free(r->bias); }

typedef void row_case(const struct kernels *k, const struct rows *r, float *y);

static void rmsnorm_case(const struct kernels *k, const struct rows *r, float *y) { k->rmsnorm(y, r->x, r->gain, 1e-5f, r->n); }
static void layernorm_case(const struct kernels *k, const struct rows *r, float *y) {
  k->layernorm(y, r->x, r->other, r->gain, r->bias, 1e-12f, r->n);
}
static void layernorm_bare_case(const struct kernels *k, const struct rows *r, float *y) {
  k->layernorm(y, r->x, NULL, r->gain, NULL, 1e-12f, r->n);
}
static void layernorm_in_place_case(const struct kernels *k, const struct rows *r, float *y) {
  memcpy(y, r->x, r->n * sizeof *y);
  k->layernorm(y, y, r->other, r->gain, r->bias, 1e-5f, r->n);
}
static void silu_case(const struct kernels *k, const struct rows *r, float *y) { k->silu_mul(y, r->x, r->other, r->n); }
static void gelu_case(const struct kernels *k, const struct rows *r, float *y) { k->gelu(y, r->x, r->n); }
static void softmax_case(const struct kernels *k, const struct rows *r, float *y) {
  float sum = k->softmax_weights(y, r->x, 0.7f, r->n);
  y[0] += sum;
}
static void softmax_in_place_case(const struct kernels *k, const struct rows *r, float *y) {
  memcpy(y, r->bias, r->n * sizeof *y);
  y[r->n / 2] += k->softmax_weights(y, y, 1.3f, r->n);
}
static void sum_case(const struct kernels *k, const struct rows *r, float *y) {
  memset(y, 0, r->n * sizeof *y);
  y[0] = k->max(r->x, r->n);
  y[r->n - 1] += k->sum_exp(r->x, y[0], r->n);
}

static void compare(const char *what, row_case *fn) {
  unsigned masks[2];
  size_t n_masks = variant_masks(masks);
  const struct kernels *truth = kernels_best(COMPUTE_ISA_REF);
  for (size_t round = 0; round < ROUNDS; round++) {
    struct rows r = make_rows(round);
    float *expected = mem_alloc(r.n * sizeof *expected), *got = mem_alloc(r.n * sizeof *got);
    fn(truth, &r, expected);
    for (size_t m = 0; m < n_masks; m++) {
      const struct kernels *k = kernels_best(masks[m]);
      fn(k, &r, got);
      assert_same_bits(got, expected, r.n * sizeof *got, what, k->name, r.n);
    }
    free(expected), free(got);
    free_rows(&r);
  }
}

static void rmsnorm_has_equal_bits(void **state) { (void)state, compare("rmsnorm", rmsnorm_case); }
static void layernorm_has_equal_bits(void **state) {
  (void)state;
  compare("layernorm", layernorm_case);
  compare("layernorm without bias", layernorm_bare_case);
  compare("layernorm in place", layernorm_in_place_case);
}
static void silu_has_equal_bits(void **state) { (void)state, compare("silu_mul", silu_case); }
static void gelu_has_equal_bits(void **state) { (void)state, compare("gelu", gelu_case); }
static void softmax_has_equal_bits(void **state) {
  (void)state;
  compare("softmax_weights", softmax_case);
  compare("softmax_weights in place", softmax_in_place_case);
}
static void sums_have_equal_bits(void **state) { (void)state, compare("sum_exp", sum_case); }

static void rope_has_equal_bits(void **state) {
  (void)state;
  unsigned masks[2];
  size_t n_masks = variant_masks(masks);
  for (size_t round = 0; round < ROUNDS; round++) {
    size_t half = 1 + random_below(70), heads = 1 + random_below(4), n = heads * half * 2;
    float *x = random_values(n, (enum character)(round % CHARACTERS)), *cos = random_values(half, PLAIN), *sin = random_values(half, PLAIN);
    float *expected = mem_dup(x, n * sizeof *x);
    kernels_best(COMPUTE_ISA_REF)->rope(expected, cos, sin, heads, 2 * half);
    for (size_t m = 0; m < n_masks; m++) {
      const struct kernels *k = kernels_best(masks[m]);
      float *got = mem_dup(x, n * sizeof *x);
      k->rope(got, cos, sin, heads, 2 * half);
      assert_same_bits(got, expected, n * sizeof *x, "rope", k->name, half);
      free(got);
    }
    free(x), free(cos), free(sin), free(expected);
  }
}

/* Every fp32 pattern in steps: the polynomials and their limits, not only the values a model makes. */
static void elementary_functions_have_equal_bits_on_all_patterns(void **state) {
  (void)state;
  enum { N = 1 << 20 };
  unsigned masks[2];
  size_t n_masks = variant_masks(masks), n = 0;
  float *x = mem_alloc(N * sizeof *x), *one = mem_alloc(N * sizeof *one), *expected = mem_alloc(N * sizeof *x),
        *got = mem_alloc(N * sizeof *x);
  for (uint64_t bits = 0; bits < 1ull << 32 && n < N; bits += 4099) {
    uint32_t pattern = (uint32_t)bits;
    if ((pattern & 0x7F800000) == 0x7F800000) continue;
    memcpy(&x[n], &pattern, sizeof pattern);
    one[n++] = 1;
  }
  const struct kernels *truth = kernels_best(COMPUTE_ISA_REF);
  for (size_t m = 0; m < n_masks; m++) {
    const struct kernels *k = kernels_best(masks[m]);
    truth->silu_mul(expected, x, one, n), k->silu_mul(got, x, one, n);
    assert_same_bits(got, expected, n * sizeof *x, "exp", k->name, n);
    truth->gelu(expected, x, n), k->gelu(got, x, n);
    assert_same_bits(got, expected, n * sizeof *x, "erf", k->name, n);
  }
  free(x), free(one), free(expected), free(got);
}

static void every_variant_of_this_machine_joined_the_table(void **state) {
  (void)state;
  unsigned masks[2];
#if defined(__aarch64__)
  static const char *const names[] = {"neon", "dotprod"};
#else
  static const char *const names[] = {"avx2", "avx512"};
#endif
  for (size_t m = 0, n = variant_masks(masks); m < n; m++) assert_string_equal(kernels_best(masks[m])->name, names[m]);
}

int main(void) {
  unsetenv("PLINTH_ISA");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_variant_of_this_machine_joined_the_table),
      cmocka_unit_test(rmsnorm_has_equal_bits),
      cmocka_unit_test(layernorm_has_equal_bits),
      cmocka_unit_test(silu_has_equal_bits),
      cmocka_unit_test(gelu_has_equal_bits),
      cmocka_unit_test(softmax_has_equal_bits),
      cmocka_unit_test(sums_have_equal_bits),
      cmocka_unit_test(rope_has_equal_bits),
      cmocka_unit_test(elementary_functions_have_equal_bits_on_all_patterns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
