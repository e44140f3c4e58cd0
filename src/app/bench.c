/* bench: `plinth bench` measures prefill, decode, batched decode and embeddings offline, with the bound beside each figure.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/local.h"
#include "app/paths.h"
#include "app/variants.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"

enum { REPEATS_MAX = 100 };
static const double BANDWIDTH_SECONDS = 0.3;

struct bench_args {
  const char *models_dir, *compute, *kv, *kernels;
  int64_t threads, prompt_tokens, decode_tokens, streams, repeats;
  bool json;
};

#define COUNT_ROW(n, m, f, hi, text) \
  {.name = n, OPTION_INT_TO(struct bench_args, m), .metavar = "N", .fallback = f, .ranged = true, .min = 1, .max = hi, .help = text}

static const struct options_row rows[] = {
    COUNT_ROW("prompt-tokens", prompt_tokens, "512", 8192,
              "Tokens of the prompt in the prefill measurement; of a text for embeddings at most its window."),
    COUNT_ROW("decode-tokens", decode_tokens, "128", 8192, "Tokens that each stream decodes."),
    COUNT_ROW("streams", streams, "1", 64, "Streams that decode at once."),
    COUNT_ROW("repeats", repeats, "5", REPEATS_MAX, "Runs of each measurement; the median is printed."),
    {.name = "compute",
     OPTION_STRING_TO(struct bench_args, compute),
     .metavar = "MODE",
     .fallback = "fast",
     .choices = COMPUTE_MODE_CHOICES,
     .help = "The compute mode."},
    OPTIONS_KV_ROW(struct bench_args, kv),
    VARIANTS_ROW(struct bench_args, kernels),
    OPTIONS_THREADS_ROW(struct bench_args, threads),
    PATHS_MODELS_DIR_ROW(struct bench_args, models_dir, PATHS_SOUGHT),
    {.name = "json", OPTION_BOOL_TO(struct bench_args, json), .help = "Print one JSON object."},
};

struct bench {
  const struct bench_args *args;
  struct local local;
  struct engine *engine;
  double bandwidth, dot_peak; /* of this machine, bytes/s and operations/s */
  double bandwidths[REPEATS_MAX + 1];
  size_t n_bandwidths;    /* one right before each run of decoding: it varies with what else the machine does */
  double prefill, decode; /* tokens/s */
  double embeddings;      /* tokens/s */
};

static int32_t token_at(const struct bench *b, size_t stream, size_t i) {
  return (int32_t)((i * 7919 + stream * 104729 + 11) % (b->local.info->n_vocab - 100) + 50);
}

static int submit(struct bench *b, uint64_t id, size_t n_prompt, size_t n_decode, struct error *err) {
  int32_t *prompt = mem_alloc(n_prompt * sizeof *prompt);
  for (size_t i = 0; i < n_prompt; i++) prompt[i] = token_at(b, id, i);
  struct engine_request r = {.id = id,
                             .prompt = prompt,
                             .n_prompt = n_prompt,
                             .adapter = b->local.adapter,
                             .max_tokens = n_decode,
                             .ignore_eos = true,
                             .top_logprobs = -1};
  int result = engine_submit(b->engine, &r, err);
  free(prompt);
  return result;
}

/* Seconds until the engine has nothing left. */
static double drain(struct bench *b) {
  const struct engine_event *events;
  size_t n;
  uint64_t begin = clock_ns();
  while (engine_busy(b->engine)) engine_step(b->engine, &events, &n);
  return (double)(clock_ns() - begin) * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* One run of a measurement: tokens/s, or negative with an error. */
typedef double measurement(struct bench *b, struct error *err);

static double median_of(struct bench *b, measurement *measure, struct error *err) {
  double values[REPEATS_MAX];
  int n = (int)b->args->repeats;
  if (measure(b, err) < 0) return -1; /* the first run touches the memory */
  for (int i = 0; i < n; i++)
    if ((values[i] = measure(b, err)) < 0) return -1;
  qsort(values, (size_t)n, sizeof *values, by_value);
  return values[n / 2];
}

static double measure_prefill(struct bench *b, struct error *err) {
  engine_flush(b->engine); /* the last run's pages would make this one too easy */
  if (submit(b, 0, (size_t)b->args->prompt_tokens, 1, err) < 0) return -1;
  return (double)b->args->prompt_tokens / drain(b);
}

/* The first step prefills one token a stream; then all streams decode together. */
static double measure_decode(struct bench *b, struct error *err) {
  const struct engine_event *events;
  size_t n;
  for (int64_t s = 0; s < b->args->streams; s++)
    if (submit(b, (uint64_t)s, 1, (size_t)b->args->decode_tokens + 1, err) < 0) return -1;
  engine_step(b->engine, &events, &n);
  b->bandwidths[b->n_bandwidths++] = tensor_read_bandwidth(b->local.pool, BANDWIDTH_SECONDS);
  return (double)(b->args->streams * b->args->decode_tokens) / drain(b);
}

static double measure_embeddings(struct bench *b, struct error *err) {
  size_t tokens = (size_t)b->args->prompt_tokens, window = b->local.info->context_tokens;
  if (tokens > window) tokens = window;
  for (int64_t s = 0; s < b->args->streams; s++)
    if (submit(b, (uint64_t)s, tokens, 0, err) < 0) return -1;
  return (double)(b->args->streams * (int64_t)tokens) / drain(b);
}

static int measure_all(struct bench *b, struct error *err) {
  if (strcmp(b->args->kernels, "auto") == 0) compute_choice_measure(b->local.compute); /* those that no record names */
  b->bandwidth = tensor_read_bandwidth(b->local.pool, BANDWIDTH_SECONDS);
  b->dot_peak = tensor_dot_peak(b->local.compute, 0.5);
  if (b->local.info->task == MODEL_EMBED) return (b->embeddings = median_of(b, measure_embeddings, err)) < 0 ? -1 : 0;
  b->prefill = median_of(b, measure_prefill, err);
  if (b->prefill < 0 || (b->decode = median_of(b, measure_decode, err)) < 0) return -1;
  qsort(b->bandwidths, b->n_bandwidths, sizeof *b->bandwidths, by_value);
  b->bandwidth = b->bandwidths[b->n_bandwidths / 2];
  return 0;
}

/* Operations of the weights' products for one token of a prompt, of which the last goes through the head. */
static double token_operations(const struct bench *b) {
  size_t n = (size_t)b->args->prompt_tokens;
  return model_operations(b->local.model, n, 1) / (double)n;
}

static void write_json(const struct bench *b, struct buf *out) {
  struct jsonw w = {.out = out};
  double streams = (double)b->args->streams;
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "architecture", b->local.info->architecture);
  jsonw_key_cstr(&w, "quantization", b->local.info->quantization);
  jsonw_key_cstr(&w, "compute", b->args->compute);
  jsonw_key_cstr(&w, "kv", b->args->kv);
  jsonw_key_cstr(&w, "isa", compute_isa_name(b->local.compute));
  struct buf kernels = {0};
  compute_choice_tell(b->local.compute, &kernels);
  jsonw_key_str(&w, "kernels", buf_view(&kernels));
  buf_free(&kernels);
  jsonw_key_int(&w, "threads", pool_threads(b->local.pool));
  jsonw_key_int(&w, "streams", b->args->streams);
  jsonw_key_int(&w, "prompt_tokens", b->args->prompt_tokens);
  jsonw_key_real(&w, "read_bandwidth_gb_s", b->bandwidth * 1e-9);
  jsonw_key_real(&w, "kernel_peak_gop_s", b->dot_peak * 1e-9);
  if (b->local.info->task == MODEL_EMBED) {
    jsonw_key_real(&w, "embedding_tokens_s", b->embeddings);
  } else {
    double stream_bytes = (double)model_stream_bytes(b->local.model), read = b->decode / streams * stream_bytes;
    jsonw_key_real(&w, "prefill_tokens_s", b->prefill);
    jsonw_key_real(&w, "prefill_gop_s", b->prefill * token_operations(b) * 1e-9);
    jsonw_key_real(&w, "prefill_percent_of_peak", 100 * b->prefill * token_operations(b) / b->dot_peak);
    jsonw_key_real(&w, "decode_tokens_s", b->decode);
    jsonw_key_real(&w, "decode_gb_s", read * 1e-9);
    jsonw_key_real(&w, "decode_percent_of_bandwidth", 100 * read / b->bandwidth);
  }
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
}

static void write_text(const struct bench *b, struct buf *out) {
  struct buf kernels = {0};
  compute_choice_tell(b->local.compute, &kernels);
  buf_printf(out, "%s %s, compute %s, KV %s (%s), %d threads; this machine reads %.1f GB/s, the integer kernel peaks at %.0f GOP/s\n",
             b->local.info->architecture, b->local.info->quantization, b->args->compute, b->args->kv, kernels.data,
             pool_threads(b->local.pool), b->bandwidth * 1e-9, b->dot_peak * 1e-9);
  buf_free(&kernels);
  if (b->local.info->task == MODEL_EMBED) {
    buf_printf(out, "embeddings %8.1f tokens/s (%lld texts at once)\n", b->embeddings, (long long)b->args->streams);
    return;
  }
  double read = b->decode / (double)b->args->streams * (double)model_stream_bytes(b->local.model), work = b->prefill * token_operations(b);
  buf_printf(out, "prefill %8.1f tokens/s  %6.0f GOP/s, %.0f %% of the peak (%lld tokens)\n", b->prefill, work * 1e-9,
             100 * work / b->dot_peak, (long long)b->args->prompt_tokens);
  buf_printf(out, "decode  %8.1f tokens/s  %6.1f GB/s, %.0f %% of the bandwidth (%lld streams)\n", b->decode, read * 1e-9,
             100 * read / b->bandwidth, (long long)b->args->streams);
}

static int run(const struct options *o) {
  struct bench b = {.args = o->args};
  struct error err;
  struct local_options local = {.model = o->operands[0],
                                .models_dir = b.args->models_dir,
                                .compute = b.args->compute,
                                .kv = b.args->kv,
                                .kernels = b.args->kernels,
                                .threads = (int)b.args->threads,
                                .speculation = ENGINE_SPECULATE_OFF};
  int code = APP_FAILED;
  if (local_open(&b.local, &local, &err) < 0 || !(b.engine = local_engine(&b.local, 0, &err)) || measure_all(&b, &err) < 0) {
    app_fail(&err);
  } else {
    struct buf out = {0};
    if (b.args->json) write_json(&b, &out);
    else write_text(&b, &out);
    code = app_print(&out);
    buf_free(&out);
  }
  engine_destroy(b.engine);
  local_close(&b.local);
  return code;
}

const struct app_command bench_command = {
    .spec = {.command = "bench",
             .operands = "MODEL",
             .operands_min = 1,
             .operands_max = 1,
             .summary = "Measure prefill, decode and embeddings offline",
             .description = "Runs the engine in this process, without HTTP, and prints medians with the bound beside each: decode against "
                            "the read bandwidth right before it "
                            "and prefill against the peak of the integer kernel, both measured in the same run.",
             .examples = "plinth bench smollm2-135m-instruct\nplinth bench smollm2-135m-instruct --streams 16 --json",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct bench_args)},
    .run = run,
};
