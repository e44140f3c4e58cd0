/* quantize: `plinth quantize` writes a model as GGUF in a smaller type, and a certificate of what that cost. SPDX-License-Identifier: Apache-2.0
 *
 * Matrices get the type asked for, those whose rows do not fill its blocks the next one that fits; the embedding and the head Q8_0 or
 * better; norms, biases, routers and position tables F32. The certificate compares both models in fp32 on a fixed text. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "app/certificate.h"
#include "app/convert.h"
#include "app/paths.h"
#include "app/target.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/quantize.h"

struct quantize_args {
  const char *models_dir, *to, *text;
  int64_t threads, tokens;
  bool json, force, no_certificate;
};

static const struct options_row rows[] = {
    {.name = "to",
     OPTION_STRING_TO(struct quantize_args, to),
     .metavar = "TYPE",
     .fallback = "q8_0",
     .choices = TARGET_CHOICES,
     .help = "The type of the matrices."},
    {.name = "no-certificate",
     OPTION_BOOL_TO(struct quantize_args, no_certificate),
     .help = "Do not compare the new file with its source. The comparison needs memory for both models."},
    {.name = "text",
     OPTION_STRING_TO(struct quantize_args, text),
     .metavar = "FILE",
     .fallback_note = "a text that is part of the program",
     .help = "The text to compare on."},
    {.name = "certificate-tokens",
     OPTION_INT_TO(struct quantize_args, tokens),
     .metavar = "N",
     .fallback = "4096",
     .ranged = true,
     .min = 512,
     .max = 1 << 24,
     .help = "Compare on at most so many tokens of the text."},
    {.name = "force", .letter = 'f', OPTION_BOOL_TO(struct quantize_args, force), .help = "Replace a file that is there."},
    OPTIONS_THREADS_ROW(struct quantize_args, threads),
    PATHS_MODELS_DIR_ROW(struct quantize_args, models_dir, PATHS_SOUGHT),
    {.name = "json", OPTION_BOOL_TO(struct quantize_args, json), .help = "Print the certificate as one JSON object."},
};

/* ---- rows on their way into the file ---- */

struct writing {
  struct gguf_writer *w;
  struct pool *pool;
  enum dtype type;
  const float *rows;
  size_t columns, row_bytes;
  unsigned char *out;
  size_t out_bytes;
  atomic_bool broken; /* a value that is not finite, or fp16 cannot hold */
};

static void write_row(void *job, int tile, int worker) {
  (void)worker;
  struct writing *s = job;
  const float *x = s->rows + (size_t)tile * s->columns;
  float limit = s->type == DTYPE_F32 || s->type == DTYPE_BF16 ? INFINITY : 65504.0f;
  for (size_t i = 0; i < s->columns; i++)
    if (!isfinite(x[i]) || fabsf(x[i]) > limit) {
      atomic_store(&s->broken, true);
      return;
    }
  quantize_row(s->type, x, s->columns, s->out + (size_t)tile * s->row_bytes);
}

static int take_rows(void *ctx, const float *from, size_t n, size_t columns, struct error *err) {
  struct writing *s = ctx;
  uint64_t bytes;
  if (!dtype_bytes(s->type, columns, &bytes)) return error_set(err, ERROR_INTERNAL, "Rows of %zu values do not fill blocks.", columns);
  s->rows = from;
  s->columns = columns;
  s->row_bytes = (size_t)bytes;
  if (s->out_bytes < n * s->row_bytes) {
    s->out_bytes = n * s->row_bytes;
    s->out = mem_realloc(s->out, s->out_bytes, 1);
  }
  pool_run(s->pool, write_row, s, (int)n);
  if (atomic_load(&s->broken))
    return error_set(err, ERROR_CORRUPT, "It holds values that are not finite, or too large for the type %s.", dtype_info(s->type)->name);
  return gguf_writer_data(s->w, s->out, n * s->row_bytes, err);
}

static int write_tensors(const struct convert *c, const struct target *target, struct pool *pool, struct gguf_writer *w,
                         struct error *err) {
  struct writing s = {.w = w, .pool = pool};
  int result = 0;
  for (size_t i = 0; i < c->n_tensors; i++)
    gguf_writer_tensor(w, slice_cstr(c->tensors[i].name), target_type(target, &c->tensors[i]), c->tensors[i].rank, c->tensors[i].shape);
  for (size_t i = 0; i < c->n_tensors && result == 0; i++) {
    s.type = target_type(target, &c->tensors[i]);
    result = convert_rows(c, &c->tensors[i], pool, take_rows, &s, err);
    if (result < 0) error_prefix(err, "Tensor %s", c->tensors[i].name);
  }
  free(s.out);
  return result;
}

/* ---- the command ---- */

static int write_file(const struct file_model *file, const struct target *target, const char *out, int threads, struct error *err) {
  struct convert c;
  struct error no_tokenizer;
  struct pool *pool = pool_create(threads, err);
  struct tokenizer *t = file->container == FILE_SAFETENSORS ? tokenizer_open(file, &no_tokenizer) : NULL;
  struct gguf_writer *w = NULL;
  bool bare = !t && file->container == FILE_SAFETENSORS;
  int result = -1;
  if (convert_open(&c, file, err) == 0 && pool && (w = gguf_writer_create(out, err))) {
    if (bare) fprintf(stderr, "plinth: the file will have no tokenizer: %s\n", no_tokenizer.message);
    if (c.info.window_tokens && file->container == FILE_SAFETENSORS)
      fprintf(stderr,
              "plinth: the model attends to the last %zu tokens only. The file says so (llama.attention.sliding_window), but other "
              "programs may "
              "not look; beyond that many tokens they compute something else.\n",
              c.info.window_tokens);
    result = convert_values(&c, t, w, err);
    gguf_writer_u32(w, "general.quantization_version", 2);
    gguf_writer_u32(w, "general.file_type", target->file_type);
    if (result == 0) result = write_tensors(&c, target, pool, w, err);
    if (result == 0) result = gguf_writer_finish(w, err);
    else gguf_writer_abandon(w);
  }
  convert_close(&c);
  tokenizer_close(t);
  pool_destroy(pool);
  return result;
}

static int check_out(const struct quantize_args *a, const char *out, struct error *err) {
  if (!slice_ends(slice_cstr(out), SLICE(".gguf")))
    return error_set(err, ERROR_INVALID, "The new file's name must end in .gguf; %s does not.", out);
  if (!a->force && fs_exists(out)) return error_set(err, ERROR_INVALID, "%s is there already; --force replaces it.", out);
  return 0;
}

static int quantize(const struct quantize_args *a, const char *model, const char *out, struct buf *text, struct error *err) {
  char *path = paths_find_model(a->models_dir, model, err);
  struct file_model *file = path ? file_model_open(path, err) : NULL;
  int result = file ? write_file(file, target_find(a->to), out, (int)a->threads, err) : -1;
  file_model_close(file);
  if (result == 0 && !a->no_certificate) {
    struct certificate_options o = {.source = path,
                                    .file = out,
                                    .to = a->to,
                                    .text = a->text,
                                    .tokens = (size_t)a->tokens,
                                    .threads = (int)a->threads,
                                    .json = a->json};
    struct error why;
    if (certificate_make(&o, text, &why) < 0) fprintf(stderr, "plinth: %s is written, but has no certificate: %s\n", out, why.message);
  }
  free(path);
  return result;
}

static int run(const struct options *o) {
  const struct quantize_args *a = o->args;
  struct error err = {0};
  struct buf text = {0};
  int code = APP_OK;
  if (check_out(a, o->operands[1], &err) < 0) code = app_usage("quantize", &err);
  else if (quantize(a, o->operands[0], o->operands[1], &text, &err) < 0) code = app_fail(&err);
  else if (text.len) code = app_print(&text);
  buf_free(&text);
  return code;
}

const struct app_command quantize_command = {
    .spec = {.command = "quantize",
             .operands = "MODEL OUT.gguf",
             .operands_min = 2,
             .operands_max = 2,
             .summary = "Write a model as GGUF in a smaller type, with a certificate",
             .description = "Turns a model, a Hugging Face folder (quantized checkpoints too) or a GGUF file, into one GGUF file whose "
                            "matrices have the type asked for. "
                            "The embedding and the head get Q8_0 or better; norms, biases and routers stay F32. Other programs that read "
                            "GGUF can use the file.\n\n"
                            "Then both models run in fp32 on a fixed text, and OUT.certificate.json says what the new type costs: KL "
                            "divergence, agreement of the most "
                            "likely token and perplexity, or, of an embedding model, the cosine between old and new vectors.",
             .examples =
                 "plinth quantize ./Llama-3.2-1B-Instruct llama-3.2-1b.q4_k.gguf --to q4_k\nplinth quantize model-f16.gguf model-q8.gguf",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct quantize_args)},
    .run = run,
};
