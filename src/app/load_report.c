/* load_report: see load_report.h. SPDX-License-Identifier: Apache-2.0
 *
 * TTFT is the time to the first text; ITL every gap between two texts of a stream; TPOT the time behind the first text over the tokens behind
 * the first one; E2EL the whole request. Requests that failed count in `failed` and nowhere else. */
#include "app/load_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"

/* ---- a list of values ---- */

struct values {
  double *v; /* sorted by finish() */
  size_t n, cap;
  double mean, deviation;
};

static void add(struct values *x, double v) {
  if (x->n == x->cap) {
    x->cap = x->cap * 2 + 64;
    x->v = mem_realloc(x->v, x->cap, sizeof *x->v);
  }
  x->v[x->n++] = v;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double sum_of(const struct values *x) {
  double sum = 0;
  for (size_t i = 0; i < x->n; i++) sum += x->v[i];
  return sum;
}

static void finish(struct values *x) {
  double squares = 0;
  if (!x->n) return;
  qsort(x->v, x->n, sizeof *x->v, by_value);
  x->mean = sum_of(x) / (double)x->n;
  for (size_t i = 0; i < x->n; i++) squares += (x->v[i] - x->mean) * (x->v[i] - x->mean);
  x->deviation = sqrt(squares / (double)x->n);
}

double load_report_percentile(const double *sorted, size_t n, double percent) {
  if (n == 0) return 0;
  double at = percent / 100 * (double)(n - 1);
  size_t low = (size_t)at;
  return low + 1 < n ? sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]) : sorted[n - 1];
}

static double percentile(const struct values *x, double percent) { return load_report_percentile(x->v, x->n, percent); }

/* ---- what the requests showed ---- */

enum { TTFT, TPOT, ITL, E2EL, LATENCY_S, MEAN_ITL, PROMPT, OUTPUT, TOTAL, SPEED, SERIES };

struct summary {
  struct values series[SERIES]; /* times in ms but for LATENCY_S; MEAN_ITL and SPEED (output tokens/s): one of each request */
  size_t completed, good, prompt_tokens, output_tokens;
  size_t concurrency_peak;
};

static bool is_good(const struct load_goals *g, double ttft_ms, double tpot_ms, double e2el_ms) {
  return (g->ttft_ms <= 0 || ttft_ms <= g->ttft_ms) && (g->tpot_ms <= 0 || tpot_ms <= g->tpot_ms) &&
         (g->e2el_ms <= 0 || e2el_ms <= g->e2el_ms);
}

static void add_request(struct summary *s, const struct load_about *about, const struct load_result *r) {
  double ttft = r->ttft_s * 1e3, e2el = r->latency_s * 1e3, tpot = 0;
  bool embeds = strcmp(about->task, "embeddings") == 0;
  if (r->completion_tokens > 1) tpot = (e2el - ttft) / (double)(r->completion_tokens - 1);
  s->completed++;
  s->good += is_good(&about->goals, ttft, tpot, e2el);
  s->prompt_tokens += r->prompt_tokens;
  s->output_tokens += r->completion_tokens;
  add(&s->series[E2EL], e2el);
  add(&s->series[LATENCY_S], r->latency_s);
  add(&s->series[PROMPT], (double)r->prompt_tokens);
  add(&s->series[TOTAL], (double)(r->prompt_tokens + r->completion_tokens));
  if (embeds) return;
  add(&s->series[TTFT], ttft);
  add(&s->series[OUTPUT], (double)r->completion_tokens);
  if (r->latency_s > 0) add(&s->series[SPEED], (double)r->completion_tokens / r->latency_s);
  if (r->completion_tokens > 1) add(&s->series[TPOT], tpot);
  if (r->completion_tokens > 1) add(&s->series[MEAN_ITL], (r->last_s - r->ttft_s) * 1e3 / (double)(r->completion_tokens - 1));
  for (size_t i = 0; i < r->n_itl; i++) add(&s->series[ITL], (double)r->itl_s[i] * 1e3);
}

/* The most requests under way at once: ends come before begins of the same moment. */
static size_t peak_of(const struct load_result *results, size_t n) {
  struct values begins = {0}, ends = {0};
  for (size_t i = 0; i < n; i++) {
    if (!results[i].ok) continue;
    add(&begins, results[i].begin_s);
    add(&ends, results[i].begin_s + results[i].latency_s);
  }
  finish(&begins);
  finish(&ends);
  size_t now = 0, peak = 0, done = 0;
  for (size_t i = 0; i < begins.n; i++) {
    for (now++; done < ends.n && ends.v[done] <= begins.v[i]; done++) now--;
    if (now > peak) peak = now;
  }
  free(begins.v);
  free(ends.v);
  return peak;
}

static void summarize(struct summary *s, const struct load_about *about, const struct load_result *results, size_t n) {
  *s = (struct summary){.concurrency_peak = peak_of(results, n)};
  for (size_t i = 0; i < n; i++)
    if (results[i].ok) add_request(s, about, &results[i]);
  for (size_t i = 0; i < SERIES; i++) finish(&s->series[i]);
}

static void summary_free(struct summary *s) {
  for (size_t i = 0; i < SERIES; i++) free(s->series[i].v);
}

/* ---- JSON ---- */

static void key_real(struct jsonw *w, const char *prefix, const char *name, double v) {
  char key[48];
  snprintf(key, sizeof key, "%s_%s_ms", prefix, name);
  jsonw_key_real(w, key, v);
}

static void write_flat(struct jsonw *w, const char *name, const struct values *x) {
  static const double percents[] = {50, 90, 95, 99};
  key_real(w, "mean", name, x->mean);
  key_real(w, "median", name, percentile(x, 50));
  key_real(w, "std", name, x->deviation);
  for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
    char prefix[8];
    snprintf(prefix, sizeof prefix, "p%.0f", percents[i]);
    key_real(w, prefix, name, percentile(x, percents[i]));
  }
}

/* The value that stands most often in sorted values; the lowest of several. */
static double mode_of(const struct values *x) {
  double mode = 0;
  size_t best = 0;
  for (size_t i = 0, run = 0; i < x->n; i++) {
    run = i && x->v[i] == x->v[i - 1] ? run + 1 : 1;
    if (run > best) best = run, mode = x->v[i];
  }
  return mode;
}

static void write_distribution(struct jsonw *w, const char *name, const struct values *x) {
  static const struct {
    const char *name;
    double percent;
  } points[] = {{"p001", 0.1}, {"p01", 1},  {"p05", 5},  {"p10", 10}, {"p25", 25},   {"p50", 50},
                {"p75", 75},   {"p90", 90}, {"p95", 95}, {"p99", 99}, {"p999", 99.9}};
  jsonw_key(w, name);
  jsonw_object_begin(w);
  jsonw_key(w, "successful");
  jsonw_object_begin(w);
  jsonw_key_real(w, "mean", x->mean);
  jsonw_key_real(w, "median", percentile(x, 50));
  jsonw_key_real(w, "mode", mode_of(x));
  jsonw_key_real(w, "variance", x->deviation * x->deviation);
  jsonw_key_real(w, "std_dev", x->deviation);
  jsonw_key_real(w, "min", percentile(x, 0));
  jsonw_key_real(w, "max", percentile(x, 100));
  jsonw_key_int(w, "count", (int64_t)x->n);
  jsonw_key_real(w, "total_sum", sum_of(x));
  jsonw_key(w, "percentiles");
  jsonw_object_begin(w);
  for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) jsonw_key_real(w, points[i].name, percentile(x, points[i].percent));
  jsonw_object_end(w);
  jsonw_object_end(w);
  jsonw_object_end(w);
}

static void write_about(struct jsonw *w, const struct load_about *about, size_t n) {
  char date[32];
  int64_t now = clock_wall_s();
  time_t seconds = (time_t)now;
  struct tm tm;
  strftime(date, sizeof date, "%Y%m%d-%H%M%S", gmtime_r(&seconds, &tm));
  jsonw_key_cstr(w, "date", date);
  jsonw_key_cstr(w, "backend", "openai");
  jsonw_key_cstr(w, "endpoint_type", about->task);
  jsonw_key_cstr(w, "model_id", about->model);
  jsonw_key_int(w, "num_prompts", (int64_t)n);
  jsonw_key(w, "request_rate");
  if (isfinite(about->rate_per_s)) jsonw_real(w, about->rate_per_s);
  else jsonw_cstr(w, "inf");
  jsonw_key_real(w, "burstiness", about->burstiness);
  jsonw_key(w, "max_concurrency");
  if (about->concurrency_max) jsonw_int(w, (int64_t)about->concurrency_max);
  else jsonw_null(w);
}

static void write_totals(struct jsonw *w, const struct load_about *about, const struct summary *s, size_t n, double duration_s) {
  const struct load_goals *g = &about->goals;
  jsonw_key_real(w, "duration", duration_s);
  jsonw_key_int(w, "completed", (int64_t)s->completed);
  jsonw_key_int(w, "failed", (int64_t)(n - s->completed));
  jsonw_key_int(w, "total_input_tokens", (int64_t)s->prompt_tokens);
  jsonw_key_int(w, "total_output_tokens", (int64_t)s->output_tokens);
  jsonw_key_real(w, "request_throughput", (double)s->completed / duration_s);
  jsonw_key(w, "request_goodput");
  if (g->ttft_ms > 0 || g->tpot_ms > 0 || g->e2el_ms > 0) jsonw_real(w, (double)s->good / duration_s);
  else jsonw_null(w);
  jsonw_key_real(w, "output_throughput", (double)s->output_tokens / duration_s);
  jsonw_key_real(w, "total_token_throughput", (double)(s->prompt_tokens + s->output_tokens) / duration_s);
  jsonw_key_int(w, "max_concurrent_requests", (int64_t)s->concurrency_peak);
}

static void write_rate(struct jsonw *w, const char *name, double rate) {
  jsonw_key(w, name);
  jsonw_object_begin(w);
  jsonw_key(w, "successful");
  jsonw_object_begin(w);
  jsonw_key_real(w, "mean", rate);
  jsonw_object_end(w);
  jsonw_object_end(w);
}

static void write_metrics(struct jsonw *w, const struct summary *s, double duration_s) {
  const struct values *x = s->series;
  jsonw_key(w, "metrics");
  jsonw_object_begin(w);
  write_rate(w, "requests_per_second", (double)s->completed / duration_s);
  write_rate(w, "request_concurrency", sum_of(&x[LATENCY_S]) / duration_s);
  write_rate(w, "prompt_tokens_per_second", (double)s->prompt_tokens / duration_s);
  write_rate(w, "tokens_per_second", (double)(s->prompt_tokens + s->output_tokens) / duration_s);
  write_distribution(w, "request_latency", &x[LATENCY_S]);
  write_distribution(w, "prompt_token_count", &x[PROMPT]);
  write_distribution(w, "total_token_count", &x[TOTAL]);
  if (x[TTFT].n) {
    write_rate(w, "output_tokens_per_second", (double)s->output_tokens / duration_s);
    write_distribution(w, "output_token_count", &x[OUTPUT]);
    write_distribution(w, "time_to_first_token_ms", &x[TTFT]);
    write_distribution(w, "time_per_output_token_ms", &x[TPOT]);
    write_distribution(w, "inter_token_latency_ms", &x[MEAN_ITL]);
  }
  jsonw_object_end(w);
}

static void write_errors(struct jsonw *w, const struct load_result *results, size_t n) {
  jsonw_key(w, "errors");
  jsonw_array_begin(w);
  for (size_t i = 0; i < n; i++) jsonw_cstr(w, results[i].error);
  jsonw_array_end(w);
}

void load_report_json(const struct load_about *about, const struct load_result *results, size_t n, double duration_s, struct buf *out) {
  struct summary s;
  struct jsonw w = {.out = out};
  summarize(&s, about, results, n);
  jsonw_object_begin(&w);
  write_about(&w, about, n);
  write_totals(&w, about, &s, n, duration_s);
  if (s.series[TTFT].n) {
    write_flat(&w, "ttft", &s.series[TTFT]);
    write_flat(&w, "tpot", &s.series[TPOT]);
    write_flat(&w, "itl", &s.series[ITL]);
  }
  write_flat(&w, "e2el", &s.series[E2EL]);
  write_metrics(&w, &s, duration_s);
  write_errors(&w, results, n);
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
  summary_free(&s);
}

/* ---- text ---- */

static void print_series(struct buf *out, const char *name, const struct values *x) {
  if (x->n)
    buf_printf(out, "%-26s%10.1f%10.1f%10.1f%10.1f%10.1f\n", name, x->mean, percentile(x, 50), percentile(x, 90), percentile(x, 99),
               percentile(x, 100));
}

/* The first few different reasons. */
static void print_errors(struct buf *out, const struct load_result *results, size_t n) {
  const char *said = "";
  for (size_t i = 0, lines = 0; i < n && lines < 5; i++) {
    if (results[i].ok || strcmp(results[i].error, said) == 0) continue;
    buf_printf(out, "request %zu failed: %s\n", i, results[i].error);
    said = results[i].error;
    lines++;
  }
}

void load_report_text(const struct load_about *about, const struct load_result *results, size_t n, double duration_s, struct buf *out) {
  struct summary s;
  const struct load_goals *g = &about->goals;
  summarize(&s, about, results, n);
  buf_printf(out, "%zu of %zu requests in %.2f s, at most %zu at once; %zu prompt tokens, %zu generated\n", s.completed, n, duration_s,
             s.concurrency_peak, s.prompt_tokens, s.output_tokens);
  print_errors(out, results, n);
  buf_printf(out, "requests/s %.2f", (double)s.completed / duration_s);
  if (g->ttft_ms > 0 || g->tpot_ms > 0 || g->e2el_ms > 0) buf_printf(out, ", good ones %.2f", (double)s.good / duration_s);
  if (s.series[TTFT].n) buf_printf(out, "; generated tokens/s %.1f", (double)s.output_tokens / duration_s);
  buf_printf(out, "; tokens/s in all %.1f\n\n", (double)(s.prompt_tokens + s.output_tokens) / duration_s);
  buf_printf(out, "%-26s%10s%10s%10s%10s%10s\n", "ms", "mean", "median", "p90", "p99", "max");
  print_series(out, "time to first token", &s.series[TTFT]);
  print_series(out, "time per output token", &s.series[TPOT]);
  print_series(out, "inter-token", &s.series[ITL]);
  print_series(out, "whole request", &s.series[E2EL]);
  summary_free(&s);
}
