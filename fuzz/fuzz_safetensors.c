/* Fuzz target: safetensors files. SPDX-License-Identifier: Apache-2.0
 * The first byte chooses: the rest as it is, or as a header that gets its true length in front and zeros as data behind it (so that
 * the fuzzer need not guess a 64-bit length). */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "file/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile double sink;

static void touch(struct slice s) {
  for (size_t i = 0; i < s.len; i++) sink += s.data[i];
}

static void check(struct slice bytes) {
  struct error err = {0};
  struct safetensors *s = safetensors_open_bytes(bytes, "input", &err);
  if (!s && (err.code == ERROR_NONE || !err.message[0])) abort();
  for (size_t i = 0; s && i < safetensors_n_tensors(s); i++) {
    const struct file_tensor *t = safetensors_tensor_at(s, i);
    char name[4096];
    touch(t->name);
    touch(slice_make(t->data, t->n_bytes));
    if (t->name.len >= sizeof name || memchr(t->name.data, '\0', t->name.len)) continue;
    memcpy(name, t->name.data, t->name.len);
    name[t->name.len] = '\0';
    if (safetensors_tensor(s, name) != t) abort();
  }
  safetensors_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  if (data[0] & 1) {
    check(slice_make(data + 1, size - 1));
    return 0;
  }
  struct buf file = {0};
  uint64_t len = size - 1;
  size_t zeros = (size_t)(data[0] >> 1) * 8;
  buf_add(&file, &len, sizeof len);
  buf_add(&file, data + 1, size - 1);
  memset(buf_reserve(&file, zeros), 0, zeros);
  buf_advance(&file, zeros);
  check(buf_view(&file));
  buf_free(&file);
  return 0;
}
