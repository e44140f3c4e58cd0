/* Whichever variants are chosen for which family, and whatever tile: the bits are those of the plain C. SPDX-License-Identifier: Apache-2.0 */
#include "kernel_test.h"

enum { ROWS = 3, N_IN = 2048, N_OUT = 700, ROUNDS = 60, JOBS = 4, K_BYTES = 144 /* of 256 values of Q4_K */ };

static const char *const names[] = {"ref", "avx2", "avx512", "neon", "dotprod"};
static const char *const tiles[] = {"64 KiB", "192 KiB", "384 KiB"};
enum { NAMES = sizeof names / sizeof names[0], TILES = sizeof tiles / sizeof tiles[0] };

/* A norm into all forms, then products of integer types, of a head and of a float type. */
static void solve(struct compute *c, const float *x, const unsigned char *const data[JOBS], float *y) {
  struct act *act = act_create(c, ROWS, N_IN, NULL);
  struct linear jobs[JOBS];
  static const enum dtype types[JOBS] = {DTYPE_Q8_0, DTYPE_F32, DTYPE_Q4_K, DTYPE_Q8_0};
  unsigned forms = 0;
  for (size_t i = 0; i < JOBS; i++) {
    struct weight_source source = {.dtype = types[i], .data = data[i], .n_out = N_OUT, .n_in = N_IN, .head = i == 3};
    jobs[i] = (struct linear){.w = weight_pack(c, &source, NULL), .y = y + i * ROWS * N_OUT, .ldy = N_OUT};
    forms |= weight_act_form(jobs[i].w);
  }
  op_rmsnorm(c, NULL, act, forms, x, x, 1e-5f, ROWS, N_IN);
  op_linear(c, act, jobs, JOBS, NULL, ROWS);
  for (size_t i = 0; i < JOBS; i++) weight_free((struct weight *)(uintptr_t)jobs[i].w);
  act_free(act);
}

static void choose_at_random(struct compute *c) {
  const char *family;
  for (size_t i = 0; (family = compute_choice_family(i)); i++)
    for (bool done = false; !done;)
      done = compute_choice_set(c, family, strcmp(family, "tile") == 0 ? tiles[random_below(TILES)] : names[random_below(NAMES)]);
}

static void any_choice_has_equal_bits(void **state) {
  (void)state;
  static const size_t bytes = JOBS * ROWS * N_OUT * sizeof(float);
  float *x = random_values(ROWS * N_IN, PLAIN), *w = random_values(N_OUT * N_IN, PLAIN), *want = mem_alloc(bytes), *got = mem_alloc(bytes);
  unsigned char *q = mem_alloc(N_OUT * N_IN / 32 * 34);
  for (size_t i = 0; i < N_OUT * N_IN / 32 * 34; i++) q[i] = (unsigned char)(i % 34 == 1 ? 0x20 : random_bits());
  unsigned char *k = mem_alloc(N_OUT * N_IN / 256 * K_BYTES);
  for (size_t i = 0; i < N_OUT * N_IN / 256 * K_BYTES; i++)
    k[i] = (unsigned char)(i % K_BYTES == 1 || i % K_BYTES == 3 ? 0x20 : random_bits());
  const unsigned char *const data[JOBS] = {q, (const unsigned char *)w, k, q};
  struct pool *pool = pool_create(2, NULL);
  for (int mode = 0; mode < COMPUTE_MODES; mode++) {
    struct compute *truth = compute_create((enum compute_mode)mode, pool, COMPUTE_ISA_REF, NULL);
    solve(truth, x, data, want);
    compute_destroy(truth);
    for (int round = 0; round < ROUNDS / COMPUTE_MODES; round++) {
      struct compute *c = compute_create((enum compute_mode)mode, pool, COMPUTE_ISA_ALL, NULL);
      if (round == 0) compute_choice_measure(c);
      else choose_at_random(c);
      assert_false(compute_choice_is_open(c));
      solve(c, x, data, got);
      assert_same_bits(got, want, bytes, "a choice", "variants", (size_t)mode);
      compute_destroy(c);
    }
  }
  pool_destroy(pool);
  free(x), free(w), free(want), free(got), free(q), free(k);
}

/* What is not there cannot be chosen, so a record of more than this machine has changes nothing. */
static void what_is_masked_cannot_be_chosen(void **state) {
  (void)state;
  struct pool *pool = pool_create(1, NULL);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_REF, NULL);
  for (size_t n = 1; n < NAMES; n++) assert_false(compute_choice_set(c, "rows", names[n]));
  assert_false(compute_choice_set(c, "no family", "ref"));
  assert_true(compute_choice_is_open(c));
  compute_choice_measure(c);
  struct buf told = {0};
  compute_choice_tell(c, &told);
  assert_memory_equal(told.data, "ref", 3);
  buf_free(&told);
  compute_destroy(c);
  pool_destroy(pool);
}

int main(void) {
  unsetenv("PLINTH_ISA");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_choice_has_equal_bits),
      cmocka_unit_test(what_is_masked_cannot_be_chosen),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
