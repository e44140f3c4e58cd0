/* safetensors_write: one file, tensor after tensor; see file.h and doc/format/safetensors.md. SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/fs.h"
#include "base/jsonw.h"
#include "file/file.h"

static void write_tensor(struct jsonw *w, const struct file_tensor *t, uint64_t *at) {
  assert(dtype_info(t->dtype)->block_elements == 1);
  jsonw_key_slice(w, t->name);
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "dtype", dtype_info(t->dtype)->name);
  jsonw_key(w, "shape");
  jsonw_array_begin(w);
  for (unsigned i = 0; i < t->rank; i++) jsonw_int(w, (int64_t)t->shape[i]);
  jsonw_array_end(w);
  jsonw_key(w, "data_offsets");
  jsonw_array_begin(w);
  jsonw_int(w, (int64_t)*at);
  *at += t->n_bytes;
  jsonw_int(w, (int64_t)*at);
  jsonw_array_end(w);
  jsonw_object_end(w);
}

struct fs_writer *safetensors_write(const char *path, const struct file_tensor *const *tensors, size_t n, struct error *err) {
  struct buf header = {0};
  struct jsonw w = {.out = &header};
  uint64_t at = 0;
  jsonw_object_begin(&w);
  jsonw_key(&w, "__metadata__");
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "format", "pt"); /* what Hugging Face's loaders ask for */
  jsonw_object_end(&w);
  for (size_t i = 0; i < n; i++) write_tensor(&w, tensors[i], &at);
  jsonw_object_end(&w);
  while ((header.len + sizeof(uint64_t)) % SAFETENSORS_ALIGNMENT) buf_add_byte(&header, ' ');
  uint64_t length = header.len;
  struct fs_writer *file = fs_writer_open(path, 0644, err);
  if (file && (fs_writer_put(file, &length, sizeof length, err) < 0 || fs_writer_put(file, header.data, header.len, err) < 0)) {
    fs_writer_abandon(file);
    file = NULL;
  }
  buf_free(&header);
  return file;
}
