/* adapter_merge: a base and an adapter become one checkpoint; see model.h. SPDX-License-Identifier: Apache-2.0
 * Row by row: memory holds one adapter pair and one row. A tensor of the base is one product, or those of all experts one below the other. */
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/adapter.h"

struct merging {
  const struct file_adapter *f;
  struct adapter_table table;    /* of architectures that tell their products; else shares is NULL, and names decide */
  const struct model_info *info; /* of the base */
  bool *used;                    /* [tensors of f] */
  struct fs_writer *file;
};

/* ---- whose share a row gets ---- */

static size_t index_of(const struct file_adapter *f, const struct file_tensor *t) {
  size_t i = 0;
  while (safetensors_tensor_at(f->tensors, i) != t) i++;
  return i;
}

/* By the module's name alone. */
static struct adapter_share share_by_name(const struct file_adapter *f, struct slice module) {
  struct adapter_share s = {0};
  for (size_t i = 0; i < safetensors_n_tensors(f->tensors); i++) {
    const struct file_tensor *t = safetensors_tensor_at(f->tensors, i);
    struct slice own;
    bool is_b;
    if (!adapter__split(t->name, &own, &is_b) || !slice_eq(adapter__below(own), adapter__below(module))) continue;
    *(is_b ? &s.b : &s.a) = t;
  }
  return s;
}

/* The share of a tensor that is one product. */
static struct adapter_share share_of(const struct merging *m, const struct file_tensor *w) {
  struct slice module = w->name;
  if (!slice_ends(module, SLICE(".weight"))) return (struct adapter_share){0};
  module.len -= strlen(".weight");
  if (!m->table.shares) return share_by_name(m->f, module);
  struct adapter_place at = adapter__find(m->table.arch, m->info, module);
  return at.slot == SIZE_MAX ? (struct adapter_share){0} : m->table.shares[at.layer * m->table.n_slots + at.slot];
}

/* ---- values ---- */

static int check_type(const struct file_adapter *f, const struct file_tensor *w, struct error *err) {
  if (w->dtype == DTYPE_F32 || w->dtype == DTYPE_F16 || w->dtype == DTYPE_BF16) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s is %s; an adapter is merged into F32, F16 or BF16 only. Serve it unmerged.",
                   f->path, SLICE_ARG(w->name), dtype_info(w->dtype)->name);
}

static void round_row(enum dtype dtype, const float *row, void *out, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (dtype == DTYPE_F32) ((float *)out)[i] = row[i];
    else ((uint16_t *)out)[i] = dtype == DTYPE_F16 ? dtype_f32_to_f16(row[i]) : dtype_f32_to_bf16(row[i]);
  }
}

/* Rows begin … begin + n − 1 of the tensor, plus s · BA. */
static int put_sum(struct fs_writer *file, const struct file_tensor *w, size_t begin, size_t rows, const float *a, const float *b,
                   size_t rank, struct error *err) {
  size_t n = (size_t)w->shape[w->rank - 1], bytes = n * dtype_info(w->dtype)->block_bytes;
  float *row = mem_alloc(n * sizeof *row), *sum = mem_alloc(n * sizeof *sum);
  void *out = mem_alloc(n * sizeof(float));
  int result = 0;
  for (size_t i = 0; i < rows && result == 0; i++) {
    dtype_to_f32(w->dtype, (const unsigned char *)w->data + (begin + i) * bytes, row, n);
    for (size_t j = 0; j < n; j++) sum[j] = 0;
    for (size_t k = 0; k < rank; k++)
      for (size_t j = 0; j < n; j++) sum[j] += b[i * rank + k] * a[k * n + j];
    for (size_t j = 0; j < n; j++) row[j] += sum[j];
    round_row(w->dtype, row, out, n);
    result = fs_writer_put(file, out, bytes, err);
  }
  free(row);
  free(sum);
  free(out);
  return result;
}

/* One product's rows of the tensor, with their share. */
static int put_rows(struct merging *m, const struct file_tensor *w, size_t begin, size_t rows, const struct adapter_share *s,
                    struct error *err) {
  size_t n = (size_t)w->shape[w->rank - 1], bytes = n * dtype_info(w->dtype)->block_bytes, rank;
  if (!s->a && !s->b) return fs_writer_put(m->file, (const char *)w->data + begin * bytes, rows * bytes, err);
  if (adapter__check_share(m->f, s, rows, n, &rank, err) < 0 || check_type(m->f, w, err) < 0) return -1;
  m->used[index_of(m->f, s->a)] = m->used[index_of(m->f, s->b)] = true;
  float *a = adapter__a(m->f, s, rank, err), *b = a ? adapter__b(m->f, s, rank, rows, err) : NULL;
  int result = b ? put_sum(m->file, w, begin, rows, a, b, rank, err) : -1;
  free(a);
  free(b);
  return result;
}

/* The experts of a tensor [E, rows, in]: gate and up, or down. */
static int put_experts(struct merging *m, const struct file_tensor *w, size_t layer, int parameter, struct error *err) {
  size_t first = parameter == 0 ? 0 : 2, n = parameter == 0 ? 2 : 1, rows = (size_t)w->shape[1] / n;
  if (w->shape[0] != m->info->n_experts || rows * n != w->shape[1])
    return error_set(err, ERROR_INVALID, "The tensor %.*s does not hold the matrices of %zu experts.", SLICE_ARG(w->name),
                     m->info->n_experts);
  for (size_t i = 0; i < n * m->info->n_experts; i++) {
    size_t slot = m->table.arch->n_sites + 3 * (i / n) + first + i % n;
    if (put_rows(m, w, i * rows, rows, &m->table.shares[layer * m->table.n_slots + slot], err) < 0) return -1;
  }
  return 0;
}

static int put_tensor(struct merging *m, const struct file_tensor *w, struct error *err) {
  size_t layer;
  int parameter = m->table.shares && w->rank == 3 ? adapter__find_stack(m->table.arch, m->info, w->name, &layer) : -1;
  if (parameter >= 0) return put_experts(m, w, layer, parameter, err);
  struct adapter_share s = share_of(m, w);
  if (w->rank == 2) return put_rows(m, w, 0, (size_t)w->shape[0], &s, err);
  return fs_writer_put(m->file, w->data, (size_t)w->n_bytes, err);
}

static int put_all(struct merging *m, const struct file_model *base, struct error *err) {
  size_t n_used = 0, n = safetensors_n_tensors(m->f->tensors);
  for (size_t i = 0; i < safetensors_n_tensors(base->tensors); i++)
    if (put_tensor(m, safetensors_tensor_at(base->tensors, i), err) < 0) return -1;
  for (size_t i = 0; i < n; i++) n_used += m->used[i];
  if (n_used == n) return 0;
  return error_set(err, ERROR_INVALID, "%s: only %zu of the adapter's %zu tensors belong to %s: it is for another base model.", m->f->path,
                   n_used, n, base->path);
}

static int merge(struct merging *m, const struct file_model *base, const char *path, struct error *err) {
  size_t n = safetensors_n_tensors(base->tensors);
  const struct file_tensor **tensors = mem_alloc(n * sizeof *tensors);
  for (size_t i = 0; i < n; i++) tensors[i] = safetensors_tensor_at(base->tensors, i);
  m->file = safetensors_write(path, tensors, n, err);
  free(tensors);
  if (!m->file) return -1;
  if (put_all(m, base, err) == 0) return fs_writer_commit(m->file, err);
  fs_writer_abandon(m->file);
  return -1;
}

int adapter_merge(const struct file_adapter *adapter, const struct file_model *base, const char *path, struct error *err) {
  struct model_info info;
  if (adapter__check(adapter, err) < 0) return -1;
  if (base->container != FILE_SAFETENSORS)
    return error_set(err, ERROR_UNSUPPORTED, "%s: an adapter is merged into plain safetensors only. Serve it unmerged, beside its base.",
                     base->path);
  if (model_inspect(base, &info, err) < 0) return -1;
  struct merging m = {.f = adapter, .info = &info};
  const struct model_arch *arch = model__arch(base, err);
  int result = arch->n_sites ? adapter__table(&m.table, adapter, arch, &info, err) : 0;
  m.used = mem_zalloc(safetensors_n_tensors(adapter->tensors) + 1, sizeof *m.used);
  if (result == 0) result = merge(&m, base, path, err);
  free(m.used);
  adapter__table_free(&m.table);
  return result;
}
