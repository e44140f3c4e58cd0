/* eval: `plinth eval` states what a compute mode, or KV in 8 bits, costs against fp32 on the same weights. SPDX-License-Identifier: Apache-2.0
 * compare.h says how it is counted: p is of --against, with the KV of that mode, and q of --compute and --kv. */
#include "app/app.h"
#include "app/input.h"
#include "app/compare.h"
#include "app/paths.h"
#include "app/variants.h"
#include "base/fs.h"

enum { TEXT_BYTES_MAX = 64 << 20 };

struct eval_args {
  const char *models_dir, *text, *compute, *kv, *against, *kernels;
  int64_t threads;
  bool json;
};

static const struct options_row rows[] = {
    {.name = "text", OPTION_STRING_TO(struct eval_args, text), .metavar = "FILE", .help = "The text to measure on; at least 512 tokens."},
    {.name = "compute",
     OPTION_STRING_TO(struct eval_args, compute),
     .metavar = "MODE",
     .fallback = "fast",
     .choices = COMPUTE_MODE_CHOICES,
     .help = "The compute mode to measure."},
    OPTIONS_KV_ROW(struct eval_args, kv),
    {.name = "against",
     OPTION_STRING_TO(struct eval_args, against),
     .metavar = "MODE",
     .fallback = "f32",
     .choices = COMPUTE_MODE_CHOICES,
     .help = "The mode to compare with, whose KV is not in 8 bits."},
    VARIANTS_ROW(struct eval_args, kernels),
    OPTIONS_THREADS_ROW(struct eval_args, threads),
    PATHS_MODELS_DIR_ROW(struct eval_args, models_dir, PATHS_SOUGHT),
    {.name = "json", OPTION_BOOL_TO(struct eval_args, json), .help = "Print one JSON object."},
};

static int print_result(const struct eval_args *a, const struct compare_result *r, const char *isa) {
  struct buf out = {0};
  if (a->json) {
    struct jsonw w = {.out = &out};
    jsonw_object_begin(&w);
    jsonw_key_cstr(&w, "compute", a->compute);
    jsonw_key_cstr(&w, "kv", a->kv);
    jsonw_key_cstr(&w, "against", a->against);
    jsonw_key_cstr(&w, "isa", isa);
    compare_write(&w, r);
    jsonw_object_end(&w);
    buf_add_byte(&out, '\n');
  } else {
    buf_printf(&out,
               "%s with KV in %s against %s on %zu tokens: mean KL %.6f (median %.6f, 99 %% %.6f, max %.6f), top-1 %.2f %%, perplexity "
               "%.4f against %.4f\n",
               a->compute, a->kv, a->against, r->tokens, r->kl_mean, r->kl_median, r->kl_p99, r->kl_max, 100 * r->top1, r->perplexity,
               r->perplexity_base);
  }
  int code = app_print(&out);
  buf_free(&out);
  return code;
}

static int encode_text(struct compare_side *s, const struct eval_args *a, struct ids *ids, struct error *err) {
  struct buf text = {0};
  int result = fs_read_any(a->text, TEXT_BYTES_MAX, &text, err);
  if (result == 0 && (result = input_check(buf_view(&text), err)) < 0) error_prefix(err, "%s", a->text);
  if (result == 0) result = tokenizer_encode(s->local.tokenizer, buf_view(&text), TOKENIZER_ADD_SPECIAL, ids, err);
  buf_free(&text);
  if (result == 0 && ids->len < COMPARE_WINDOW)
    return error_set(err, ERROR_INVALID, "%s has %zu tokens; at least %d are needed.", a->text, ids->len, COMPARE_WINDOW);
  return result;
}

static int open_side(struct compare_side *s, const struct eval_args *a, const char *model, const char *mode, const char *kv,
                     struct error *err) {
  struct local_options o = {
      .model = model, .models_dir = a->models_dir, .compute = mode, .kv = kv, .kernels = a->kernels, .threads = (int)a->threads};
  return compare_open(s, &o, err);
}

static int measure(const struct eval_args *a, const char *model, struct error *err) {
  struct compare_side p = {0}, q = {0};
  struct ids ids = {0};
  struct compare_result r;
  int code = -1;
  if (open_side(&p, a, model, a->against, NULL, err) == 0 && open_side(&q, a, model, a->compute, a->kv, err) == 0 &&
      encode_text(&p, a, &ids, err) == 0 && compare_run(&p, &q, &ids, &r, err) == 0)
    code = print_result(a, &r, compute_isa_name(q.local.compute));
  ids_free(&ids);
  compare_close(&p);
  compare_close(&q);
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
