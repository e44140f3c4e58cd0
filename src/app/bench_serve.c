/* bench_serve: `plinth bench serve` puts a load on a server that runs and says what its users saw. SPDX-License-Identifier: Apache-2.0
 *
 * Prompts are plain words, so that any OpenAI-compatible server can be measured; how many tokens they were is what its usage says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/interrupt.h"
#include "app/load_report.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/mix.h"

struct bench_serve_args {
  const char *url, *model, *task, *request_rate;
  int64_t num_prompts, max_concurrency, input_tokens, output_tokens, prefix_tokens, warmup, timeout_s, seed;
  double burstiness, ttft_ms, tpot_ms, e2el_ms;
  bool json, respect_eos;
};

#define COUNT_ROW(n, m, f, lo, hi, text) \
  {.name = n, OPTION_INT_TO(struct bench_serve_args, m), .metavar = "N", .fallback = f, .ranged = true, .min = lo, .max = hi, .help = text}
#define GOAL_ROW(n, m, text)                   \
  {.name = n,                                  \
   OPTION_REAL_TO(struct bench_serve_args, m), \
   .metavar = "MS",                            \
   .fallback = "0",                            \
   .ranged = true,                             \
   .min = 0,                                   \
   .max = 1e9,                                 \
   .help = text}

static const struct options_row rows[] = {
    {.name = "url",
     OPTION_STRING_TO(struct bench_serve_args, url),
     .metavar = "URL",
     .fallback = "http://127.0.0.1:8080",
     .env = "PLINTH_URL",
     .help = "The server, with or without /v1. PLINTH_TOKEN is sent as the key."},
    {.name = "model", .letter = 'm', OPTION_STRING_TO(struct bench_serve_args, model), .metavar = "NAME", .help = "The endpoint."},
    {.name = "task",
     OPTION_STRING_TO(struct bench_serve_args, task),
     .metavar = "TASK",
     .fallback = "chat",
     .choices = "chat|completions|embeddings",
     .help = "What is asked: streamed chats, streamed completions, or embeddings of one text a request."},
    COUNT_ROW("num-prompts", num_prompts, "100", 1, 1e6, "Requests in all."),
    {.name = "request-rate",
     OPTION_STRING_TO(struct bench_serve_args, request_rate),
     .metavar = "R",
     .fallback = "inf",
     .help = "Open loop: requests a second that arrive whether or not earlier ones are done. inf: closed loop, as many at once as "
             "--max-concurrency says."},
    {.name = "burstiness",
     OPTION_REAL_TO(struct bench_serve_args, burstiness),
     .metavar = "B",
     .fallback = "1",
     .ranged = true,
     .min = 0.01,
     .max = 1e6,
     .help = "Shape of the gaps between arrivals: 1 is a Poisson process, below 1 they come in bursts, above 1 more evenly."},
    COUNT_ROW(
        "max-concurrency", max_concurrency, "0", 0, 65536,
        "Requests under way at once; 0: no limit with a --request-rate, else 1. A request that waits for its turn is counted from its "
        "arrival."),
    COUNT_ROW("input-tokens", input_tokens, "128", 1, 1e6, "Words of a prompt, about as many tokens."),
    COUNT_ROW("prefix-tokens", prefix_tokens, "0", 0, 1e6, "Words in front that all prompts have in common."),
    COUNT_ROW("output-tokens", output_tokens, "64", 1, 1e6, "Tokens that each request generates (max_tokens)."),
    {.name = "respect-eos",
     OPTION_BOOL_TO(struct bench_serve_args, respect_eos),
     .help = "Let the model end by itself; without it ignore_eos is sent, so that each request generates --output-tokens."},
    COUNT_ROW("warmup", warmup, "1", 0, 1000, "Requests before the measurement, one after the other."),
    COUNT_ROW("seed", seed, "0", 0, 9e15, "Of the prompts and of the arrivals."),
    COUNT_ROW("timeout-s", timeout_s, "600", 1, 86400, "Seconds until a request counts as failed."),
    GOAL_ROW("goal-ttft", ttft_ms, "A request is good (goodput) when its first token comes within so many milliseconds; 0: whenever."),
    GOAL_ROW("goal-tpot", tpot_ms, "The same of the mean time per token behind the first."),
    GOAL_ROW("goal-e2el", e2el_ms, "The same of the whole request."),
    {.name = "json",
     OPTION_BOOL_TO(struct bench_serve_args, json),
     .help = "Print one JSON object, with the names of `vllm bench serve` and guidellm."},
};

/* Short words, most of them one token for any tokenizer. */
static const char *const words[] = {
    "the",   "of",    "and",    "to",    "in",    "is",    "you",     "that", "it",    "he",    "was",   "for",   "on",    "are",    "as",
    "with",  "his",   "they",   "at",    "be",    "this",  "have",    "from", "or",    "one",   "had",   "by",    "word",  "but",    "not",
    "what",  "all",   "were",   "we",    "when",  "your",  "can",     "said", "there", "use",   "an",    "each",  "which", "she",    "do",
    "how",   "their", "if",     "will",  "up",    "other", "about",   "out",  "many",  "then",  "them",  "these", "so",    "some",   "her",
    "would", "make",  "like",   "him",   "into",  "time",  "has",     "look", "two",   "more",  "write", "go",    "see",   "number", "no",
    "way",   "could", "people", "my",    "than",  "first", "water",   "been", "call",  "who",   "oil",   "its",   "now",   "find",   "long",
    "down",  "day",   "did",    "get",   "come",  "made",  "may",     "part", "over",  "new",   "sound", "take",  "only",  "little", "work",
    "know",  "place", "year",   "live",  "me",    "back",  "give",    "most", "very",  "after", "thing", "our",   "just",  "name",   "good",
    "man",   "think", "say",    "great", "where", "help",  "through", "much"};
enum { N_WORDS = sizeof words / sizeof words[0] };

static void add_words(struct buf *out, uint64_t seed, int64_t n) {
  uint64_t state = mix(seed, 0);
  for (int64_t i = 0; i < n; i++) {
    if (out->len) buf_add_byte(out, ' ');
    buf_add_cstr(out, words[mix_next(&state) % N_WORDS]);
  }
}

static void write_prompt(const struct bench_serve_args *a, size_t request, struct buf *out) {
  int64_t shared = a->prefix_tokens < a->input_tokens ? a->prefix_tokens : a->input_tokens;
  add_words(out, (uint64_t)a->seed, shared);
  add_words(out, (uint64_t)a->seed + 1 + request, a->input_tokens - shared);
}

static void write_generation(const struct bench_serve_args *a, struct jsonw *w) {
  jsonw_key_int(w, "max_tokens", a->output_tokens);
  jsonw_key_real(w, "temperature", 0);
  if (!a->respect_eos) jsonw_key_bool(w, "ignore_eos", true);
  jsonw_key_bool(w, "stream", true);
  jsonw_key(w, "stream_options");
  jsonw_object_begin(w);
  jsonw_key_bool(w, "include_usage", true);
  jsonw_object_end(w);
}

static void write_body(void *ctx, size_t request, struct buf *out) {
  const struct bench_serve_args *a = ctx;
  struct jsonw w = {.out = out};
  struct buf prompt = {0};
  write_prompt(a, request, &prompt);
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "model", a->model);
  if (strcmp(a->task, "embeddings") == 0) {
    jsonw_key_str(&w, "input", buf_view(&prompt));
  } else if (strcmp(a->task, "completions") == 0) {
    jsonw_key_str(&w, "prompt", buf_view(&prompt));
    write_generation(a, &w);
  } else {
    jsonw_key(&w, "messages");
    jsonw_array_begin(&w);
    jsonw_object_begin(&w);
    jsonw_key_cstr(&w, "role", "user");
    jsonw_key_str(&w, "content", buf_view(&prompt));
    jsonw_object_end(&w);
    jsonw_array_end(&w);
    write_generation(a, &w);
  }
  jsonw_object_end(&w);
  buf_free(&prompt);
}

static void show_progress(void *ctx, size_t n_done) {
  const struct bench_serve_args *a = ctx;
  fprintf(stderr, "\r%zu of %lld requests", n_done, (long long)a->num_prompts);
  if ((int64_t)n_done == a->num_prompts) fputs("\r\033[K", stderr);
}

static int settle(const struct bench_serve_args *a, struct load_config *c, struct error *err) {
  char *end;
  *c = (struct load_config){.url = a->url,
                            .path = strcmp(a->task, "chat") == 0 ? "chat/completions" : a->task,
                            .n_requests = (size_t)a->num_prompts,
                            .concurrency_max = (size_t)a->max_concurrency,
                            .rate_per_s = strtod(a->request_rate, &end),
                            .burstiness = a->burstiness,
                            .seed = (uint64_t)a->seed,
                            .timeout_s = (unsigned)a->timeout_s,
                            .write_body = write_body,
                            .ctx = (void *)a};
  if (!a->model) return error_set(err, ERROR_INVALID, "Name the server's endpoint with --model.");
  if (*end || end == a->request_rate || !(c->rate_per_s > 0))
    return error_set(err, ERROR_INVALID, "--request-rate is \"%.64s\", but it must be a number of requests a second over 0, or inf.",
                     a->request_rate);
  if (!isfinite(c->rate_per_s) && !c->concurrency_max) c->concurrency_max = 1;
  return 0;
}

/* The first failure of a warm-up says what is wrong with the server before a thousand requests do. */
static int warm_up(const struct bench_serve_args *a, const struct load_config *config, struct error *err) {
  struct load_config c = *config;
  struct load_result *results = mem_zalloc((size_t)a->warmup + 1, sizeof *results);
  double duration_s;
  c.n_requests = (size_t)a->warmup;
  c.concurrency_max = 1;
  c.rate_per_s = INFINITY;
  int rc = a->warmup ? load_run(&c, results, &duration_s, err) : 0;
  for (int64_t i = 0; rc == 0 && i < a->warmup; i++)
    if (!results[i].ok) rc = error_set(err, ERROR_UNAVAILABLE, "%s: %s", a->url, results[i].error);
  load_free_results(results, (size_t)a->warmup);
  free(results);
  return rc;
}

static int measure(const struct bench_serve_args *a, const struct load_config *c, struct load_result *results, struct buf *out,
                   struct error *err) {
  struct load_about about = {.model = a->model,
                             .task = a->task,
                             .rate_per_s = c->rate_per_s,
                             .burstiness = c->burstiness,
                             .concurrency_max = c->concurrency_max,
                             .goals = {a->ttft_ms, a->tpot_ms, a->e2el_ms}};
  double duration_s;
  if (warm_up(a, c, err) < 0 || load_run(c, results, &duration_s, err) < 0) return -1;
  if (a->json) load_report_json(&about, results, c->n_requests, duration_s, out);
  else load_report_text(&about, results, c->n_requests, duration_s, out);
  return 0;
}

/* Success when at least one request was answered; the report says how many were not. */
static int verdict(const struct load_result *results, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (results[i].ok) return APP_OK;
  return APP_FAILED;
}

static int run(const struct options *o) {
  const struct bench_serve_args *a = o->args;
  struct error err = {0};
  struct load_config config;
  struct buf out = {0};
  if (settle(a, &config, &err) < 0) return app_usage("bench serve", &err);
  struct load_result *results = mem_zalloc(config.n_requests, sizeof *results);
  if (isatty(STDERR_FILENO)) config.on_done = show_progress;
  interrupt_catch();
  int code = APP_FAILED;
  if (measure(a, &config, results, &out, &err) < 0) app_fail(&err);
  else code = app_print(&out) == APP_OK ? verdict(results, config.n_requests) : APP_FAILED;
  load_free_results(results, config.n_requests);
  free(results);
  buf_free(&out);
  return code;
}

const struct app_command bench_serve_command = {
    .spec = {.command = "bench serve",
             .summary = "Measure a server that runs, under load",
             .description =
                 "Sends requests to an OpenAI-compatible server and prints what its users saw: time to first token, inter-token "
                 "time, throughput and "
                 "goodput, with percentiles. Closed loop (a fixed number of requests at once) or open loop (arrivals at a rate, as a "
                 "Poisson process).",
             .examples = "plinth bench serve -m smollm2-135m-instruct --max-concurrency 16\n"
                         "plinth bench serve -m smollm2-135m-instruct --request-rate 4 --goal-ttft 500 --goal-tpot 50 --json",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct bench_serve_args)},
    .run = run,
};
