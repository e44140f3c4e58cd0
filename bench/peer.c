/* peer: llama.cpp's side of bench/interop, which compiles it against llama.cpp. SPDX-License-Identifier: Apache-2.0
 *
 *   peer logits MODEL IDS OUT ROWS    as bench_logits does, ROWS rows of a batch at a time. The BLAS backend takes products of 32 rows
 *                                     and more, in fp32; with fewer the CPU backend computes, on activations rounded to the weights' type.
 *   peer quantize MODEL OUT TYPE      llama-quantize's work: every matrix TYPE, embedding and head too. TYPE f32: what llama.cpp takes
 *                                     the stored blocks for.
 *   peer weights SOURCE A B           the squared error of the matrices of A to those of SOURCE, in F32, as a share of B's, where both have
 *                                     the same type: the whole, and the largest share of a matrix. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ggml.h"
#include "gguf.h"
#include "llama.h"

enum { ROWS_MAX = 2048 };

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "peer: %s\n", what);
  exit(1);
}

static void quiet(enum ggml_log_level level, const char *text, void *data) {
  (void)data;
  if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static struct llama_model *load(const char *path) {
  struct llama_model_params p = llama_model_default_params();
  p.n_gpu_layers = 0;
  p.use_extra_bufts = false; /* weights stay as in the file, where BLAS can read them */
  struct llama_model *m = llama_model_load_from_file(path, p);
  if (!m) fail("llama.cpp cannot load the file");
  return m;
}

static struct llama_context *context(struct llama_model *m, int rows, bool embeds) {
  struct llama_context_params p = llama_context_default_params();
  p.n_ctx = p.n_batch = ROWS_MAX;
  p.n_ubatch = (uint32_t)rows;
  p.type_k = p.type_v = GGML_TYPE_F32;
  p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  p.n_threads = p.n_threads_batch = 2;
  p.embeddings = embeds;
  struct llama_context *c = llama_init_from_model(m, p);
  if (!c) fail("llama.cpp gives no context");
  return c;
}

/* A unit vector: llama.cpp leaves it to its callers. */
static void put_embedding(struct llama_context *c, int width, FILE *out) {
  const float *v = llama_get_embeddings_seq(c, 0);
  if (!v) fail("llama.cpp gives no embedding");
  double squares = 0;
  for (int i = 0; i < width; i++) squares += (double)v[i] * v[i];
  for (int i = 0; i < width; i++) {
    float x = (float)(v[i] / sqrt(squares));
    if (fwrite(&x, sizeof x, 1, out) != 1) fail("cannot write");
  }
}

static void put_prompt(struct llama_model *m, struct llama_context *c, const int *ids, int n, bool embeds, FILE *out) {
  struct llama_batch b = llama_batch_init(n, 0, 1);
  b.n_tokens = n;
  for (int i = 0; i < n; i++) {
    b.token[i] = ids[i], b.pos[i] = i;
    b.n_seq_id[i] = 1, b.seq_id[i][0] = 0;
    b.logits[i] = 1;
  }
  if (!embeds) llama_memory_clear(llama_get_memory(c), true);
  if (embeds ? llama_encode(c, b) : llama_decode(c, b)) fail("llama.cpp does not compute the prompt");
  size_t vocab = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(m));
  if (embeds) put_embedding(c, llama_model_n_embd(m), out);
  for (int i = 0; !embeds && i < n; i++)
    if (fwrite(llama_get_logits_ith(c, i), sizeof(float), vocab, out) != vocab) fail("cannot write");
  llama_batch_free(b);
}

static int logits(const char *path, const char *ids_path, const char *out_path, int rows) {
  struct llama_model *m = load(path);
  FILE *in = fopen(ids_path, "r"), *out = fopen(out_path, "wb");
  if (!in || !out || rows < 1) fail("cannot read ids or write logits");
  bool embeds = llama_model_meta_val_str(m, "bert.pooling_type", (char[8]){0}, 8) > 0;
  struct llama_context *c = context(m, rows, embeds);
  for (char *line = NULL; getline(&line, &(size_t){0}, in) > 0; free(line), line = NULL) {
    int ids[ROWS_MAX], n = 0;
    for (char *at = line, *end; n < ROWS_MAX; at = end) {
      long id = strtol(at, &end, 10);
      if (end == at) break;
      ids[n++] = (int)id;
    }
    if (n) put_prompt(m, c, ids, n, embeds, out);
  }
  if (fclose(out) != 0) fail("cannot write");
  fclose(in);
  llama_free(c);
  llama_model_free(m);
  return 0;
}

static const struct {
  const char *name;
  enum llama_ftype ftype;
  enum ggml_type type;
} types[] = {
    {"f32", LLAMA_FTYPE_ALL_F32, GGML_TYPE_F32},         {"f16", LLAMA_FTYPE_MOSTLY_F16, GGML_TYPE_F16},
    {"bf16", LLAMA_FTYPE_MOSTLY_BF16, GGML_TYPE_BF16},   {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, GGML_TYPE_Q8_0},
    {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K, GGML_TYPE_Q6_K},   {"q5_k", LLAMA_FTYPE_MOSTLY_Q5_K_S, GGML_TYPE_Q5_K},
    {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1, GGML_TYPE_Q5_1},   {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0, GGML_TYPE_Q5_0},
    {"q4_k", LLAMA_FTYPE_MOSTLY_Q4_K_S, GGML_TYPE_Q4_K}, {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1, GGML_TYPE_Q4_1},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0, GGML_TYPE_Q4_0},
};

/* Embedding and head get what plinth quantize gives them: Q8_0 or better. */
static int quantize(const char *path, const char *out, const char *type) {
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    if (strcasecmp(types[i].name, type) != 0) continue;
    struct llama_model_quantize_params p = llama_model_quantize_default_params();
    p.ftype = types[i].ftype;
    p.output_tensor_type = p.token_embedding_type = strchr("fb", type[0]) ? types[i].type : GGML_TYPE_Q8_0;
    p.allow_requantize = p.pure = true;
    p.nthread = 2;
    if (llama_model_quantize(path, out, &p)) fail("llama.cpp does not quantize the file");
    return 0;
  }
  fail("there is no such type");
}

static struct ggml_context *weights_of(const char *path) {
  struct ggml_context *tensors = NULL;
  struct gguf_context *g = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = false, .ctx = &tensors});
  if (!g) fail("llama.cpp cannot read the file");
  gguf_free(g);
  return tensors;
}

static double squared_error(const struct ggml_tensor *t, const struct ggml_tensor *source) {
  int64_t width = t->ne[0], rows = ggml_nrows(t);
  float *row = malloc((size_t)width * sizeof *row);
  double wrong = 0;
  for (int64_t r = 0; r < rows; r++) {
    const float *x = (const float *)source->data + r * width;
    ggml_get_type_traits(t->type)->to_float((const char *)t->data + (size_t)r * t->nb[1], row, width);
    for (int64_t i = 0; i < width; i++) wrong += ((double)row[i] - x[i]) * ((double)row[i] - x[i]);
  }
  free(row);
  return wrong;
}

static int weights(const char *source, const char *a_path, const char *b_path) {
  struct ggml_context *s = weights_of(source), *a = weights_of(a_path), *b = weights_of(b_path);
  double ours = 0, theirs = 0, worst = 0;
  for (struct ggml_tensor *t = ggml_get_first_tensor(s); t; t = ggml_get_next_tensor(s, t)) {
    const struct ggml_tensor *x = ggml_get_tensor(a, t->name), *y = ggml_get_tensor(b, t->name);
    if (!x || !y || t->type != GGML_TYPE_F32 || x->type != y->type || x->type == GGML_TYPE_F32) continue;
    double of_x = squared_error(x, t), of_y = squared_error(y, t);
    ours += of_x, theirs += of_y;
    worst = fmax(worst, of_x > 0 ? of_x / of_y : 0);
  }
  printf("%.5f %.5f\n", ours > 0 ? ours / theirs : theirs > 0 ? 0 : 1, ours > 0 ? worst : theirs > 0 ? 0 : 1);
  ggml_free(s);
  ggml_free(a);
  ggml_free(b);
  return 0;
}

int main(int argc, char **argv) {
  llama_log_set(quiet, NULL);
  llama_backend_init();
  if (argc == 6 && strcmp(argv[1], "logits") == 0) return logits(argv[2], argv[3], argv[4], atoi(argv[5]));
  if (argc == 5 && strcmp(argv[1], "quantize") == 0) return quantize(argv[2], argv[3], argv[4]);
  if (argc == 5 && strcmp(argv[1], "weights") == 0) return weights(argv[2], argv[3], argv[4]);
  fprintf(stderr, "usage: peer logits MODEL IDS OUT ROWS | quantize MODEL OUT TYPE | weights SOURCE A B\n");
  return 2;
}
