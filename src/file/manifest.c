/* manifest: see manifest.h. SPDX-License-Identifier: Apache-2.0 */
#include "file/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { BYTES_MAX = 16 << 20, FILES_MAX = 100000, CHECKS_MAX = 1000, PATH_BYTES_MAX = 1024, PART_BYTES_MAX = 255 };

/* ---- paths ---- */

static bool safe_part(struct slice part) {
  if (part.len == 0 || part.len > PART_BYTES_MAX || slice_eq(part, SLICE(".")) || slice_eq(part, SLICE(".."))) return false;
  for (size_t i = 0; i < part.len; i++) {
    unsigned char c = (unsigned char)part.data[i];
    if (c < 0x20 || c == 0x7F || c == '\\') return false;
  }
  return true;
}

bool manifest_safe_path(struct slice path) {
  if (path.len == 0 || path.len > PATH_BYTES_MAX || !utf8_valid(path)) return false;
  for (struct slice rest = path;;) {
    const char *slash = memchr(rest.data, '/', rest.len);
    if (!safe_part(slice_make(rest.data, slash ? (size_t)(slash - rest.data) : rest.len))) return false;
    if (!slash) return true;
    rest = slice_from(rest, (size_t)(slash - rest.data) + 1);
    if (rest.len == 0) return false;
  }
}

static bool is_file(const char *path) { return slice_ends(slice_cstr(path), SLICE(".gguf")) && !fs_is_dir(path); }

char *manifest_path(const char *model_path) {
  if (!is_file(model_path)) return fs_join(model_path, "plinth.json");
  struct buf path = {0};
  buf_add(&path, model_path, strlen(model_path) - strlen(".gguf"));
  buf_add_cstr(&path, ".plinth.json");
  return path.data;
}

char *manifest_file_path(const char *model_path, const struct manifest_file *f) {
  return is_file(model_path) ? mem_strdup(model_path) : fs_join(model_path, f->path);
}

/* ---- reading ---- */

static char *text_of(const struct js *object, const char *key) {
  struct slice s;
  if (!js_str(js_get(object, key), &s) || memchr(s.data ? s.data : "", '\0', s.len)) return NULL;
  return mem_dup(s.data, s.len);
}

static bool is_hash(const char *text) { return text && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64; }

static char *fingerprint_of(const struct js *object, const char *key) {
  char *text = text_of(object, key);
  if (text && strncmp(text, "sha256:", 7) == 0 && is_hash(text + 7)) return text;
  free(text);
  return NULL;
}

struct manifest_file *manifest_add_file(struct manifest *m, const char *path) {
  m->files = mem_realloc(m->files, m->n_files + 1, sizeof *m->files);
  struct manifest_file *f = &m->files[m->n_files++];
  *f = (struct manifest_file){.path = mem_strdup(path)};
  return f;
}

void manifest_add_check(struct manifest *m, const char *name, const char *result, const char *detail) {
  m->checks = mem_realloc(m->checks, m->n_checks + 1, sizeof *m->checks);
  m->checks[m->n_checks++] = (struct manifest_check){mem_strdup(name), mem_strdup(result), mem_strdup(detail)};
}

static int parse_file(struct manifest *m, const struct js *v, struct error *err) {
  int64_t bytes, mtime_ns;
  char *path = text_of(v, "path"), *sha256 = text_of(v, "sha256");
  bool good = path && manifest_safe_path(slice_cstr(path)) && is_hash(sha256) && js_int(js_get(v, "bytes"), &bytes) && bytes >= 0 &&
              js_int(js_get(v, "mtime_ns"), &mtime_ns);
  if (good) {
    struct manifest_file *f = manifest_add_file(m, path);
    f->bytes = (uint64_t)bytes;
    f->mtime_ns = mtime_ns;
    memcpy(f->sha256, sha256, sizeof f->sha256);
  }
  free(path);
  free(sha256);
  return good ? 0 : error_set(err, ERROR_CORRUPT, "Its list of files is not as an import writes it.");
}

static void parse_check(struct manifest *m, const struct js *v) {
  char *name = text_of(v, "name"), *result = text_of(v, "result"), *detail = text_of(v, "detail");
  if (name && result) manifest_add_check(m, name, result, detail ? detail : "");
  free(name);
  free(result);
  free(detail);
}

static int parse(const struct js *root, struct manifest *m, struct error *err) {
  int64_t version;
  struct slice text;
  if (!js_int(js_get(root, "plinth_manifest"), &version))
    return error_set(err, ERROR_CORRUPT, "It has no number \"plinth_manifest\": an import did not write it.");
  if (version != 1) return error_set(err, ERROR_UNSUPPORTED, "It is of version %lld; this program reads version 1.", (long long)version);
  const struct js *source = js_get(root, "source"), *prints = js_get(root, "fingerprints"), *files = js_get(root, "files"),
                  *checks = js_get(root, "checks");
  if (js_len(files) > FILES_MAX || js_len(checks) > CHECKS_MAX)
    return error_set(err, ERROR_TOO_LARGE, "It lists too many files or checks.");
  m->adapter = js_str(js_get(root, "kind"), &text) && slice_eq(text, SLICE("adapter"));
  m->base = text_of(root, "base");
  m->source = text_of(source, "from");
  m->revision = text_of(source, "revision");
  m->commit = text_of(source, "commit");
  js_int(js_get(root, "imported_at_s"), &m->imported_s);
  m->verdict = js_str(js_get(root, "verdict"), &text) && slice_eq(text, SLICE("verified")) ? MANIFEST_VERIFIED : MANIFEST_UNVERIFIED;
  m->verified_by = text_of(root, "verified_by");
  m->weights = fingerprint_of(prints, "weights");
  m->tokenizer = fingerprint_of(prints, "tokenizer");
  m->chat_template = fingerprint_of(prints, "chat_template");
  for (size_t i = 0; i < js_len(files); i++)
    if (parse_file(m, js_at(files, i), err) < 0) return -1;
  for (size_t i = 0; i < js_len(checks); i++) parse_check(m, js_at(checks, i));
  return 0;
}

int manifest_parse(struct slice json, struct manifest *ret, struct error *err) {
  *ret = (struct manifest){0};
  struct js *root = js_parse(json, err);
  int result = root ? parse(root, ret, err) : -1;
  js_free(root);
  if (result < 0) manifest_free(ret);
  return result;
}

int manifest_read(const char *model_path, struct manifest *ret, struct error *err) {
  *ret = (struct manifest){0};
  char *path = manifest_path(model_path);
  struct buf text = {0};
  int result = 0;
  if (fs_exists(path)) {
    result = fs_read(path, BYTES_MAX, &text, err);
    if (result == 0) result = manifest_parse(buf_view(&text), ret, err) < 0 ? error_prefix(err, "%s", path) : 1;
  }
  buf_free(&text);
  free(path);
  return result;
}

void manifest_free(struct manifest *m) {
  char *const texts[] = {m->source, m->revision, m->commit, m->base, m->verified_by, m->weights, m->tokenizer, m->chat_template};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) free(texts[i]);
  for (size_t i = 0; i < m->n_files; i++) free(m->files[i].path);
  for (size_t i = 0; i < m->n_checks; i++) {
    free(m->checks[i].name);
    free(m->checks[i].result);
    free(m->checks[i].detail);
  }
  free(m->files);
  free(m->checks);
  *m = (struct manifest){0};
}

/* ---- writing ---- */

static void write_optional(struct jsonw *w, const char *key, const char *text) {
  if (text) jsonw_key_cstr(w, key, text);
}

static void write_files(struct jsonw *w, const struct manifest *m) {
  jsonw_key(w, "files");
  jsonw_array_begin(w);
  for (size_t i = 0; i < m->n_files; i++) {
    const struct manifest_file *f = &m->files[i];
    jsonw_object_begin(w);
    jsonw_key_cstr(w, "path", f->path);
    jsonw_key_int(w, "bytes", (int64_t)f->bytes);
    jsonw_key_int(w, "mtime_ns", f->mtime_ns);
    jsonw_key_cstr(w, "sha256", f->sha256);
    jsonw_object_end(w);
  }
  jsonw_array_end(w);
}

static void write_checks(struct jsonw *w, const struct manifest *m) {
  jsonw_key(w, "checks");
  jsonw_array_begin(w);
  for (size_t i = 0; i < m->n_checks; i++) {
    jsonw_object_begin(w);
    jsonw_key_cstr(w, "name", m->checks[i].name);
    jsonw_key_cstr(w, "result", m->checks[i].result);
    if (m->checks[i].detail[0]) jsonw_key_cstr(w, "detail", m->checks[i].detail);
    jsonw_object_end(w);
  }
  jsonw_array_end(w);
}

void manifest_format(const struct manifest *m, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  jsonw_key_int(&w, "plinth_manifest", 1);
  jsonw_key_cstr(&w, "kind", m->adapter ? "adapter" : "model");
  write_optional(&w, "base", m->base);
  jsonw_key(&w, "source");
  jsonw_object_begin(&w);
  write_optional(&w, "from", m->source);
  write_optional(&w, "revision", m->revision);
  write_optional(&w, "commit", m->commit);
  jsonw_object_end(&w);
  jsonw_key_int(&w, "imported_at_s", m->imported_s);
  jsonw_key_cstr(&w, "imported_by", "plinth " PLINTH_VERSION);
  jsonw_key_cstr(&w, "verdict", manifest_verdict_name(m->verdict));
  write_optional(&w, "verified_by", m->verified_by);
  jsonw_key(&w, "fingerprints");
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "weights", m->weights);
  jsonw_key_cstr(&w, "tokenizer", m->tokenizer);
  jsonw_key_cstr(&w, "chat_template", m->chat_template);
  jsonw_object_end(&w);
  write_files(&w, m);
  write_checks(&w, m);
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
}

int manifest_write(const struct manifest *m, const char *model_path, struct error *err) {
  struct buf text = {0};
  manifest_format(m, &text);
  char *path = manifest_path(model_path);
  int result = fs_write_atomic(path, buf_view(&text), 0644, err);
  free(path);
  buf_free(&text);
  return result;
}

/* ---- looking again ---- */

const char *manifest_changed(const struct manifest *m, const char *model_path) {
  for (size_t i = 0; i < m->n_files; i++) {
    struct stat st;
    char *path = manifest_file_path(model_path, &m->files[i]);
    bool same = stat(path, &st) == 0 && (uint64_t)st.st_size == m->files[i].bytes &&
                (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec == m->files[i].mtime_ns;
    free(path);
    if (!same) return m->files[i].path;
  }
  return NULL;
}

const char *manifest_verdict_name(enum manifest_verdict verdict) { return verdict == MANIFEST_VERIFIED ? "verified" : "unverified"; }
