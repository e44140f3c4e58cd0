/* Fuzz target: a GGUF model in two parts. SPDX-License-Identifier: Apache-2.0
 * The first two bytes say where the first part ends. What opens is walked, so that every view is shown to lie inside its part. */
#include <stdlib.h>

#include "file/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t rest = size - 2, first = (size_t)(data[0] | data[1] << 8);
  if (first > rest) first = rest;
  struct slice parts[2] = {slice_make(data + 2, first), slice_make(data + 2 + first, rest - first)};
  struct error err = {0};
  struct gguf *g = gguf_open_parts_bytes(parts, 2, "input", &err);
  if (!g && (err.code == ERROR_NONE || !err.message[0])) abort();
  for (size_t i = 0; g && i < gguf_n_tensors(g); i++) {
    const struct file_tensor *t = gguf_tensor_at(g, i);
    for (uint64_t k = 0; k < t->n_bytes; k++) sink += ((const uint8_t *)t->data)[k];
    for (size_t k = 0; k < t->name.len; k++) sink += (unsigned char)t->name.data[k];
  }
  gguf_close(g);
  return 0;
}
