/* Fuzz target: quantized checkpoints: a config.json, a NUL, a safetensors file. SPDX-License-Identifier: Apache-2.0
 * Every matrix that the settings find is unpacked, so that each size is shown to have been checked. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/js.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static void read_one(const struct checkpoint *c, struct slice stem, struct pool *pool) {
  struct buf name = {0};
  struct checkpoint_tensor t;
  struct error err = {0};
  buf_add_slice(&name, stem);
  buf_add_cstr(&name, ".weight");
  int found = checkpoint_read(c, name.data, pool, &t, &err);
  if (found < 0 && (err.code == ERROR_NONE || !err.message[0])) abort();
  if (found == 1) {
    for (uint64_t i = 0; i < t.view.n_bytes; i++) sink += ((const uint8_t *)t.view.data)[i];
    checkpoint_release(&t);
  }
  buf_free(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct pool *pool;
  if (!pool) pool = pool_create(1, NULL);
  const uint8_t *end = memchr(data, 0, size);
  if (!end) return 0;
  struct file_model file = {.container = FILE_SAFETENSORS, .path = "input-that-is-no-folder"};
  struct slice rest = slice_make(end + 1, size - (size_t)(end + 1 - data));
  file.config = js_parse(slice_make(data, (size_t)(end - data)), NULL);
  file.tensors = file.config ? safetensors_open_bytes(rest, "input", NULL) : NULL;
  struct error err = {0};
  struct checkpoint *c = file.tensors ? checkpoint_open(&file, &err) : NULL;
  if (file.tensors && !c && (err.code == ERROR_NONE || !err.message[0])) abort();
  for (size_t i = 0; c && i < safetensors_n_tensors(file.tensors); i++) {
    const struct file_tensor *t = safetensors_tensor_at(file.tensors, i);
    sink += (unsigned)checkpoint_parameters(c, t);
    for (size_t len = t->name.len; len > 0; len--)
      if (t->name.data[len - 1] == '.') {
        read_one(c, slice_make(t->name.data, len - 1), pool);
        break;
      }
  }
  checkpoint_close(c);
  safetensors_close(file.tensors);
  js_free(file.config);
  return 0;
}
