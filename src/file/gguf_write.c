/* gguf_write: writes GGUF files, version 3; see file.h, layout in doc/format/gguf.md. SPDX-License-Identifier: Apache-2.0
 *
 * 1. Values and tensors are declared first, then data comes in the order of the declarations, in pieces of any size.
 * 2. The file grows under a temporary name beside its own. It gets its name when it is whole and on the disk. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "file/file.h"

enum { ALIGNMENT = 32 };

struct gguf_writer {
  struct fs_writer *file;
  struct buf values, tensors;
  uint64_t n_values, n_tensors, data_bytes; /* data_bytes: declared, padded */
  uint64_t *sizes;                          /* of the tensors */
  uint64_t current, left;                   /* the tensor that data goes to, and what it lacks */
  bool begun;
};

struct gguf_writer *gguf_writer_create(const char *path, struct error *err) {
  struct gguf_writer *w = mem_zalloc(1, sizeof *w);
  w->file = fs_writer_open(path, 0644, err);
  if (w->file) return w;
  free(w);
  return NULL;
}

static void writer_free(struct gguf_writer *w) {
  buf_free(&w->values);
  buf_free(&w->tensors);
  free(w->sizes);
  free(w);
}

void gguf_writer_abandon(struct gguf_writer *w) {
  if (!w) return;
  fs_writer_abandon(w->file);
  writer_free(w);
}

/* ---- values ---- */

static void add_u32(struct buf *b, uint32_t v) { buf_add(b, &v, sizeof v); }
static void add_u64(struct buf *b, uint64_t v) { buf_add(b, &v, sizeof v); }
static void add_str(struct buf *b, struct slice s) {
  add_u64(b, s.len);
  buf_add_slice(b, s);
}

static struct buf *begin_value(struct gguf_writer *w, const char *key, enum gguf_type type) {
  assert(!w->begun);
  add_str(&w->values, slice_cstr(key));
  add_u32(&w->values, type);
  w->n_values++;
  return &w->values;
}

static struct buf *begin_array(struct gguf_writer *w, const char *key, enum gguf_type element, size_t n) {
  struct buf *b = begin_value(w, key, GGUF_ARRAY);
  add_u32(b, element);
  add_u64(b, n);
  return b;
}

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v) { add_u32(begin_value(w, key, GGUF_U32), v); }
void gguf_writer_f32(struct gguf_writer *w, const char *key, float v) { buf_add(begin_value(w, key, GGUF_F32), &v, sizeof v); }
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool v) { buf_add_byte(begin_value(w, key, GGUF_BOOL), v); }
void gguf_writer_str(struct gguf_writer *w, const char *key, struct slice v) { add_str(begin_value(w, key, GGUF_STRING), v); }

void gguf_writer_strs(struct gguf_writer *w, const char *key, const struct slice *v, size_t n) {
  struct buf *b = begin_array(w, key, GGUF_STRING, n);
  for (size_t i = 0; i < n; i++) add_str(b, v[i]);
}

void gguf_writer_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n) {
  buf_add(begin_array(w, key, GGUF_I32, n), v, n * sizeof *v);
}

void gguf_writer_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n) {
  buf_add(begin_array(w, key, GGUF_F32, n), v, n * sizeof *v);
}

void gguf_writer_copy(struct gguf_writer *w, const struct gguf_value *v) {
  assert(!w->begun);
  add_str(&w->values, v->key);
  add_u32(&w->values, v->type);
  if (v->type == GGUF_ARRAY) {
    add_u32(&w->values, v->element);
    add_u64(&w->values, v->count);
  } else if (v->type == GGUF_STRING) {
    add_u64(&w->values, v->bytes.len);
  }
  buf_add_slice(&w->values, v->bytes);
  w->n_values++;
}

/* ---- tensors ---- */

static uint64_t padding(uint64_t at) { return (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT; }

void gguf_writer_tensor(struct gguf_writer *w, struct slice name, enum dtype dtype, unsigned rank, const uint64_t *shape) {
  uint32_t id = 0;
  uint64_t n = 1, bytes = 0;
  bool known = gguf_dtype_id(dtype, &id);
  assert(!w->begun && rank <= FILE_RANK_MAX && known);
  add_str(&w->tensors, name);
  add_u32(&w->tensors, rank);
  for (unsigned i = rank; i-- > 0;) {
    add_u64(&w->tensors, shape[i]);
    n *= shape[i];
  }
  bool fits = dtype_bytes(dtype, n, &bytes);
  assert(fits);
  (void)known, (void)fits;
  add_u32(&w->tensors, id);
  add_u64(&w->tensors, w->data_bytes);
  w->data_bytes += bytes + padding(bytes);
  if ((w->n_tensors & (w->n_tensors - 1)) == 0) w->sizes = mem_realloc(w->sizes, w->n_tensors ? 2 * w->n_tensors : 1, sizeof *w->sizes);
  w->sizes[w->n_tensors++] = bytes;
}

static int put(struct gguf_writer *w, const void *data, size_t n, struct error *err) {
  return n == 0 ? 0 : fs_writer_put(w->file, data, n, err);
}

static int pad(struct gguf_writer *w, uint64_t at, struct error *err) {
  static const char zeros[ALIGNMENT];
  return put(w, zeros, (size_t)padding(at), err);
}

static int begin_data(struct gguf_writer *w, struct error *err) {
  struct buf head = {0};
  buf_add_cstr(&head, "GGUF");
  add_u32(&head, 3);
  add_u64(&head, w->n_tensors);
  add_u64(&head, w->n_values);
  uint64_t at = head.len + w->values.len + w->tensors.len;
  int result = put(w, head.data, head.len, err) < 0 || put(w, w->values.data, w->values.len, err) < 0 ||
                       put(w, w->tensors.data, w->tensors.len, err) < 0 || pad(w, at, err) < 0
                   ? -1
                   : 0;
  buf_free(&head);
  w->begun = true;
  w->left = w->n_tensors ? w->sizes[0] : 0;
  return result;
}

int gguf_writer_data(struct gguf_writer *w, const void *data, size_t n, struct error *err) {
  if (!w->begun && begin_data(w, err) < 0) return -1;
  assert(w->current < w->n_tensors && n <= w->left);
  if (put(w, data, n, err) < 0) return -1;
  w->left -= n;
  if (w->left) return 0;
  if (pad(w, w->sizes[w->current++], err) < 0) return -1;
  w->left = w->current < w->n_tensors ? w->sizes[w->current] : 0;
  return 0;
}

int gguf_writer_finish(struct gguf_writer *w, struct error *err) {
  int result = w->begun ? 0 : begin_data(w, err);
  assert(result < 0 || w->current == w->n_tensors);
  if (result == 0) result = fs_writer_commit(w->file, err);
  else fs_writer_abandon(w->file);
  writer_free(w);
  return result;
}
