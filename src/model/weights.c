/* weights: tensors by name, checked and repacked; see arch.h. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "model/arch.h"
#include "model/checkpoint.h"

enum { NAME_BYTES = 160 };

/* The pattern with its layer filled in; prefix goes in front. */
static void spell(char out[NAME_BYTES], const char *prefix, const char *pattern, size_t layer) {
  int n = snprintf(out, NAME_BYTES, "%s", prefix);
  const char *hole = strstr(pattern, "%zu");
  if (!hole) snprintf(out + n, NAME_BYTES - (size_t)n, "%s", pattern);
  else snprintf(out + n, NAME_BYTES - (size_t)n, "%.*s%zu%s", (int)(hole - pattern), pattern, layer, hole + 3);
}

/* The name under which the file would hold it; "" when this container never does. */
static void spell_for(const struct weights *w, const struct weight_name *name, size_t layer, char out[NAME_BYTES]) {
  out[0] = '\0';
  if (w->file->container == FILE_GGUF) {
    if (name->gguf) spell(out, "", name->gguf, layer);
    return;
  }
  if (!name->hf) return;
  if (name->hf_legacy) {
    spell(out, w->hf_prefix, name->hf_legacy, layer);
    if (file_model_tensor(w->file, out)) return;
  }
  spell(out, w->hf_prefix, name->hf, layer);
}

int weights_check_wanted(const struct weights *w, struct error *err) {
  if (!w->options->cancelled || !atomic_load(w->options->cancelled)) return 0;
  return error_set(err, ERROR_CANCELLED, "%s: loading it was given up.", w->file->path);
}

const struct file_tensor *weights_find(const struct weights *w, const struct weight_name *name, size_t layer) {
  char spelled[NAME_BYTES];
  spell_for(w, name, layer, spelled);
  const struct file_tensor *t = file_model_tensor(w->file, spelled);
  if (t || w->file->container == FILE_GGUF) return t;
  struct checkpoint *c = checkpoint_open(w->file, NULL);
  if (c) t = checkpoint_witness(c, spelled);
  checkpoint_close(c);
  return t;
}

int weights_check_depth(const struct weights *w, const struct weight_name *name, size_t n_layers, struct error *err) {
  if (!weights_find(w, name, n_layers)) return 0;
  char spelled[NAME_BYTES];
  spell_for(w, name, n_layers, spelled);
  return error_set(err, ERROR_CORRUPT, "%s: the file holds %s, but the model's configuration says %zu layers, counted from 0.",
                   w->file->path, spelled, n_layers);
}

static int shape_error(const struct weights *w, const struct file_tensor *t, const char *spelled, size_t rows, size_t n,
                       struct error *err) {
  char shape[96] = "", want[48];
  size_t at = 0;
  for (unsigned i = 0; i < t->rank; i++)
    at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%llu", i ? ", " : "", (unsigned long long)t->shape[i]);
  if (rows) snprintf(want, sizeof want, "%zu, %zu", rows, n);
  else snprintf(want, sizeof want, "%zu", n);
  return error_set(err, ERROR_CORRUPT, "%s: the tensor %s has the shape [%s], but the model's configuration demands [%s].", w->file->path,
                   spelled, shape, want);
}

/* The tensor, made plain, with that very shape ([n] when rows is 0, else [rows, n]), or -1 with an error that names it. any_order: its
 * columns may have one of their own. */
static int read_shaped(const struct weights *w, const struct weight_name *name, size_t layer, size_t rows, size_t n, bool any_order,
                       struct checkpoint_tensor *out, struct error *err) {
  char spelled[NAME_BYTES];
  if (weights_check_wanted(w, err) < 0) return -1;
  spell_for(w, name, layer, spelled);
  struct checkpoint *c = checkpoint_open(w->file, err);
  int found = !c          ? -1
              : any_order ? checkpoint_read_ordered(c, spelled, compute_pool(w->options->packer), out, err)
                          : checkpoint_read(c, spelled, compute_pool(w->options->packer), out, err);
  checkpoint_close(c);
  if (found < 0) return -1;
  if (found == 0) return error_set(err, ERROR_CORRUPT, "%s: the tensor %s is missing.", w->file->path, spelled);
  const struct file_tensor *t = &out->view;
  bool fits = rows ? t->rank == 2 && t->shape[0] == rows && t->shape[1] == n : t->rank == 1 && t->shape[0] == n;
  if (fits) return 0;
  shape_error(w, t, spelled, rows, n, err);
  checkpoint_release(out);
  return -1;
}

static struct weight *count(struct weights *w, struct weight *packed) {
  if (packed) {
    w->bytes += weight_bytes(packed);
    w->stream_bytes += weight_stream_bytes(packed);
    w->operations += 2.0 * (double)weight_n_out(packed) * (double)weight_n_in(packed);
  }
  return packed;
}

struct weight *weights__kept(struct weights *w, const char *key, size_t n_out, size_t n_in) {
  return count(w, kept_find(w->kept, key, n_out, n_in));
}

struct weight *weights__pack(struct weights *w, const char *key, struct slice tensor, const struct weight_source *source,
                             struct error *err) {
  struct weight *packed = count(w, weight_pack(w->options->packer, source, err));
  if (packed) kept_add(w->kept, key, packed);
  else error_prefix(err, "%s, tensor %.*s", w->file->path, SLICE_ARG(tensor));
  return packed;
}

struct weight *weights_matrix(struct weights *w, const struct weight_name *name, size_t layer, size_t n_out, size_t n_in,
                              const uint32_t *row_order, bool head, struct error *err) {
  struct checkpoint_tensor t;
  char key[NAME_BYTES];
  spell_for(w, name, layer, key);
  struct weight *kept = weights__kept(w, key, n_out, n_in);
  bool any_order = compute_mode_of(w->compute) != COMPUTE_F32; /* fp32 sums in the order of the inputs */
  if (kept || read_shaped(w, name, layer, n_out, n_in, any_order, &t, err) < 0) return kept;
  struct weight_source source = {.dtype = t.view.dtype,
                                 .data = t.view.data,
                                 .n_out = n_out,
                                 .n_in = n_in,
                                 .row_order = row_order,
                                 .in_order = t.in_order,
                                 .head = head};
  struct weight *packed = weights__pack(w, key, t.view.name, &source, err);
  checkpoint_release(&t);
  return packed;
}

static float *to_f32(struct weights *w, const struct file_tensor *t, struct error *err) {
  size_t n = (size_t)t->n_elements;
  float *out = malloc(n * sizeof *out + 64);
  if (!out) {
    error_set(err, ERROR_NO_MEMORY, "%s: there is no memory for the tensor %.*s (%zu values).", w->file->path, SLICE_ARG(t->name), n);
    return NULL;
  }
  if (!dtype_to_f32(t->dtype, t->data, out, n)) {
    error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s has the type %s, which Plinth cannot convert.", w->file->path,
              SLICE_ARG(t->name), dtype_info(t->dtype)->name);
    free(out);
    return NULL;
  }
  w->bytes += n * sizeof *out;
  return out;
}

/* [n] when rows is 0. */
static float *read_f32(struct weights *w, const struct weight_name *name, size_t layer, size_t rows, size_t n, struct error *err) {
  struct checkpoint_tensor t;
  if (read_shaped(w, name, layer, rows, n, false, &t, err) < 0) return NULL;
  float *out = to_f32(w, &t.view, err);
  checkpoint_release(&t);
  return out;
}

float *weights_vector(struct weights *w, const struct weight_name *name, size_t layer, size_t n, const uint32_t *order, struct error *err) {
  float *plain = read_f32(w, name, layer, 0, n, err);
  if (!plain || !order) return plain;
  float *ordered = malloc(n * sizeof *ordered + 64);
  if (!ordered) error_set(err, ERROR_NO_MEMORY, "%s: there is no memory for a vector of %zu values.", w->file->path, n);
  for (size_t i = 0; ordered && i < n; i++) ordered[i] = plain[order[i]];
  free(plain);
  return ordered;
}

float *weights_table(struct weights *w, const struct weight_name *name, size_t layer, size_t rows, size_t n, struct error *err) {
  return read_f32(w, name, layer, rows, n, err);
}
