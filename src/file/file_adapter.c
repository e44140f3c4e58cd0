/* file_adapter: a PEFT folder; see file.h. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "file/file.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

static bool holds(const char *dir, const char *name) {
  char *path = fs_join(dir, name);
  bool found = fs_exists(path);
  free(path);
  return found;
}

bool file_is_adapter(const char *path) { return fs_is_dir(path) && holds(path, "adapter_config.json"); }

static int read_config(struct file_adapter *a, struct error *err) {
  char *path = fs_join(a->path, "adapter_config.json");
  struct buf text = {0};
  int result = fs_read(path, CONFIG_BYTES_MAX, &text, err);
  if (result == 0 && !(a->config = js_parse(buf_view(&text), err))) result = error_prefix(err, "%s", path);
  if (result == 0 && js_type(a->config) != JS_OBJECT) result = error_set(err, ERROR_CORRUPT, "%s is no JSON object.", path);
  buf_free(&text);
  free(path);
  return result;
}

static int read_tensors(struct file_adapter *a, struct error *err) {
  if (!holds(a->path, "adapter_model.safetensors")) {
    if (holds(a->path, "adapter_model.bin"))
      return error_set(
          err, ERROR_UNSUPPORTED,
          "%s/adapter_model.bin is in Python's pickle format, which can run any program when it is read, and is not loaded. Convert "
          "it where you trust it: PeftModel.from_pretrained(BASE, DIR).save_pretrained(NEW_DIR, safe_serialization=True).",
          a->path);
    return error_set(err, ERROR_NOT_FOUND, "The adapter's folder %s holds no adapter_model.safetensors.", a->path);
  }
  char *path = fs_join(a->path, "adapter_model.safetensors");
  a->tensors = safetensors_open(path, err);
  free(path);
  return a->tensors ? 0 : -1;
}

struct file_adapter *file_adapter_open(const char *path, struct error *err) {
  struct file_adapter *a = mem_zalloc(1, sizeof *a);
  a->path = mem_strdup(path);
  if (read_config(a, err) == 0 && read_tensors(a, err) == 0) return a;
  file_adapter_close(a);
  return NULL;
}

void file_adapter_close(struct file_adapter *a) {
  if (!a) return;
  safetensors_close(a->tensors);
  js_free(a->config);
  free(a->path);
  free(a);
}
