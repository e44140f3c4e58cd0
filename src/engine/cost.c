/* cost: see cost.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/cost.h"

enum { STALE_STEPS = 64 };

/* An observation counts half after about 34 steps; one that is far off (the machine was away) is taken as OUTLIER times the expectation, so
 * that a lasting change is still followed within a few steps. */
static const double KEEP = 0.98, PROMPT_SHARE = 0.2, OUTLIER = 2;

static double clip(double ns, double expected) { return expected > 0 && ns > OUTLIER * expected ? OUTLIER * expected : ns; }

/* The slope is only known while steps differ in rows; then it is kept. */
static void fit(struct cost *c) {
  double mean_d = c->d / c->n, mean_t = c->t / c->n, spread = c->dd / c->n - mean_d * mean_d;
  if (spread > 0.01 * mean_d * mean_d) c->slope_ns = (c->dt / c->n - mean_d * mean_t) / spread;
  if (c->slope_ns < 0) c->slope_ns = 0;
  if (c->slope_ns * mean_d > mean_t) c->slope_ns = mean_t / mean_d;
  c->base_ns = mean_t - c->slope_ns * mean_d;
}

static void observe_decode(struct cost *c, double rows, double ns) {
  ns = clip(ns, cost_decode_ns(c, (size_t)rows));
  c->n_with_prompt = 0;
  c->n = KEEP * c->n + 1;
  c->d = KEEP * c->d + rows;
  c->dd = KEEP * c->dd + rows * rows;
  c->t = KEEP * c->t + ns;
  c->dt = KEEP * c->dt + rows * ns;
  fit(c);
}

void cost_observe(struct cost *c, size_t decode_rows, size_t prompt_rows, uint64_t ns) {
  if (decode_rows + prompt_rows == 0) return;
  if (prompt_rows == 0) {
    observe_decode(c, (double)decode_rows, (double)ns);
    return;
  }
  c->n_with_prompt += decode_rows > 0;
  double alone = decode_rows ? cost_decode_ns(c, decode_rows) : 0;
  if (decode_rows && alone <= 0) return;
  double more = (double)ns > alone ? (double)ns - alone : 0;
  double each = clip(more / (double)prompt_rows, c->prompt_ns);
  c->prompt_ns = c->prompt_ns > 0 ? c->prompt_ns + PROMPT_SHARE * (each - c->prompt_ns) : each;
}

double cost_decode_ns(const struct cost *c, size_t decode_rows) { return c->n > 0 ? c->base_ns + c->slope_ns * (double)decode_rows : 0; }

size_t cost_prompt_rows(const struct cost *c, size_t decode_rows, double slowdown) {
  double alone = cost_decode_ns(c, decode_rows);
  if (alone <= 0 || c->prompt_ns <= 0) return 0;
  double rows = (slowdown - 1) * alone / c->prompt_ns;
  return rows < 1e6 ? (size_t)rows : 1000000;
}

bool cost_is_stale(const struct cost *c) { return c->n <= 0 || c->n_with_prompt >= STALE_STEPS; }

double cost_row_ns(const struct cost *c) { return c->slope_ns > 0 ? c->slope_ns : c->prompt_ns; }
