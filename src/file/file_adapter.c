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

static struct js *read_object(const char *dir, const char *name, struct error *err) {
  char *path = fs_join(dir, name);
  struct buf text = {0};
  struct js *v = NULL;
  if (fs_read(path, CONFIG_BYTES_MAX, &text, err) == 0 && !(v = js_parse(buf_view(&text), err))) error_prefix(err, "%s", path);
  if (v && js_type(v) != JS_OBJECT) {
    error_set(err, ERROR_CORRUPT, "%s is no JSON object.", path);
    js_free(v);
    v = NULL;
  }
  buf_free(&text);
  free(path);
  return v;
}

/* Behind the last slash of a path or of "org/repo". */
static struct slice last_part(struct slice s) {
  while (s.len && s.data[s.len - 1] == '/') s.len--;
  for (size_t i = s.len; i > 0; i--)
    if (s.data[i - 1] == '/') return slice_from(s, i);
  return s;
}

static int read_base(struct file_adapter *a, struct error *err) {
  struct slice base = SLICE("");
  struct js *note = NULL;
  if (holds(a->path, "plinth.json") && !(note = read_object(a->path, "plinth.json", err))) return -1;
  if (!js_str(js_get(note, "base"), &base)) js_str(js_get(a->config, "base_model_name_or_path"), &base);
  base = last_part(base);
  a->base = mem_zalloc(base.len + 1, 1);
  memcpy(a->base, base.data, base.len);
  bool named = base.len && !memchr(base.data, '\0', base.len);
  js_free(note);
  if (named) return 0;
  return error_set(err, ERROR_INVALID, "%s: adapter_config.json does not name the model it belongs to (base_model_name_or_path).", a->path);
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
  a->config = read_object(path, "adapter_config.json", err);
  if (a->config && read_base(a, err) == 0 && read_tensors(a, err) == 0) return a;
  file_adapter_close(a);
  return NULL;
}

void file_adapter_close(struct file_adapter *a) {
  if (!a) return;
  safetensors_close(a->tensors);
  js_free(a->config);
  free(a->base);
  free(a->path);
  free(a);
}
