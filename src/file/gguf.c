/* gguf: GGUF version 2 and 3, little-endian. Format: doc/format/gguf.md. SPDX-License-Identifier: Apache-2.0
 *
 * One pass over the header checks everything before it is kept: a count is bounded by the bytes that are left, a string by the file, a
 * tensor's data by the file. Values stay where they are; `struct gguf_value` only points to them. */
#include <assert.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "file/index.h"

enum { NAME_BYTES_MAX = 63, ALIGNMENT_DEFAULT = 32, STRING_BYTES_MAX = 1 << 30 };

struct gguf {
  struct fs_map map;       /* {0} when the bytes are the caller's */
  struct slice bytes;
  char *name;
  uint32_t version;
  struct gguf_value *values;
  size_t n_values;
  struct gguf_value **values_by_key; /* sorted */
  struct file_tensor *tensors;
  size_t n_tensors;
  struct index index;
};

/* Where the reader stands, and what it reads, for messages. */
struct reader {
  const struct gguf *g;
  size_t at;
  struct error *err;
};

static size_t left(const struct reader *r) { return r->g->bytes.len - r->at; }

static int truncated(struct reader *r, const char *what) {
  return error_set(r->err, ERROR_CORRUPT, "%s: the file ends inside %s (at byte %zu of %zu); it is truncated or damaged.", r->g->name, what, r->at,
                   r->g->bytes.len);
}

static uint64_t little_endian(const void *p, size_t n) {
  const unsigned char *bytes = p;
  uint64_t value = 0;
  for (size_t i = n; i > 0; i--) value = value << 8 | bytes[i - 1];
  return value;
}

static int read_uint(struct reader *r, size_t n, const char *what, uint64_t *out) {
  if (left(r) < n) return truncated(r, what);
  *out = little_endian(r->g->bytes.data + r->at, n);
  r->at += n;
  return 0;
}

static int read_string(struct reader *r, const char *what, struct slice *out) {
  uint64_t len;
  size_t begin = r->at;
  if (read_uint(r, 8, what, &len) < 0) return -1;
  if (len > STRING_BYTES_MAX || len > left(r))
    return error_set(r->err, ERROR_CORRUPT, "%s: %s at byte %zu claims %llu bytes, but only %zu are left.", r->g->name, what, begin,
                     (unsigned long long)len, left(r));
  *out = slice_make(r->g->bytes.data + r->at, (size_t)len);
  r->at += (size_t)len;
  return 0;
}

/* Bytes of a scalar; 0 for strings, arrays and unknown types. */
static size_t scalar_bytes(uint64_t type) {
  static const unsigned char sizes[] = {[GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
                                        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
  return type < sizeof sizes ? sizes[type] : 0;
}

/* ---- metadata ---- */

static int skip_strings(struct reader *r, const struct gguf_value *v) {
  struct slice ignored;
  if (v->count > left(r) / 8) return truncated(r, "an array of strings");
  for (uint64_t i = 0; i < v->count; i++)
    if (read_string(r, "a string of an array", &ignored) < 0) return -1;
  return 0;
}

static int check_bools(struct reader *r, const struct gguf_value *v) {
  for (size_t i = 0; i < v->bytes.len && v->element == GGUF_BOOL; i++)
    if ((unsigned char)v->bytes.data[i] > 1)
      return error_set(r->err, ERROR_CORRUPT, "%s: the key %.*s holds a truth value that is neither 0 nor 1.", r->g->name, SLICE_ARG(v->key));
  return 0;
}

static int read_array(struct reader *r, struct gguf_value *v) {
  uint64_t element;
  if (read_uint(r, 4, "an array", &element) < 0 || read_uint(r, 8, "an array", &v->count) < 0) return -1;
  size_t size = scalar_bytes(element), begin = r->at;
  if (!size && element != GGUF_STRING)
    return error_set(r->err, ERROR_CORRUPT, "%s: the key %.*s is an array of the unknown or nested type %llu.", r->g->name, SLICE_ARG(v->key),
                     (unsigned long long)element);
  v->element = (enum gguf_type)element;
  if (!size) {
    if (skip_strings(r, v) < 0) return -1;
  } else {
    if (v->count > left(r) / size) return truncated(r, "an array");
    r->at += (size_t)v->count * size;
  }
  v->bytes = slice_make(r->g->bytes.data + begin, r->at - begin);
  return check_bools(r, v);
}

static int read_value(struct reader *r, struct gguf_value *v) {
  uint64_t type;
  size_t begin = r->at;
  if (read_string(r, "a metadata key", &v->key) < 0 || read_uint(r, 4, "a metadata type", &type) < 0) return -1;
  if (v->key.len == 0 || memchr(v->key.data, '\0', v->key.len))
    return error_set(r->err, ERROR_CORRUPT, "%s: the metadata key at byte %zu is empty or holds a zero byte.", r->g->name, begin);
  v->type = v->element = (enum gguf_type)type;
  v->count = 1;
  if (type == GGUF_STRING) return read_string(r, "a metadata string", &v->bytes);
  if (type == GGUF_ARRAY) return read_array(r, v);
  size_t size = scalar_bytes(type);
  if (!size)
    return error_set(r->err, ERROR_CORRUPT, "%s: the key %.*s has the unknown type %llu.", r->g->name, SLICE_ARG(v->key), (unsigned long long)type);
  if (left(r) < size) return truncated(r, "a metadata value");
  v->bytes = slice_make(r->g->bytes.data + r->at, size);
  r->at += size;
  return check_bools(r, v);
}

static int compare_keys(struct slice a, struct slice b) {
  int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_key(const void *a, const void *b) {
  return compare_keys((*(struct gguf_value *const *)a)->key, (*(struct gguf_value *const *)b)->key);
}

static int index_values(struct gguf *g, struct error *err) {
  g->values_by_key = mem_alloc((g->n_values + 1) * sizeof(struct gguf_value *));
  for (size_t i = 0; i < g->n_values; i++) g->values_by_key[i] = &g->values[i];
  if (g->n_values) qsort(g->values_by_key, g->n_values, sizeof(struct gguf_value *), by_key);
  for (size_t i = 1; i < g->n_values; i++)
    if (slice_eq(g->values_by_key[i - 1]->key, g->values_by_key[i]->key))
      return error_set(err, ERROR_CORRUPT, "%s: the metadata key %.*s is there twice.", g->name, SLICE_ARG(g->values_by_key[i]->key));
  return 0;
}

/* ---- tensors ---- */

static const struct {
  uint32_t id;
  enum dtype dtype;
} TYPES[] = {
    {0, DTYPE_F32},   {1, DTYPE_F16},   {2, DTYPE_Q4_0},    {3, DTYPE_Q4_1},    {6, DTYPE_Q5_0},  {7, DTYPE_Q5_1},  {8, DTYPE_Q8_0},
    {9, DTYPE_Q8_1},  {10, DTYPE_Q2_K}, {11, DTYPE_Q3_K},   {12, DTYPE_Q4_K},   {13, DTYPE_Q5_K}, {14, DTYPE_Q6_K}, {15, DTYPE_Q8_K},
    {20, DTYPE_IQ4_NL}, {23, DTYPE_IQ4_XS}, {24, DTYPE_I8}, {25, DTYPE_I16},    {26, DTYPE_I32},  {27, DTYPE_I64},  {28, DTYPE_F64},
    {30, DTYPE_BF16}, {39, DTYPE_MXFP4},
};

static int read_type(struct reader *r, struct file_tensor *t) {
  uint64_t id;
  if (read_uint(r, 4, "a tensor's type", &id) < 0) return -1;
  for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
    if (TYPES[i].id == id) {
      t->dtype = TYPES[i].dtype;
      return 0;
    }
  return error_set(r->err, ERROR_UNSUPPORTED, "%s: the tensor %.*s has the GGML type %llu, which Plinth cannot read.", r->g->name, SLICE_ARG(t->name),
                   (unsigned long long)id);
}

/* Dimensions come innermost first; shape is outermost first. */
static int read_shape(struct reader *r, struct file_tensor *t) {
  uint64_t rank, n = 1;
  if (read_uint(r, 4, "a tensor's rank", &rank) < 0) return -1;
  if (rank > FILE_RANK_MAX)
    return error_set(r->err, ERROR_CORRUPT, "%s: the tensor %.*s has %llu dimensions; at most %d are possible.", r->g->name, SLICE_ARG(t->name),
                     (unsigned long long)rank, FILE_RANK_MAX);
  t->rank = (unsigned)rank;
  for (unsigned i = 0; i < t->rank; i++) {
    uint64_t *dim = &t->shape[t->rank - 1 - i];
    if (read_uint(r, 8, "a tensor's shape", dim) < 0) return -1;
    if (*dim == 0 || *dim > INT64_MAX || __builtin_mul_overflow(n, *dim, &n) || n > INT64_MAX)
      return error_set(r->err, ERROR_CORRUPT, "%s: the shape of the tensor %.*s is impossible.", r->g->name, SLICE_ARG(t->name));
  }
  t->n_elements = n;
  return 0;
}

static int check_rows(struct reader *r, struct file_tensor *t) {
  const struct dtype_info *type = dtype_info(t->dtype);
  uint64_t row = t->rank ? t->shape[t->rank - 1] : 1;
  if (row % type->block_elements == 0 && dtype_bytes(t->dtype, t->n_elements, &t->n_bytes)) return 0;
  return error_set(r->err, ERROR_CORRUPT, "%s: rows of the tensor %.*s have %llu values, but the type %s comes in blocks of %u.", r->g->name,
                   SLICE_ARG(t->name), (unsigned long long)row, type->name, type->block_elements);
}

/* Leaves the offset in n_elements' neighbour: *ret_offset is relative to the data's start. */
static int read_tensor(struct reader *r, struct file_tensor *t, uint64_t *ret_offset) {
  size_t begin = r->at;
  if (read_string(r, "a tensor's name", &t->name) < 0) return -1;
  if (t->name.len == 0 || t->name.len > NAME_BYTES_MAX || memchr(t->name.data, '\0', t->name.len))
    return error_set(r->err, ERROR_CORRUPT, "%s: the tensor name at byte %zu has %zu bytes; it must have 1 to %d and no zero byte.", r->g->name, begin,
                     t->name.len, NAME_BYTES_MAX);
  if (read_shape(r, t) < 0 || read_type(r, t) < 0) return -1;
  if (read_uint(r, 8, "a tensor's offset", ret_offset) < 0) return -1;
  return check_rows(r, t);
}

static int alignment_of(const struct gguf *g, uint64_t *alignment, struct error *err) {
  *alignment = ALIGNMENT_DEFAULT;
  if (!gguf_find(g, "general.alignment")) return 0;
  if (gguf_u64(g, "general.alignment", alignment) && *alignment && *alignment <= 1 << 20 && (*alignment & (*alignment - 1)) == 0) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: general.alignment must be a power of two.", g->name);
}

/* Tensors lie one behind the other, each padded to the alignment, in the order of the list. */
static int place_tensors(struct gguf *g, const uint64_t *offsets, size_t header_end, struct error *err) {
  uint64_t alignment, expected = 0;
  if (alignment_of(g, &alignment, err) < 0) return -1;
  uint64_t start = (header_end + alignment - 1) / alignment * alignment, size = g->bytes.len;
  for (size_t i = 0; i < g->n_tensors; i++) {
    struct file_tensor *t = &g->tensors[i];
    if (offsets[i] != expected)
      return error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s begins at offset %llu, but %llu is its place.", g->name, SLICE_ARG(t->name),
                       (unsigned long long)offsets[i], (unsigned long long)expected);
    if (start > size || expected > size - start || t->n_bytes > size - start - expected)
      return error_set(err, ERROR_CORRUPT, "%s: the data of the tensor %.*s reaches beyond the end of the file (%zu bytes); it is truncated or damaged.",
                       g->name, SLICE_ARG(t->name), g->bytes.len);
    t->data = g->bytes.data + start + expected;
    expected += (t->n_bytes + alignment - 1) / alignment * alignment;
  }
  return 0;
}

static int read_tensors(struct gguf *g, struct reader *r) {
  uint64_t *offsets = mem_alloc((g->n_tensors + 1) * sizeof *offsets);
  int result = 0;
  for (size_t i = 0; i < g->n_tensors && result == 0; i++) result = read_tensor(r, &g->tensors[i], &offsets[i]);
  if (result == 0) result = place_tensors(g, offsets, r->at, r->err);
  free(offsets);
  return result < 0 ? -1 : index_make(&g->index, g->tensors, g->n_tensors, g->name, r->err);
}

/* ---- opening ---- */

static int check_version(struct reader *r, uint64_t version) {
  if (version == 2 || version == 3) return 0;
  if ((version & 0xFFFF) == 0)
    return error_set(r->err, ERROR_UNSUPPORTED, "%s is a big-endian GGUF file; convert it to little-endian.", r->g->name);
  return error_set(r->err, ERROR_UNSUPPORTED, "%s has GGUF version %llu; Plinth reads versions 2 and 3.", r->g->name, (unsigned long long)version);
}

static int read_all(struct gguf *g, struct error *err) {
  struct reader r = {.g = g, .err = err};
  uint64_t version, n_tensors, n_values;
  if (g->bytes.len < 4 || memcmp(g->bytes.data, "GGUF", 4) != 0)
    return error_set(err, ERROR_CORRUPT, "%s is no GGUF file: it does not begin with \"GGUF\".", g->name);
  r.at = 4;
  if (read_uint(&r, 4, "the header", &version) < 0 || check_version(&r, version) < 0) return -1;
  g->version = (uint32_t)version;
  if (read_uint(&r, 8, "the header", &n_tensors) < 0 || read_uint(&r, 8, "the header", &n_values) < 0) return -1;
  /* The smallest value takes 13 bytes, the smallest tensor 25. */
  if (n_values > left(&r) / 13 || n_tensors > left(&r) / 25)
    return error_set(err, ERROR_CORRUPT, "%s claims %llu metadata values and %llu tensors, more than its %zu bytes can hold.", g->name,
                     (unsigned long long)n_values, (unsigned long long)n_tensors, g->bytes.len);
  g->values = mem_zalloc((size_t)n_values, sizeof *g->values);
  g->tensors = mem_zalloc((size_t)n_tensors, sizeof *g->tensors);
  g->n_tensors = (size_t)n_tensors;
  for (; g->n_values < n_values; g->n_values++)
    if (read_value(&r, &g->values[g->n_values]) < 0) return -1;
  return index_values(g, err) < 0 ? -1 : read_tensors(g, &r);
}

static struct gguf *open_bytes(struct fs_map map, struct slice bytes, const char *name, struct error *err) {
  struct gguf *g = mem_zalloc(1, sizeof *g);
  g->map = map;
  g->bytes = bytes;
  g->name = mem_strdup(name);
  if (read_all(g, err) == 0) return g;
  gguf_close(g);
  return NULL;
}

struct gguf *gguf_open_bytes(struct slice bytes, const char *name, struct error *err) { return open_bytes((struct fs_map){0}, bytes, name, err); }

struct gguf *gguf_open(const char *path, struct error *err) {
  struct fs_map map;
  if (fs_map_open(&map, path, err) < 0) return NULL;
  return open_bytes(map, slice_make(map.data, map.size), path, err);
}

void gguf_close(struct gguf *g) {
  if (!g) return;
  fs_map_close(&g->map);
  index_free(&g->index);
  free(g->values);
  free(g->values_by_key);
  free(g->tensors);
  free(g->name);
  free(g);
}

/* ---- values ---- */

uint32_t gguf_version(const struct gguf *g) { return g->version; }
size_t gguf_n_values(const struct gguf *g) { return g->n_values; }

const struct gguf_value *gguf_value_at(const struct gguf *g, size_t i) {
  assert(i < g->n_values);
  return &g->values[i];
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key) {
  size_t low = 0, high = g->n_values;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = compare_keys(g->values_by_key[middle]->key, slice_cstr(key));
    if (order == 0) return g->values_by_key[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

static bool is_signed(enum gguf_type type) { return type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64; }
static bool is_float(enum gguf_type type) { return type == GGUF_F32 || type == GGUF_F64; }

static int64_t signed_at(const void *p, size_t size) {
  uint64_t value = little_endian(p, size);
  unsigned shift = (unsigned)(64 - 8 * size);
  return (int64_t)(value << shift) >> shift;
}

static double float_at(const void *p, enum gguf_type type) {
  if (type == GGUF_F32) {
    float f;
    memcpy(&f, p, sizeof f);
    return f;
  }
  double d;
  memcpy(&d, p, sizeof d);
  return d;
}

bool gguf_u64(const struct gguf *g, const char *key, uint64_t *out) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v || v->type == GGUF_ARRAY || v->type == GGUF_STRING || v->type == GGUF_BOOL || is_float(v->type)) return false;
  if (is_signed(v->type) && signed_at(v->bytes.data, v->bytes.len) < 0) return false;
  *out = little_endian(v->bytes.data, v->bytes.len);
  return true;
}

bool gguf_f64(const struct gguf *g, const char *key, double *out) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v || !is_float(v->type)) return false;
  *out = float_at(v->bytes.data, v->type);
  return true;
}

bool gguf_bool(const struct gguf *g, const char *key, bool *out) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v || v->type != GGUF_BOOL) return false;
  *out = v->bytes.data[0] != 0;
  return true;
}

bool gguf_str(const struct gguf *g, const char *key, struct slice *out) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v || v->type != GGUF_STRING) return false;
  *out = v->bytes;
  return true;
}

bool gguf_next_str(const struct gguf_value *array, size_t *cursor, struct slice *out) {
  assert(array->type == GGUF_ARRAY && array->element == GGUF_STRING);
  if (*cursor >= array->bytes.len) return false;
  size_t len = (size_t)little_endian(array->bytes.data + *cursor, 8); /* checked when the file was opened */
  *out = slice_make(array->bytes.data + *cursor + 8, len);
  *cursor += 8 + len;
  return true;
}

double gguf_array_f64(const struct gguf_value *array, uint64_t i) {
  size_t size = scalar_bytes(array->element);
  assert(array->type == GGUF_ARRAY && size && i < array->count);
  if (is_float(array->element)) return float_at(array->bytes.data + i * size, array->element);
  return (double)gguf_array_i64(array, i);
}

int64_t gguf_array_i64(const struct gguf_value *array, uint64_t i) {
  size_t size = scalar_bytes(array->element);
  assert(array->type == GGUF_ARRAY && size && i < array->count && !is_float(array->element));
  const void *p = array->bytes.data + i * size;
  return is_signed(array->element) ? signed_at(p, size) : (int64_t)little_endian(p, size);
}

/* ---- tensors ---- */

size_t gguf_n_tensors(const struct gguf *g) { return g->n_tensors; }

const struct file_tensor *gguf_tensor_at(const struct gguf *g, size_t i) {
  assert(i < g->n_tensors);
  return &g->tensors[i];
}

const struct file_tensor *gguf_tensor(const struct gguf *g, const char *name) { return index_find(&g->index, slice_cstr(name)); }
