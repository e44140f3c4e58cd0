/* Fuzz target: MLmodel files. No folder that is named leads out of the model. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "file/manifest.h"
#include "intake/mlflow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct mlflow m;
  struct error err = {0};
  if (mlflow_parse(slice_make(data, size), &m, &err) < 0) {
    if (!err.code || m.model || m.adapter) abort();
    return 0;
  }
  char *const folders[] = {m.model, m.tokenizer, m.adapter};
  for (size_t i = 0; i < 3; i++)
    if (folders[i] && !manifest_safe_path(slice_cstr(folders[i]))) abort();
  mlflow_free(&m);
  return 0;
}
