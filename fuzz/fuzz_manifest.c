/* Fuzz target: plinth.json. What is read is written and read again to the same text. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "file/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct manifest m, again;
  struct error err = {0};
  struct buf first = {0}, second = {0};
  if (manifest_parse(slice_make(data, size), &m, &err) < 0) {
    if (!err.code || m.n_files) abort();
    return 0;
  }
  for (size_t i = 0; i < m.n_files; i++)
    if (!manifest_safe_path(slice_cstr(m.files[i].path))) abort();
  manifest_format(&m, &first);
  if (manifest_parse(buf_view(&first), &again, &err) < 0) abort();
  manifest_format(&again, &second);
  if (!slice_eq(buf_view(&first), buf_view(&second))) abort();
  buf_free(&first);
  buf_free(&second);
  manifest_free(&m);
  manifest_free(&again);
  return 0;
}
