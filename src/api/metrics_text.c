/* metrics_text: the figures as Prometheus reads them (text format 0.0.4); see metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "api/metrics.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- lines ---- */

void metrics_text_head(struct buf *out, const char *name, const char *type, const char *help) {
  buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_text_sample(struct buf *out, const char *name, const char *labels, double value) {
  buf_printf(out, labels[0] ? "%s{%s} %.17g\n" : "%s%s %.17g\n", name, labels, value);
}

static void one(struct buf *out, const char *name, const char *type, const char *help, double value) {
  metrics_text_head(out, name, type, help);
  metrics_text_sample(out, name, "", value);
}

/* As the client libraries write it: a number with a point. */
static void add_bound(struct buf *out, double bound) { buf_printf(out, bound == floor(bound) ? "%.1f" : "%g", bound); }

void metrics_text_histogram(struct buf *out, const char *name, const char *labels, const struct histogram *h, const double *bounds,
                            size_t n_bounds) {
  for (size_t i = 0; i < n_bounds; i++) {
    buf_printf(out, "%s_bucket{%s,le=\"", name, labels);
    add_bound(out, bounds[i]);
    buf_printf(out, "\"} %llu\n", (unsigned long long)histogram_up_to(h, bounds[i]));
  }
  buf_printf(out, "%s_bucket{%s,le=\"+Inf\"} %llu\n", name, labels, (unsigned long long)h->count);
  buf_printf(out, "%s_sum{%s} %.9g\n%s_count{%s} %llu\n", name, labels, h->sum, name, labels, (unsigned long long)h->count);
}

void metrics_text_label(struct buf *out, const char *value) {
  for (; *value; value++) {
    if (*value == '\n') buf_add_cstr(out, "\\n");
    else if (*value == '"' || *value == '\\') buf_printf(out, "\\%c", *value);
    else buf_add_byte(out, (unsigned char)*value);
  }
}

/* name{model="…"} value */
static void add_of_model(struct buf *out, const char *name, const char *model, double value) {
  struct buf labels = {0};
  buf_add_cstr(&labels, "model=\"");
  metrics_text_label(&labels, model);
  buf_add_cstr(&labels, "\"");
  metrics_text_sample(out, name, labels.data, value);
  buf_free(&labels);
}

/* ---- requests ---- */

static void write_requests(struct buf *out, const struct metrics *m) {
  metrics_text_head(out, "plinth_http_requests_total", "counter",
                    "Requests answered, by route and status; a stream counts when it begins.");
  for (int r = 0; r < API_N_ROUTES; r++)
    for (int s = 0; s < METRICS_STATUS_END - METRICS_STATUS_MIN; s++)
      if (m->requests[r][s])
        buf_printf(out, "plinth_http_requests_total{route=\"%s\",status=\"%d\"} %llu\n", api__route_name((enum api_route)r),
                   s + METRICS_STATUS_MIN, (unsigned long long)m->requests[r][s]);
  metrics_text_head(out, "plinth_stream_errors_total", "counter", "Streams that had begun and ended with an error.");
  for (int r = 0; r < API_N_ROUTES; r++)
    if (m->stream_errors[r])
      buf_printf(out, "plinth_stream_errors_total{route=\"%s\"} %llu\n", api__route_name((enum api_route)r),
                 (unsigned long long)m->stream_errors[r]);
  one(out, "plinth_requests_cancelled_total", "counter", "Requests whose client left before the reply had ended.", (double)m->cancelled);
}

/* ---- generations, by model ---- */

static const struct {
  const char *name, *help;
} measures[METRICS_MEASURES] = {
    [METRICS_FIRST_TOKEN] = {"plinth_time_to_first_token_seconds", "From a request's arrival to the first token of a choice."},
    [METRICS_INTER_TOKEN] = {"plinth_inter_token_seconds", "Between two tokens of one choice."},
    [METRICS_QUEUE] = {"plinth_request_queue_seconds", "What a generation waited until it was computed first."},
    [METRICS_PREFILL] = {"plinth_request_prefill_seconds", "From there to its first token, or to the embedding."},
    [METRICS_PER_TOKEN] = {"plinth_time_per_output_token_seconds",
                           "Mean time of a token behind the first, of each generation that ended well."},
    [METRICS_DECODE] = {"plinth_request_decode_seconds", "From a generation's first token to its last."},
    [METRICS_INFERENCE] = {"plinth_request_inference_seconds", "Prefill and decode of a generation."},
    [METRICS_WHOLE] = {"plinth_request_duration_seconds", "From a request's arrival to the end of a generation."},
    [METRICS_PROMPT] = {"plinth_request_prompt_tokens", "Tokens of the prompt or input of a generation."},
    [METRICS_OUTPUT] = {"plinth_request_completion_tokens", "Tokens that a generation gave."}};

static void write_measures(struct buf *out, const struct metrics *m) {
  struct buf labels = {0};
  for (int i = 0; i < METRICS_MEASURES; i++) {
    metrics_text_head(out, measures[i].name, "histogram", measures[i].help);
    for (const struct meter *meter = m->meters; meter; meter = meter->next) {
      const struct histogram *h = &meter->measures[i];
      buf_clear(&labels);
      buf_add_cstr(&labels, "model=\"");
      metrics_text_label(&labels, meter->model);
      buf_add_cstr(&labels, "\"");
      metrics_text_histogram(out, measures[i].name, labels.data, h, h->bounds, h->n_bounds);
    }
  }
  buf_free(&labels);
}

static void write_ends(struct buf *out, const struct metrics *m) {
  static const char *const names[METRICS_ENDS] = {"stop", "length", "cancelled", "failed"};
  metrics_text_head(out, "plinth_generations_ended_total", "counter", "Generations (choices, embeddings) by how they ended.");
  for (const struct meter *meter = m->meters; meter; meter = meter->next)
    for (int i = 0; i < METRICS_ENDS; i++) {
      buf_add_cstr(out, "plinth_generations_ended_total{model=\"");
      metrics_text_label(out, meter->model);
      buf_printf(out, "\",reason=\"%s\"} %llu\n", names[i], (unsigned long long)meter->ends[i]);
    }
}

static void write_endpoints(struct buf *out, const struct metrics *m, const struct serving *s) {
  metrics_text_head(out, "plinth_prompt_tokens_total", "counter", "Tokens of prompts and inputs, each prompt once.");
  for (const struct meter *meter = m->meters; meter; meter = meter->next)
    add_of_model(out, "plinth_prompt_tokens_total", meter->model, (double)meter->prompt_tokens);
  metrics_text_head(out, "plinth_completion_tokens_total", "counter", "Tokens generated, as they come.");
  for (const struct meter *meter = m->meters; meter; meter = meter->next)
    add_of_model(out, "plinth_completion_tokens_total", meter->model, (double)meter->output_tokens);
  metrics_text_head(out, "plinth_endpoint_ready", "gauge", "1 when the endpoint's model has decoded or embedded.");
  for (size_t i = 0; i < serving_n_endpoints(s); i++)
    add_of_model(out, "plinth_endpoint_ready", serving_endpoint_at(s, i)->name, serving_endpoint_at(s, i)->state == SERVING_READY);
}

/* ---- the engine, by model ---- */

typedef double figure(const struct serving_model_stats *f);

#define FIGURE(name, value) \
  static double name(const struct serving_model_stats *f) { return (double)(value); }
FIGURE(get_waiting, f->waiting)
FIGURE(get_running, f->running)
FIGURE(get_pages_used, f->pages_used)
FIGURE(get_pages_cached, f->pages_cached)
FIGURE(get_page_bytes, f->page_bytes)
FIGURE(get_usage, f->kv_usage)
FIGURE(get_steps, f->steps)
FIGURE(get_prefill_tokens, f->prefill_tokens)
FIGURE(get_decode_tokens, f->decode_tokens)
FIGURE(get_embed_tokens, f->embed_tokens)
FIGURE(get_preemptions, f->preemptions)
FIGURE(get_prefix_queries, f->prefix_query_tokens)
FIGURE(get_prefix_hits, f->prefix_hit_tokens)
FIGURE(get_started, f->started)
FIGURE(get_queue, (double)f->queue_ns * 1e-9)
FIGURE(get_expired, f->expired)
FIGURE(get_decode_seconds, (double)f->decode_ns * 1e-9)
FIGURE(get_decode_bytes, f->decode_bytes)
FIGURE(get_prefill_seconds, (double)f->prefill_ns * 1e-9)
FIGURE(get_prefill_operations, f->prefill_operations)

static const struct {
  const char *name, *type, *help;
  figure *get;
} figures[] = {
    {"plinth_engine_waiting", "gauge", "Sequences that wait in the engine for their turn.", get_waiting},
    {"plinth_engine_running", "gauge", "Sequences in the engine's steps.", get_running},
    {"plinth_kv_pages_used", "gauge", "Pages of the KV cache that running sequences of the model hold.", get_pages_used},
    {"plinth_kv_pages_cached", "gauge", "Pages of the KV cache that are only kept for prompts that begin alike.", get_pages_cached},
    {"plinth_kv_page_bytes", "gauge", "Bytes of a page of the model.", get_page_bytes},
    {"plinth_kv_usage_ratio", "gauge", "Share of the KV memory of all models that running sequences of this one hold.", get_usage},
    {"plinth_engine_steps_total", "counter", "Batched forward passes.", get_steps},
    {"plinth_engine_prefill_tokens_total", "counter", "Prompt tokens computed.", get_prefill_tokens},
    {"plinth_engine_decode_tokens_total", "counter", "Tokens generated by the engine.", get_decode_tokens},
    {"plinth_engine_embed_tokens_total", "counter", "Tokens of embedded texts.", get_embed_tokens},
    {"plinth_engine_preemptions_total", "counter", "Sequences that gave their pages back and were computed again.", get_preemptions},
    {"plinth_engine_prefix_query_tokens_total", "counter", "Prompt tokens that were looked for in the kept pages.", get_prefix_queries},
    {"plinth_engine_prefix_hit_tokens_total", "counter", "Prompt tokens that were not computed, since their pages were kept.",
     get_prefix_hits},
    {"plinth_engine_started_total", "counter", "Sequences that left the engine's queue to run, once more after a preemption.", get_started},
    {"plinth_engine_queue_seconds_total", "counter", "Time that those had waited.", get_queue},
    {"plinth_engine_expired_total", "counter", "Sequences whose time was over while they waited in the engine.", get_expired},
    {"plinth_engine_decode_seconds_total", "counter", "Time of steps without prompt tokens.", get_decode_seconds},
    {"plinth_engine_decode_read_bytes_total", "counter", "Bytes of weights and KV pages that those read.", get_decode_bytes},
    {"plinth_engine_prefill_seconds_total", "counter", "Time of steps with prompt tokens or texts to embed.", get_prefill_seconds},
    {"plinth_engine_prefill_operations_total", "counter",
     "Operations of the products with weights in those; a product and its sum are two.", get_prefill_operations}};

static void write_figures(struct buf *out, const struct serving *s) {
  struct serving_model_stats f;
  for (size_t k = 0; k < COUNT(figures); k++) {
    metrics_text_head(out, figures[k].name, figures[k].type, figures[k].help);
    for (size_t i = 0; i < serving_n_endpoints(s); i++) {
      const struct endpoint *e = serving_endpoint_at(s, i);
      serving_model_stats(s, e, &f);
      if (!f.shares_engine) add_of_model(out, figures[k].name, e->name, figures[k].get(&f));
    }
  }
}

static void add_of_drafts(struct buf *out, const char *name, const char *model, const char *source, uint64_t value) {
  buf_printf(out, "%s{model=\"", name);
  metrics_text_label(out, model);
  buf_printf(out, "\",source=\"%s\"} %llu\n", source, (unsigned long long)value);
}

static void write_drafts(struct buf *out, const struct serving *s) {
  static const char *const names[] = {"plinth_engine_drafts_total", "plinth_engine_drafted_tokens_total",
                                      "plinth_engine_accepted_tokens_total"};
  static const char *const helps[] = {"Drafts that were tried, by what made them: the text so far, or a draft model.",
                                      "Tokens of drafts that were tried.", "Tokens of drafts that came out."};
  struct serving_model_stats f;
  for (size_t k = 0; k < COUNT(names); k++) {
    metrics_text_head(out, names[k], "counter", helps[k]);
    for (size_t i = 0; i < serving_n_endpoints(s); i++) {
      const struct endpoint *e = serving_endpoint_at(s, i);
      serving_model_stats(s, e, &f);
      if (f.shares_engine) continue;
      const uint64_t text[] = {f.text_drafts.n, f.text_drafts.drafted, f.text_drafts.accepted};
      const uint64_t model[] = {f.model_drafts.n, f.model_drafts.drafted, f.model_drafts.accepted};
      add_of_drafts(out, names[k], e->name, "text", text[k]);
      add_of_drafts(out, names[k], e->name, "model", model[k]);
    }
  }
}

static void write_steps(struct buf *out, const struct serving *s) {
  static const char *const names[] = {"plinth_engine_step_tokens", "plinth_engine_step_sequences"};
  static const char *const helps[] = {"Tokens that one step computed.", "Sequences that had tokens in one step."};
  struct serving_model_stats f;
  struct buf labels = {0};
  for (size_t k = 0; k < COUNT(names); k++) {
    metrics_text_head(out, names[k], "histogram", helps[k]);
    for (size_t i = 0; i < serving_n_endpoints(s); i++) {
      const struct endpoint *e = serving_endpoint_at(s, i);
      serving_model_stats(s, e, &f);
      if (f.shares_engine) continue;
      const struct histogram *h = k ? f.step_sequences : f.step_tokens;
      buf_clear(&labels);
      buf_add_cstr(&labels, "model=\"");
      metrics_text_label(&labels, e->name);
      buf_add_cstr(&labels, "\"");
      metrics_text_histogram(out, names[k], labels.data, h, h->bounds, h->n_bounds);
    }
  }
  buf_free(&labels);
}

/* How near the engine comes to what the machine can do. Without steps, or before the machine was measured, there is no ratio. */
static void write_ratios(struct buf *out, const struct serving *s, const struct serving_stats *machine) {
  static const char *const names[] = {"plinth_decode_bandwidth_ratio", "plinth_prefill_peak_ratio"};
  static const char *const helps[] = {
      "Bytes a second that decoding read over the read bandwidth of the machine, in about its last 10 s.",
      "Operations a second of prompts and texts over the peak of the dot product, in about their last 10 s."};
  const double most[] = {(double)machine->read_bytes_s, (double)machine->operations_s};
  struct serving_model_stats f;
  for (size_t k = 0; k < COUNT(names); k++) {
    metrics_text_head(out, names[k], "gauge", helps[k]);
    for (size_t i = 0; i < serving_n_endpoints(s); i++) {
      const struct endpoint *e = serving_endpoint_at(s, i);
      serving_model_stats(s, e, &f);
      double speed = k ? f.prefill_operations_s : f.decode_bytes_s;
      if (!f.shares_engine && speed > 0 && most[k] > 0) add_of_model(out, names[k], e->name, speed / most[k]);
    }
  }
}

static void write_machine(struct buf *out, const struct serving_stats *e) {
  if (e->read_bytes_s == 0) return;
  one(out, "plinth_machine_read_bytes_per_second", "gauge", "Read bandwidth of the memory, measured when the engine was first idle.",
      (double)e->read_bytes_s);
  one(out, "plinth_machine_operations_per_second", "gauge",
      "Peak of the dot product that computes, measured when the engine was first idle.", (double)e->operations_s);
}

static void write_engine(struct buf *out, const struct serving *s) {
  struct serving_stats e;
  serving_stats(s, &e);
  one(out, "plinth_engine_up", "gauge", "1 while the engine process lives.", e.engine_alive);
  one(out, "plinth_engine_restarts_total", "counter", "Times the engine process was started again.", (double)e.engine_restarts);
  one(out, "plinth_generations", "gauge", "Sequences that were asked for and have not ended.", (double)e.generations);
  one(out, "plinth_kv_memory_bytes", "gauge", "Bytes that the KV caches of all models together may take.", (double)e.kv_bytes);
  write_machine(out, &e);
  write_figures(out, s);
  write_drafts(out, s);
  write_steps(out, s);
  write_ratios(out, s, &e);
}

/* ---- processes ---- */

/* Bytes of a process: whole and resident; 0 when it cannot be read. pid 0: this one. */
static void read_memory(int pid, double *ret_virtual, double *ret_resident) {
  char path[64];
  unsigned long long whole = 0, resident = 0;
  if (pid > 0) snprintf(path, sizeof path, "/proc/%d/statm", pid);
  FILE *f = fopen(pid > 0 ? path : "/proc/self/statm", "re");
  if (f && fscanf(f, "%llu %llu", &whole, &resident) != 2) whole = resident = 0;
  if (f) fclose(f);
  double page = (double)sysconf(_SC_PAGESIZE);
  *ret_virtual = (double)whole * page;
  *ret_resident = (double)resident * page;
}

/* Bytes of a process where a page that several map counts in parts; 0 when it cannot be read. pid 0: this one. */
static double read_pss(int pid) {
  char path[64], line[160];
  unsigned long long kib = 0;
  if (pid > 0) snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
  FILE *f = fopen(pid > 0 ? path : "/proc/self/smaps_rollup", "re");
  while (f && fgets(line, sizeof line, f) && sscanf(line, "Pss: %llu kB", &kib) != 1) continue;
  if (f) fclose(f);
  return (double)kib * 1024;
}

/* The gateway's stand under the names that every client library of Prometheus uses, too. */
static void write_processes(struct buf *out, const struct metrics *m, const struct serving *s) {
  struct serving_stats e;
  double whole, resident, engine_whole, engine_resident = 0;
  serving_stats(s, &e);
  read_memory(0, &whole, &resident);
  if (e.engine_pid > 0) read_memory(e.engine_pid, &engine_whole, &engine_resident);
  one(out, "process_virtual_memory_bytes", "gauge", "Virtual memory of the gateway process.", whole);
  one(out, "process_resident_memory_bytes", "gauge", "Resident memory of the gateway process.", resident);
  one(out, "process_start_time_seconds", "gauge", "Start of the gateway process, seconds since 1970.", (double)m->started_s);
  metrics_text_head(out, "plinth_process_resident_bytes", "gauge", "Resident memory, by process; pages that both map count in both.");
  buf_printf(out, "plinth_process_resident_bytes{process=\"gateway\"} %.17g\n", resident);
  buf_printf(out, "plinth_process_resident_bytes{process=\"engine\"} %.17g\n", engine_resident);
  metrics_text_head(out, "plinth_process_proportional_bytes", "gauge",
                    "Proportional set size (PSS), by process; the sum is what Plinth takes.");
  buf_printf(out, "plinth_process_proportional_bytes{process=\"gateway\"} %.17g\n", read_pss(0));
  buf_printf(out, "plinth_process_proportional_bytes{process=\"engine\"} %.17g\n", e.engine_pid > 0 ? read_pss(e.engine_pid) : 0.0);
}

void metrics_write(struct metrics *m, const struct api *a, struct buf *out) {
  for (size_t i = 0; i < serving_n_endpoints(a->serving); i++) metrics_meter(m, serving_endpoint_at(a->serving, i)->name); /* from 0 on */
  metrics_text_head(out, "plinth_build_info", "gauge", "Always 1; the version stands in the label.");
  buf_add_cstr(out, "plinth_build_info{version=\"");
  metrics_text_label(out, a->version);
  buf_add_cstr(out, "\"} 1\n");
  write_requests(out, m);
  write_measures(out, m);
  write_ends(out, m);
  write_endpoints(out, m, a->serving);
  write_engine(out, a->serving);
  write_processes(out, m, a->serving);
  if (a->config.metrics_vllm) metrics_vllm_write(m, a->serving, out);
}
