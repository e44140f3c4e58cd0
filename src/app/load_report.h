/* load_report: what a load run showed, in the names of `vllm bench serve` and guidellm. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_LOAD_REPORT_H
#define APP_LOAD_REPORT_H
#include "app/load.h"

/* A request is good when it stays within each limit; 0: no such limit. */
struct load_goals {
  double ttft_ms, tpot_ms, e2el_ms;
};

struct load_about {
  const char *model, *task; /* task: "chat", "completions" or "embeddings" */
  double rate_per_s, burstiness;
  size_t concurrency_max;
  struct load_goals goals;
};

/* Of sorted values: linear between the two nearest, as numpy does. 0 without values. */
double load_report_percentile(const double *sorted, size_t n, double percent);

/* One JSON object: the flat members are named as `vllm bench serve --save-result` names them, those below "metrics" as guidellm does, of the
 * successful requests. */
void load_report_json(const struct load_about *about, const struct load_result *results, size_t n, double duration_s, struct buf *out);
/* The same as a table for people. */
void load_report_text(const struct load_about *about, const struct load_result *results, size_t n, double duration_s, struct buf *out);

#endif
