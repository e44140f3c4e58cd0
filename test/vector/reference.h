/* reference: a checkpoint with what the reference computes from it (expected.json), for tests. SPDX-License-Identifier: Apache-2.0
 * Everything that goes wrong fails the test. */
#ifndef VECTOR_REFERENCE_H
#define VECTOR_REFERENCE_H
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"
#include "model/model.h"

struct reference {
  struct pool *pool;
  struct compute *compute;
  struct model *model;
  struct js *cases;
  uint64_t planned_bytes; /* what the plan says of the weights, from the tensor list */
};

/* The cases beside the checkpoint; js_free them. */
static inline struct js *reference_cases(const char *folder) {
  struct error err;
  struct buf text = {0};
  char *expected = fs_join(folder, "expected.json");
  struct js *cases = fs_read(expected, 1 << 22, &text, &err) < 0 ? NULL : js_parse(buf_view(&text), &err);
  if (!cases) fail_msg("%s", err.message);
  free(expected);
  buf_free(&text);
  return cases;
}

/* path: the checkpoint, a folder or a file. */
static inline struct reference reference_open(const char *folder, const char *path, enum compute_mode mode, enum kv_type kv,
                                              unsigned isa_mask, int threads) {
  struct error err;
  struct reference r = {.cases = reference_cases(folder)};
  struct file_model *file = file_model_open(path, &err);
  if (!file) fail_msg("%s", err.message);
  r.pool = pool_create(threads, &err);
  r.compute = compute_create(mode, r.pool, isa_mask, &err);
  r.model = model_load(file, r.compute, &(struct model_options){.kv = kv}, &err);
  if (!r.model || model_memory(file, model_info(r.model), mode, &r.planned_bytes, &err) < 0) fail_msg("%s", err.message);
  file_model_close(file);
  return r;
}

static inline void reference_close(struct reference *r) {
  model_free(r->model);
  compute_destroy(r->compute);
  pool_destroy(r->pool);
  js_free(r->cases);
}

/* A list of at most max ids. */
static inline size_t reference_ids(const struct js *v, int32_t *out, size_t max) {
  size_t n = js_len(v);
  assert_true(n <= max);
  for (size_t i = 0; i < n; i++) {
    int64_t id = 0;
    assert_true(js_int(js_at(v, i), &id));
    out[i] = (int32_t)id;
  }
  return n;
}

/* The largest difference from a list of numbers. */
static inline float reference_difference(const float *got, const struct js *want) {
  float worst = 0;
  assert_true(js_len(want) > 0);
  for (size_t i = 0; i < js_len(want); i++) {
    double w = 0;
    assert_true(js_real(js_at(want, i), &w));
    worst = fmaxf(worst, fabsf(got[i] - (float)w));
  }
  return worst;
}

#endif
