/* probe: prints what this machine reads from memory right now, in GB/s, with all threads. SPDX-License-Identifier: Apache-2.0
 *
 *     bench_probe [SECONDS]
 *
 * tools/soak --record takes it beside each figure, so that other tenants of the machine are not taken for the program's growing slow. */
#include <stdio.h>
#include <stdlib.h>

#include "base/pool.h"
#include "tensor/tensor.h"

int main(int argc, char **argv) {
  double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.3;
  struct error err;
  struct pool *pool = pool_create(0, &err);
  if (!pool || seconds <= 0) {
    fprintf(stderr, "bench_probe: %s\n", pool ? "SECONDS must be above 0." : err.message);
    return 1;
  }
  printf("%.3f\n", tensor_read_bandwidth(pool, seconds) * 1e-9);
  pool_destroy(pool);
  return 0;
}
