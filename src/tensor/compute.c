/* compute: the mode, the pool and the kernel table. SPDX-License-Identifier: Apache-2.0
 * Variants are taken up from the plain C upward; each must give equal bits on a start-up sample before it joins (check.c). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "tensor/check.h"
#include "tensor/compute.h"

static const char *const mode_names[] = {[COMPUTE_F32] = "f32", [COMPUTE_FAST] = "fast", [COMPUTE_PRECISE] = "precise"};

int compute_mode_parse(const char *name) {
  for (int i = 0; i < COMPUTE_MODES; i++)
    if (strcmp(name, mode_names[i]) == 0) return i;
  return -1;
}

const char *compute_mode_name(enum compute_mode mode) { return mode_names[mode]; }

/* ---- which instruction sets this machine has ---- */

static unsigned machine_isa(void) {
  unsigned isa = COMPUTE_ISA_REF;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) isa |= COMPUTE_ISA_AVX2;
  if ((isa & COMPUTE_ISA_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    isa |= COMPUTE_ISA_AVX512;
#endif
  return isa;
}

/* PLINTH_ISA names the widest set that may be used. */
static unsigned environment_isa(void) {
  const char *name = getenv("PLINTH_ISA");
  if (!name || !*name || strcmp(name, "avx512") == 0) return COMPUTE_ISA_ALL;
  if (strcmp(name, "avx2") == 0) return COMPUTE_ISA_REF | COMPUTE_ISA_AVX2;
  if (strcmp(name, "ref") == 0) return COMPUTE_ISA_REF;
  log_line(LOG_WARN, "tensor", "PLINTH_ISA=%s is unknown (ref, avx2, avx512); it is ignored.", name);
  return COMPUTE_ISA_ALL;
}

/* ---- tables, one per widest instruction set, made once ---- */

static struct kernels tables[3];
static unsigned allowed_isa; /* by the environment, which is read once */
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

/* Takes fill's kernels over into *next unless one of them differs from the truth. */
static void take_up(struct kernels *next, const struct kernels *below, void (*fill)(struct kernels *)) {
  struct kernels tried = *below;
  fill(&tried);
  const char *wrong = check_kernels(&tried, &tables[0]);
  if (wrong)
    log_line(LOG_WARN, "tensor", "The %s kernel %s differs from the plain C on this machine; these kernels are not used.", tried.name,
             wrong);
  *next = wrong ? *below : tried;
}

static void make_tables(void) {
  unsigned isa = machine_isa();
  allowed_isa = environment_isa();
  ref_fill(&tables[0]);
  tables[1] = tables[2] = tables[0];
#if defined(__x86_64__)
  if (isa & COMPUTE_ISA_AVX2) take_up(&tables[1], &tables[0], avx2_fill);
  tables[2] = tables[1];
  if (isa & COMPUTE_ISA_AVX512) take_up(&tables[2], &tables[1], avx512_fill);
#else
  (void)isa;
  (void)take_up;
#endif
}

const struct kernels *kernels_best(unsigned isa_mask) {
  pthread_once(&tables_once, make_tables);
  unsigned isa = isa_mask & allowed_isa;
  return &tables[isa & COMPUTE_ISA_AVX512 ? 2 : isa & COMPUTE_ISA_AVX2 ? 1 : 0];
}

/* ---- the object ---- */

struct compute *compute_create(enum compute_mode mode, struct pool *pool, unsigned isa_mask, struct error *err) {
  (void)err;
  struct compute *c = mem_zalloc(1, sizeof *c);
  *c = (struct compute){.mode = mode, .pool = pool, .kernels = kernels_best(isa_mask)};
  c->attention_scratch = mem_zalloc((size_t)pool_threads(pool), sizeof *c->attention_scratch);
  return c;
}

void compute_destroy(struct compute *c) {
  if (!c) return;
  for (int i = 0; i < pool_threads(c->pool); i++) free(c->attention_scratch[i]);
  free(c->attention_scratch);
  act_free(c->ordered);
  free(c->ordered_rows);
  free(c);
}

enum compute_mode compute_mode_of(const struct compute *c) { return c->mode; }
struct pool *compute_pool(const struct compute *c) { return c->pool; }
const char *compute_isa_name(const struct compute *c) { return c->kernels->name; }
