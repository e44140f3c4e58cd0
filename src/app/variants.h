/* variants: which kernels this machine uses, and the record of what was measured. SPDX-License-Identifier: Apache-2.0
 *
 * All give the same bits (doc/design/compute.md); they differ in speed. The record is FOLDER/kernels-MACHINE-VERSION.json, MACHINE being a hash of
 * what the CPU says of itself and the number of threads. What is damaged, or of another machine, is as good as missing. */
#ifndef APP_VARIANTS_H
#define APP_VARIANTS_H
#include "tensor/tensor.h"

#if defined(__aarch64__)
#define VARIANTS_CHOICES "auto|ref|neon|dotprod"
#else
#define VARIANTS_CHOICES "auto|ref|avx2|avx512"
#endif
#define VARIANTS_HELP "Instruction set of the kernels; auto takes those that are fastest here. All give the same results."

/* The option of the commands that load a model into their own process. */
#define VARIANTS_ROW(type_, member) \
  {.name = "kernels",               \
   OPTION_STRING_TO(type_, member), \
   .metavar = "NAME",               \
   .fallback = "auto",              \
   .env = "PLINTH_KERNELS",         \
   .choices = VARIANTS_CHOICES,     \
   .help = VARIANTS_HELP}

/* compute_create with the kernels of that name only ("auto": all). Fails when the machine lacks them. */
struct compute *variants_compute(enum compute_mode mode, struct pool *pool, const char *name, struct error *err);
/* Takes over what is recorded in the folder. True when nothing is left to be measured. */
bool variants_read(struct compute *c, const char *folder);
/* Measures what is left, if anything, and records all. What cannot be written is a warning: it is measured again next time. */
void variants_settle(struct compute *c, const char *folder);
/* Where the record of this machine lies; new memory. */
char *variants_path(const struct compute *c, const char *folder);

#endif
