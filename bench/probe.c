/* probe: prints what this machine reads from memory right now, in GB/s. SPDX-License-Identifier: Apache-2.0
 *
 *     bench_probe [SECONDS [THREADS]]          0.3, and as many as there are cores
 *
 * tools/soak --record takes it beside each figure, so that other tenants of the machine are not taken for the program's growing slow. */
#include <stdio.h>
#include <stdlib.h>

#include "base/pool.h"
#include "tensor/tensor.h"

int main(int argc, char **argv) {
  double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.3;
  int threads = argc > 2 ? atoi(argv[2]) : 0;
  struct error err;
  struct pool *pool = pool_create(threads < 0 ? 0 : threads, &err);
  if (!pool || seconds <= 0 || threads < 0) {
    fprintf(stderr, "bench_probe: %s\n", pool ? "SECONDS must be above 0, and THREADS not negative." : err.message);
    return 1;
  }
  printf("%.3f\n", tensor_read_bandwidth(pool, seconds) * 1e-9);
  pool_destroy(pool);
  return 0;
}
