/* adapter_merge: a base and an adapter become one checkpoint; see model.h. SPDX-License-Identifier: Apache-2.0
 * Row by row: memory holds one adapter pair and one row. */
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/adapter.h"

/* What is added to one tensor. */
struct share {
  const struct file_tensor *from_a, *from_b; /* both NULL: nothing */
  float *a, *b;                              /* [r, n_in] times s, [n_out, r] */
  size_t rank;
};

/* The tensors of the adapter that belong to this module. */
static struct share find_share(const struct file_adapter *f, struct slice module) {
  struct share s = {0};
  for (size_t i = 0; i < safetensors_n_tensors(f->tensors); i++) {
    const struct file_tensor *t = safetensors_tensor_at(f->tensors, i);
    struct slice own;
    bool is_b;
    if (!adapter__split(t->name, &own, &is_b) || !slice_eq(adapter__below(own), adapter__below(module))) continue;
    *(is_b ? &s.from_b : &s.from_a) = t;
  }
  return s;
}

static float *values_of(const struct file_adapter *f, const struct file_tensor *t, struct error *err) {
  size_t n = (size_t)t->n_elements;
  float *out = malloc((n ? n : 1) * sizeof *out);
  if (!out) error_set(err, ERROR_NO_MEMORY, "%s: there is no memory for the tensor %.*s.", f->path, SLICE_ARG(t->name));
  else if (!dtype_to_f32(t->dtype, t->data, out, n)) {
    error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s has the type %s, which cannot be converted.", f->path, SLICE_ARG(t->name),
              dtype_info(t->dtype)->name);
    free(out);
    out = NULL;
  }
  return out;
}

static int check_share(const struct file_adapter *f, const struct share *s, const struct file_tensor *w, struct error *err) {
  const struct file_tensor *a = s->from_a, *b = s->from_b;
  bool fits = a && b && a->rank == 2 && b->rank == 2 && w->rank == 2 && a->shape[1] == w->shape[1] && b->shape[0] == w->shape[0] &&
              a->shape[0] == b->shape[1] && a->shape[0] > 0;
  if (!fits)
    return error_set(err, ERROR_INVALID, "%s: the adapter does not fit the tensor %.*s: it is for another base model.", f->path,
                     SLICE_ARG(w->name));
  if (w->dtype == DTYPE_F32 || w->dtype == DTYPE_F16 || w->dtype == DTYPE_BF16) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s is %s; an adapter is merged into F32, F16 or BF16 only. Serve it unmerged.",
                   f->path, SLICE_ARG(w->name), dtype_info(w->dtype)->name);
}

static int load_share(const struct file_adapter *f, struct share *s, struct slice module, const struct file_tensor *w, struct error *err) {
  float scale;
  if (check_share(f, s, w, err) < 0) return -1;
  s->rank = (size_t)s->from_a->shape[0];
  if (adapter__scale(f, module, s->rank, &scale, err) < 0 || !(s->a = values_of(f, s->from_a, err)) ||
      !(s->b = values_of(f, s->from_b, err)))
    return -1;
  for (size_t i = 0; i < s->from_a->n_elements; i++) s->a[i] *= scale;
  return 0;
}

static void round_row(enum dtype dtype, const float *row, void *out, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (dtype == DTYPE_F32) ((float *)out)[i] = row[i];
    else ((uint16_t *)out)[i] = dtype == DTYPE_F16 ? dtype_f32_to_f16(row[i]) : dtype_f32_to_bf16(row[i]);
  }
}

static int put_merged(struct fs_writer *file, const struct share *s, const struct file_tensor *w, struct error *err) {
  size_t n = (size_t)w->shape[1], bytes = n * dtype_info(w->dtype)->block_bytes;
  float *row = mem_alloc(n * sizeof *row), *sum = mem_alloc(n * sizeof *sum);
  void *out = mem_alloc(n * sizeof(float));
  int result = 0;
  for (size_t i = 0; i < w->shape[0] && result == 0; i++) {
    dtype_to_f32(w->dtype, (const unsigned char *)w->data + i * bytes, row, n);
    for (size_t j = 0; j < n; j++) sum[j] = 0;
    for (size_t k = 0; k < s->rank; k++)
      for (size_t j = 0; j < n; j++) sum[j] += s->b[i * s->rank + k] * s->a[k * n + j];
    for (size_t j = 0; j < n; j++) row[j] += sum[j];
    round_row(w->dtype, row, out, n);
    result = fs_writer_put(file, out, bytes, err);
  }
  free(row);
  free(sum);
  free(out);
  return result;
}

static int put_tensor(struct fs_writer *file, const struct file_adapter *f, const struct file_tensor *w, size_t *n_used,
                      struct error *err) {
  struct slice module = w->name;
  struct share s = {0};
  if (slice_ends(module, SLICE(".weight"))) {
    module.len -= strlen(".weight");
    s = find_share(f, module);
  }
  if (!s.from_a && !s.from_b) return fs_writer_put(file, w->data, (size_t)w->n_bytes, err);
  *n_used += 2;
  int result = load_share(f, &s, module, w, err) < 0 ? -1 : put_merged(file, &s, w, err);
  free(s.a);
  free(s.b);
  return result;
}

static int put_all(struct fs_writer *file, const struct file_adapter *f, const struct file_model *base, struct error *err) {
  size_t n_used = 0;
  for (size_t i = 0; i < safetensors_n_tensors(base->tensors); i++)
    if (put_tensor(file, f, safetensors_tensor_at(base->tensors, i), &n_used, err) < 0) return -1;
  if (n_used == safetensors_n_tensors(f->tensors)) return 0;
  return error_set(err, ERROR_INVALID, "%s: only %zu of the adapter's %zu tensors belong to %s: it is for another base model.", f->path,
                   n_used, safetensors_n_tensors(f->tensors), base->path);
}

int adapter_merge(const struct file_adapter *adapter, const struct file_model *base, const char *path, struct error *err) {
  if (adapter__check(adapter, err) < 0) return -1;
  if (base->container != FILE_SAFETENSORS)
    return error_set(err, ERROR_UNSUPPORTED, "%s: an adapter is merged into plain safetensors only. Serve it unmerged, beside its base.",
                     base->path);
  size_t n = safetensors_n_tensors(base->tensors);
  const struct file_tensor **tensors = mem_alloc(n * sizeof *tensors);
  for (size_t i = 0; i < n; i++) tensors[i] = safetensors_tensor_at(base->tensors, i);
  struct fs_writer *file = safetensors_write(path, tensors, n, err);
  free(tensors);
  if (!file) return -1;
  if (put_all(file, adapter, base, err) == 0) return fs_writer_commit(file, err);
  fs_writer_abandon(file);
  return -1;
}
