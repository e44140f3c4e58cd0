/* file_model: a model on disk, whatever its container; see file.h. SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "file/file.h"

enum { JSON_BYTES_MAX = 64 << 20 };

/* What a folder holds, as far as it matters here. */
struct folder {
  char *gguf;      /* path of a .gguf file, or NULL */
  unsigned n_gguf;
  bool pickle;     /* .bin, .pt or .pth files */
};

static int look_into(const char *path, struct folder *f, struct error *err) {
  DIR *dir = opendir(path);
  if (!dir) return error_set(err, ERROR_IO, "Cannot read the folder %s.", path);
  for (struct dirent *entry; (entry = readdir(dir));) {
    struct slice name = slice_cstr(entry->d_name);
    if (slice_ends(name, SLICE(".gguf")) && ++f->n_gguf == 1) f->gguf = fs_join(path, entry->d_name);
    if (slice_ends(name, SLICE(".bin")) || slice_ends(name, SLICE(".pt")) || slice_ends(name, SLICE(".pth"))) f->pickle = true;
  }
  closedir(dir);
  return 0;
}

int file_model_json(const struct file_model *m, const char *name, struct js **ret_json, struct error *err) {
  *ret_json = NULL;
  if (m->container != FILE_SAFETENSORS) return 0;
  char *path = fs_join(m->path, name);
  struct buf text = {0};
  int result = 0;
  if (fs_exists(path)) {
    result = fs_read(path, JSON_BYTES_MAX, &text, err);
    if (result == 0 && !(*ret_json = js_parse(buf_view(&text), err))) result = error_prefix(err, "%s", path);
  }
  buf_free(&text);
  free(path);
  return result;
}

static int open_folder(struct file_model *m, bool with_tensors, struct error *err) {
  char *config = fs_join(m->path, "config.json"), *single = fs_join(m->path, "model.safetensors"), *index = fs_join(m->path, "model.safetensors.index.json");
  bool has_config = fs_exists(config), has_tensors = fs_exists(single) || fs_exists(index);
  free(config);
  free(single);
  free(index);
  struct folder f = {0};
  int result = look_into(m->path, &f, err);
  if (result == 0 && has_config && has_tensors) {
    m->container = FILE_SAFETENSORS;
    result = file_model_json(m, "config.json", &m->config, err);
    if (result == 0 && js_type(m->config) != JS_OBJECT) result = error_set(err, ERROR_CORRUPT, "%s/config.json is no JSON object.", m->path);
    if (result == 0 && with_tensors && !(m->tensors = safetensors_open(m->path, err))) result = -1;
  } else if (result == 0 && f.n_gguf == 1) {
    m->container = FILE_GGUF;
    free(m->path);
    m->path = f.gguf;
    f.gguf = NULL;
    if (!(m->gguf = gguf_open(m->path, err))) result = -1;
  } else if (result == 0 && f.n_gguf > 1) {
    result = error_set(err, ERROR_INVALID, "The folder %s holds %u .gguf files; name one of them.", m->path, f.n_gguf);
  } else if (result == 0 && f.pickle && !has_tensors) {
    result = error_set(err, ERROR_UNSUPPORTED,
                       "%s holds pickle files (.bin, .pt) only. Loading a pickle can run code, so Plinth refuses it; save the model again with "
                       "save_pretrained(…, safe_serialization=True).", m->path);
  } else if (result == 0) {
    result = error_set(err, ERROR_NOT_FOUND, "%s holds no model: neither a .gguf file nor config.json with model.safetensors.", m->path);
  }
  free(f.gguf);
  return result;
}

static struct file_model *open_model(const char *path, bool with_tensors, struct error *err) {
  struct file_model *m = mem_zalloc(1, sizeof *m);
  m->path = mem_strdup(path);
  for (size_t n = strlen(m->path); n > 1 && m->path[n - 1] == '/'; n--) m->path[n - 1] = '\0';
  int result = 0;
  if (!fs_exists(path)) result = error_set(err, ERROR_NOT_FOUND, "There is no model at %s: no such file or folder.", path);
  else if (fs_is_dir(path)) result = open_folder(m, with_tensors, err);
  else if (slice_ends(slice_cstr(path), SLICE(".bin")) || slice_ends(slice_cstr(path), SLICE(".pt")) || slice_ends(slice_cstr(path), SLICE(".pth")))
    result = error_set(err, ERROR_UNSUPPORTED, "%s is a pickle file; loading one can run code, so Plinth refuses it. Convert it to safetensors.", path);
  else if (slice_ends(slice_cstr(path), SLICE(".safetensors")))
    result = error_set(err, ERROR_INVALID, "%s is a weights file alone; name its folder, which holds config.json and the tokenizer too.", path);
  else if (!(m->gguf = gguf_open(path, err))) result = -1;
  if (result == 0) return m;
  file_model_close(m);
  return NULL;
}

struct file_model *file_model_open(const char *path, struct error *err) { return open_model(path, true, err); }

struct file_model *file_model_open_text(const char *path, struct error *err) { return open_model(path, false, err); }

void file_model_close(struct file_model *m) {
  if (!m) return;
  gguf_close(m->gguf);
  safetensors_close(m->tensors);
  js_free(m->config);
  free(m->path);
  free(m);
}

const struct file_tensor *file_model_tensor(const struct file_model *m, const char *name) {
  if (m->gguf) return gguf_tensor(m->gguf, name);
  return m->tensors ? safetensors_tensor(m->tensors, name) : NULL;
}
