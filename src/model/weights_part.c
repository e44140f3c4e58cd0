/* weights_part: matrices out of tensors that stack several (experts, fused projections); see arch.h. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "model/arch.h"
#include "model/checkpoint.h"

bool weights_part_names(const struct weights *w, const struct weight_name *name) {
  return w->file->container == FILE_GGUF ? name->gguf != NULL : name->hf != NULL;
}

enum { TURN = 32, KEY_BYTES = 256 };

/* [rows, columns] turned, in new memory, by squares that a cache holds; elements of `size` bytes. */
static unsigned char *turned(const unsigned char *from, size_t rows, size_t columns, size_t size) {
  unsigned char *to = malloc(rows * columns * size);
  for (size_t r0 = 0; to && r0 < rows; r0 += TURN)
    for (size_t c0 = 0; c0 < columns; c0 += TURN)
      for (size_t c = c0; c < c0 + TURN && c < columns; c++)
        for (size_t r = r0; r < r0 + TURN && r < rows; r++) memcpy(to + (c * rows + r) * size, from + (r * columns + c) * size, size);
  return to;
}

/* The tensor seen as [part->rows, columns], or NULL with an error that names it. */
static const struct file_tensor *find_stack(const struct weights *w, const struct weight_name *name, size_t layer,
                                            const struct weight_part *part, size_t columns, struct error *err) {
  const struct file_tensor *t = weights_find(w, name, layer);
  const char *path = w->file->path;
  if (!t) {
    bool gguf = w->file->container == FILE_GGUF;
    error_set(err, ERROR_CORRUPT, "%s: the tensor %s%s of layer %zu is missing.", path, gguf ? "" : w->hf_prefix,
              gguf ? name->gguf : name->hf, layer);
  } else if ((t->rank != 2 && t->rank != 3) || t->shape[t->rank - 1] != columns || t->n_elements != part->rows * columns) {
    error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s has %llu values in rank %u, but the model's configuration demands %zu rows of %zu.",
              path, SLICE_ARG(t->name), (unsigned long long)t->n_elements, t->rank, part->rows, columns);
  } else {
    return t;
  }
  return NULL;
}

static struct weight *pack(struct weights *w, const char *key, const struct file_tensor *t, const struct weight_part *part,
                           const void *data, struct error *err) {
  struct weight_source source = {.dtype = t->dtype, .data = data, .n_out = part->n_out, .n_in = part->n_in};
  return weights__pack(w, key, t->name, &source, err);
}

/* The part's rows as they lie in the tensor. What needs scales from elsewhere is made plain, in out's memory. */
static int read_part(struct weights *w, const struct file_tensor *t, const struct weight_part *part, struct checkpoint_tensor *out,
                     struct error *err) {
  size_t n = part->transposed ? part->n_in : part->n_out, columns = part->transposed ? part->n_out : part->n_in;
  uint64_t row_bytes;
  if (t->dtype >= DTYPE_I8) {
    struct checkpoint_rows rows = {.rows_per_expert = part->rows / part->n_experts, .begin = part->begin, .n = n, .columns = columns};
    struct checkpoint *c = checkpoint_open(w->file, err);
    int result = c ? checkpoint_read_rows(c, t, &rows, compute_pool(w->options->packer), out, err) : -1;
    checkpoint_close(c);
    return result;
  }
  bool turns = !part->transposed || dtype_info(t->dtype)->block_elements == 1;
  if (!turns || !dtype_bytes(t->dtype, columns, &row_bytes))
    return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s cannot be divided into its matrices in the type %s.", w->file->path,
                     SLICE_ARG(t->name), dtype_info(t->dtype)->name);
  *out = (struct checkpoint_tensor){.view = *t};
  out->view.data = (const unsigned char *)t->data + row_bytes * part->begin;
  return 0;
}

struct weight *weights_part(struct weights *w, const struct weight_name *name, size_t layer, const struct weight_part *part,
                            struct error *err) {
  const struct file_tensor *t = find_stack(w, name, layer, part, part->transposed ? part->n_out : part->n_in, err);
  struct checkpoint_tensor plain;
  if (!t || weights_check_wanted(w, err) < 0) return NULL;
  char key[KEY_BYTES];
  snprintf(key, sizeof key, "%.*s[%zu]", (int)(t->name.len < KEY_BYTES - 32 ? t->name.len : KEY_BYTES - 32), t->name.data, part->begin);
  struct weight *kept = weights__kept(w, key, part->n_out, part->n_in);
  if (kept || read_part(w, t, part, &plain, err) < 0) return kept;
  struct weight *packed = NULL;
  if (part->transposed) {
    unsigned char *own = turned(plain.view.data, part->n_in, part->n_out, dtype_info(plain.view.dtype)->block_bytes);
    if (own) packed = pack(w, key, &plain.view, part, own, err);
    else error_set(err, ERROR_NO_MEMORY, "%s: there is no memory to turn the tensor %.*s.", w->file->path, SLICE_ARG(t->name));
    free(own);
  } else {
    packed = pack(w, key, &plain.view, part, plain.view.data, err);
  }
  checkpoint_release(&plain);
  return packed;
}
