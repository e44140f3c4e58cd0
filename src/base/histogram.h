/* histogram: counts of values between fixed bounds, as Prometheus takes them. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H
#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BOUNDS_MAX = 40 };

struct histogram {
  const double *bounds; /* [n_bounds] ascending, borrowed; a value that is a bound lies below it */
  size_t n_bounds;
  uint64_t counts[HISTOGRAM_BOUNDS_MAX + 1]; /* between the bounds; the last is above all */
  uint64_t count;
  double sum;
};

/* n_bounds <= HISTOGRAM_BOUNDS_MAX (asserted). */
void histogram_init(struct histogram *h, const double *bounds, size_t n_bounds);
void histogram_add(struct histogram *h, double value);
/* How many values are at most `bound`, which is one of the bounds. */
uint64_t histogram_up_to(const struct histogram *h, double bound);

#endif
