/* compute: the mode, the pool and the kernel table. SPDX-License-Identifier: Apache-2.0
 * Variants are taken up from the plain C upward; each must give equal bits on a start-up sample before it joins (check.c). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

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

#if defined(__x86_64__)
static bool has_avx2(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
static bool has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__)
static bool has_neon(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMD; }
static bool has_dotprod(void) { return has_neon() && (getauxval(AT_HWCAP) & HWCAP_ASIMDDP); }
#endif
static bool has_ref(void) { return true; }

/* From the narrowest to the widest, of the architecture that this was compiled for. */
static const struct variant {
  const char *name;
  unsigned isa;
  bool (*has)(void);
  void (*fill)(struct kernels *k);
} variants[] = {
    {"ref", COMPUTE_ISA_REF, has_ref, ref_fill},
#if defined(__x86_64__)
    {"avx2", COMPUTE_ISA_AVX2, has_avx2, avx2_fill},
    {"avx512", COMPUTE_ISA_AVX512, has_avx512, avx512_fill},
#elif defined(__aarch64__)
    {"neon", COMPUTE_ISA_NEON, has_neon, neon_fill},
    {"dotprod", COMPUTE_ISA_DOTPROD, has_dotprod, dotprod_fill},
#endif
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

unsigned compute_isa_parse(const char *name) {
  unsigned isa = 0;
  if (strcmp(name, "auto") == 0) return COMPUTE_ISA_ALL;
  for (size_t i = 0; i < VARIANTS; i++) {
    isa |= variants[i].isa;
    if (strcmp(name, variants[i].name) == 0) return isa;
  }
  return 0;
}

/* PLINTH_ISA names the widest set that may be used. */
static unsigned environment_isa(void) {
  const char *name = getenv("PLINTH_ISA");
  if (!name || !*name) return COMPUTE_ISA_ALL;
  unsigned isa = compute_isa_parse(name);
  if (isa) return isa;
  log_line(LOG_WARN, "tensor", "PLINTH_ISA=%s names no instruction set that this program has kernels for; it is ignored.", name);
  return COMPUTE_ISA_ALL;
}

/* ---- tables, one per widest instruction set, made once ---- */

static struct kernels tables[VARIANTS];
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
  allowed_isa = environment_isa();
  ref_fill(&tables[0]);
  for (size_t i = 1; i < VARIANTS; i++) {
    tables[i] = tables[i - 1];
    if (variants[i].has()) take_up(&tables[i], &tables[i - 1], variants[i].fill);
  }
}

size_t kernels_list(unsigned isa_mask, const struct kernels *ret[KERNELS_MAX]) {
  size_t n = 0;
  pthread_once(&tables_once, make_tables);
  for (size_t i = VARIANTS; i-- > 0;)
    if ((isa_mask & allowed_isa & variants[i].isa) && strcmp(tables[i].name, variants[i].name) == 0) ret[n++] = &tables[i];
  if (n == 0) ret[n++] = &tables[0];
  return n;
}

const struct kernels *kernels_best(unsigned isa_mask) {
  pthread_once(&tables_once, make_tables);
  size_t i = VARIANTS - 1;
  while (i > 0 && !(isa_mask & allowed_isa & variants[i].isa)) i--;
  return &tables[i];
}

/* ---- the object ---- */

struct compute *compute_create(enum compute_mode mode, struct pool *pool, unsigned isa_mask, struct error *err) {
  (void)err;
  struct compute *c = mem_zalloc(1, sizeof *c);
  *c = (struct compute){.mode = mode, .pool = pool, .chosen = *kernels_best(isa_mask), .isa_mask = isa_mask};
  c->kernels = &c->chosen;
  compute_choice_init(c);
  c->attention_scratch = mem_zalloc((size_t)pool_threads(pool), sizeof *c->attention_scratch);
  c->product_scratch = mem_zalloc((size_t)pool_threads(pool), sizeof *c->product_scratch);
  return c;
}

void compute_destroy(struct compute *c) {
  if (!c) return;
  for (int i = 0; i < pool_threads(c->pool); i++) free(c->attention_scratch[i]);
  free(c->attention_scratch);
  for (int i = 0; i < pool_threads(c->pool); i++) free(c->product_scratch[i]);
  free(c->product_scratch);
  huge_close(&c->weights);
  act_free(c->ordered);
  free(c->ordered_rows);
  free(c);
}

enum compute_mode compute_mode_of(const struct compute *c) { return c->mode; }
struct pool *compute_pool(const struct compute *c) { return c->pool; }
const char *compute_isa_name(const struct compute *c) { return c->kernels->name; }
