/* plan: the memory that a model needs, type by type, without loading it; config.json alone is enough. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_PLAN_H
#define APP_PLAN_H
#include "base/buf.h"
#include "base/error.h"

struct plan_options {
  double memory_gib;     /* of one node; 0: nodes are not counted */
  size_t context_tokens; /* of KV; 0: one full context */
  bool json;
};

/* Appends the plan of the model at path. */
int plan_make(const char *path, const struct plan_options *o, struct buf *out, struct error *err);

#endif
