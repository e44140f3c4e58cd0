/* plan: the memory that a model needs, type by type, without loading it; config.json alone is enough. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_PLAN_H
#define APP_PLAN_H
#include "base/buf.h"
#include "base/error.h"
#include "file/file.h"
#include "tensor/tensor.h"

struct plan_options {
  double memory_gib;     /* of one node; 0: nodes are not counted */
  size_t context_tokens; /* of KV; 0: one full context */
  enum kv_type kv;
  bool json;
};

/* Appends the plan of the model at path. */
int plan_make(const char *path, const struct plan_options *o, struct buf *out, struct error *err);

/* plan_gte.c: gives file, of which only config.json is there, the tensors of a GTE model; own_names: of model_type "new". */
int plan_gte_outline(struct file_model *file, bool own_names, enum dtype dtype, struct error *err);

#endif
