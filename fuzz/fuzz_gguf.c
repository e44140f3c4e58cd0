/* Fuzz target: GGUF files. SPDX-License-Identifier: Apache-2.0
 * What opens is walked whole, so that every view is shown to lie inside the bytes and every getter to hold. */
#include <stdlib.h>
#include <string.h>

#include "file/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile double sink;

static void touch(struct slice s) {
  for (size_t i = 0; i < s.len; i++) sink += s.data[i];
}

static void touch_value(const struct gguf *g, const struct gguf_value *v) {
  char key[70000];
  struct slice text;
  uint64_t u;
  double d;
  bool b;
  touch(v->key);
  touch(v->bytes);
  memcpy(key, v->key.data, v->key.len);
  key[v->key.len] = '\0';
  if (strlen(key) == v->key.len && gguf_find(g, key) != v) abort();
  int kinds = gguf_u64(g, key, &u) + gguf_f64(g, key, &d) + gguf_bool(g, key, &b) + gguf_str(g, key, &text);
  if (kinds > 1) abort();
  if (v->type != GGUF_ARRAY) return;
  if (v->element == GGUF_STRING) {
    uint64_t n = 0;
    for (size_t cursor = 0; gguf_next_str(v, &cursor, &text); n++) touch(text);
    if (n != v->count) abort();
  } else if (v->element != GGUF_ARRAY) {
    for (uint64_t i = 0; i < v->count; i++) sink += gguf_array_f64(v, i);
    if (v->element != GGUF_F32 && v->element != GGUF_F64)
      for (uint64_t i = 0; i < v->count; i++) sink += (double)gguf_array_i64(v, i);
  }
}

static void touch_tensor(const struct file_tensor *t) {
  float block[256];
  const struct dtype_info *info = dtype_info(t->dtype);
  uint64_t elements = 1;
  for (unsigned i = 0; i < t->rank; i++) elements *= t->shape[i];
  if (elements != t->n_elements || t->n_bytes / info->block_bytes != t->n_elements / info->block_elements) abort();
  touch(t->name);
  touch(slice_make(t->data, t->n_bytes));
  if (t->n_elements && dtype_to_f32(t->dtype, t->data, block, info->block_elements)) sink += block[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct error err = {0};
  struct gguf *g = gguf_open_bytes(slice_make(data, size), "input", &err);
  if (!g && (err.code == ERROR_NONE || !err.message[0])) abort();
  for (size_t i = 0; g && i < gguf_n_values(g); i++) touch_value(g, gguf_value_at(g, i));
  for (size_t i = 0; g && i < gguf_n_tensors(g); i++) touch_tensor(gguf_tensor_at(g, i));
  gguf_close(g);
  return 0;
}
