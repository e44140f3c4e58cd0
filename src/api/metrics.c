/* metrics: see metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "api/choice.h"
#include "base/clock.h"
#include "base/mem.h"

/* Upper bounds. Those of vLLM (metrics_vllm.c) are among them. */
static const double first_token_s[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                       1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
static const double token_s[] = {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15,
                                 0.2,   0.3,    0.4,   0.5,    0.75, 1,     2.5,  5,     7.5,  10,   20,   40,    80};
static const double request_s[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1,   1.5,  2,   2.5,
                                   5,     10,     15,    20,   30,    40,   50,  60,  120, 240, 480, 960, 1920, 7680};
static const double tokens[] = {1,    2,    5,     10,    20,    50,     100,    200,    500,     1000,
                                2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000};

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define BOUNDS(array) {array, COUNT(array)}
_Static_assert(COUNT(request_s) <= HISTOGRAM_BOUNDS_MAX && COUNT(token_s) <= HISTOGRAM_BOUNDS_MAX, "buckets");

static const struct {
  const double *bounds;
  size_t n;
} bounds_of[METRICS_MEASURES] = {[METRICS_FIRST_TOKEN] = BOUNDS(first_token_s),
                                 [METRICS_INTER_TOKEN] = BOUNDS(token_s),
                                 [METRICS_QUEUE] = BOUNDS(request_s),
                                 [METRICS_PREFILL] = BOUNDS(request_s),
                                 [METRICS_PER_TOKEN] = BOUNDS(token_s),
                                 [METRICS_DECODE] = BOUNDS(request_s),
                                 [METRICS_INFERENCE] = BOUNDS(request_s),
                                 [METRICS_WHOLE] = BOUNDS(request_s),
                                 [METRICS_PROMPT] = BOUNDS(tokens),
                                 [METRICS_OUTPUT] = BOUNDS(tokens)};

struct metrics *metrics_create(void) {
  struct metrics *m = mem_zalloc(1, sizeof *m);
  m->started_s = clock_wall_s();
  return m;
}

void metrics_free(struct metrics *m) {
  for (struct meter *meter = m->meters, *next; meter; meter = next) {
    next = meter->next;
    free(meter->model);
    free(meter);
  }
  free(m);
}

void metrics_request(struct metrics *m, enum api_route route, int status) {
  if (status >= METRICS_STATUS_MIN && status < METRICS_STATUS_END) m->requests[route][status - METRICS_STATUS_MIN]++;
}

void metrics_stream_error(struct metrics *m, enum api_route route) { m->stream_errors[route]++; }
void metrics_cancelled(struct metrics *m) { m->cancelled++; }

struct meter *metrics_meter(struct metrics *m, const char *model) {
  struct meter **at = &m->meters;
  for (; *at; at = &(*at)->next)
    if (strcmp((*at)->model, model) == 0) return *at;
  struct meter *meter = *at = mem_zalloc(1, sizeof *meter);
  meter->model = mem_strdup(model);
  for (int i = 0; i < METRICS_MEASURES; i++) histogram_init(&meter->measures[i], bounds_of[i].bounds, bounds_of[i].n);
  return meter;
}

/* ---- what is measured ---- */

static void measure(struct meter *meter, enum metrics_measure what, uint64_t ns) {
  histogram_add(&meter->measures[what], (double)ns * 1e-9);
}

void metrics_token(struct meter *meter, struct choice *ch, const struct serving_event *event, uint64_t start_ns, size_t prompt_tokens) {
  uint64_t now = clock_ns();
  if (event->timed && !ch->timed) { /* one that went on in another engine is timed by the first */
    ch->timed = true;
    ch->prefill_ns = event->prefill_ns;
    measure(meter, METRICS_QUEUE, event->queue_ns);
    measure(meter, METRICS_PREFILL, event->prefill_ns);
    meter->prefilled_tokens += prompt_tokens;
  }
  if (event->kind == SERVING_EMBEDDING) return;
  if (ch->last_token_ns) measure(meter, METRICS_INTER_TOKEN, now - ch->last_token_ns);
  else measure(meter, METRICS_FIRST_TOKEN, now - start_ns);
  if (!ch->first_token_ns) ch->first_token_ns = now;
  ch->last_token_ns = now;
}

void metrics_end(struct meter *meter, const struct choice *ch, enum metrics_end end, uint64_t start_ns, size_t prompt_tokens) {
  meter->ends[end]++;
  if (end != METRICS_STOP && end != METRICS_LENGTH) return;
  uint64_t decode_ns = ch->last_token_ns - ch->first_token_ns;
  if (ch->completion_tokens > 1) measure(meter, METRICS_PER_TOKEN, decode_ns / (ch->completion_tokens - 1));
  if (ch->first_token_ns) measure(meter, METRICS_DECODE, decode_ns);
  if (ch->timed) measure(meter, METRICS_INFERENCE, ch->prefill_ns + decode_ns);
  measure(meter, METRICS_WHOLE, clock_ns() - start_ns);
  histogram_add(&meter->measures[METRICS_PROMPT], (double)prompt_tokens);
  histogram_add(&meter->measures[METRICS_OUTPUT], (double)ch->completion_tokens);
}
