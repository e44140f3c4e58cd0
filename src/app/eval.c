/* eval: `plinth eval` states what a compute mode costs against fp32 on the same weights. SPDX-License-Identifier: Apache-2.0
 *
 * Counted as llama-perplexity --kl-divergence does: windows of 512 tokens without overlap, each with a fresh context; of every window
 * the positions 256 … 510 predict the tokens behind them. KL divergence is Σ p ln(p / q) with p from --against and q from --compute. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "app/input.h"
#include "app/local.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/mem.h"

enum { WINDOW = 512, FIRST = WINDOW / 2, SCORED = WINDOW - 1 - FIRST, TEXT_BYTES_MAX = 64 << 20 };

struct eval_args {
  const char *models_dir, *text, *compute, *against;
  int64_t threads;
  bool json;
};

static const struct options_row rows[] = {
    {.name = "text", OPTION_STRING_TO(struct eval_args, text), .metavar = "FILE", .help = "The text to measure on; at least 512 tokens."},
    {.name = "compute",
     OPTION_STRING_TO(struct eval_args, compute),
     .metavar = "MODE",
     .fallback = "fast",
     .choices = "fast|f32",
     .help = "The compute mode to measure."},
    {.name = "against",
     OPTION_STRING_TO(struct eval_args, against),
     .metavar = "MODE",
     .fallback = "f32",
     .choices = "fast|f32",
     .help = "The mode to compare with."},
    {.name = "threads",
     OPTION_INT_TO(struct eval_args, threads),
     .metavar = "N",
     .fallback = "0",
     .ranged = true,
     .min = 0,
     .max = 1024,
     .env = "PLINTH_THREADS",
     .help = "Compute threads; 0 takes the cores that may be used."},
    {.name = "models-dir",
     OPTION_STRING_TO(struct eval_args, models_dir),
     .metavar = "DIR",
     .env = "PLINTH_MODELS_DIR",
     .help = "Where models are sought by name."},
    {.name = "json", OPTION_BOOL_TO(struct eval_args, json), .help = "Print one JSON object."},
};

/* One model under one mode, with pages for one window. */
struct side {
  struct local local;
  struct kv_layout kv;
  void *pages[WINDOW / KV_PAGE_TOKENS];
  float *logits; /* [SCORED, n_vocab] */
  double loss;   /* Σ −ln q(token) */
};

struct result {
  size_t windows, tokens, same_top;
  double *kl; /* [tokens], sorted in the end */
};

static int open_side(struct side *s, const struct eval_args *a, const char *model, const char *mode, struct error *err) {
  struct local_options o = {
      .model = model, .models_dir = a->models_dir, .compute = mode, .threads = (int)a->threads, .rows_max = WINDOW, .out_rows_max = SCORED};
  if (local_open(&s->local, &o, err) < 0) return -1;
  if (s->local.info->task != MODEL_GENERATE)
    return error_set(err, ERROR_INVALID, "%s makes embeddings; eval needs a model that generates text.", model);
  if (s->local.info->context_tokens < WINDOW)
    return error_set(err, ERROR_INVALID, "%s has a context of %zu tokens; eval needs %d.", model, s->local.info->context_tokens, WINDOW);
  s->kv = model_kv_layout(s->local.model);
  for (size_t i = 0; i < WINDOW / KV_PAGE_TOKENS; i++) s->pages[i] = mem_aligned(64, s->kv.page_bytes);
  s->logits = mem_aligned(64, (size_t)SCORED * s->local.info->n_vocab * sizeof *s->logits);
  return 0;
}

static void close_side(struct side *s) {
  for (size_t i = 0; i < WINDOW / KV_PAGE_TOKENS; i++) free(s->pages[i]);
  free(s->logits);
  local_close(&s->local);
}

static void run_window(struct side *s, const int32_t *tokens) {
  int32_t out_rows[SCORED];
  for (int i = 0; i < SCORED; i++) out_rows[i] = FIRST + i;
  struct kv_segment segment = {.n_rows = WINDOW, .pages = s->pages};
  model_forward(s->local.model, &(struct model_batch){.n_rows = WINDOW,
                                                      .tokens = tokens,
                                                      .segments = &segment,
                                                      .n_segments = 1,
                                                      .adapters = s->local.adapter ? &s->local.adapter : NULL,
                                                      .out_rows = out_rows,
                                                      .n_out_rows = SCORED,
                                                      .logits = s->logits});
}

static double log_norm(const float *x, size_t n) {
  double max = x[op_argmax(x, n)], sum = 0;
  for (size_t i = 0; i < n; i++) sum += exp(x[i] - max);
  return max + log(sum);
}

/* p: against, q: measured. */
static void compare_position(struct result *r, struct side *p, struct side *q, size_t i, int32_t next) {
  size_t n = p->local.info->n_vocab;
  const float *a = p->logits + i * n, *b = q->logits + i * n;
  double norm_a = log_norm(a, n), norm_b = log_norm(b, n), kl = 0;
  for (size_t v = 0; v < n; v++) {
    double log_p = a[v] - norm_a;
    kl += exp(log_p) * (log_p - (b[v] - norm_b));
  }
  p->loss -= a[next] - norm_a;
  q->loss -= b[next] - norm_b;
  r->same_top += op_argmax(a, n) == op_argmax(b, n);
  r->kl[r->tokens++] = kl;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int print_result(const struct eval_args *a, const struct result *r, const struct side *p, const struct side *q) {
  double sum = 0, n = (double)r->tokens;
  for (size_t i = 0; i < r->tokens; i++) sum += r->kl[i];
  qsort(r->kl, r->tokens, sizeof *r->kl, by_value);
  double mean = sum / n, median = r->kl[r->tokens / 2], p99 = r->kl[(size_t)(0.99 * n)], max = r->kl[r->tokens - 1];
  double top1 = (double)r->same_top / n, ppl = exp(q->loss / n), ppl_base = exp(p->loss / n);
  struct buf out = {0};
  if (a->json) {
    struct jsonw w = {.out = &out};
    jsonw_object_begin(&w);
    jsonw_key_cstr(&w, "compute", a->compute);
    jsonw_key_cstr(&w, "against", a->against);
    jsonw_key_cstr(&w, "isa", compute_isa_name(q->local.compute));
    jsonw_key_int(&w, "windows", (int64_t)r->windows);
    jsonw_key_int(&w, "tokens", (int64_t)r->tokens);
    jsonw_key_real(&w, "kl_mean", mean);
    jsonw_key_real(&w, "kl_median", median);
    jsonw_key_real(&w, "kl_p99", p99);
    jsonw_key_real(&w, "kl_max", max);
    jsonw_key_real(&w, "top1_agreement", top1);
    jsonw_key_real(&w, "perplexity", ppl);
    jsonw_key_real(&w, "perplexity_against", ppl_base);
    jsonw_object_end(&w);
    buf_add_byte(&out, '\n');
  } else {
    buf_printf(
        &out,
        "%s against %s on %zu tokens: mean KL %.6f (median %.6f, 99 %% %.6f, max %.6f), top-1 %.2f %%, perplexity %.4f against %.4f\n",
        a->compute, a->against, r->tokens, mean, median, p99, max, 100 * top1, ppl, ppl_base);
  }
  int code = app_print(&out);
  buf_free(&out);
  return code;
}

static int encode_text(struct side *s, const struct eval_args *a, struct ids *ids, struct error *err) {
  struct buf text = {0};
  int result = fs_read(a->text, TEXT_BYTES_MAX, &text, err);
  if (result == 0 && (result = input_check(buf_view(&text), err)) < 0) error_prefix(err, "%s", a->text);
  if (result == 0) result = tokenizer_encode(s->local.tokenizer, buf_view(&text), TOKENIZER_ADD_SPECIAL, ids, err);
  buf_free(&text);
  if (result == 0 && ids->len < WINDOW)
    return error_set(err, ERROR_INVALID, "%s has %zu tokens; at least %d are needed.", a->text, ids->len, WINDOW);
  return result;
}

static int measure(const struct eval_args *a, const char *model, struct error *err) {
  struct side p = {0}, q = {0};
  struct ids ids = {0};
  struct result r = {0};
  int code = -1;
  if (open_side(&p, a, model, a->against, err) == 0 && open_side(&q, a, model, a->compute, err) == 0 &&
      encode_text(&p, a, &ids, err) == 0) {
    r.windows = ids.len / WINDOW;
    r.kl = mem_alloc(r.windows * SCORED * sizeof *r.kl);
    for (size_t w = 0; w < r.windows; w++) {
      run_window(&p, ids.data + w * WINDOW);
      run_window(&q, ids.data + w * WINDOW);
      for (size_t i = 0; i < SCORED; i++) compare_position(&r, &p, &q, i, ids.data[w * WINDOW + FIRST + i + 1]);
    }
    code = print_result(a, &r, &p, &q);
  }
  free(r.kl);
  ids_free(&ids);
  close_side(&p);
  close_side(&q);
  return code;
}

static int run(const struct options *o) {
  const struct eval_args *a = o->args;
  struct error err = {0};
  if (!a->text) {
    error_set(&err, ERROR_INVALID, "Name a text with --text FILE.");
    return app_usage("eval", &err);
  }
  int code = measure(a, o->operands[0], &err);
  return code < 0 ? app_fail(&err) : code;
}

const struct app_command eval_command = {
    .spec =
        {.command = "eval",
         .operands = "MODEL",
         .operands_min = 1,
         .operands_max = 1,
         .summary = "Measure what a compute mode costs in exactness",
         .description =
             "Compares the logits of a compute mode with those of another on a text: KL divergence, agreement of the most likely token and "
             "perplexity, counted as llama-perplexity --kl-divergence does (windows of 512 tokens, the second half of each).",
         .examples = "plinth eval smollm2-135m-instruct --text bench/text.txt --compute fast --against f32 --json",
         OPTIONS_ROWS(rows),
         .args_bytes = sizeof(struct eval_args)},
    .run = run,
};
