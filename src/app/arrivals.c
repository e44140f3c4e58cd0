/* arrivals: see arrivals.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/arrivals.h"

#include <math.h>

#include "base/mix.h"

/* Uniform in (0, 1). */
static double uniform(uint64_t *state) { return ((double)(mix_next(state) >> 11) + 0.5) * 0x1p-53; }

static double normal(uint64_t *state) {
  double r = sqrt(-2 * log(uniform(state)));
  return r * cos(2 * M_PI * uniform(state));
}

/* Gamma with this shape and scale 1: Marsaglia and Tsang, 2000. */
static double gamma_variate(uint64_t *state, double shape) {
  if (shape < 1) return gamma_variate(state, shape + 1) * pow(uniform(state), 1 / shape);
  double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
  for (;;) {
    double x = normal(state), v = 1 + c * x;
    if (v <= 0) continue;
    v = v * v * v;
    if (log(uniform(state)) < 0.5 * x * x + d - d * v + d * log(v)) return d * v;
  }
}

void arrivals_make(uint64_t seed, double rate_per_s, double burstiness, double *at_s, size_t n) {
  uint64_t state = seed;
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    at_s[i] = sum;
    if (isfinite(rate_per_s)) sum += gamma_variate(&state, burstiness) / (burstiness * rate_per_s);
  }
}
