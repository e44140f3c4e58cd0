/* metrics: see metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* Upper bounds of the buckets in milliseconds. */
static const double first_token_ms[] = {5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000};
static const double inter_token_ms[] = {1, 2.5, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 250, 500, 1000, 2500};

enum { BUCKETS_MAX = 16, STATUS_MIN = 100, STATUS_END = 600, ENDPOINTS_MAX = 256 };

struct histogram {
  const double *bounds_ms;
  int n_bounds;
  uint64_t counts[BUCKETS_MAX + 1]; /* not cumulative; the last is over every bound */
  uint64_t count;
  double sum_s;
};

struct metrics {
  int64_t started_s;
  uint64_t requests[API_N_ROUTES][STATUS_END - STATUS_MIN];
  uint64_t stream_errors[API_N_ROUTES];
  uint64_t cancelled;
  struct histogram first_token, inter_token;
  uint64_t prompt_tokens[ENDPOINTS_MAX], completion_tokens[ENDPOINTS_MAX];
};

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
_Static_assert(sizeof first_token_ms / sizeof *first_token_ms <= BUCKETS_MAX, "buckets");
_Static_assert(sizeof inter_token_ms / sizeof *inter_token_ms <= BUCKETS_MAX, "buckets");

struct metrics *metrics_create(void) {
  struct metrics *m = mem_zalloc(1, sizeof *m);
  m->started_s = clock_wall_s();
  m->first_token = (struct histogram){.bounds_ms = first_token_ms, .n_bounds = COUNT(first_token_ms)};
  m->inter_token = (struct histogram){.bounds_ms = inter_token_ms, .n_bounds = COUNT(inter_token_ms)};
  return m;
}

void metrics_free(struct metrics *m) { free(m); }

void metrics_request(struct metrics *m, enum api_route route, int status) {
  if (status >= STATUS_MIN && status < STATUS_END) m->requests[route][status - STATUS_MIN]++;
}

void metrics_stream_error(struct metrics *m, enum api_route route) { m->stream_errors[route]++; }
void metrics_cancelled(struct metrics *m) { m->cancelled++; }

static void observe(struct histogram *h, uint64_t ns) {
  double ms = (double)ns / 1e6;
  int i = 0;
  while (i < h->n_bounds && ms > h->bounds_ms[i]) i++;
  h->counts[i]++;
  h->count++;
  h->sum_s += (double)ns / 1e9;
}

void metrics_first_token(struct metrics *m, uint64_t ns) { observe(&m->first_token, ns); }
void metrics_inter_token(struct metrics *m, uint64_t ns) { observe(&m->inter_token, ns); }

void metrics_tokens(struct metrics *m, int endpoint, size_t prompt_tokens, size_t completion_tokens) {
  if (endpoint < 0 || endpoint >= ENDPOINTS_MAX) return;
  m->prompt_tokens[endpoint] += prompt_tokens;
  m->completion_tokens[endpoint] += completion_tokens;
}

/* ---- text ---- */

static void head(struct buf *out, const char *name, const char *type, const char *help) {
  buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct buf *out, const char *name, const char *type, const char *help, double value) {
  head(out, name, type, help);
  buf_printf(out, "%s %.17g\n", name, value);
}

static void write_histogram(struct buf *out, const struct histogram *h, const char *name, const char *help) {
  head(out, name, "histogram", help);
  uint64_t sum = 0;
  for (int i = 0; i < h->n_bounds; i++) {
    sum += h->counts[i];
    buf_printf(out, "%s_bucket{le=\"%g\"} %llu\n", name, h->bounds_ms[i] / 1000, (unsigned long long)sum);
  }
  buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)h->count);
  buf_printf(out, "%s_sum %.9g\n%s_count %llu\n", name, h->sum_s, name, (unsigned long long)h->count);
}

/* The value of a label: backslash, quote and line feed are escaped. */
static void add_label(struct buf *out, const char *value) {
  for (; *value; value++) {
    if (*value == '\n') buf_add_cstr(out, "\\n");
    else if (*value == '"' || *value == '\\') buf_printf(out, "\\%c", *value);
    else buf_add_byte(out, (unsigned char)*value);
  }
}

static void write_requests(struct buf *out, const struct metrics *m) {
  head(out, "plinth_http_requests_total", "counter", "Requests answered, by route and status; a stream counts when it begins.");
  for (int r = 0; r < API_N_ROUTES; r++)
    for (int s = 0; s < STATUS_END - STATUS_MIN; s++)
      if (m->requests[r][s])
        buf_printf(out, "plinth_http_requests_total{route=\"%s\",status=\"%d\"} %llu\n", api__route_name((enum api_route)r), s + STATUS_MIN,
                   (unsigned long long)m->requests[r][s]);
  head(out, "plinth_stream_errors_total", "counter", "Streams that had begun and ended with an error.");
  for (int r = 0; r < API_N_ROUTES; r++)
    if (m->stream_errors[r])
      buf_printf(out, "plinth_stream_errors_total{route=\"%s\"} %llu\n", api__route_name((enum api_route)r),
                 (unsigned long long)m->stream_errors[r]);
  one(out, "plinth_requests_cancelled_total", "counter", "Requests whose client left before the reply had ended.", (double)m->cancelled);
}

static void write_endpoint_line(struct buf *out, const char *name, const char *endpoint, uint64_t value) {
  buf_printf(out, "%s{endpoint=\"", name);
  add_label(out, endpoint);
  buf_printf(out, "\"} %llu\n", (unsigned long long)value);
}

static void write_endpoints(struct buf *out, const struct metrics *m, const struct serving *s) {
  size_t n = serving_n_endpoints(s) < ENDPOINTS_MAX ? serving_n_endpoints(s) : ENDPOINTS_MAX;
  head(out, "plinth_prompt_tokens_total", "counter", "Tokens of prompts and inputs, by endpoint.");
  for (size_t i = 0; i < n; i++)
    write_endpoint_line(out, "plinth_prompt_tokens_total", serving_endpoint_at(s, i)->name, m->prompt_tokens[i]);
  head(out, "plinth_completion_tokens_total", "counter", "Tokens generated, by endpoint; counted when their choice ends.");
  for (size_t i = 0; i < n; i++)
    write_endpoint_line(out, "plinth_completion_tokens_total", serving_endpoint_at(s, i)->name, m->completion_tokens[i]);
  head(out, "plinth_endpoint_ready", "gauge", "1 when the endpoint's model has decoded or embedded.");
  for (size_t i = 0; i < n; i++)
    write_endpoint_line(out, "plinth_endpoint_ready", serving_endpoint_at(s, i)->name, serving_endpoint_at(s, i)->state == SERVING_READY);
}

static void write_engine(struct buf *out, const struct serving *s) {
  struct serving_stats e;
  serving_stats(s, &e);
  one(out, "plinth_engine_up", "gauge", "1 while the engine process lives.", e.engine_alive);
  one(out, "plinth_engine_restarts_total", "counter", "Times the engine process was started again.", (double)e.engine_restarts);
  one(out, "plinth_generations", "gauge", "Sequences that were asked for and have not ended.", (double)e.generations);
  one(out, "plinth_engine_waiting", "gauge", "Sequences that wait in the engine for their turn.", (double)e.waiting);
  one(out, "plinth_engine_running", "gauge", "Sequences in the engine's steps.", (double)e.running);
  one(out, "plinth_kv_pages_used", "gauge", "Pages of the KV cache in use.", (double)e.pages_used);
  one(out, "plinth_kv_pages_cached", "gauge", "Pages of the KV cache that are only kept for prompts that begin alike.",
      (double)e.pages_cached);
  one(out, "plinth_kv_pages_total", "gauge", "Pages of the KV cache.", (double)e.pages_total);
  one(out, "plinth_engine_steps_total", "counter", "Batched forward passes.", (double)e.steps);
  one(out, "plinth_engine_prefill_tokens_total", "counter", "Prompt tokens computed.", (double)e.prefill_tokens);
  one(out, "plinth_engine_decode_tokens_total", "counter", "Tokens generated by the engine.", (double)e.decode_tokens);
  one(out, "plinth_engine_embed_tokens_total", "counter", "Tokens of embedded texts.", (double)e.embed_tokens);
  one(out, "plinth_engine_preemptions_total", "counter", "Sequences that gave their pages back and were computed again.",
      (double)e.preemptions);
  one(out, "plinth_engine_prefix_hit_tokens_total", "counter", "Prompt tokens that were not computed, since their pages were kept.",
      (double)e.prefix_hit_tokens);
  one(out, "plinth_engine_drafted_tokens_total", "counter", "Tokens of drafts that were tried.", (double)e.drafted);
  one(out, "plinth_engine_accepted_tokens_total", "counter", "Tokens of drafts that came out.", (double)e.accepted);
  one(out, "plinth_engine_started_total", "counter", "Sequences that left the engine's queue to run.", (double)e.started);
  one(out, "plinth_engine_queue_seconds_total", "counter", "Time that those had waited.", (double)e.queue_ns * 1e-9);
  one(out, "plinth_engine_expired_total", "counter", "Sequences whose time was over while they waited in the engine.", (double)e.expired);
}

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
  head(out, "plinth_process_resident_bytes", "gauge", "Resident memory, by process; pages that both map count in both.");
  buf_printf(out, "plinth_process_resident_bytes{process=\"gateway\"} %.17g\n", resident);
  buf_printf(out, "plinth_process_resident_bytes{process=\"engine\"} %.17g\n", engine_resident);
  head(out, "plinth_process_proportional_bytes", "gauge", "Proportional set size (PSS), by process; the sum is what Plinth takes.");
  buf_printf(out, "plinth_process_proportional_bytes{process=\"gateway\"} %.17g\n", read_pss(0));
  buf_printf(out, "plinth_process_proportional_bytes{process=\"engine\"} %.17g\n", e.engine_pid > 0 ? read_pss(e.engine_pid) : 0.0);
}

void metrics_write(const struct metrics *m, const struct api *a, struct buf *out) {
  head(out, "plinth_build_info", "gauge", "Always 1; the version stands in the label.");
  buf_add_cstr(out, "plinth_build_info{version=\"");
  add_label(out, a->version);
  buf_add_cstr(out, "\"} 1\n");
  write_requests(out, m);
  write_histogram(out, &m->first_token, "plinth_time_to_first_token_seconds", "From a request's arrival to its first token.");
  write_histogram(out, &m->inter_token, "plinth_inter_token_seconds", "Between two tokens of one choice.");
  write_endpoints(out, m, a->serving);
  write_engine(out, a->serving);
  write_processes(out, m, a->serving);
}
