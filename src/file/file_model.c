/* file_model: a model on disk, whatever its container; see file.h. SPDX-License-Identifier: Apache-2.0
 * Most of this file is about telling what is wrong with a folder: that is where people go astray. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "file/file.h"
#include "file/parts.h"

enum { JSON_BYTES_MAX = 256 * 1024 * 1024 }; /* the largest tokenizer.json known has 35 MB */

/* What a folder holds. */
struct survey {
  size_t n_files, n_gguf, n_pickles;
  char *gguf;       /* one of the .gguf files */
  char *gguf_other; /* another one */
  char *pickle;     /* one of the pickle files */
  bool config, safetensors, tokenizer;
  bool strangers; /* not all .gguf files are parts of one set */
};

static bool is_pickle(struct slice name) {
  static const char *const endings[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    if (slice_ends(name, slice_cstr(endings[i]))) return true;
  return slice_ends(name, SLICE(".bin.index.json"));
}

static bool same_set(struct slice a, struct slice b) {
  struct parts x, y;
  return parts_parse(a, &x) && parts_parse(b, &y) && x.count == y.count && slice_eq(x.stem, y.stem);
}

static bool is_tokenizer(struct slice name) {
  static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tiktoken.model"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (slice_eq(name, slice_cstr(names[i]))) return true;
  return slice_ends(name, SLICE(".tiktoken"));
}

static void survey_name(struct survey *s, const char *text) {
  struct slice name = slice_cstr(text);
  s->n_files++;
  if (slice_ends(name, SLICE(".gguf"))) {
    if (s->n_gguf && !same_set(name, slice_cstr(s->gguf))) s->strangers = true;
    char **to = s->n_gguf++ ? &s->gguf_other : &s->gguf;
    free(*to);
    *to = mem_strdup(text);
  } else if (is_pickle(name)) {
    s->n_pickles++;
    free(s->pickle);
    s->pickle = mem_strdup(text);
  }
  s->config |= slice_eq(name, SLICE("config.json"));
  s->tokenizer |= is_tokenizer(name);
  s->safetensors |= slice_ends(name, SLICE(".safetensors")) || slice_eq(name, SLICE("model.safetensors.index.json"));
}

static int survey_dir(const char *dir, struct survey *s, struct error *err) {
  DIR *d = opendir(dir);
  if (!d) return error_set(err, ERROR_IO, "Cannot open the folder %s: %s.", dir, strerror(errno));
  for (struct dirent *entry; (entry = readdir(d));)
    if (entry->d_name[0] != '.') survey_name(s, entry->d_name);
  closedir(d);
  return 0;
}

static void survey_free(struct survey *s) {
  free(s->gguf);
  free(s->gguf_other);
  free(s->pickle);
}

static int refuse_pickle(const char *path, struct error *err) {
  return error_set(err, ERROR_UNSUPPORTED,
                   "%s is in Python's pickle format, which can run any program when it is read, and is not loaded. Take the model as "
                   "safetensors or GGUF, or "
                   "convert it where you trust it: AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR, safe_serialization=True).",
                   path);
}

/* Why a folder without a usable model is none. */
static int refuse_dir(const char *dir, const struct survey *s, struct error *err) {
  if (s->n_files == 0)
    return error_set(err, ERROR_NOT_FOUND, "The folder %s is empty; a model is a .gguf file, or config.json with safetensors.", dir);
  if (s->n_gguf > 1 && s->strangers && !s->safetensors) {
    return error_set(err, ERROR_INVALID, "The folder %s holds %zu .gguf files (%s, %s%s). Name one of the files.", dir, s->n_gguf, s->gguf,
                     s->gguf_other, s->n_gguf > 2 ? ", …" : "");
  }
  if (s->n_pickles && !s->safetensors) {
    char *path = fs_join(dir, s->pickle);
    refuse_pickle(path, err);
    free(path);
    return -1;
  }
  if (s->safetensors)
    return error_set(err, ERROR_NOT_FOUND,
                     "The folder %s holds safetensors but no config.json, which says what model they are. Download it too.", dir);
  if (s->config)
    return error_set(err, ERROR_NOT_FOUND, "The folder %s holds config.json but no weights (model.safetensors). Download them too.", dir);
  return error_set(err, ERROR_NOT_FOUND, "The folder %s holds no model: neither a .gguf file nor config.json with safetensors.", dir);
}

/* ---- opening ---- */

static int open_gguf(struct file_model *m, const char *path, struct error *err) {
  m->container = FILE_GGUF;
  struct parts p;
  m->path = parts_parse(slice_cstr(path), &p) ? parts_path(&p, 1) : mem_strdup(path);
  m->gguf = gguf_open(path, err);
  return m->gguf ? 0 : -1;
}

static int open_hugging_face(struct file_model *m, const char *dir, const struct survey *s, bool text_only, struct error *err) {
  bool enough = text_only ? s->config || s->tokenizer : s->config && s->safetensors;
  if (!enough) return refuse_dir(dir, s, err);
  m->container = FILE_SAFETENSORS;
  m->path = mem_strdup(dir);
  if (file_model_json(m, "config.json", &m->config, err) < 0) return -1;
  if (m->config && js_type(m->config) != JS_OBJECT) return error_set(err, ERROR_CORRUPT, "%s/config.json is no JSON object.", dir);
  if (text_only) return 0;
  m->tensors = safetensors_open(dir, err);
  return m->tensors ? 0 : -1;
}

static int open_dir(struct file_model *m, const char *dir, bool text_only, struct error *err) {
  struct survey s = {0};
  int result = survey_dir(dir, &s, err);
  if (result == 0 && s.n_gguf >= 1 && !s.strangers) {
    char *path = fs_join(dir, s.gguf);
    result = open_gguf(m, path, err);
    free(path);
  } else if (result == 0) {
    result = open_hugging_face(m, dir, &s, text_only, err);
  }
  survey_free(&s);
  return result;
}

static int open_any(struct file_model *m, const char *path, bool text_only, struct error *err) {
  struct slice name = slice_cstr(path);
  if (fs_is_dir(path)) return open_dir(m, path, text_only, err);
  if (!fs_exists(path)) return error_set(err, ERROR_NOT_FOUND, "There is no file or folder %s.", path);
  if (is_pickle(name)) return refuse_pickle(path, err);
  if (slice_ends(name, SLICE(".safetensors")) || slice_ends(name, SLICE(".json")))
    return error_set(err, ERROR_INVALID, "%s is only a part of a model. Name the folder that holds it, with its config.json.", path);
  return open_gguf(m, path, err);
}

static struct file_model *open_model(const char *path, bool text_only, struct error *err) {
  struct file_model *m = mem_zalloc(1, sizeof *m);
  if (open_any(m, path, text_only, err) == 0) return m;
  file_model_close(m);
  return NULL;
}

struct file_model *file_model_open(const char *path, struct error *err) { return open_model(path, false, err); }

struct file_model *file_model_open_text(const char *path, struct error *err) { return open_model(path, true, err); }

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

/* A name may come from the model's own files (modules.json names folders): it must not leave the folder. */
static bool stays_inside(const char *name) {
  if (name[0] == '/' || name[0] == '\0') return false;
  for (const char *p = name; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
    if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == '\0')) return false;
  return true;
}

int file_model_json(const struct file_model *m, const char *name, struct js **ret_json, struct error *err) {
  *ret_json = NULL;
  if (m->container == FILE_GGUF) return 0;
  if (!stays_inside(name)) return error_set(err, ERROR_CORRUPT, "%s: the path \"%.100s\" leads out of the model's folder.", m->path, name);
  char *path = fs_join(m->path, name);
  struct buf text = {0};
  int result = 0;
  if (fs_exists(path)) {
    result = fs_read(path, JSON_BYTES_MAX, &text, err);
    if (result == 0 && !(*ret_json = js_parse(buf_view(&text), err))) {
      if (err) err->code = ERROR_CORRUPT;
      result = error_prefix(err, "%s", path);
    }
  }
  buf_free(&text);
  free(path);
  return result;
}
