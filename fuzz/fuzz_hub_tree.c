/* Fuzz target: a hub's list of files, and the choice among them. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/manifest.h"
#include "intake/hub.h"

static void choose(const struct hub_tree *t, const char *wanted) {
  struct error err = {0};
  bool *picked = mem_zalloc(t->n + 1, sizeof *picked);
  size_t n = 0;
  if (hub_select(t, &wanted, wanted != NULL, picked, &err) == 0) {
    for (size_t i = 0; i < t->n; i++) n += picked[i];
    if (n == 0) abort();
  } else if (!err.code) {
    abort();
  }
  free(picked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct hub_tree t = {0};
  struct error err = {0};
  if (hub_tree_parse(slice_make(data, size), &t, &err) == 0 && hub_tree_finish(&t, &err) == 0) {
    for (size_t i = 0; i < t.n; i++)
      if (!manifest_safe_path(slice_cstr(t.files[i].path)) || (!t.files[i].sha256[0] && strlen(t.files[i].git) != 40)) abort();
    choose(&t, NULL);
    choose(&t, "Q4_K_M");
    choose(&t, "*.gguf");
  } else if (!err.code) {
    abort();
  }
  hub_tree_free(&t);
  return 0;
}
