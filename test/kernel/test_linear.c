/* Products give the bits of the plain C in every variant, for any type, shape, tail, batch, number of threads and order of rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernel_test.h"

enum { JOBS = 3, ROWS_MAX = 40 };

struct side {
  struct pool *pool;
  struct compute *c;
};

/* The truth on one thread, then each variant on one and on three. */
static size_t make_sides(struct side sides[8], enum compute_mode mode) {
  unsigned masks[2];
  size_t n = 0, n_masks = variant_masks(masks);
  sides[n].pool = pool_create(1, NULL);
  sides[n].c = compute_create(mode, sides[n].pool, COMPUTE_ISA_REF, NULL);
  n++;
  for (size_t m = 0; m < n_masks; m++)
    for (int threads = 1; threads <= 3; threads += 2, n++) {
      sides[n].pool = pool_create(threads, NULL);
      sides[n].c = compute_create(mode, sides[n].pool, masks[m], NULL);
    }
  return n;
}

static void free_sides(struct side *sides, size_t n) {
  for (size_t i = 0; i < n; i++) compute_destroy(sides[i].c), pool_destroy(sides[i].pool);
}

static const enum dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0,   DTYPE_Q5_1,   DTYPE_Q8_0,
                                   DTYPE_Q2_K, DTYPE_Q3_K, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4};
enum { TYPES = sizeof types / sizeof types[0] };

/* Random bytes whose dequantized values are finite and moderate: blocks are drawn anew until they are. */
static unsigned char *random_matrix(enum dtype type, size_t n) {
  const struct dtype_info *info = dtype_info(type);
  size_t elements = info->block_elements, blocks = n / elements;
  unsigned char *data = mem_alloc(blocks * info->block_bytes);
  for (size_t b = 0; b < blocks; b++) {
    unsigned char *block = data + b * info->block_bytes;
    for (bool good = false; !good;) {
      for (size_t i = 0; i < info->block_bytes; i++) block[i] = (unsigned char)(random_bits() >> 56);
      float values[256];
      assert_true(elements <= 256 && dtype_to_f32(type, block, values, elements));
      good = true;
      for (size_t i = 0; i < elements; i++)
        if (!(values[i] > -1e6f && values[i] < 1e6f)) good = false;
    }
  }
  return data;
}

struct problem {
  size_t n_in, rows, n_jobs, n_picked;
  struct weight_source source[JOBS];
  float *bias[JOBS];
  bool add[JOBS];
  float *x;
  int32_t *row_index;
};

static struct problem make_problem(size_t round) {
  struct problem p = {.n_jobs = 1 + random_below(JOBS), .rows = round % 5 == 0 ? 1 : 1 + random_below(ROWS_MAX)};
  enum dtype first = types[round % TYPES];
  size_t block = dtype_info(first)->block_elements;
  p.n_in = block == 1 ? 1 + random_below(200) : block * (1 + random_below(256 / block * 2));
  for (size_t i = 0; i < p.n_jobs; i++) {
    enum dtype type = i == 0 ? first : types[random_below(TYPES)];
    if (p.n_in % dtype_info(type)->block_elements) type = first;
    size_t n_out = 1 + random_below(100);
    p.source[i] = (struct weight_source){.dtype = type, .data = random_matrix(type, n_out * p.n_in), .n_out = n_out, .n_in = p.n_in};
    p.source[i].head = random_below(4) == 0;
    if (random_below(2)) p.bias[i] = random_values(n_out, PLAIN);
    p.add[i] = random_below(2);
  }
  static const enum character kinds[] = {PLAIN, SPARSE, MIXED, ZEROS, SUBNORMAL, PLAIN, LARGE};
  p.x = random_values(p.rows * p.n_in, kinds[round % 7]);
  p.n_picked = p.rows;
  if (random_below(3) == 0) {
    p.n_picked = 1 + random_below(ROWS_MAX);
    p.row_index = mem_alloc(p.n_picked * sizeof *p.row_index);
    for (size_t i = 0; i < p.n_picked; i++) p.row_index[i] = (int32_t)random_below(p.rows);
  }
  return p;
}

static void free_problem(struct problem *p) { /* all jobs, those too that a test left out by lowering n_jobs */
  for (size_t i = 0; i < JOBS; i++) free((void *)(uintptr_t)p->source[i].data), free(p->bias[i]);
  free(p->x), free(p->row_index);
}

/* The products of all jobs, one after the other, in one new array. */
static float *solve(const struct side *side, const struct problem *p, size_t *ret_n) {
  struct act *act = act_create(side->c, p->rows, p->n_in, NULL);
  struct linear jobs[JOBS];
  size_t n = 0;
  for (size_t i = 0; i < p->n_jobs; i++) n += p->source[i].n_out * p->n_picked;
  float *y = mem_alloc(n * sizeof *y), *at = y;
  for (size_t i = 0; i < n; i++) y[i] = (float)(i % 17);
  unsigned forms = 0;
  for (size_t i = 0; i < p->n_jobs; i++) {
    struct weight *w = weight_pack(side->c, &p->source[i], NULL);
    assert_non_null(w);
    forms |= weight_act_form(w);
    jobs[i] = (struct linear){.w = w, .bias = p->bias[i], .y = at, .ldy = p->source[i].n_out, .add = p->add[i]};
    at += p->source[i].n_out * p->n_picked;
  }
  op_prepare(side->c, act, forms, p->x, p->n_in, p->rows, p->n_in);
  op_linear(side->c, act, jobs, p->n_jobs, p->row_index, p->n_picked);
  for (size_t i = 0; i < p->n_jobs; i++) weight_free((struct weight *)(uintptr_t)jobs[i].w);
  act_free(act);
  *ret_n = n;
  return y;
}

static void compare_mode(enum compute_mode mode, size_t rounds) {
  struct side sides[8];
  size_t n_sides = make_sides(sides, mode);
  for (size_t round = 0; round < rounds; round++) {
    struct problem p = make_problem(round);
    size_t n;
    float *expected = solve(&sides[0], &p, &n);
    for (size_t s = 1; s < n_sides; s++) {
      float *got = solve(&sides[s], &p, &n);
      assert_same_bits(got, expected, n * sizeof *got, dtype_info(p.source[0].dtype)->name, compute_isa_name(sides[s].c), p.n_in);
      free(got);
    }
    free(expected);
    free_problem(&p);
  }
  free_sides(sides, n_sides);
}

static void fast_products_have_equal_bits(void **state) { (void)state, compare_mode(COMPUTE_FAST, 320); }
static void precise_products_have_equal_bits(void **state) { (void)state, compare_mode(COMPUTE_PRECISE, 160); }
static void f32_products_have_equal_bits(void **state) { (void)state, compare_mode(COMPUTE_F32, 120); }

/* The promise that a reply does not depend on who else is served. */
static void a_row_alone_equals_the_row_in_a_batch(void **state) {
  (void)state;
  for (int mode = 0; mode < COMPUTE_MODES; mode++) {
    struct side sides[8];
    size_t n_sides = make_sides(sides, (enum compute_mode)mode);
    for (size_t round = 0; round < 32; round++) {
      struct problem p = make_problem(round);
      size_t n_jobs = p.n_jobs;
      p.n_jobs = 1;
      p.add[0] = false;
      size_t n, n_out = p.source[0].n_out;
      free(p.row_index);
      p.row_index = NULL;
      p.n_picked = p.rows;
      float *batch = solve(&sides[n_sides - 1], &p, &n);
      for (size_t r = 0; r < p.rows; r++) {
        struct problem one = p;
        one.rows = one.n_picked = 1;
        one.x = p.x + r * p.n_in;
        float *alone = solve(&sides[n_sides - 1], &one, &n);
        assert_memory_equal(alone, batch + r * n_out, n_out * sizeof *alone);
        free(alone);
      }
      free(batch);
      p.n_jobs = n_jobs;
      free_problem(&p);
    }
    free_sides(sides, n_sides);
  }
}

/* Products and what follows them in one go: the bits of the two operations, in any form, for whole blocks and tails, on any threads. */
static void an_activation_of_products_equals_the_two_steps(void **state) {
  (void)state;
  for (int mode = 0; mode < COMPUTE_MODES; mode++) {
    struct side sides[8];
    size_t n_sides = make_sides(sides, (enum compute_mode)mode);
    for (size_t round = 0; round < 48; round++) {
      struct compute *c = sides[round % n_sides].c;
      enum linear_then then = (enum linear_then)(round % 3);
      static const enum dtype kinds[] = {DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q8_0, DTYPE_Q6_K, DTYPE_Q8_0, DTYPE_Q2_K};
      enum dtype type = kinds[round % (sizeof kinds / sizeof kinds[0])];
      size_t n_in = dtype_info(type)->block_elements == 256 ? 256 * (1 + random_below(2)) : 32 * (1 + random_below(4)),
             n = 1 + random_below(round % 4 ? 150 : 600), rows = 1 + random_below(round % 8 < 2 ? 150 : 30),
             n_jobs = then == LINEAR_GELU ? 1 : 2;
      unsigned forms = ACT_F32 | (mode == COMPUTE_F32 ? 0 : ACT_I14 | ACT_I16) | (mode == COMPUTE_FAST ? ACT_I8 | ACT_K8 : 0);
      struct act *in = act_create(c, rows, n_in, NULL), *one = act_create(c, rows, n, NULL), *two = act_create(c, rows, n, NULL);
      float *x = random_values(rows * n_in, PLAIN), *y = mem_alloc(2 * rows * n * sizeof *y), *bias = random_values(n, PLAIN);
      struct linear jobs[2];
      unsigned char *data[2] = {0};
      uint32_t *order = mem_alloc(n_in * sizeof *order); /* as act-order checkpoints have */
      for (size_t k = 0; k < n_in; k++) order[k] = (uint32_t)((k * 7 + 3) % n_in);
      for (size_t i = 0; i < n_jobs; i++) {
        data[i] = random_matrix(type, n * n_in);
        struct weight_source source = {.dtype = type, .data = data[i], .n_out = n, .n_in = n_in};
        if (round % 4 == 1 && i + 1 == n_jobs) source.in_order = order;
        jobs[i] = (struct linear){.w = weight_pack(c, &source, NULL), .bias = i ? NULL : bias, .y = y + i * rows * n, .ldy = n};
      }
      op_prepare(c, in, weight_act_form(jobs[0].w) | weight_act_form(jobs[n_jobs - 1].w), x, n_in, rows, n_in);
      op_linear_then(c, in, jobs, then, one, forms, rows);
      op_linear(c, in, jobs, n_jobs, NULL, rows);
      if (then == LINEAR_GELU) op_gelu(c, NULL, two, forms, y, rows, n);
      if (then == LINEAR_SILU_MUL) op_silu_mul(c, NULL, two, forms, y + rows * n, y, rows, n);
      if (then == LINEAR_GELU_MUL) op_gelu_mul(c, NULL, two, forms, y + rows * n, y, rows, n);
      for (size_t r = 0; r < rows; r++) {
        size_t blocks = (n + BLOCK - 1) / BLOCK, at = r * (one->ld / BLOCK);
        assert_memory_equal(one->f32 + r * one->ld, two->f32 + r * two->ld, n * sizeof *x);
        if (one->i8) assert_memory_equal(one->i8 + at, two->i8 + at, blocks * sizeof *one->i8);
        if (one->k8)
          assert_memory_equal(one->k8 + r * act_units(one->ld), two->k8 + r * act_units(two->ld), act_units(n) * sizeof *one->k8);
        if (one->i16) assert_memory_equal(one->i16 + at, two->i16 + at, blocks * sizeof *one->i16);
        if (one->i14) assert_memory_equal(one->i14 + at, two->i14 + at, blocks * sizeof *one->i14);
      }
      for (size_t i = 0; i < n_jobs; i++) weight_free((struct weight *)(uintptr_t)jobs[i].w), free(data[i]);
      act_free(in), act_free(one), act_free(two), free(x), free(y), free(bias), free(order);
    }
    free_sides(sides, n_sides);
  }
}

/* Against double arithmetic on the dequantized weights: the contract computes the product, not merely something reproducible. */
static void products_are_close_to_exact_arithmetic(void **state) {
  (void)state;
  static const double tolerance[] = {[COMPUTE_F32] = 1e-5, [COMPUTE_FAST] = 2e-2, [COMPUTE_PRECISE] = 5e-4};
  for (int mode = 0; mode < COMPUTE_MODES; mode++) {
    struct side sides[8];
    size_t n_sides = make_sides(sides, (enum compute_mode)mode);
    for (size_t t = 0; t < TYPES; t++) {
      enum { OUT = 20, IN = 512, N_ROWS = 3 };
      unsigned char *data = random_matrix(types[t], OUT * IN);
      float *x = random_values(N_ROWS * IN, PLAIN), *w = mem_alloc(OUT * IN * sizeof *w);
      assert_true(dtype_to_f32(types[t], data, w, OUT * IN));
      struct problem p = {.n_in = IN, .rows = N_ROWS, .n_picked = N_ROWS, .n_jobs = 1, .x = x};
      p.source[0] = (struct weight_source){.dtype = types[t], .data = data, .n_out = OUT, .n_in = IN};
      size_t n;
      float *y = solve(&sides[n_sides - 1], &p, &n);
      for (size_t i = 0; i < N_ROWS * OUT; i++) {
        double exact = 0, size = 0;
        for (size_t k = 0; k < IN; k++) {
          double term = (double)w[i % OUT * IN + k] * (double)x[i / OUT * IN + k];
          exact += term;
          size += term < 0 ? -term : term;
        }
        double off = exact - (double)y[i];
        if ((off < 0 ? -off : off) > tolerance[mode] * size)
          fail_msg("%s in mode %s: %g instead of %g", dtype_info(types[t])->name, compute_mode_name((enum compute_mode)mode), (double)y[i],
                   exact);
      }
      free(y), free(w), free(x), free(data);
    }
    free_sides(sides, n_sides);
  }
}

int main(void) {
  unsetenv("PLINTH_ISA");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fast_products_have_equal_bits),
      cmocka_unit_test(precise_products_have_equal_bits),
      cmocka_unit_test(f32_products_have_equal_bits),
      cmocka_unit_test(a_row_alone_equals_the_row_in_a_batch),
      cmocka_unit_test(an_activation_of_products_equals_the_two_steps),
      cmocka_unit_test(products_are_close_to_exact_arithmetic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
