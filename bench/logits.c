/* logits: what a model computes in fp32, as a file of numbers, and how far two such files are apart. SPDX-License-Identifier: Apache-2.0
 *
 *   bench_logits MODEL IDS OUT     IDS: a line of token ids for each prompt. OUT: fp32, for each prompt the logits of every position, or
 *                                  its embedding, as a unit vector.
 *   bench_logits --compare COLUMNS GOT EXPECTED
 *                                  prints the normalized mean squared error, Σ(got − expected)² / Σ expected², and the share of rows of
 *                                  so many columns whose largest value stands in the same place.
 * bench/interop drives it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/model.h"

enum { ROWS_MAX = 2048 };

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "bench_logits: %s\n", what);
  exit(1);
}

static void write_or_fail(const float *values, size_t n, FILE *out) {
  if (fwrite(values, sizeof *values, n, out) != n) fail("cannot write");
}

static void put_logits(struct model *m, const int32_t *ids, size_t n, FILE *out) {
  const struct model_info *info = model_info(m);
  size_t n_pages = n / KV_PAGE_TOKENS + 1, page_bytes = model_kv_layout(m).page_bytes;
  void **pages = mem_alloc(n_pages * sizeof *pages);
  for (size_t i = 0; i < n_pages; i++) pages[i] = mem_aligned(64, page_bytes);
  int32_t *rows = mem_alloc(n * sizeof *rows);
  for (size_t i = 0; i < n; i++) rows[i] = (int32_t)i;
  float *logits = mem_alloc(n * info->n_vocab * sizeof *logits);
  model_forward(m, &(struct model_batch){.n_rows = n,
                                         .tokens = ids,
                                         .segments = &(struct kv_segment){0, n, 0, pages},
                                         .n_segments = 1,
                                         .out_rows = rows,
                                         .n_out_rows = n,
                                         .logits = logits});
  write_or_fail(logits, n * info->n_vocab, out);
  for (size_t i = 0; i < n_pages; i++) free(pages[i]);
  free(pages);
  free(rows);
  free(logits);
}

static void put_embedding(struct model *m, const int32_t *ids, size_t n, FILE *out) {
  size_t width = model_info(m)->n_embd, offset[2] = {0, n};
  float *vector = mem_alloc(width * sizeof *vector);
  model_embed(m, ids, offset, 1, vector);
  double squares = 0;
  for (size_t i = 0; i < width; i++) squares += (double)vector[i] * vector[i];
  for (size_t i = 0; i < width; i++) vector[i] = (float)(vector[i] / sqrt(squares));
  write_or_fail(vector, width, out);
  free(vector);
}

static size_t read_ids(const char *line, int32_t *ids, size_t n_vocab) {
  size_t n = 0;
  for (char *end; n < ROWS_MAX; line = end) {
    long id = strtol(line, &end, 10);
    if (end == line) break;
    if (id < 0 || (size_t)id >= n_vocab) fail("a token id is none of the model's");
    ids[n++] = (int32_t)id;
  }
  return n;
}

static int compute(const char *path, const char *ids_path, const char *out_path) {
  struct error err;
  struct file_model *file = file_model_open(path, &err);
  struct pool *pool = file ? pool_create(2, &err) : NULL;
  struct compute *c = pool ? compute_create(COMPUTE_F32, pool, COMPUTE_ISA_ALL, &err) : NULL;
  struct model *m = c ? model_load(file, c, &(struct model_options){.rows_max = ROWS_MAX, .out_rows_max = ROWS_MAX}, &err) : NULL;
  struct buf text = {0};
  if (!m || fs_read(ids_path, 1 << 22, &text, &err) < 0) fail(err.message);
  FILE *out = fopen(out_path, "wb");
  if (!out) fail("cannot write");
  const struct model_info *info = model_info(m);
  for (char *rest = text.data, *line; (line = strsep(&rest, "\n"));) {
    int32_t ids[ROWS_MAX];
    size_t n = read_ids(line, ids, info->n_vocab);
    if (n == 0) continue;
    if (info->task == MODEL_EMBED) put_embedding(m, ids, n, out);
    else put_logits(m, ids, n, out);
  }
  if (fclose(out) != 0) fail("cannot write");
  printf("%zu\n", info->task == MODEL_EMBED ? info->n_embd : info->n_vocab);
  buf_free(&text);
  model_free(m);
  compute_destroy(c);
  pool_destroy(pool);
  file_model_close(file);
  return 0;
}

static size_t largest(const float *row, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (row[i] > row[best]) best = i;
  return best;
}

static int compare(size_t columns, const char *got_path, const char *expected_path) {
  FILE *got_file = fopen(got_path, "rb"), *expected_file = fopen(expected_path, "rb");
  if (!got_file || !expected_file || columns == 0) fail("cannot read");
  float *got = mem_alloc(columns * sizeof *got), *expected = mem_alloc(columns * sizeof *expected);
  double wrong = 0, all = 0;
  size_t rows = 0, same = 0;
  for (;; rows++) {
    size_t a = fread(got, sizeof *got, columns, got_file), b = fread(expected, sizeof *expected, columns, expected_file);
    if (a != b || (a != 0 && a != columns)) fail("the files have different lengths");
    if (a == 0) break;
    for (size_t i = 0; i < columns; i++) {
      double d = (double)got[i] - expected[i];
      wrong += d * d, all += (double)expected[i] * expected[i];
    }
    same += largest(got, columns) == largest(expected, columns);
  }
  if (rows == 0) fail("the files are empty");
  printf("%.3g %.6f\n", wrong / all, (double)same / (double)rows);
  free(got);
  free(expected);
  fclose(got_file);
  fclose(expected_file);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 5 && strcmp(argv[1], "--compare") == 0) return compare((size_t)strtoul(argv[2], NULL, 10), argv[3], argv[4]);
  if (argc == 4) return compute(argv[1], argv[2], argv[3]);
  fprintf(stderr, "usage: bench_logits MODEL IDS OUT | --compare COLUMNS GOT EXPECTED\n");
  return 2;
}
