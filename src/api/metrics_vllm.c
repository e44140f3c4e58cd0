/* metrics_vllm: the same figures under the names, labels and bounds of vLLM's V1 engine. SPDX-License-Identifier: Apache-2.0
 *
 * So that dashboards, autoscalers and gateways that were made for vLLM read Plinth. A request of vLLM's is a generation here. What is counted
 * by its engine stands at the base model; `engine` is always "0". */
#include "api/metrics.h"

#include <stdlib.h>

#include "base/mem.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const double first_token_s[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                       1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
static const double token_s[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80};
static const double request_s[] = {0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
static const double step_tokens[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

/* bounds NULL: 1, 2, 5, 10, … up to the context. */
static const struct {
  const char *name, *help;
  const double *bounds;
  size_t n_bounds;
} measures[METRICS_MEASURES] = {
    [METRICS_FIRST_TOKEN] = {"vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", first_token_s,
                             COUNT(first_token_s)},
    [METRICS_INTER_TOKEN] = {"vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", token_s, COUNT(token_s)},
    [METRICS_QUEUE] = {"vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", request_s,
                       COUNT(request_s)},
    [METRICS_PREFILL] = {"vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", request_s,
                         COUNT(request_s)},
    [METRICS_PER_TOKEN] = {"vllm:request_time_per_output_token_seconds", "Histogram of time_per_output_token_seconds per request.", token_s,
                           COUNT(token_s)},
    [METRICS_DECODE] = {"vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", request_s,
                        COUNT(request_s)},
    [METRICS_INFERENCE] = {"vllm:request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", request_s,
                           COUNT(request_s)},
    [METRICS_WHOLE] = {"vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", request_s, COUNT(request_s)},
    [METRICS_PROMPT] = {"vllm:request_prompt_tokens", "Number of prefill tokens processed.", NULL, 0},
    [METRICS_OUTPUT] = {"vllm:request_generation_tokens", "Number of generation tokens processed.", NULL, 0}};

/* One model as the lines see it. */
struct line {
  const struct endpoint *endpoint;
  const struct meter *meter;
  struct serving_model_stats stats;
  struct buf labels; /* model_name="…",engine="0" */
};

typedef double figure(const struct line *l);

#define FIGURE(name, value) \
  static double name(const struct line *l) { return (double)(value); }
FIGURE(get_running, l->stats.running)
FIGURE(get_waiting, l->stats.waiting + l->stats.waiting_here)
FIGURE(get_usage, l->stats.kv_usage)
FIGURE(get_prefix_queries, l->stats.prefix_query_tokens)
FIGURE(get_prefix_hits, l->stats.prefix_hit_tokens)
FIGURE(get_preemptions, l->stats.preemptions)
FIGURE(get_drafts, l->stats.text_drafts.n + l->stats.model_drafts.n)
FIGURE(get_drafted, l->stats.text_drafts.drafted + l->stats.model_drafts.drafted)
FIGURE(get_accepted, l->stats.text_drafts.accepted + l->stats.model_drafts.accepted)
FIGURE(get_prompt_tokens, l->meter->prefilled_tokens)
FIGURE(get_generation_tokens, l->meter->output_tokens)

static const struct {
  const char *name, *type, *help;
  figure *get;
} figures[] = {
    {"vllm:num_requests_running", "gauge", "Number of requests in model execution batches.", get_running},
    {"vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.", get_waiting},
    {"vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", get_usage},
    {"vllm:prefix_cache_queries_total", "counter", "Prefix cache queries, in terms of number of queried tokens.", get_prefix_queries},
    {"vllm:prefix_cache_hits_total", "counter", "Prefix cache hits, in terms of number of cached tokens.", get_prefix_hits},
    {"vllm:num_preemptions_total", "counter", "Cumulative number of preemption from the engine.", get_preemptions},
    {"vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.", get_prompt_tokens},
    {"vllm:generation_tokens_total", "counter", "Number of generation tokens processed.", get_generation_tokens},
    {"vllm:spec_decode_num_drafts_total", "counter", "Number of spec decoding drafts.", get_drafts},
    {"vllm:spec_decode_num_draft_tokens_total", "counter", "Number of draft tokens.", get_drafted},
    {"vllm:spec_decode_num_accepted_tokens_total", "counter", "Number of accepted tokens.", get_accepted}};

static void write_ends(struct buf *out, const struct line *l) {
  static const char *const names[METRICS_ENDS] = {"stop", "length", "abort", "error"};
  for (int i = 0; i < METRICS_ENDS; i++)
    buf_printf(out, "vllm:request_success_total{%s,finished_reason=\"%s\"} %llu\n", l->labels.data, names[i],
               (unsigned long long)l->meter->ends[i]);
}

/* Bounds of tokens up to the context, of those that the histogram has. */
static size_t bounds_within(const struct histogram *h, size_t context_tokens) {
  size_t n = 0;
  while (n < h->n_bounds && h->bounds[n] <= (double)context_tokens) n++;
  return n;
}

static void write_measure(struct buf *out, const struct line *l, int i) {
  const struct histogram *h = &l->meter->measures[i];
  const double *bounds = measures[i].bounds ? measures[i].bounds : h->bounds;
  size_t n = measures[i].bounds ? measures[i].n_bounds : bounds_within(h, l->endpoint->context_tokens);
  metrics_text_histogram(out, measures[i].name, l->labels.data, h, bounds, n);
}

static void write_lines(struct buf *out, struct line *lines, size_t n) {
  for (size_t k = 0; k < COUNT(figures); k++) {
    metrics_text_head(out, figures[k].name, figures[k].type, figures[k].help);
    for (size_t i = 0; i < n; i++) metrics_text_sample(out, figures[k].name, lines[i].labels.data, figures[k].get(&lines[i]));
  }
  metrics_text_head(out, "vllm:request_success_total", "counter", "Count of successfully processed requests.");
  for (size_t i = 0; i < n; i++) write_ends(out, &lines[i]);
  metrics_text_head(out, "vllm:iteration_tokens_total", "histogram", "Histogram of number of tokens per engine_step.");
  for (size_t i = 0; i < n; i++)
    metrics_text_histogram(out, "vllm:iteration_tokens_total", lines[i].labels.data, lines[i].stats.step_tokens, step_tokens,
                           COUNT(step_tokens));
  for (int k = 0; k < METRICS_MEASURES; k++) {
    metrics_text_head(out, measures[k].name, "histogram", measures[k].help);
    for (size_t i = 0; i < n; i++) write_measure(out, &lines[i], k);
  }
}

void metrics_vllm_write(struct metrics *m, const struct serving *s, struct buf *out) {
  size_t n = serving_n_endpoints(s);
  struct line *lines = mem_zalloc(n + 1, sizeof *lines);
  for (size_t i = 0; i < n; i++) {
    struct line *l = &lines[i];
    l->endpoint = serving_endpoint_at(s, i);
    l->meter = metrics_meter(m, l->endpoint->name);
    serving_model_stats(s, l->endpoint, &l->stats);
    buf_add_cstr(&l->labels, "model_name=\"");
    metrics_text_label(&l->labels, l->endpoint->name);
    buf_add_cstr(&l->labels, "\",engine=\"0\"");
  }
  write_lines(out, lines, n);
  for (size_t i = 0; i < n; i++) buf_free(&lines[i].labels);
  free(lines);
}
