/* histogram: see histogram.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"

#include <assert.h>

void histogram_init(struct histogram *h, const double *bounds, size_t n_bounds) {
  assert(n_bounds <= HISTOGRAM_BOUNDS_MAX);
  *h = (struct histogram){.bounds = bounds, .n_bounds = n_bounds};
}

void histogram_add(struct histogram *h, double value) {
  size_t i = 0;
  while (i < h->n_bounds && value > h->bounds[i]) i++;
  h->counts[i]++;
  h->count++;
  h->sum += value;
}

uint64_t histogram_up_to(const struct histogram *h, double bound) {
  uint64_t sum = 0;
  for (size_t i = 0; i < h->n_bounds && h->bounds[i] <= bound; i++) sum += h->counts[i];
  return sum;
}
