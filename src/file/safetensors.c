/* safetensors: reads .safetensors files and sets of shards; see file.h. Layout and rules: doc/format/safetensors.md.
 * SPDX-License-Identifier: Apache-2.0
 *
 * 1. A file is opened whole or not at all: header, types, shapes and places of all its tensors are checked first.
 * 2. Tensors tile the data: from 0 to the end of the file without holes or overlap. So no byte of a file is unaccounted for.
 * 3. A set's tensors are those that its index names; each must be in the shard that the index says. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "file/file.h"
#include "file/names.h"

enum {
  HEADER_BYTES_MAX = 100 * 1000 * 1000, /* the format's own limit */
  HEADER_MARKS_MAX = 8 * 1000 * 1000,   /* brackets and commas: bounds the memory of the parsed header */
  INDEX_BYTES_MAX = 64 * 1024 * 1024,
  SHARDS_MAX = 4096,
};

/* One mapped file, or the caller's bytes. */
struct part {
  struct fs_map map;
  struct slice bytes;
};

struct safetensors {
  struct part *parts;
  size_t n_parts;
  struct file_tensor *tensors;
  size_t n_tensors;
  struct names names;
  struct arena arena; /* tensor names: the parsed headers are not kept */
};

/* ---- one file ---- */

static const struct {
  const char *name;
  bool known;
  enum dtype dtype;
} types[] = {
    {"F32", true, DTYPE_F32},
    {"F16", true, DTYPE_F16},
    {"BF16", true, DTYPE_BF16},
    {"F64", true, DTYPE_F64},
    {"I8", true, DTYPE_I8},
    {"U8", true, DTYPE_U8},
    {"I16", true, DTYPE_I16},
    {"U16", true, DTYPE_U16},
    {"I32", true, DTYPE_I32},
    {"U32", true, DTYPE_U32},
    {"I64", true, DTYPE_I64},
    {"U64", true, DTYPE_U64},
    {"BOOL", true, DTYPE_BOOL},
    {"F8_E4M3", true, DTYPE_F8_E4M3},
    {"F8_E5M2", true, DTYPE_F8_E5M2},
    {"F8_E8M0", false, 0},
    {"F8_E4M3FNUZ", false, 0},
    {"F8_E5M2FNUZ", false, 0},
    {"F4", false, 0},
    {"F6_E2M3", false, 0},
    {"F6_E3M2", false, 0},
    {"C64", false, 0},
};

/* What is being read, for messages. */
struct source {
  const char *file;
  struct error *err;
};

static int tensor_error(const struct source *s, struct slice name, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static int tensor_error(const struct source *s, struct slice name, enum error_code code, const char *format, ...) {
  char quoted[NAMES_QUOTED_MAX];
  va_list args;
  va_start(args, format);
  error_vset(s->err, code, format, args);
  va_end(args);
  return error_prefix(s->err, "%s: tensor \"%s\"", s->file, names_quoted(name, quoted));
}

static int read_dtype(const struct source *s, struct file_tensor *t, const struct js *v) {
  struct slice text;
  if (!js_str(v, &text)) return tensor_error(s, t->name, ERROR_CORRUPT, "\"dtype\" is missing or no string.");
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    if (!slice_eq(text, slice_cstr(types[i].name))) continue;
    t->dtype = types[i].dtype;
    if (types[i].known) return 0;
    return tensor_error(s, t->name, ERROR_UNSUPPORTED, "its type %s cannot be read yet. Take a file in BF16, F16 or F32.", types[i].name);
  }
  char quoted[NAMES_QUOTED_MAX];
  return tensor_error(s, t->name, ERROR_CORRUPT, "\"%s\" is no type of the format.", names_quoted(text, quoted));
}

static int read_shape(const struct source *s, struct file_tensor *t, const struct js *v) {
  if (js_type(v) != JS_ARRAY) return tensor_error(s, t->name, ERROR_CORRUPT, "\"shape\" is missing or no list.");
  if (js_len(v) > FILE_RANK_MAX)
    return tensor_error(s, t->name, ERROR_UNSUPPORTED, "it has %zu dimensions; at most %d can be read.", js_len(v), FILE_RANK_MAX);
  t->rank = (unsigned)js_len(v);
  t->n_elements = 1;
  for (unsigned i = 0; i < t->rank; i++) {
    int64_t size;
    if (!js_int(js_at(v, i), &size) || size < 0)
      return tensor_error(s, t->name, ERROR_CORRUPT, "dimension %u of its shape is no count.", i);
    t->shape[i] = (uint64_t)size;
    if (__builtin_mul_overflow(t->n_elements, t->shape[i], &t->n_elements) || t->n_elements > INT64_MAX)
      return tensor_error(s, t->name, ERROR_CORRUPT, "its dimensions multiply to more than 63 bits.");
  }
  if (!dtype_bytes(t->dtype, t->n_elements, &t->n_bytes))
    return tensor_error(s, t->name, ERROR_CORRUPT, "its size does not fit in 64 bits.");
  return 0;
}

static int read_place(const struct source *s, struct file_tensor *t, const struct js *v, struct slice data) {
  int64_t begin, end;
  if (js_len(v) != 2 || !js_int(js_at(v, 0), &begin) || !js_int(js_at(v, 1), &end) || begin < 0 || end < begin)
    return tensor_error(s, t->name, ERROR_CORRUPT, "\"data_offsets\" is missing or not a beginning and an end.");
  if ((uint64_t)end > data.len) {
    return tensor_error(
        s, t->name, ERROR_CORRUPT,
        "its data ends at byte %lld of the data section, which has %zu bytes. The file is truncated or broken: download it again.",
        (long long)end, data.len);
  }
  if ((uint64_t)(end - begin) != t->n_bytes) {
    return tensor_error(s, t->name, ERROR_CORRUPT, "its shape needs %llu bytes, but its offsets [%lld, %lld] enclose %lld.",
                        (unsigned long long)t->n_bytes, (long long)begin, (long long)end, (long long)(end - begin));
  }
  t->data = data.data + begin;
  return 0;
}

static int read_tensor(const struct source *s, struct file_tensor *t, const struct js *v, struct slice data) {
  if (js_type(v) != JS_OBJECT) return tensor_error(s, t->name, ERROR_CORRUPT, "its entry is no object.");
  if (read_dtype(s, t, js_get(v, "dtype")) < 0 || read_shape(s, t, js_get(v, "shape")) < 0) return -1;
  return read_place(s, t, js_get(v, "data_offsets"), data);
}

static int check_metadata(const struct source *s, const struct js *metadata) {
  bool fits = js_type(metadata) == JS_OBJECT;
  for (void *it = js_iter(metadata); it && fits; it = js_iter_next(metadata, it)) {
    struct slice key;
    const struct js *value;
    js_iter_get(it, &key, &value);
    fits = js_type(value) == JS_STRING;
  }
  return fits ? 0 : error_set(s->err, ERROR_CORRUPT, "%s: \"__metadata__\" must be an object of strings.", s->file);
}

static int compare_places(const void *a, const void *b) {
  const struct file_tensor *x = *(const struct file_tensor *const *)a, *y = *(const struct file_tensor *const *)b;
  if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
  return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* Rule 2. */
static int check_tiling(const struct source *s, const struct file_tensor *tensors, size_t n, struct slice data) {
  const struct file_tensor **sorted = mem_zalloc(n, sizeof *sorted);
  const char *at = data.data;
  int result = 0;
  for (size_t i = 0; i < n; i++) sorted[i] = &tensors[i];
  qsort(sorted, n, sizeof *sorted, compare_places);
  for (size_t i = 0; i < n && result == 0; i++) {
    const char *begin = sorted[i]->data;
    if (begin != at) {
      result = tensor_error(s, sorted[i]->name, ERROR_CORRUPT,
                            "its data begins at byte %zu of the data section, but that of the one before ends at %zu (%s).",
                            (size_t)(begin - data.data), (size_t)(at - data.data), begin < at ? "they overlap" : "a hole");
    }
    at = begin + sorted[i]->n_bytes;
  }
  free(sorted);
  if (result == 0 && at != data.data + data.len) {
    return error_set(s->err, ERROR_CORRUPT, "%s is broken: its tensors take %zu bytes, but %zu bytes of data follow the header.", s->file,
                     (size_t)(at - data.data), data.len);
  }
  return result;
}

/* Appends the tensors of a parsed header to st. */
static int read_tensors(const struct source *s, struct safetensors *st, const struct js *header, struct slice data) {
  size_t first = st->n_tensors;
  st->tensors = mem_realloc(st->tensors, first + js_len(header), sizeof *st->tensors);
  for (void *it = js_iter(header); it; it = js_iter_next(header, it)) {
    struct slice key;
    const struct js *value;
    js_iter_get(it, &key, &value);
    if (slice_eq(key, SLICE("__metadata__"))) {
      if (check_metadata(s, value) < 0) return -1;
      continue;
    }
    if (key.len == 0) return error_set(s->err, ERROR_CORRUPT, "%s is broken: a tensor has an empty name.", s->file);
    struct file_tensor *t = &st->tensors[st->n_tensors];
    *t = (struct file_tensor){.name = arena_copy(&st->arena, key)};
    if (read_tensor(s, t, value, data) < 0) return -1;
    st->n_tensors++;
  }
  return check_tiling(s, st->tensors + first, st->n_tensors - first, data);
}

/* Every value of a parsed header stands beside a bracket or a comma, so their number bounds its memory. */
static bool too_many_marks(struct slice text) {
  size_t marks = 0;
  for (size_t i = 0; i < text.len; i++) marks += text.data[i] == ',' || text.data[i] == '[' || text.data[i] == '{';
  return marks > HEADER_MARKS_MAX;
}

static int not_safetensors(const struct source *s, struct slice bytes) {
  if (slice_starts(bytes, SLICE("version https://git-lfs"))) {
    return error_set(s->err, ERROR_UNSUPPORTED, "%s is not the model but a Git LFS pointer to it. Fetch it with \"git lfs pull\".",
                     s->file);
  }
  return error_set(s->err, ERROR_CORRUPT, "%s is not a safetensors file: it does not begin with a header's length and \"{\".", s->file);
}

/* Checks the frame of a file: length, header text, data. */
static int split(const struct source *s, struct slice bytes, struct slice *header, struct slice *data) {
  uint64_t header_bytes;
  if (bytes.len == 0) return error_set(s->err, ERROR_CORRUPT, "%s is empty.", s->file);
  if (bytes.len < sizeof header_bytes + 2)
    return error_set(s->err, ERROR_CORRUPT, "%s is truncated: it has only %zu bytes.", s->file, bytes.len);
  memcpy(&header_bytes, bytes.data, sizeof header_bytes);
  struct slice rest = slice_from(bytes, sizeof header_bytes);
  if (rest.data[0] != '{') return not_safetensors(s, bytes);
  if (header_bytes > HEADER_BYTES_MAX)
    return error_set(s->err, ERROR_CORRUPT, "%s is broken: its header claims %llu bytes; the format allows %d.", s->file,
                     (unsigned long long)header_bytes, HEADER_BYTES_MAX);
  if (header_bytes > rest.len) {
    return error_set(s->err, ERROR_CORRUPT, "%s is truncated: its header has %llu bytes, but only %zu are there. Download it again.",
                     s->file, (unsigned long long)header_bytes, rest.len);
  }
  *header = slice_make(rest.data, (size_t)header_bytes);
  *data = slice_from(rest, (size_t)header_bytes);
  if (too_many_marks(*header))
    return error_set(s->err, ERROR_CORRUPT, "%s is broken: its header has more values than any model's.", s->file);
  return 0;
}

static int read_part(struct safetensors *st, const struct part *part, const char *name, struct error *err) {
  struct source s = {name, err};
  struct slice header = {0}, data = {0};
  if (split(&s, part->bytes, &header, &data) < 0) return -1;
  struct js *root = js_parse(header, err);
  if (!root) {
    if (err) err->code = ERROR_CORRUPT;
    return error_prefix(err, "%s is broken in its header", name);
  }
  int result = js_type(root) == JS_OBJECT ? read_tensors(&s, st, root, data) : not_safetensors(&s, part->bytes);
  js_free(root);
  return result;
}

static int add_file(struct safetensors *st, const char *path, struct error *err) {
  struct part part = {0};
  if (fs_map_open(&part.map, path, err) < 0) return -1;
  part.bytes = slice_make(part.map.data, part.map.size);
  st->parts = mem_realloc(st->parts, st->n_parts + 1, sizeof *st->parts);
  st->parts[st->n_parts++] = part;
  return read_part(st, &part, path, err);
}

static int finish(struct safetensors *st, const char *name, struct error *err) {
  size_t twice;
  if (names_build(&st->names, st->n_tensors ? &st->tensors[0].name : NULL, sizeof *st->tensors, st->n_tensors, &twice)) return 0;
  return tensor_error(&(struct source){name, err}, st->tensors[twice].name, ERROR_CORRUPT, "it stands in the model twice.");
}

/* ---- shards ---- */

struct placement {
  struct slice tensor, file; /* as the index says */
};

static int compare_placements(const void *a, const void *b) {
  const struct placement *x = a, *y = b;
  size_t shorter = x->file.len < y->file.len ? x->file.len : y->file.len;
  int order = shorter ? memcmp(x->file.data, y->file.data, shorter) : 0;
  return order ? order : (x->file.len > y->file.len) - (x->file.len < y->file.len);
}

/* A shard lies beside the index; its name comes from outside. */
static bool is_plain_name(struct slice name) {
  for (size_t i = 0; i < name.len; i++)
    if (name.data[i] == '/' || name.data[i] == '\\' || (unsigned char)name.data[i] < 0x20) return false;
  return name.len > 0 && name.len <= 255 && name.data[0] != '.' && slice_ends(name, SLICE(".safetensors"));
}

static int read_placements(const struct source *s, const struct js *map, struct placement *out) {
  size_t n = 0;
  for (void *it = js_iter(map); it; it = js_iter_next(map, it), n++) {
    const struct js *value;
    js_iter_get(it, &out[n].tensor, &value);
    if (!js_str(value, &out[n].file)) return tensor_error(s, out[n].tensor, ERROR_CORRUPT, "the name of its file is no string.");
    char quoted[NAMES_QUOTED_MAX];
    if (!is_plain_name(out[n].file)) {
      return tensor_error(s, out[n].tensor, ERROR_CORRUPT, "\"%s\" is no name of a .safetensors file beside the index.",
                          names_quoted(out[n].file, quoted));
    }
  }
  qsort(out, n, sizeof *out, compare_placements);
  return 0;
}

/* Opens one shard and keeps of its tensors those that the index places there. */
static int add_shard(const struct source *s, struct safetensors *st, const char *dir, const struct placement *run, size_t n) {
  char *file = mem_dup(run[0].file.data, run[0].file.len), *path = fs_join(dir, file);
  size_t first = st->n_tensors, twice;
  struct names names = {0};
  struct file_tensor *kept = NULL;
  int result = add_file(st, path, s->err);
  if (result < 0) goto out;
  /* twice needs no answer: one header cannot hold a key twice */
  names_build(&names, st->n_tensors > first ? &st->tensors[first].name : NULL, sizeof *st->tensors, st->n_tensors - first, &twice);
  kept = mem_zalloc(n, sizeof *kept);
  for (size_t i = 0; i < n && result == 0; i++) {
    size_t index;
    if (names_find(&names, run[i].tensor, &index)) kept[i] = st->tensors[first + index];
    else result = tensor_error(s, run[i].tensor, ERROR_CORRUPT, "the index places it in %s, but that file has no such tensor.", file);
  }
  if (result == 0) { /* the index has each name once, so at most as many as the shard holds */
    assert(n <= st->n_tensors - first);
    memcpy(st->tensors + first, kept, n * sizeof *kept);
    st->n_tensors = first + n;
  }
out:
  names_free(&names);
  free(kept);
  free(path);
  free(file);
  return result;
}

static int add_shards(const struct source *s, struct safetensors *st, const char *dir, const struct placement *all, size_t n) {
  for (size_t begin = 0, end; begin < n; begin = end) {
    for (end = begin + 1; end < n && slice_eq(all[begin].file, all[end].file); end++) continue;
    if (st->n_parts == SHARDS_MAX) return error_set(s->err, ERROR_UNSUPPORTED, "%s names more than %d files.", s->file, SHARDS_MAX);
    if (add_shard(s, st, dir, all + begin, end - begin) < 0) return -1;
  }
  return 0;
}

static int read_index(struct safetensors *st, const char *dir, const char *path, const struct js *root, struct error *err) {
  struct source s = {path, err};
  const struct js *map = js_get(root, "weight_map");
  size_t n = js_len(map);
  if (js_type(map) != JS_OBJECT || n == 0)
    return error_set(err, ERROR_CORRUPT, "%s is broken: it has no \"weight_map\" that names tensors and their files.", path);
  struct placement *all = mem_zalloc(n, sizeof *all);
  int result = read_placements(&s, map, all);
  if (result == 0) result = add_shards(&s, st, dir, all, n);
  free(all);
  return result;
}

static int open_index(struct safetensors *st, const char *dir, const char *path, struct error *err) {
  struct buf text = {0};
  struct js *root = NULL;
  int result = fs_read(path, INDEX_BYTES_MAX, &text, err);
  if (result == 0 && !(root = js_parse(buf_view(&text), err))) {
    if (err) err->code = ERROR_CORRUPT;
    result = error_prefix(err, "%s is broken", path);
  }
  if (result == 0) result = read_index(st, dir, path, root, err);
  js_free(root);
  buf_free(&text);
  return result;
}

/* ---- opening ---- */

static int open_dir(struct safetensors *st, const char *dir, struct error *err) {
  char *index = fs_join(dir, "model.safetensors.index.json"), *single = fs_join(dir, "model.safetensors");
  int result;
  if (fs_exists(index)) result = open_index(st, dir, index, err);
  else if (fs_exists(single)) result = add_file(st, single, err);
  else result = error_set(err, ERROR_NOT_FOUND, "%s holds neither model.safetensors nor model.safetensors.index.json.", dir);
  free(index);
  free(single);
  return result;
}

static int open_path(struct safetensors *st, const char *path, struct error *err) {
  if (fs_is_dir(path)) return open_dir(st, path, err);
  if (!slice_ends(slice_cstr(path), SLICE(".json"))) return add_file(st, path, err);
  const char *slash = strrchr(path, '/');
  char *dir = slash ? mem_dup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
  int result = open_index(st, dir, path, err);
  free(dir);
  return result;
}

struct safetensors *safetensors_open(const char *path, struct error *err) {
  struct safetensors *st = mem_zalloc(1, sizeof *st);
  if (open_path(st, path, err) == 0 && finish(st, path, err) == 0) return st;
  safetensors_close(st);
  return NULL;
}

struct safetensors *safetensors_open_bytes(struct slice bytes, const char *name, struct error *err) {
  struct safetensors *st = mem_zalloc(1, sizeof *st);
  if (read_part(st, &(struct part){.bytes = bytes}, name, err) == 0 && finish(st, name, err) == 0) return st;
  safetensors_close(st);
  return NULL;
}

struct safetensors *safetensors_outline(const struct file_tensor *tensors, size_t n, struct error *err) {
  struct safetensors *st = mem_zalloc(1, sizeof *st);
  st->tensors = mem_zalloc(n + 1, sizeof *st->tensors);
  for (; st->n_tensors < n; st->n_tensors++) {
    st->tensors[st->n_tensors] = tensors[st->n_tensors];
    st->tensors[st->n_tensors].name = arena_copy(&st->arena, tensors[st->n_tensors].name);
    st->tensors[st->n_tensors].data = NULL;
  }
  if (finish(st, "The list of tensors", err) == 0) return st;
  safetensors_close(st);
  return NULL;
}

void safetensors_close(struct safetensors *st) {
  if (!st) return;
  for (size_t i = 0; i < st->n_parts; i++) fs_map_close(&st->parts[i].map);
  names_free(&st->names);
  free(st->parts);
  free(st->tensors);
  arena_free(&st->arena);
  free(st);
}

size_t safetensors_stamps(const struct safetensors *s, struct fs_stamp *stamps) {
  for (size_t i = 0; stamps && i < s->n_parts; i++) stamps[i] = s->parts[i].map.stamp;
  return s->n_parts;
}

size_t safetensors_n_tensors(const struct safetensors *st) { return st->n_tensors; }

uint64_t safetensors_bytes(const struct safetensors *st) {
  uint64_t sum = 0;
  for (size_t i = 0; i < st->n_parts; i++) sum += st->parts[i].map.size;
  return sum;
}

const struct file_tensor *safetensors_tensor_at(const struct safetensors *st, size_t i) {
  assert(i < st->n_tensors);
  return &st->tensors[i];
}

const struct file_tensor *safetensors_tensor(const struct safetensors *st, const char *name) {
  size_t i;
  return names_find(&st->names, slice_cstr(name), &i) ? &st->tensors[i] : NULL;
}
