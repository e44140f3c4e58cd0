/* safetensors: one file or shards. Format: doc/format/safetensors.md. SPDX-License-Identifier: Apache-2.0
 *
 * A file is valid when its header is a JSON object, no tensor's bytes overlap another's, none is left over, and every tensor has exactly the
 * bytes of its shape. Shards come from an index that names a file for every tensor. */
#include <assert.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "file/index.h"

enum { HEADER_BYTES_MAX = 100 * 1000 * 1000, SHARDS_MAX = 10000 };

struct shard {
  char *name;           /* the file's path, for messages */
  struct fs_map map;    /* {0} when the bytes are the caller's */
  struct js *header;    /* holds the tensor names */
};

struct safetensors {
  struct shard *shards;
  size_t n_shards;
  struct file_tensor *tensors;
  size_t n_tensors, cap_tensors;
  struct js *index_json;
  struct index index;
};

static const struct {
  const char *name;
  enum dtype dtype;
} TYPES[] = {
    {"F64", DTYPE_F64}, {"F32", DTYPE_F32}, {"F16", DTYPE_F16}, {"BF16", DTYPE_BF16}, {"F8_E4M3", DTYPE_F8_E4M3}, {"F8_E5M2", DTYPE_F8_E5M2},
    {"I64", DTYPE_I64}, {"U64", DTYPE_U64}, {"I32", DTYPE_I32}, {"U32", DTYPE_U32},   {"I16", DTYPE_I16},         {"U16", DTYPE_U16},
    {"I8", DTYPE_I8},   {"U8", DTYPE_U8},   {"BOOL", DTYPE_BOOL},
};

static int read_type(const struct js *v, struct file_tensor *t, const char *name, struct error *err) {
  struct slice text = {0};
  js_str(js_get(v, "dtype"), &text);
  for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
    if (slice_eq(text, slice_cstr(TYPES[i].name))) {
      t->dtype = TYPES[i].dtype;
      return 0;
    }
  return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s has the dtype \"%.*s\", which Plinth cannot read.", name, SLICE_ARG(t->name), SLICE_ARG(text));
}

static int read_shape(const struct js *v, struct file_tensor *t, const char *name, struct error *err) {
  const struct js *shape = js_get(v, "shape");
  if (js_type(shape) != JS_ARRAY || js_len(shape) > FILE_RANK_MAX)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s needs a shape of at most %d dimensions.", name, SLICE_ARG(t->name), FILE_RANK_MAX);
  t->rank = (unsigned)js_len(shape);
  t->n_elements = 1;
  for (unsigned i = 0; i < t->rank; i++) {
    int64_t dim;
    if (!js_int(js_at(shape, i), &dim) || dim < 0 || __builtin_mul_overflow(t->n_elements, (uint64_t)dim, &t->n_elements))
      return error_set(err, ERROR_CORRUPT, "%s: the shape of the tensor %.*s is impossible.", name, SLICE_ARG(t->name));
    t->shape[i] = (uint64_t)dim;
  }
  if (dtype_bytes(t->dtype, t->n_elements, &t->n_bytes)) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: the shape of the tensor %.*s is impossible.", name, SLICE_ARG(t->name));
}

static int read_place(const struct js *v, struct file_tensor *t, struct slice data, const char *name, struct error *err) {
  const struct js *offsets = js_get(v, "data_offsets");
  int64_t begin, end;
  if (js_len(offsets) != 2 || !js_int(js_at(offsets, 0), &begin) || !js_int(js_at(offsets, 1), &end) || begin < 0 || end < begin)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s needs data_offsets [begin, end].", name, SLICE_ARG(t->name));
  if ((uint64_t)end > data.len)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s ends at byte %lld of the data, but there are only %zu; the file is truncated or damaged.", name,
                     SLICE_ARG(t->name), (long long)end, data.len);
  if ((uint64_t)(end - begin) != t->n_bytes)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s has %lld bytes, but its shape and dtype need %llu.", name, SLICE_ARG(t->name),
                     (long long)(end - begin), (unsigned long long)t->n_bytes);
  t->data = data.data + begin;
  return 0;
}

static int read_tensor(const struct js *v, struct file_tensor *t, struct slice data, const char *name, struct error *err) {
  if (js_type(v) != JS_OBJECT) return error_set(err, ERROR_CORRUPT, "%s: the header's entry %.*s is no object.", name, SLICE_ARG(t->name));
  return read_type(v, t, name, err) < 0 || read_shape(v, t, name, err) < 0 || read_place(v, t, data, name, err) < 0 ? -1 : 0;
}

static int by_place(const void *a, const void *b) {
  const struct file_tensor *x = *(const struct file_tensor *const *)a, *y = *(const struct file_tensor *const *)b;
  if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
  return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* The tensors from `first` on cover data without holes and overlaps. */
static int check_cover(const struct safetensors *s, size_t first, struct slice data, const char *name, struct error *err) {
  size_t n = s->n_tensors - first;
  const struct file_tensor **order = mem_alloc((n + 1) * sizeof *order);
  for (size_t i = 0; i < n; i++) order[i] = &s->tensors[first + i];
  if (n) qsort(order, n, sizeof *order, by_place);
  const char *at = data.data;
  int result = 0;
  for (size_t i = 0; i < n && result == 0; i++) {
    if ((const char *)order[i]->data != at)
      result = error_set(err, ERROR_CORRUPT, "%s: the data in front of the tensor %.*s has a hole or an overlap.", name, SLICE_ARG(order[i]->name));
    at = (const char *)order[i]->data + order[i]->n_bytes;
  }
  free(order);
  if (result == 0 && at != data.data + data.len)
    result = error_set(err, ERROR_CORRUPT, "%s: %zu bytes behind the last tensor belong to none.", name, (size_t)(data.data + data.len - at));
  return result;
}

static void add_tensor(struct safetensors *s, struct slice name) {
  if (s->n_tensors == s->cap_tensors) {
    s->cap_tensors = s->cap_tensors * 2 + 256;
    s->tensors = mem_realloc(s->tensors, s->cap_tensors, sizeof *s->tensors);
  }
  s->tensors[s->n_tensors++] = (struct file_tensor){.name = name};
}

/* The header's JSON, and the data behind it. */
static int split_file(struct slice bytes, const char *name, struct slice *header, struct slice *data, struct error *err) {
  uint64_t n = 0;
  if (bytes.len < 8) return error_set(err, ERROR_CORRUPT, "%s is no safetensors file: it has only %zu bytes.", name, bytes.len);
  for (int i = 7; i >= 0; i--) n = n << 8 | (unsigned char)bytes.data[i];
  if (n > HEADER_BYTES_MAX || n > bytes.len - 8)
    return error_set(err, ERROR_CORRUPT, "%s: the header claims %llu bytes, but the file has %zu; it is no safetensors file, truncated or damaged.", name,
                     (unsigned long long)n, bytes.len);
  *header = slice_make(bytes.data + 8, (size_t)n);
  *data = slice_from(bytes, 8 + (size_t)n);
  if (n == 0 || header->data[0] != '{') return error_set(err, ERROR_CORRUPT, "%s: the header does not begin with \"{\".", name);
  return 0;
}

static int read_shard(struct safetensors *s, struct shard *shard, struct slice bytes, struct error *err) {
  struct slice header, data;
  if (split_file(bytes, shard->name, &header, &data, err) < 0) return -1;
  shard->header = js_parse(header, err);
  if (!shard->header) return error_prefix(err, "%s, header", shard->name);
  size_t first = s->n_tensors;
  for (void *it = js_iter(shard->header); it; it = js_iter_next(shard->header, it)) {
    struct slice name;
    const struct js *value;
    js_iter_get(it, &name, &value);
    if (slice_eq(name, SLICE("__metadata__"))) continue;
    add_tensor(s, name);
    if (read_tensor(value, &s->tensors[s->n_tensors - 1], data, shard->name, err) < 0) return -1;
  }
  return check_cover(s, first, data, shard->name, err);
}

static int open_shard(struct safetensors *s, char *path, struct error *err) {
  struct shard *shard = &s->shards[s->n_shards++];
  shard->name = path;
  if (fs_map_open(&shard->map, path, err) < 0) return -1;
  return read_shard(s, shard, slice_make(shard->map.data, shard->map.size), err);
}

/* ---- shards by index ---- */

static bool safe_file_name(struct slice name) {
  return name.len > 0 && name.len < 256 && !memchr(name.data, '/', name.len) && !memchr(name.data, '\\', name.len) && !memchr(name.data, '\0', name.len) &&
         !slice_eq(name, SLICE("..")) && !slice_eq(name, SLICE("."));
}

static bool shard_is_open(const struct safetensors *s, const char *path) {
  for (size_t i = 0; i < s->n_shards; i++)
    if (strcmp(s->shards[i].name, path) == 0) return true;
  return false;
}

static int open_named(struct safetensors *s, const char *dir, const char *index_path, struct slice file, struct error *err) {
  if (!safe_file_name(file)) return error_set(err, ERROR_CORRUPT, "%s names the file \"%.*s\", which is no plain file name.", index_path, SLICE_ARG(file));
  char *name = mem_dup(file.data, file.len), *path = fs_join(dir, name);
  free(name);
  if (shard_is_open(s, path)) {
    free(path);
    return 0;
  }
  if (s->n_shards == SHARDS_MAX) {
    free(path);
    return error_set(err, ERROR_CORRUPT, "%s names more than %d files.", index_path, SHARDS_MAX);
  }
  s->shards = mem_realloc(s->shards, s->n_shards + 1, sizeof *s->shards);
  s->shards[s->n_shards] = (struct shard){0};
  return open_shard(s, path, err);
}

static int open_index(struct safetensors *s, const char *dir, const char *path, struct error *err) {
  struct buf text = {0};
  int result = fs_read(path, HEADER_BYTES_MAX, &text, err);
  if (result == 0 && !(s->index_json = js_parse(buf_view(&text), err))) result = error_prefix(err, "%s", path);
  buf_free(&text);
  if (result < 0) return -1;
  const struct js *map = js_get(s->index_json, "weight_map");
  if (js_type(map) != JS_OBJECT || js_len(map) == 0) return error_set(err, ERROR_CORRUPT, "%s has no weight_map.", path);
  for (void *it = js_iter(map); it && result == 0; it = js_iter_next(map, it)) {
    struct slice tensor, file = {0};
    const struct js *value;
    js_iter_get(it, &tensor, &value);
    js_str(value, &file);
    result = open_named(s, dir, path, file, err);
  }
  return result;
}

/* Every tensor that the index names is in one of its files. */
static int check_index(const struct safetensors *s, struct error *err) {
  const struct js *map = js_get(s->index_json, "weight_map");
  for (void *it = js_iter(map); it; it = js_iter_next(map, it)) {
    struct slice tensor;
    const struct js *value;
    js_iter_get(it, &tensor, &value);
    if (!index_find(&s->index, tensor)) return error_set(err, ERROR_CORRUPT, "The index names the tensor %.*s, but no shard holds it.", SLICE_ARG(tensor));
  }
  return 0;
}

/* ---- opening ---- */

static int open_path(struct safetensors *s, const char *path, struct error *err) {
  if (fs_is_dir(path)) {
    char *index_path = fs_join(path, "model.safetensors.index.json");
    int result;
    if (fs_exists(index_path)) {
      result = open_index(s, path, index_path, err);
    } else {
      s->shards = mem_zalloc(1, sizeof *s->shards);
      result = open_shard(s, fs_join(path, "model.safetensors"), err);
    }
    free(index_path);
    return result;
  }
  if (slice_ends(slice_cstr(path), SLICE(".index.json"))) {
    const char *slash = strrchr(path, '/');
    char *dir = slash ? mem_dup(path, (size_t)(slash - path)) : mem_strdup(".");
    int result = open_index(s, dir, path, err);
    free(dir);
    return result;
  }
  s->shards = mem_zalloc(1, sizeof *s->shards);
  return open_shard(s, mem_strdup(path), err);
}

static struct safetensors *finish(struct safetensors *s, int result, const char *name, struct error *err) {
  if (result == 0) result = index_make(&s->index, s->tensors, s->n_tensors, name, err);
  if (result == 0 && s->index_json) result = check_index(s, err);
  if (result == 0) return s;
  safetensors_close(s);
  return NULL;
}

struct safetensors *safetensors_open(const char *path, struct error *err) {
  struct safetensors *s = mem_zalloc(1, sizeof *s);
  return finish(s, open_path(s, path, err), path, err);
}

struct safetensors *safetensors_open_bytes(struct slice bytes, const char *name, struct error *err) {
  struct safetensors *s = mem_zalloc(1, sizeof *s);
  s->shards = mem_zalloc(1, sizeof *s->shards);
  s->n_shards = 1;
  s->shards[0].name = mem_strdup(name);
  return finish(s, read_shard(s, &s->shards[0], bytes, err), name, err);
}

void safetensors_close(struct safetensors *s) {
  if (!s) return;
  for (size_t i = 0; i < s->n_shards; i++) {
    js_free(s->shards[i].header);
    fs_map_close(&s->shards[i].map);
    free(s->shards[i].name);
  }
  js_free(s->index_json);
  index_free(&s->index);
  free(s->shards);
  free(s->tensors);
  free(s);
}

size_t safetensors_n_tensors(const struct safetensors *s) { return s->n_tensors; }

const struct file_tensor *safetensors_tensor_at(const struct safetensors *s, size_t i) {
  assert(i < s->n_tensors);
  return &s->tensors[i];
}

const struct file_tensor *safetensors_tensor(const struct safetensors *s, const char *name) { return index_find(&s->index, slice_cstr(name)); }
