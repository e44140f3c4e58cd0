/* Attention gives the bits of the plain C in every variant, and of any cut of the rows; slots never written are never read.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "kernel_test.h"

struct problem {
  struct kv_layout kv;
  size_t layer, n_heads, n_segments, rows, ldq;
  size_t length[4], begin[4]; /* of each segment: positions in all, first position of its rows */
  bool causal;
  size_t window;
  float *slopes;
  float scale;
  float *q, *k[4], *v[4];
};

enum { KV_DTYPES = 4 };
static const enum dtype kv_types[KV_DTYPES] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0};

static struct problem make_problem(size_t round) {
  static const size_t dims[] = {16, 32, 64, 80, 96, 128, 8, 40, 20};
  struct problem p = {.n_segments = 1 + random_below(3), .causal = round % 4 != 3, .scale = 0.3f, .layer = random_below(2)};
  size_t n_kv = 1 + random_below(3), d = dims[round % 9];
  p.n_heads = n_kv * (1 + random_below(4));
  if (p.causal && random_below(3) == 0) p.window = 1 + random_below(random_below(2) ? 6 : 90);
  if (random_below(3) == 0) p.slopes = random_values(p.n_heads, PLAIN);
  p.kv = kv_layout_make(2, n_kv, d, kv_types[round / 9 % KV_DTYPES]); /* each type with each of the dims */
  for (size_t s = 0; s < p.n_segments; s++) {
    p.length[s] = 1 + random_below(round % 5 == 0 ? 300 : 70);
    p.begin[s] = !p.causal ? 0 : random_below(3) == 0 ? p.length[s] - 1 : random_below(p.length[s]);
    p.rows += p.length[s] - p.begin[s];
    p.k[s] = random_values(p.length[s] * n_kv * d, round % 7 == 0 ? SPARSE : PLAIN);
    p.v[s] = random_values(p.length[s] * n_kv * d, PLAIN);
  }
  p.ldq = p.n_heads * d + random_below(2) * 8;
  p.q = random_values(p.rows * p.ldq, PLAIN);
  return p;
}

static void free_problem(struct problem *p) {
  for (size_t s = 0; s < p->n_segments; s++) free(p->k[s]), free(p->v[s]);
  free(p->q);
  free(p->slopes);
}

struct pages {
  unsigned char *memory;
  void **page;
};

/* Pages full of NaN: whatever is read without being written poisons the result. */
static struct pages make_pages(const struct problem *p, size_t s) {
  size_t n = (p->length[s] + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  struct pages pages = {mem_aligned(64, n * p->kv.page_bytes), mem_alloc(n * sizeof(void *))};
  memset(pages.memory, 0xFF, n * p->kv.page_bytes);
  for (size_t i = 0; i < n; i++) pages.page[i] = pages.memory + i * p->kv.page_bytes;
  return pages;
}

/* All rows of all segments; with `cut`, in two calls that divide each segment. */
static float *solve(struct compute *c, const struct problem *p, bool cut) {
  size_t width = p->n_heads * p->kv.head_dim, kv_width = p->kv.n_kv_heads * p->kv.head_dim, row = 0;
  float *out = mem_zalloc(p->rows * width, sizeof *out);
  struct kv_segment segments[2][4];
  struct pages pages[4];
  for (size_t s = 0; s < p->n_segments; s++) {
    pages[s] = make_pages(p, s);
    struct kv_segment all = {.row_begin = 0, .n_rows = p->length[s], .pos_begin = 0, .pages = pages[s].page};
    op_kv_store(c, &p->kv, p->layer, &all, 1, p->k[s], p->v[s], kv_width);
    size_t rows = p->length[s] - p->begin[s], first = cut ? rows / 2 : rows;
    segments[0][s] = (struct kv_segment){row, first, p->begin[s], pages[s].page};
    segments[1][s] = (struct kv_segment){row + first, rows - first, p->begin[s] + first, pages[s].page};
    row += rows;
  }
  struct attention a = {.kv = &p->kv,
                        .layer = p->layer,
                        .n_heads = p->n_heads,
                        .scale = p->scale,
                        .causal = p->causal,
                        .window = p->window,
                        .slopes = p->slopes,
                        .q = p->q,
                        .ldq = p->ldq,
                        .out = out,
                        .ldo = width};
  op_attention(c, &a, segments[0], p->n_segments);
  if (cut) op_attention(c, &a, segments[1], p->n_segments);
  for (size_t s = 0; s < p->n_segments; s++) free(pages[s].memory), free(pages[s].page);
  return out;
}

static void attention_has_equal_bits(void **state) {
  (void)state;
  unsigned masks[2];
  size_t n_masks = variant_masks(masks);
  struct pool *one = pool_create(1, NULL), *three = pool_create(3, NULL);
  struct compute *truth = compute_create(COMPUTE_FAST, one, COMPUTE_ISA_REF, NULL);
  for (size_t round = 0; round < 216; round++) {
    struct problem p = make_problem(round);
    size_t bytes = p.rows * p.n_heads * p.kv.head_dim * sizeof(float);
    float *expected = solve(truth, &p, false);
    for (size_t i = 0; i < bytes / sizeof(float); i++) assert_true(isfinite(expected[i]));
    for (size_t m = 0; m < n_masks; m++)
      for (int cut = 0; cut <= p.causal; cut++) {
        struct compute *c = compute_create(COMPUTE_FAST, cut ? three : one, masks[m], NULL);
        float *got = solve(c, &p, cut);
        assert_same_bits(got, expected, bytes, "attention", compute_isa_name(c), p.kv.head_dim);
        free(got);
        compute_destroy(c);
      }
    free(expected);
    free_problem(&p);
  }
  compute_destroy(truth);
  pool_destroy(one), pool_destroy(three);
}

/* One operation that rotates and stores gives what three do, in any cut and on any threads. */
static void rotating_and_storing_at_once_equals_the_steps(void **state) {
  (void)state;
  struct pool *pool = pool_create(3, NULL);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, NULL);
  for (size_t round = 0; round < 40; round++) {
    enum { PAGES = 12 };
    size_t n_kv = 1 + random_below(3), heads = n_kv * (1 + random_below(3)), d = 16 << random_below(3), ld = (heads + 2 * n_kv) * d;
    struct kv_layout kv = kv_layout_make(2, n_kv, d, kv_types[round % KV_DTYPES]);
    unsigned char *memory[2] = {mem_aligned(64, 2 * PAGES * kv.page_bytes), mem_aligned(64, 2 * PAGES * kv.page_bytes)};
    void *page[2][2 * PAGES];
    struct kv_segment segments[2][2];
    size_t rows = 0;
    for (int side = 0; side < 2; side++) {
      memset(memory[side], 0, 2 * PAGES * kv.page_bytes);
      for (size_t i = 0; i < 2 * PAGES; i++) page[side][i] = memory[side] + i * kv.page_bytes;
    }
    for (int s = 0; s < 2; s++) {
      struct kv_segment one = {.row_begin = rows, .n_rows = 1 + random_below(120), .pos_begin = random_below(200)};
      for (int side = 0; side < 2; side++) segments[side][s] = one, segments[side][s].pages = page[side] + s * PAGES;
      rows += one.n_rows;
    }
    float *x = random_values(rows * ld, PLAIN), *y = mem_dup(x, rows * ld * sizeof *x), *cos = random_values(rows * d / 2, PLAIN),
          *sin = random_values(rows * d / 2, PLAIN);
    bool rotates = round % 5 != 0;
    if (rotates) op_rope(c, x, ld, cos, sin, rows, heads, d), op_rope(c, x + heads * d, ld, cos, sin, rows, n_kv, d);
    op_kv_store(c, &kv, 1, segments[0], 2, x + heads * d, x + (heads + n_kv) * d, ld);
    op_rope_store(c, &kv, 1, segments[1], 2, y, ld, heads, rotates ? cos : NULL, sin);
    for (size_t r = 0; r < rows; r++) assert_memory_equal(x + r * ld, y + r * ld, heads * d * sizeof *x);
    assert_memory_equal(memory[0], memory[1], 2 * PAGES * kv.page_bytes);
    free(memory[0]), free(memory[1]), free(x), free(y), free(cos), free(sin);
  }
  compute_destroy(c);
  pool_destroy(pool);
}

/* What a row of K or V may hold, by round: plain values, extremes, and what is no number. */
static float *rows_to_store(size_t n, size_t round) {
  float *x = random_values(n, (enum character)(round % CHARACTERS));
  static const float odd[] = {NAN, INFINITY, -INFINITY, 1e7f, 8.4e6f, 1e-7f, 65504};
  if (round % 3 == 0) x[random_below(n)] = odd[random_below(sizeof odd / sizeof odd[0])];
  return x;
}

static void keys_and_values_are_stored_alike_in_every_variant(void **state) {
  (void)state;
  static const size_t dims[] = {16, 64, 128, 80, 40, 20, 5};
  unsigned masks[2];
  size_t n_masks = variant_masks(masks);
  struct pool *pool = pool_create(1, NULL);
  struct compute *truth = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_REF, NULL);
  for (size_t round = 0; round < 10 * 21 * KV_DTYPES; round++) { /* 21: every width with and without what is no number */
    enum { HEADS = 2, ROWS = 40 };
    size_t width = HEADS * dims[round % 7];
    struct kv_layout kv = kv_layout_make(1, HEADS, dims[round % 7], kv_types[round / 21 % KV_DTYPES]);
    float *k = rows_to_store(ROWS * width, round), *v = rows_to_store(ROWS * width, round + 1);
    unsigned char *memory[2];
    for (size_t m = 0; m <= n_masks; m++) {
      unsigned char *to = memory[m > 0] = mem_zalloc(3, kv.page_bytes);
      void *pages[] = {to, to + kv.page_bytes, to + 2 * kv.page_bytes};
      struct compute *c = m ? compute_create(COMPUTE_FAST, pool, masks[m - 1], NULL) : truth;
      op_kv_store(c, &kv, 0, &(struct kv_segment){.n_rows = ROWS, .pos_begin = 30, .pages = pages}, 1, k, v, width);
      if (!m) continue;
      assert_memory_equal(memory[0], memory[1], 3 * kv.page_bytes);
      compute_destroy(c);
      free(to);
    }
    free(memory[0]), free(k), free(v);
  }
  compute_destroy(truth);
  pool_destroy(pool);
}

/* Of the block that value i of the row is in: scale · byte is within half a step, and half a unit of the fp16 scale at the ends. */
static void expect_rounded(const float *x, size_t i, float scale, const unsigned char *byte, size_t d) {
  float largest = 0, value = scale * (float)*(const int8_t *)byte;
  for (size_t j = i / 32 * 32; j < d && j < i / 32 * 32 + 32; j++) largest = fmaxf(largest, fabsf(x[j]));
  assert_true(fabsf(value - x[i]) <= largest / 127 * 0.5005f + largest * 0x1p-11f);
}

static void bytes_of_keys_and_values_are_the_nearest(void **state) {
  (void)state;
  enum { HEADS = 2, D = 80, ROWS = 33 };
  struct kv_layout kv = kv_layout_make(1, HEADS, D, DTYPE_Q8_0);
  assert_int_equal(kv.layer_bytes, HEADS * 2 * 32 * (D + 3 * 2));
  unsigned char *memory = mem_zalloc(2, kv.page_bytes);
  void *pages[] = {memory, memory + kv.page_bytes};
  struct pool *pool = pool_create(1, NULL);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, NULL);
  float *k = random_values(ROWS * HEADS * D, PLAIN), *v = random_values(ROWS * HEADS * D, PLAIN);
  for (size_t i = 0; i < 32; i++) k[i] = 0, v[i] = (float)i - 15; /* head 0, row 0: nothing; whole numbers */
  op_kv_store(c, &kv, 0, &(struct kv_segment){.n_rows = ROWS, .pages = pages}, 1, k, v, HEADS * D);
  for (size_t row = 0; row < ROWS; row++)
    for (size_t h = 0; h < HEADS; h++) {
      struct kv_head to = kv_head_at(&kv, pages[row / 32], h);
      for (size_t i = 0; i < D; i++) {
        size_t slot = row % 32, at = i / 32 * 32 + slot;
        expect_rounded(k + (row * HEADS + h) * D, i, dtype_f16_to_f32(to.k_scales[at]), to.k + i * 32 + slot, D);
        expect_rounded(v + (row * HEADS + h) * D, i, dtype_f16_to_f32(to.v_scales[at]), to.v + slot * D + i, D);
      }
    }
  struct kv_head first = kv_head_at(&kv, memory, 0);
  assert_int_equal(first.k_scales[0], 0);
  assert_int_equal((int8_t)first.v[31], 127); /* the largest of its block */
  free(memory), free(k), free(v);
  compute_destroy(c);
  pool_destroy(pool);
}

/* A key that is no number must not be taken for one: whoever sees it gets NaN, whoever does not is untouched. */
static void what_is_no_number_stays_none(void **state) {
  (void)state;
  enum { D = 64, LENGTH = 40, BAD = 37 };
  struct pool *pool = pool_create(1, NULL);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, NULL);
  static const float bad[] = {NAN, INFINITY, 1e9f};
  for (size_t i = 0; i < 6; i++) {
    struct problem p = {.n_segments = 1, .causal = true, .scale = 0.1f, .n_heads = 1, .rows = LENGTH, .length = {LENGTH}, .ldq = D};
    p.kv = kv_layout_make(1, 1, D, DTYPE_Q8_0);
    p.q = random_values(LENGTH * D, PLAIN), p.k[0] = random_values(LENGTH * D, PLAIN), p.v[0] = random_values(LENGTH * D, PLAIN);
    (i % 2 ? p.v : p.k)[0][BAD * D + 40] = bad[i / 2];
    float *out = solve(c, &p, false);
    for (size_t row = 0; row < LENGTH; row++) assert_true((row >= BAD) == isnan(out[row * D + 40]));
    free(out);
    free_problem(&p);
  }
  compute_destroy(c);
  pool_destroy(pool);
}

static void compare_to_exact(size_t window, float slope, enum dtype dtype, double error_max) {
  enum { D = 16, LENGTH = 70, HEADS = 2 };
  struct problem p = {
      .n_segments = 1, .causal = true, .scale = 0.25f, .n_heads = HEADS, .rows = LENGTH, .length = {LENGTH}, .ldq = HEADS * D};
  float slopes[HEADS] = {slope, slope / 2};
  p.window = window, p.slopes = slope != 0 ? slopes : NULL;
  p.kv = kv_layout_make(1, 1, D, dtype);
  p.q = random_values(LENGTH * HEADS * D, PLAIN), p.k[0] = random_values(LENGTH * D, PLAIN), p.v[0] = random_values(LENGTH * D, PLAIN);
  struct pool *pool = pool_create(1, NULL);
  struct compute *c = compute_create(COMPUTE_F32, pool, COMPUTE_ISA_REF, NULL);
  float *out = solve(c, &p, false);
  for (size_t row = 0; row < LENGTH; row++)
    for (size_t h = 0; h < HEADS; h++) {
      double sum = 0, o[D] = {0};
      for (size_t j = window && row + 1 > window ? row + 1 - window : 0; j <= row; j++) {
        double score = 0;
        for (size_t i = 0; i < D; i++) score += (double)p.q[row * p.ldq + h * D + i] * (double)p.k[0][j * D + i];
        double weight = exp(score * 0.25 + (double)slopes[h] * ((double)j - (double)row));
        sum += weight;
        for (size_t i = 0; i < D; i++) o[i] += weight * (double)p.v[0][j * D + i];
      }
      for (size_t i = 0; i < D; i++) assert_true(fabs(o[i] / sum - (double)out[row * HEADS * D + h * D + i]) < error_max);
    }
  free(out);
  p.slopes = NULL;
  free_problem(&p);
  compute_destroy(c);
  pool_destroy(pool);
}

static void attention_is_close_to_exact_arithmetic(void **state) {
  (void)state;
  for (size_t i = 0; i < KV_DTYPES; i++) {
    double error_max = (const double[KV_DTYPES]){1e-5, 1e-2, 0.1, 0.1}[i]; /* of values up to 3 */
    compare_to_exact(0, 0, kv_types[i], error_max);
    compare_to_exact(7, 0, kv_types[i], error_max);
    compare_to_exact(40, 0.25f, kv_types[i], error_max);
    compare_to_exact(0, 0.5f, kv_types[i], error_max);
  }
}

/* Two bytes with the range of fp32: each value is the nearest one, and what fp16 cannot hold is worth what it is. */
static void values_beyond_fp16_keep_their_worth_in_bf16(void **state) {
  (void)state;
  enum { D = 32, LENGTH = 40 };
  struct problem p = {.n_segments = 1, .causal = true, .scale = 1e-6f, .n_heads = 1, .rows = LENGTH, .length = {LENGTH}, .ldq = D};
  p.kv = kv_layout_make(1, 1, D, DTYPE_BF16);
  p.q = random_values(LENGTH * D, PLAIN), p.k[0] = random_values(LENGTH * D, PLAIN), p.v[0] = random_values(LENGTH * D, PLAIN);
  for (size_t i = 0; i < LENGTH * D; i++) p.k[0][i] *= 1e6f, p.v[0][i] *= 1e6f;
  struct problem nearest = p;
  nearest.kv = kv_layout_make(1, 1, D, DTYPE_F32);
  nearest.k[0] = mem_dup(p.k[0], LENGTH * D * sizeof(float)), nearest.v[0] = mem_dup(p.v[0], LENGTH * D * sizeof(float));
  for (size_t i = 0; i < LENGTH * D; i++) {
    nearest.k[0][i] = dtype_bf16_to_f32(dtype_f32_to_bf16(p.k[0][i]));
    nearest.v[0][i] = dtype_bf16_to_f32(dtype_f32_to_bf16(p.v[0][i]));
  }
  struct pool *pool = pool_create(1, NULL);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, NULL);
  float *out = solve(c, &p, false), *expected = solve(c, &nearest, false);
  assert_memory_equal(out, expected, LENGTH * D * sizeof *out);
  for (size_t i = 0; i < LENGTH * D; i++) assert_true(isfinite(out[i]));
  free(out), free(expected), free(nearest.k[0]), free(nearest.v[0]);
  free_problem(&p);
  compute_destroy(c);
  pool_destroy(pool);
}

/* A large score must not overflow, whatever its sign, and later larger ones take over. */
static void attention_stands_scores_of_any_size(void **state) {
  (void)state;
  enum { D = 16, LENGTH = 40 };
  struct problem p = {.n_segments = 1, .causal = true, .scale = 1, .n_heads = 1, .rows = LENGTH, .length = {LENGTH}, .ldq = D};
  p.kv = kv_layout_make(1, 1, D, DTYPE_F16);
  p.q = random_values(LENGTH * D, PLAIN), p.k[0] = random_values(LENGTH * D, PLAIN), p.v[0] = random_values(LENGTH * D, PLAIN);
  for (size_t i = 0; i < LENGTH * D; i++) p.q[i] *= 300, p.k[0][i] *= 300;
  struct pool *pool = pool_create(1, NULL);
  struct compute *c = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, NULL),
                 *truth = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_REF, NULL);
  float *out = solve(c, &p, false), *expected = solve(truth, &p, false);
  for (size_t i = 0; i < LENGTH * D; i++) assert_true(isfinite(out[i]) && fabsf(out[i]) <= 3.01f);
  assert_memory_equal(out, expected, LENGTH * D * sizeof *out);
  free(out), free(expected);
  free_problem(&p);
  compute_destroy(c), compute_destroy(truth);
  pool_destroy(pool);
}

int main(void) {
  unsetenv("PLINTH_ISA");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attention_has_equal_bits),
      cmocka_unit_test(rotating_and_storing_at_once_equals_the_steps),
      cmocka_unit_test(keys_and_values_are_stored_alike_in_every_variant),
      cmocka_unit_test(bytes_of_keys_and_values_are_the_nearest),
      cmocka_unit_test(what_is_no_number_stays_none),
      cmocka_unit_test(attention_is_close_to_exact_arithmetic),
      cmocka_unit_test(values_beyond_fp16_keep_their_worth_in_bf16),
      cmocka_unit_test(attention_stands_scores_of_any_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
