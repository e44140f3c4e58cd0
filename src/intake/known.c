/* known: see known.h. SPDX-License-Identifier: Apache-2.0
 * The catalogue (catalog/default-models.json) is part of the program; its models were compared with their references, test/vector. */
#include "intake/known.h"

#include <assert.h>
#include <string.h>

#include "base/js.h"

static bool counts(const struct manifest_file *f) {
  static const char *const none[] = {"LICENSE", "NOTICE", "plinth-vectors.json"};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
    if (slice_starts(slice_cstr(f->path), slice_cstr(none[i]))) return false;
  return true;
}

static bool has(const struct manifest *m, const struct js *file) {
  struct slice sha256;
  if (!js_str(js_get(file, "sha256"), &sha256)) return false;
  for (size_t i = 0; i < m->n_files; i++)
    if (slice_eq(sha256, slice_cstr(m->files[i].sha256))) return true;
  return false;
}

static bool equals(const struct manifest *m, const struct js *files) {
  size_t n = 0;
  for (size_t i = 0; i < m->n_files; i++) n += counts(&m->files[i]);
  if (n != js_len(files)) return false;
  for (size_t i = 0; i < js_len(files); i++)
    if (!has(m, js_at(files, i))) return false;
  return true;
}

bool known_model(const struct manifest *m) {
  struct error err;
  struct js *root = js_parse(slice_make(known_catalogue, known_catalogue_bytes), &err);
  assert(root); /* a test reads it */
  const struct js *models = js_get(root, "models");
  bool found = false;
  for (size_t i = 0; !found && i < js_len(models); i++) found = equals(m, js_get(js_at(models, i), "files"));
  js_free(root);
  return found;
}
