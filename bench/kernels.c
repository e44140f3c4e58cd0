/* kernels: how fast the operations of tensor are on this machine, beside what it could do at most. SPDX-License-Identifier: Apache-2.0
 *
 *   bench_kernels [--threads N] [--isa ref|avx2|avx512] [--seconds S] [--clock wall|cpu] [NAME …]
 * Prints one line per case: the best of many runs, so that neighbours on the machine matter little. NAMEs choose cases by prefix.
 * On a busy machine `--threads 1 --clock cpu` counts the time that the process really ran. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tensor/tensor.h"

struct bench {
  struct pool *pool;
  unsigned isa;
  double seconds; /* per case */
  clockid_t clock;
  double read_bytes_s, dot_ops_s;
  char **names;
  int n_names;
};

static bool wanted(const struct bench *b, const char *name) {
  if (b->n_names == 0) return true;
  for (int i = 0; i < b->n_names; i++)
    if (strncmp(name, b->names[i], strlen(b->names[i])) == 0) return true;
  return false;
}

typedef void case_fn(void *state);

static double seconds_by(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double best_seconds(const struct bench *b, case_fn *fn, void *state) {
  double best = 1e9;
  uint64_t begin = clock_ns();
  for (int i = 0; i < 3 || (double)(clock_ns() - begin) * 1e-9 < b->seconds; i++) {
    double start = seconds_by(b->clock);
    fn(state);
    double s = seconds_by(b->clock) - start;
    if (s < best) best = s;
  }
  return best;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(int32_t)seed * 0x1p-31f;
  }
}

/* ---- products ---- */

struct product_case {
  struct compute *c;
  struct weight **w; /* copies in turn, so that a single row streams from memory */
  size_t n_copies, next, rows;
  struct act *act;
  float *y;
};

static void run_product(void *state) {
  struct product_case *p = state;
  const struct weight *w = p->w[p->next++ % p->n_copies];
  op_linear(p->c, p->act, &(struct linear){.w = w, .y = p->y, .ldy = weight_n_out(w)}, 1, NULL, p->rows);
}

/* Reading alone as a part of the product's time: medians of runs that alternate, so that both see the same neighbours on the memory bus. */
static double beside_reading(const struct bench *b, struct product_case *p) {
  enum { RUNS_MAX = 4000 };
  static double product_s[RUNS_MAX], read_s[RUNS_MAX];
  size_t n = 0;
  for (uint64_t begin = clock_ns(); n < RUNS_MAX && (n < 5 || (double)(clock_ns() - begin) * 1e-9 < b->seconds * 2); n++) {
    double start = seconds_by(b->clock);
    run_product(p);
    product_s[n] = seconds_by(b->clock) - start;
    start = seconds_by(b->clock);
    tensor_read(b->pool, weight_packed(p->w[(p->next + p->n_copies / 2) % p->n_copies]));
    read_s[n] = seconds_by(b->clock) - start;
  }
  qsort(product_s, n, sizeof *product_s, by_value);
  qsort(read_s, n, sizeof *read_s, by_value);
  return read_s[n / 2] / product_s[n / 2];
}

struct shape {
  const char *name;
  enum compute_mode mode;
  enum dtype dtype;
  bool head;
  size_t n_out, n_in;
};

/* Blocks of random integers with a scale of 1/64. */
static unsigned char *random_matrix(enum dtype dtype, size_t n) {
  uint64_t bytes = 0;
  dtype_bytes(dtype, n, &bytes);
  unsigned char *data = mem_alloc(bytes);
  if (dtype == DTYPE_F32) {
    fill((float *)(void *)data, n, 5);
    return data;
  }
  for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)(i * 2654435761u >> 13);
  const struct dtype_info *info = dtype_info(dtype);
  uint16_t scale = dtype_f32_to_f16(1.0f / 64);
  if (dtype == DTYPE_Q8_0 || dtype == DTYPE_Q4_0 || dtype == DTYPE_Q4_1 || dtype == DTYPE_BF16 || dtype == DTYPE_F16)
    for (size_t at = 0; at < bytes; at += info->block_bytes) memcpy(data + at, &scale, 2);
  if (dtype == DTYPE_Q4_1)
    for (size_t at = 0; at < bytes; at += info->block_bytes) memcpy(data + at + 2, &scale, 2);
  if (dtype == DTYPE_Q4_K || dtype == DTYPE_Q6_K) /* Q6_K has one scale, at its end */
    for (size_t at = 0; at < bytes; at += info->block_bytes)
      for (size_t i = 0; i < 4; i += 2) memcpy(data + at + (dtype == DTYPE_Q6_K ? info->block_bytes - 2 : i), &scale, 2);
  return data;
}

static void bench_product(const struct bench *b, const struct shape *s) {
  if (!wanted(b, s->name)) return;
  static const size_t rows[] = {1, 2, 4, 8, 16, 32, 64, 480, 512};
  enum { N_ROWS = sizeof rows / sizeof rows[0] };
  struct compute *c = compute_create(s->mode, b->pool, b->isa, NULL);
  unsigned char *data = random_matrix(s->dtype, s->n_out * s->n_in);
  struct weight_source source = {.dtype = s->dtype, .data = data, .n_out = s->n_out, .n_in = s->n_in, .head = s->head};
  uint64_t start = clock_ns();
  struct weight *first = weight_pack(c, &source, NULL);
  double pack_s = (double)(clock_ns() - start) * 1e-9;
  size_t n_copies = 384 * 1024 * 1024 / weight_bytes(first) + 1;
  if (n_copies > 64) n_copies = 64;
  struct weight **w = mem_zalloc(n_copies, sizeof *w);
  w[0] = first;
  for (size_t i = 1; i < n_copies; i++) w[i] = weight_pack(c, &source, NULL);
  printf("%-22s %zu x %zu, packed with %.2f GB/s of source\n", s->name, s->n_out, s->n_in,
         (double)(s->n_out * s->n_in / dtype_info(s->dtype)->block_elements * dtype_info(s->dtype)->block_bytes) / pack_s * 1e-9);
  struct act *act = act_create(c, rows[N_ROWS - 1], s->n_in, NULL);
  float *x = mem_aligned(64, rows[N_ROWS - 1] * s->n_in * 4), *y = mem_aligned(64, rows[N_ROWS - 1] * s->n_out * 4);
  memset(y, 0, rows[N_ROWS - 1] * s->n_out * 4);
  fill(x, rows[N_ROWS - 1] * s->n_in, 1);
  for (size_t i = 0; i < N_ROWS; i++) {
    op_prepare(c, act, weight_act_form(first), x, s->n_in, rows[i], s->n_in);
    struct product_case p = {.c = c, .w = w, .n_copies = rows[i] <= 16 ? n_copies : 1, .rows = rows[i], .act = act, .y = y};
    double t = best_seconds(b, run_product, &p), ops = 2.0 * (double)(s->n_out * s->n_in * rows[i]) / t;
    double bytes = (double)weight_stream_bytes(first) / t;
    printf("  %4zu rows  %9.1f us  %7.1f GOP/s (%4.1f %% of dot peak)  %6.1f GB/s (%5.1f %% of read)", rows[i], t * 1e6, ops * 1e-9,
           100 * ops / b->dot_ops_s, bytes * 1e-9, 100 * bytes / b->read_bytes_s);
    if (p.n_copies > 1) printf("  %5.1f %% of reading beside it", 100 * beside_reading(b, &p));
    printf("\n");
  }
  for (size_t i = 0; i < n_copies; i++) weight_free(w[i]);
  free(w), free(x), free(y), free(data);
  act_free(act);
  compute_destroy(c);
}

/* ---- attention ---- */

struct attention_case {
  struct compute *c;
  struct attention a;
  struct kv_segment *segments;
  size_t n_segments;
};

static void run_attention(void *state) {
  struct attention_case *p = state;
  op_attention(p->c, &p->a, p->segments, p->n_segments);
}

struct attention_shape {
  const char *name;
  size_t n_heads, n_kv, head_dim, n_sequences, context, n_rows;
};

static void bench_attention(const struct bench *b, const struct attention_shape *s, enum dtype dtype) {
  if (!wanted(b, s->name)) return;
  struct compute *c = compute_create(COMPUTE_FAST, b->pool, b->isa, NULL);
  struct kv_layout kv = kv_layout_make(1, s->n_kv, s->head_dim, dtype);
  size_t pages = (s->context + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS, rows = s->n_sequences * s->n_rows, width = s->n_heads * s->head_dim;
  unsigned char *memory = mem_aligned(64, s->n_sequences * pages * kv.page_bytes);
  memset(memory, 0x21, s->n_sequences * pages * kv.page_bytes);
  void **page = mem_zalloc(s->n_sequences * pages, sizeof *page);
  struct kv_segment *segments = mem_zalloc(s->n_sequences, sizeof *segments);
  for (size_t i = 0; i < s->n_sequences * pages; i++) page[i] = memory + i * kv.page_bytes;
  for (size_t i = 0; i < s->n_sequences; i++)
    segments[i] = (struct kv_segment){i * s->n_rows, s->n_rows, s->context - s->n_rows, page + i * pages};
  float *q = mem_aligned(64, rows * width * 4), *out = mem_aligned(64, rows * width * 4);
  fill(q, rows * width, 3);
  struct attention_case p = {.c = c, .segments = segments, .n_segments = s->n_sequences};
  p.a =
      (struct attention){.kv = &kv, .n_heads = s->n_heads, .scale = 0.125f, .causal = true, .q = q, .ldq = width, .out = out, .ldo = width};
  double t = best_seconds(b, run_attention, &p);
  double keys = (double)rows * ((double)s->context - (double)(s->n_rows - 1) / 2);
  printf("%-18s %-4s %zu heads, %zu kv, d %zu, %zu x %zu rows, context %zu: %.1f us, %.1f GFLOP/s, %.1f GB/s of KV\n", s->name,
         dtype_info(dtype)->name, s->n_heads, s->n_kv, s->head_dim, s->n_sequences, s->n_rows, s->context, t * 1e6,
         4 * keys * (double)width / t * 1e-9, (double)(s->n_sequences * pages * kv.page_bytes) / t * 1e-9);
  free(memory), free(page), free(segments), free(q), free(out);
  compute_destroy(c);
}

/* ---- operations on rows ---- */

struct rows_case {
  struct compute *c;
  struct act *act;
  const char *name;
  float *x, *y, *gain;
  size_t rows, n;
};

static void run_rows(void *state) {
  struct rows_case *p = state;
  struct compute *c = p->c;
  if (!strcmp(p->name, "rmsnorm")) op_rmsnorm(c, NULL, p->act, ACT_I8, p->x, p->gain, 1e-5f, p->rows, p->n);
  if (!strcmp(p->name, "rmsnorm-i16")) op_rmsnorm(c, NULL, p->act, ACT_I16, p->x, p->gain, 1e-5f, p->rows, p->n);
  if (!strcmp(p->name, "layernorm")) op_layernorm(c, p->y, p->act, ACT_F32, p->x, p->x, p->gain, p->gain, 1e-5f, p->rows, p->n);
  if (!strcmp(p->name, "silu_mul")) op_silu_mul(c, NULL, p->act, ACT_I8, p->x, p->x, p->rows, p->n);
  if (!strcmp(p->name, "gelu")) op_gelu(c, NULL, p->act, ACT_F32, p->x, p->rows, p->n);
  if (!strcmp(p->name, "prepare-i8")) op_prepare(c, p->act, ACT_I8, p->x, p->n, p->rows, p->n);
  if (!strcmp(p->name, "rope")) op_rope(c, p->y, p->n, p->x, p->x, p->rows, p->n / 64, 64);
  if (!strcmp(p->name, "softmax_weights")) p->y[0] = op_softmax_weights(p->y, p->x, 1.0f, p->n);
  if (!strcmp(p->name, "log_sum_exp")) p->y[0] = op_log_sum_exp(p->x, p->n);
  if (!strcmp(p->name, "argmax")) p->y[0] = (float)op_argmax(p->x, p->n);
}

static void bench_rows(const struct bench *b, const char *name, size_t rows, size_t n) {
  if (!wanted(b, name)) return;
  struct rows_case p = {.c = compute_create(COMPUTE_FAST, b->pool, b->isa, NULL), .name = name, .rows = rows, .n = n};
  p.act = act_create(p.c, rows, n, NULL);
  p.x = mem_aligned(64, rows * n * 4), p.y = mem_aligned(64, rows * n * 4), p.gain = mem_aligned(64, n * 4);
  fill(p.x, rows * n, 1), fill(p.gain, n, 2), fill(p.y, rows * n, 3);
  double t = best_seconds(b, run_rows, &p);
  printf("%-22s %4zu x %zu: %.2f us, %.2f ns a value\n", name, rows, n, t * 1e6, t * 1e9 / (double)(rows * n));
  act_free(p.act);
  free(p.x), free(p.y), free(p.gain);
  compute_destroy(p.c);
}

/* ---- the pool ---- */

static void empty_tile(void *job, int tile, int worker) { (void)job, (void)tile, (void)worker; }

static void bench_dispatch(const struct bench *b) {
  if (!wanted(b, "dispatch")) return;
  enum { RUNS = 1000 };
  double best = 1e9;
  for (int repeat = 0; repeat < 50; repeat++) {
    uint64_t start = clock_ns();
    for (int i = 0; i < RUNS; i++) pool_run(b->pool, empty_tile, NULL, 2 * pool_threads(b->pool));
    double t = (double)(clock_ns() - start) / RUNS;
    if (t < best) best = t;
  }
  printf("%-22s %.0f ns a run of %d empty tiles\n", "dispatch", best, 2 * pool_threads(b->pool));
}

static int usage(void) {
  fprintf(stderr, "usage: bench_kernels [--threads N] [--isa ref|avx2|avx512] [--seconds S] [--clock wall|cpu] [NAME ...]\n");
  return 2;
}

static bool parse(struct bench *b, int *threads, int argc, char **argv) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; i += 2) {
    if (i + 1 == argc) return false;
    if (!strcmp(argv[i], "--threads")) *threads = atoi(argv[i + 1]);
    else if (!strcmp(argv[i], "--seconds")) b->seconds = atof(argv[i + 1]);
    else if (!strcmp(argv[i], "--isa")) b->isa = !strcmp(argv[i + 1], "ref") ? 1 : !strcmp(argv[i + 1], "avx2") ? 3 : COMPUTE_ISA_ALL;
    else if (!strcmp(argv[i], "--clock")) b->clock = !strcmp(argv[i + 1], "cpu") ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    else return false;
  }
  b->names = argv + i;
  b->n_names = argc - i;
  return true;
}

static void run_all(const struct bench *b) {
  static const struct shape shapes[] = {
      {"q8", COMPUTE_FAST, DTYPE_Q8_0, false, 8192, 2048},           {"q4_1", COMPUTE_FAST, DTYPE_Q4_1, false, 8192, 2048},
      {"q4_0", COMPUTE_FAST, DTYPE_Q4_0, false, 8192, 2048},         {"wide-q8", COMPUTE_FAST, DTYPE_Q8_0, true, 8192, 2048},
      {"small-q4_1", COMPUTE_FAST, DTYPE_Q4_1, false, 1536, 576},    {"head-q8", COMPUTE_FAST, DTYPE_Q8_0, true, 49152, 576},
      {"wide-q4_1", COMPUTE_PRECISE, DTYPE_Q4_1, false, 8192, 2048}, {"f32", COMPUTE_F32, DTYPE_F32, false, 4096, 1024},
      {"minilm-f32", COMPUTE_F32, DTYPE_F32, false, 1536, 384},      {"minilm-fast", COMPUTE_FAST, DTYPE_F32, false, 1536, 384},
      {"bf16-fast", COMPUTE_FAST, DTYPE_BF16, false, 8192, 2048},    {"q4_k", COMPUTE_FAST, DTYPE_Q4_K, false, 8192, 2048},
      {"q6_k", COMPUTE_FAST, DTYPE_Q6_K, false, 8192, 2048},         {"wide-q6_k", COMPUTE_FAST, DTYPE_Q6_K, true, 8192, 2048},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) bench_product(b, &shapes[i]);
  static const struct attention_shape attentions[] = {
      {"attention-prefill", 9, 3, 64, 1, 512, 512}, {"attention-decode", 9, 3, 64, 1, 512, 1}, {"attention-32", 9, 3, 64, 32, 256, 1},
      {"attention-long", 9, 3, 64, 1, 8192, 64},    {"decode-4k", 32, 8, 64, 8, 4096, 1},      {"decode-8k", 32, 8, 64, 8, 8192, 1},
      {"decode-8k-d128", 32, 8, 128, 8, 8192, 1},   {"decode-8k-plain", 9, 9, 64, 8, 8192, 1},
  };
  for (size_t i = 0; i < sizeof attentions / sizeof attentions[0]; i++) {
    for (int kv = 0; kv < KV_TYPES; kv++) bench_attention(b, &attentions[i], kv_type_dtype((enum kv_type)kv, COMPUTE_FAST));
  }
  static const char *const names[] = {"rmsnorm", "rmsnorm-i16", "layernorm", "silu_mul", "gelu", "prepare-i8", "rope"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    bench_rows(b, names[i], 1, 576);
    bench_rows(b, names[i], 64, 1536);
  }
  static const char *const scores[] = {"softmax_weights", "log_sum_exp", "argmax"};
  for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) bench_rows(b, scores[i], 1, 49152);
  bench_dispatch(b);
}

int main(int argc, char **argv) {
  struct bench b = {.isa = COMPUTE_ISA_ALL, .seconds = 0.2, .clock = CLOCK_MONOTONIC};
  int threads = 0;
  if (!parse(&b, &threads, argc, argv)) return usage();
  struct error err;
  b.pool = pool_create(threads, &err);
  if (!b.pool) return fprintf(stderr, "bench_kernels: %s\n", err.message), 1;
  struct compute *c = compute_create(COMPUTE_FAST, b.pool, b.isa, NULL);
  b.read_bytes_s = tensor_read_bandwidth(b.pool, 0.3);
  b.dot_ops_s = tensor_dot_peak(c, 0.3);
  printf("%d threads, %s, read %.1f GB/s, dot peak %.1f GOP/s\n", pool_threads(b.pool), compute_isa_name(c), b.read_bytes_s * 1e-9,
         b.dot_ops_s * 1e-9);
  compute_destroy(c);
  run_all(&b);
  pool_destroy(b.pool);
  return 0;
}
