/* kernel_test: what the kernel tests share: random values of several characters, and the variants of this machine.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_TEST_H
#define KERNEL_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/kernels.h"

static uint64_t random_state = 88172645463325252u;

static inline uint64_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state * 2685821657736338717u;
}

static inline size_t random_below(size_t n) { return (size_t)(random_bits() >> 33) % n; }
static inline float random_unit(void) { return (float)(int32_t)(random_bits() >> 32) * 0x1p-31f; }

/* The characters of a row of values. No NaN; sums of squares stay finite. */
enum character { PLAIN, ZEROS, SPARSE, LARGE, SUBNORMAL, MIXED, CHARACTERS };

static inline void random_fill(float *x, size_t n, enum character kind) {
  for (size_t i = 0; i < n; i++) {
    float u = random_unit();
    switch (kind) {
      case ZEROS: x[i] = i % 2 ? 0.0f : -0.0f; break;
      case SPARSE: x[i] = random_below(40) ? 0.0f : u; break;
      case LARGE: x[i] = u * 1e15f; break;
      case SUBNORMAL: x[i] = u * 1e-39f; break;
      case MIXED: x[i] = u * (random_below(16) ? 1.0f : random_below(2) ? 1e6f : 1e-30f); break;
      default: x[i] = u * 3; break;
    }
  }
}

/* Memory that ends where the values end, so that a sanitizer sees a kernel that goes beyond. */
static inline float *random_values(size_t n, enum character kind) {
  float *x = mem_alloc(n * sizeof *x);
  random_fill(x, n, kind);
  return x;
}

/* The masks of the vector variants that this machine has; returns how many. */
static inline size_t variant_masks(unsigned masks[2]) {
  size_t n = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    masks[n++] = COMPUTE_ISA_REF | COMPUTE_ISA_AVX2;
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      masks[n++] = COMPUTE_ISA_ALL;
  }
#elif defined(__aarch64__)
  masks[n++] = COMPUTE_ISA_REF | COMPUTE_ISA_NEON;
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) masks[n++] = COMPUTE_ISA_ALL;
#endif
  return n;
}

static inline void assert_same_bits(const void *a, const void *b, size_t n, const char *what, const char *variant, size_t shape) {
  if (memcmp(a, b, n) == 0) return;
  const uint32_t *x = a, *y = b;
  for (size_t i = 0; i < n / 4; i++)
    if (x[i] != y[i])
      fail_msg("%s of %s differs from the plain C at value %zu (shape %zu): %08x, not %08x", what, variant, i, shape, x[i], y[i]);
  fail_msg("%s of %s differs from the plain C in its last bytes (shape %zu)", what, variant, shape);
}

#endif
