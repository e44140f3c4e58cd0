/* gguf: reads GGUF files; see file.h. Layout: doc/format/gguf.md. SPDX-License-Identifier: Apache-2.0
 *
 * 1. Nothing is read but through `struct reader`, which never passes the end of the bytes.
 * 2. A count is believed only after it was compared with the bytes that are left; memory grows with what was really read.
 * 3. What gguf_open returns has been checked whole: getters and views need no checks of their own. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "file/file.h"
#include "file/names.h"
#include "file/parts.h"

enum {
  VALUES_MAX = 1 << 20, /* far beyond every real file: bounds what a hostile one can make us allocate */
  TENSORS_MAX = 1 << 20,
  KEY_BYTES_MAX = 65535, /* the format's own limit */
  ARRAY_DEPTH_MAX = 8,
  ALIGNMENT_DEFAULT = 32,
};

struct gguf {
  char *name; /* of the file, for messages */
  struct fs_map map;
  struct slice bytes; /* the map's, or the caller's */
  uint32_t version;
  struct gguf_value *values;
  size_t n_values;
  struct names value_names;
  struct file_tensor *tensors;
  size_t n_tensors;
  struct names tensor_names;
  struct gguf **others; /* the further parts of a split file; their tensors are in the list above too */
  size_t n_others;
};

/* ---- reading ---- */

struct reader {
  const char *name;
  struct slice bytes;
  size_t at;
  struct error *err;
};

static size_t left(const struct reader *r) { return r->bytes.len - r->at; }

/* The file ends within `what`. */
static int truncated(const struct reader *r, const char *what) {
  return error_set(r->err, ERROR_CORRUPT, "%s is truncated: it ends at byte %zu, inside %s that begins at byte %zu. Download it again.",
                   r->name, r->bytes.len, what, r->at);
}

static int read_u32(struct reader *r, const char *what, uint32_t *out) {
  if (left(r) < sizeof *out) return truncated(r, what);
  memcpy(out, r->bytes.data + r->at, sizeof *out);
  r->at += sizeof *out;
  return 0;
}

static int read_u64(struct reader *r, const char *what, uint64_t *out) {
  if (left(r) < sizeof *out) return truncated(r, what);
  memcpy(out, r->bytes.data + r->at, sizeof *out);
  r->at += sizeof *out;
  return 0;
}

static int read_string(struct reader *r, const char *what, struct slice *out) {
  uint64_t len;
  if (read_u64(r, what, &len) < 0) return -1;
  if (len > left(r)) {
    return error_set(r->err, ERROR_CORRUPT, "%s is broken or truncated: %s at byte %zu claims %llu bytes, but only %zu are left.", r->name,
                     what, r->at, (unsigned long long)len, left(r));
  }
  *out = slice_make(r->bytes.data + r->at, (size_t)len);
  r->at += (size_t)len;
  return 0;
}

/* A name that is not empty, not too long and UTF-8: a key or a tensor's name. */
static int read_name(struct reader *r, const char *what, struct slice *out) {
  size_t at = r->at;
  if (read_string(r, what, out) < 0) return -1;
  if (out->len == 0) return error_set(r->err, ERROR_CORRUPT, "%s is broken: %s at byte %zu is empty.", r->name, what, at);
  if (out->len > KEY_BYTES_MAX)
    return error_set(r->err, ERROR_CORRUPT, "%s is broken: %s at byte %zu is longer than %d bytes.", r->name, what, at, KEY_BYTES_MAX);
  if (!utf8_valid(*out) || memchr(out->data, '\0', out->len))
    return error_set(r->err, ERROR_CORRUPT, "%s is broken: %s at byte %zu is not UTF-8, or holds a NUL character.", r->name, what, at);
  return 0;
}

/* ---- metadata ---- */

/* Bytes of a scalar; 0 for strings and arrays. */
static size_t scalar_bytes(enum gguf_type type) {
  static const unsigned char bytes[] = {[GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
                                        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
  return bytes[type];
}

static int read_type(struct reader *r, enum gguf_type *out) {
  uint32_t type;
  size_t at = r->at;
  if (read_u32(r, "a type", &type) < 0) return -1;
  if (type > GGUF_F64) return error_set(r->err, ERROR_CORRUPT, "%s is broken: %u at byte %zu is no type of a value.", r->name, type, at);
  *out = (enum gguf_type)type;
  return 0;
}

static int skip_value(struct reader *r, enum gguf_type type, unsigned depth);

static int check_bools(struct reader *r, size_t count) {
  for (size_t i = 0; i < count; i++) {
    unsigned char byte = (unsigned char)r->bytes.data[r->at + i];
    if (byte > 1)
      return error_set(r->err, ERROR_CORRUPT, "%s is broken: the boolean at byte %zu is %u, neither 0 nor 1.", r->name, r->at + i, byte);
  }
  return 0;
}

static int skip_scalars(struct reader *r, enum gguf_type type, uint64_t count) {
  size_t size = scalar_bytes(type);
  if (count > left(r) / size) {
    return error_set(r->err, ERROR_CORRUPT,
                     "%s is broken or truncated: %llu values of %zu bytes are said to stand at byte %zu, but only %zu bytes are left.",
                     r->name, (unsigned long long)count, size, r->at, left(r));
  }
  if (type == GGUF_BOOL && check_bools(r, (size_t)count) < 0) return -1;
  r->at += (size_t)count * size;
  return 0;
}

/* The elements of an array, after its type and count. */
static int skip_elements(struct reader *r, enum gguf_type element, uint64_t count, unsigned depth) {
  if (scalar_bytes(element)) return skip_scalars(r, element, count);
  size_t least = element == GGUF_STRING ? 8 : 12; /* an element has a length, or a type and a count */
  if (count > left(r) / least) {
    return error_set(r->err, ERROR_CORRUPT,
                     "%s is broken or truncated: the array at byte %zu claims %llu elements, but only %zu bytes are left.", r->name, r->at,
                     (unsigned long long)count, left(r));
  }
  for (uint64_t i = 0; i < count; i++)
    if (skip_value(r, element, depth + 1) < 0) return -1;
  return 0;
}

static int read_array_head(struct reader *r, enum gguf_type *element, uint64_t *count) {
  if (read_type(r, element) < 0) return -1;
  return read_u64(r, "the count of an array", count);
}

static int skip_value(struct reader *r, enum gguf_type type, unsigned depth) {
  struct slice ignored;
  enum gguf_type element;
  uint64_t count;
  if (type == GGUF_STRING) return read_string(r, "a string", &ignored);
  if (type != GGUF_ARRAY) return skip_scalars(r, type, 1);
  if (depth > ARRAY_DEPTH_MAX)
    return error_set(r->err, ERROR_CORRUPT, "%s is broken: arrays are nested more than %d deep at byte %zu.", r->name, ARRAY_DEPTH_MAX,
                     r->at);
  if (read_array_head(r, &element, &count) < 0) return -1;
  return skip_elements(r, element, count, depth);
}

static int read_value(struct reader *r, struct gguf_value *v) {
  *v = (struct gguf_value){.count = 1};
  if (read_name(r, "a key", &v->key) < 0 || read_type(r, &v->type) < 0) return -1;
  v->element = v->type;
  if (v->type == GGUF_STRING) return read_string(r, "a string", &v->bytes);
  if (v->type == GGUF_ARRAY && read_array_head(r, &v->element, &v->count) < 0) return -1;
  size_t begin = r->at;
  int result = v->type == GGUF_ARRAY ? skip_elements(r, v->element, v->count, 1) : skip_scalars(r, v->type, 1);
  v->bytes = slice_make(r->bytes.data + begin, r->at - begin);
  return result;
}

/* Room for one more item: arrays grow with what was read, never with what a header claims. */
static void *grow(void *items, size_t n, size_t size) {
  bool full = (n & (n - 1)) == 0; /* 0, 1, 2, 4, … : double */
  return full ? mem_realloc(items, n ? 2 * n : 1, size) : items;
}

static int read_values(struct reader *r, struct gguf *g, uint64_t count) {
  if (count > VALUES_MAX) {
    return error_set(r->err, ERROR_CORRUPT, "%s is broken: its header claims %llu metadata values; at most %d are accepted.", r->name,
                     (unsigned long long)count, VALUES_MAX);
  }
  for (; g->n_values < count; g->n_values++) {
    g->values = grow(g->values, g->n_values, sizeof *g->values);
    if (read_value(r, &g->values[g->n_values]) < 0) {
      if (g->n_values == 0) return -1;
      char quoted[NAMES_QUOTED_MAX];
      return error_prefix(r->err, "Metadata after \"%s\"", names_quoted(g->values[g->n_values - 1].key, quoted));
    }
  }
  size_t twice;
  if (names_build(&g->value_names, g->n_values ? &g->values[0].key : NULL, sizeof *g->values, g->n_values, &twice)) return 0;
  char quoted[NAMES_QUOTED_MAX];
  return error_set(r->err, ERROR_CORRUPT, "%s is broken: the key \"%s\" stands in it twice (the second at byte %zu).", r->name,
                   names_quoted(g->values[twice].key, quoted), (size_t)(g->values[twice].key.data - r->bytes.data));
}

/* ---- tensors ---- */

struct tensor_type {
  const char *name;
  bool known; /* dtype is valid */
  enum dtype dtype;
};

/* By GGUF's type id. A name without dtype: well-formed, but there is no conversion yet. No name: removed or never given. */
static const struct tensor_type tensor_types[] = {
    [0] = {"F32", true, DTYPE_F32},
    [1] = {"F16", true, DTYPE_F16},
    [2] = {"Q4_0", true, DTYPE_Q4_0},
    [3] = {"Q4_1", true, DTYPE_Q4_1},
    [6] = {"Q5_0", true, DTYPE_Q5_0},
    [7] = {"Q5_1", true, DTYPE_Q5_1},
    [8] = {"Q8_0", true, DTYPE_Q8_0},
    [9] = {"Q8_1", true, DTYPE_Q8_1},
    [10] = {"Q2_K", true, DTYPE_Q2_K},
    [11] = {"Q3_K", true, DTYPE_Q3_K},
    [12] = {"Q4_K", true, DTYPE_Q4_K},
    [13] = {"Q5_K", true, DTYPE_Q5_K},
    [14] = {"Q6_K", true, DTYPE_Q6_K},
    [15] = {"Q8_K", true, DTYPE_Q8_K},
    [16] = {"IQ2_XXS", false, 0},
    [17] = {"IQ2_XS", false, 0},
    [18] = {"IQ3_XXS", false, 0},
    [19] = {"IQ1_S", false, 0},
    [20] = {"IQ4_NL", true, DTYPE_IQ4_NL},
    [21] = {"IQ3_S", false, 0},
    [22] = {"IQ2_S", false, 0},
    [23] = {"IQ4_XS", true, DTYPE_IQ4_XS},
    [24] = {"I8", true, DTYPE_I8},
    [25] = {"I16", true, DTYPE_I16},
    [26] = {"I32", true, DTYPE_I32},
    [27] = {"I64", true, DTYPE_I64},
    [28] = {"F64", true, DTYPE_F64},
    [29] = {"IQ1_M", false, 0},
    [30] = {"BF16", true, DTYPE_BF16},
    [34] = {"TQ1_0", false, 0},
    [35] = {"TQ2_0", true, DTYPE_TQ2_0},
    [39] = {"MXFP4", true, DTYPE_MXFP4},
    [40] = {"NVFP4", false, 0},
    [41] = {"Q1_0", false, 0},
    [42] = {"Q2_0", false, 0},
};

bool gguf_dtype_id(enum dtype type, uint32_t *out) {
  for (uint32_t id = 0; id < sizeof tensor_types / sizeof tensor_types[0]; id++) {
    if (!tensor_types[id].known || tensor_types[id].dtype != type) continue;
    *out = id;
    return true;
  }
  return false;
}

static int tensor_error(const struct reader *r, const struct file_tensor *t, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static int tensor_error(const struct reader *r, const struct file_tensor *t, enum error_code code, const char *format, ...) {
  char quoted[NAMES_QUOTED_MAX];
  va_list args;
  va_start(args, format);
  error_vset(r->err, code, format, args);
  va_end(args);
  return error_prefix(r->err, "%s: tensor \"%s\"", r->name, names_quoted(t->name, quoted));
}

static int set_type(const struct reader *r, struct file_tensor *t, uint32_t id) {
  const struct tensor_type *type = id < sizeof tensor_types / sizeof tensor_types[0] ? &tensor_types[id] : NULL;
  if (!type || !type->name)
    return tensor_error(r, t, ERROR_CORRUPT, "its type has the number %u, which no type of the format has (or has any more).", id);
  if (!type->known)
    return tensor_error(r, t, ERROR_UNSUPPORTED,
                        "its type %s cannot be read yet. Take a file with another quantization, for example Q4_K_M or Q8_0.", type->name);
  t->dtype = type->dtype;
  return 0;
}

/* Turns GGUF's order (innermost first) and computes sizes. */
static int set_shape(const struct reader *r, struct file_tensor *t, const uint64_t *dims) {
  t->n_elements = 1;
  for (unsigned i = 0; i < t->rank; i++) {
    t->shape[i] = dims[t->rank - 1 - i];
    if (t->shape[i] == 0) return tensor_error(r, t, ERROR_CORRUPT, "one of its dimensions is 0.");
    if (__builtin_mul_overflow(t->n_elements, t->shape[i], &t->n_elements) || t->n_elements > INT64_MAX)
      return tensor_error(r, t, ERROR_CORRUPT, "its dimensions multiply to more than 63 bits.");
  }
  const struct dtype_info *info = dtype_info(t->dtype);
  uint64_t row = t->rank ? dims[0] : 1;
  if (row % info->block_elements) {
    return tensor_error(r, t, ERROR_CORRUPT, "its rows have %llu elements, which is no multiple of %u, the block of %s.",
                        (unsigned long long)row, info->block_elements, info->name);
  }
  if (!dtype_bytes(t->dtype, t->n_elements, &t->n_bytes)) return tensor_error(r, t, ERROR_CORRUPT, "its size does not fit in 64 bits.");
  return 0;
}

/* One entry of the tensor list. *ret_offset is relative to the data section, which is not known yet. */
static int read_tensor(struct reader *r, struct file_tensor *t, uint64_t *ret_offset) {
  uint64_t dims[FILE_RANK_MAX];
  uint32_t type;
  *t = (struct file_tensor){0};
  if (read_name(r, "the name of a tensor", &t->name) < 0 || read_u32(r, "a tensor's number of dimensions", &t->rank) < 0) return -1;
  if (t->rank > FILE_RANK_MAX)
    return tensor_error(r, t, ERROR_CORRUPT, "it claims %u dimensions; at most %d are possible.", t->rank, FILE_RANK_MAX);
  for (unsigned i = 0; i < t->rank; i++)
    if (read_u64(r, "the dimensions of a tensor", &dims[i]) < 0) return -1;
  if (read_u32(r, "the type of a tensor", &type) < 0 || read_u64(r, "the offset of a tensor", ret_offset) < 0) return -1;
  return set_type(r, t, type) < 0 ? -1 : set_shape(r, t, dims);
}

static int read_alignment(const struct reader *r, const struct gguf *g, uint64_t *ret_alignment) {
  const struct gguf_value *v = gguf_find(g, "general.alignment");
  uint64_t alignment = ALIGNMENT_DEFAULT;
  if (v && (v->type != GGUF_U32 || !gguf_u64(g, "general.alignment", &alignment)))
    return error_set(r->err, ERROR_CORRUPT, "%s is broken: general.alignment is not a 32-bit count.", r->name);
  if (alignment < 8 || (alignment & (alignment - 1)))
    return error_set(r->err, ERROR_CORRUPT, "%s is broken: general.alignment is %llu, but must be a power of two, 8 or more.", r->name,
                     (unsigned long long)alignment);
  *ret_alignment = alignment;
  return 0;
}

/* Turns the offset that was kept in t->data into a checked pointer. */
static int place_tensor(const struct reader *r, struct file_tensor *t, size_t data_begin, uint64_t alignment) {
  uint64_t offset = (uint64_t)(uintptr_t)t->data, begin, end;
  t->data = NULL;
  if (offset % alignment)
    return tensor_error(r, t, ERROR_CORRUPT, "its offset %llu is no multiple of the alignment %llu.", (unsigned long long)offset,
                        (unsigned long long)alignment);
  if (__builtin_add_overflow(data_begin, offset, &begin) || __builtin_add_overflow(begin, t->n_bytes, &end) || end > r->bytes.len) {
    return tensor_error(r, t, ERROR_CORRUPT,
                        "its %llu bytes at offset %llu of the data (which begins at byte %zu) lie beyond the end of the file, which has "
                        "%zu bytes. The file is "
                        "truncated or broken: download it again.",
                        (unsigned long long)t->n_bytes, (unsigned long long)offset, data_begin, r->bytes.len);
  }
  t->data = r->bytes.data + begin;
  return 0;
}

static int compare_places(const void *a, const void *b) {
  const struct file_tensor *x = *(const struct file_tensor *const *)a, *y = *(const struct file_tensor *const *)b;
  if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
  return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static int check_overlap(const struct reader *r, const struct gguf *g) {
  const struct file_tensor **sorted = mem_zalloc(g->n_tensors, sizeof *sorted);
  int result = 0;
  for (size_t i = 0; i < g->n_tensors; i++) sorted[i] = &g->tensors[i];
  qsort(sorted, g->n_tensors, sizeof *sorted, compare_places);
  for (size_t i = 1; i < g->n_tensors && result == 0; i++) {
    const struct file_tensor *before = sorted[i - 1];
    if ((const char *)before->data + before->n_bytes <= (const char *)sorted[i]->data) continue;
    char quoted[NAMES_QUOTED_MAX];
    result = tensor_error(r, sorted[i], ERROR_CORRUPT, "its data overlaps that of \"%s\".", names_quoted(before->name, quoted));
  }
  free(sorted);
  return result;
}

static int place_tensors(struct reader *r, struct gguf *g) {
  uint64_t alignment;
  if (read_alignment(r, g, &alignment) < 0) return -1;
  uint64_t padding = (alignment - r->at % alignment) % alignment;
  size_t data_begin = padding > left(r) ? r->bytes.len : r->at + (size_t)padding; /* without tensors a file may end here */
  for (size_t i = 0; i < g->n_tensors; i++)
    if (place_tensor(r, &g->tensors[i], data_begin, alignment) < 0) return -1;
  return check_overlap(r, g);
}

static int read_tensors(struct reader *r, struct gguf *g, uint64_t count) {
  if (count > TENSORS_MAX) {
    return error_set(r->err, ERROR_CORRUPT, "%s is broken: its header claims %llu tensors; at most %d are accepted.", r->name,
                     (unsigned long long)count, TENSORS_MAX);
  }
  for (; g->n_tensors < count; g->n_tensors++) {
    uint64_t offset = 0;
    g->tensors = grow(g->tensors, g->n_tensors, sizeof *g->tensors);
    struct file_tensor *t = &g->tensors[g->n_tensors];
    if (read_tensor(r, t, &offset) < 0) return -1;
    t->data = (const void *)(uintptr_t)offset; /* until the data section's place is known */
  }
  size_t twice;
  if (!names_build(&g->tensor_names, g->n_tensors ? &g->tensors[0].name : NULL, sizeof *g->tensors, g->n_tensors, &twice))
    return tensor_error(r, &g->tensors[twice], ERROR_CORRUPT, "it stands in the list twice.");
  return place_tensors(r, g);
}

/* ---- one file ---- */

/* Says what a file without GGUF's first bytes seems to be. */
static int not_gguf(const struct reader *r) {
  static const struct {
    const char *magic, *sentence;
  } others[] = {
      {"tjgg", "is a GGML file of before August 2023. Take the model as GGUF."},
      {"fmgg", "is a GGML file of before August 2023. Take the model as GGUF."},
      {"lmgg", "is a GGML file of before August 2023. Take the model as GGUF."},
      {"version https://git-lfs", "is not the model but a Git LFS pointer to it. Fetch it with \"git lfs pull\"."},
      {"PK\x03\x04", "is a PyTorch or zip archive, not a GGUF file."},
      {"<", "is a web page or XML, not a GGUF file. The download went wrong."},
  };
  if (r->bytes.len == 0) return error_set(r->err, ERROR_CORRUPT, "%s is empty.", r->name);
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    if (slice_starts(r->bytes, slice_cstr(others[i].magic)))
      return error_set(r->err, ERROR_UNSUPPORTED, "%s %s", r->name, others[i].sentence);
  return error_set(r->err, ERROR_CORRUPT, "%s is not a GGUF file: it does not begin with the letters GGUF.", r->name);
}

static int read_header(struct reader *r, struct gguf *g, uint64_t *n_tensors, uint64_t *n_values) {
  if (!slice_starts(r->bytes, SLICE("GGUF"))) return not_gguf(r);
  r->at = 4;
  if (read_u32(r, "the header", &g->version) < 0) return -1;
  if (g->version == 1)
    return error_set(r->err, ERROR_UNSUPPORTED, "%s is a GGUF file of version 1, which is no longer in use. Convert the model again.",
                     r->name);
  if (g->version && (g->version & 0xFFFF) == 0)
    return error_set(r->err, ERROR_UNSUPPORTED, "%s is a big-endian GGUF file. Take the little-endian one.", r->name);
  if (g->version < 2 || g->version > 3)
    return error_set(r->err, ERROR_UNSUPPORTED, "%s is a GGUF file of version %u; versions 2 and 3 can be read.", r->name, g->version);
  return read_u64(r, "the header", n_tensors) < 0 || read_u64(r, "the header", n_values) < 0 ? -1 : 0;
}

static int read_all(struct reader *r, struct gguf *g) {
  uint64_t n_tensors, n_values;
  if (read_header(r, g, &n_tensors, &n_values) < 0 || read_values(r, g, n_values) < 0) return -1;
  return read_tensors(r, g, n_tensors);
}

/* One file, whole or a part. */
static struct gguf *open_one(struct slice bytes, const char *name, struct error *err) {
  struct gguf *g = mem_zalloc(1, sizeof *g);
  g->name = mem_strdup(name);
  g->bytes = bytes;
  struct reader r = {.name = g->name, .bytes = bytes, .err = err};
  if (read_all(&r, g) == 0) return g;
  gguf_close(g);
  return NULL;
}

static struct gguf *map_one(const char *path, struct error *err) {
  struct fs_map map;
  if (fs_map_open(&map, path, err) < 0) return NULL;
  struct gguf *g = open_one(slice_make(map.data, map.size), path, err);
  if (g) g->map = map;
  else fs_map_close(&map);
  return g;
}

/* ---- parts ---- */

/* 1 for a file that is whole. */
static uint64_t part_count(const struct gguf *g) {
  uint64_t count;
  return gguf_u64(g, "split.count", &count) && count > 1 ? count : 1;
}

/* Part i of n says so itself. */
static int check_part(const struct gguf *g, size_t i, size_t n, struct error *err) {
  uint64_t number;
  if (part_count(g) != n)
    return error_set(err, ERROR_CORRUPT, "%s: its key split.count says %llu parts, but it lies among %zu. The parts are not of one model.",
                     g->name, (unsigned long long)part_count(g), n);
  if (!gguf_u64(g, "split.no", &number) || number != i)
    return error_set(err, ERROR_CORRUPT, "%s: its key split.no must be %zu (it counts from 0), because it is part %zu of %zu.", g->name, i,
                     i + 1, n);
  return 0;
}

static int check_total(const struct gguf *g, size_t total, struct error *err) {
  uint64_t claimed;
  if (!gguf_u64(g, "split.tensors.count", &claimed))
    return error_set(err, ERROR_CORRUPT, "%s: the key split.tensors.count is missing, or no count.", g->name);
  if (claimed == total) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: its key split.tensors.count says %llu tensors, but the parts hold %zu.", g->name,
                   (unsigned long long)claimed, total);
}

/* Makes part 0 hold the tensors of all. On success it owns the others. */
static int join_parts(struct gguf **parts, size_t n, struct error *err) {
  struct gguf *g = parts[0];
  size_t total = 0, twice;
  for (size_t i = 0; i < n; i++) {
    if (check_part(parts[i], i, n, err) < 0) return -1;
    total += parts[i]->n_tensors;
  }
  for (size_t i = 0; i < n; i++)
    if ((i == 0 || gguf_find(parts[i], "split.tensors.count")) && check_total(parts[i], total, err) < 0) return -1;
  if (total > TENSORS_MAX)
    return error_set(err, ERROR_CORRUPT, "%s: the parts hold %zu tensors; at most %d are accepted.", g->name, total, TENSORS_MAX);
  g->tensors = mem_realloc(g->tensors, total ? total : 1, sizeof *g->tensors);
  for (size_t i = 1; i < n; i++) {
    if (parts[i]->n_tensors) memcpy(g->tensors + g->n_tensors, parts[i]->tensors, parts[i]->n_tensors * sizeof *g->tensors);
    g->n_tensors += parts[i]->n_tensors;
  }
  names_free(&g->tensor_names);
  if (!names_build(&g->tensor_names, total ? &g->tensors[0].name : NULL, sizeof *g->tensors, total, &twice)) {
    struct reader r = {.name = g->name, .err = err};
    return tensor_error(&r, &g->tensors[twice], ERROR_CORRUPT, "it stands in two of the model's parts.");
  }
  g->n_others = n - 1;
  g->others = mem_zalloc(n, sizeof *g->others);
  memcpy(g->others, parts + 1, (n - 1) * sizeof *parts);
  return 0;
}

static void close_parts(struct gguf **parts, size_t n) {
  for (size_t i = 0; i < n; i++) gguf_close(parts[i]);
  free(parts);
}

static struct gguf *join_or_close(struct gguf **parts, size_t n, struct error *err) {
  if (join_parts(parts, n, err) < 0) {
    close_parts(parts, n);
    return NULL;
  }
  struct gguf *g = parts[0];
  free(parts);
  return g;
}

struct slice gguf_stem(struct slice file_name, unsigned *ret_part) {
  struct parts p = {.stem = file_name};
  bool gguf = file_name.len > 5 && slice_ends(file_name, SLICE(".gguf"));
  if (gguf && !parts_parse(file_name, &p)) p = (struct parts){slice_make(file_name.data, file_name.len - 5), 1, 1};
  if (ret_part) *ret_part = p.number;
  return p.stem;
}

/* one is a part at path, and becomes part of the result or is closed. */
static struct gguf *map_others(struct gguf *one, const char *path, struct error *err) {
  struct parts p;
  size_t n = (size_t)part_count(one);
  bool named = parts_parse(slice_cstr(path), &p);
  if (!named || p.count != n) {
    error_set(
        err, ERROR_INVALID,
        "%s is one of %zu parts of a model, but is not named as one. Give the parts their names back: NAME-00001-of-%05zu.gguf and so on.",
        path, n, n);
    gguf_close(one);
    return NULL;
  }
  struct gguf **parts = mem_zalloc(n, sizeof *parts);
  for (unsigned i = 0; i < n; i++) {
    char *name = parts_path(&p, i + 1);
    parts[i] = i + 1 == p.number ? one : map_one(name, err);
    if (!parts[i]) {
      if (err && err->code == ERROR_NOT_FOUND)
        error_set(err, ERROR_NOT_FOUND, "Part %u of %zu of the model is missing: there is no file %s. Download it too.", i + 1, n, name);
      if (p.number > i + 1) gguf_close(one);
      free(name);
      close_parts(parts, n);
      return NULL;
    }
    free(name);
  }
  return join_or_close(parts, n, err);
}

/* ---- opening ---- */

struct gguf *gguf_open_bytes(struct slice bytes, const char *name, struct error *err) {
  struct gguf *g = open_one(bytes, name, err);
  if (!g || part_count(g) == 1) return g;
  error_set(err, ERROR_UNSUPPORTED, "%s is one of %llu parts of a model and cannot be read without the others.", name,
            (unsigned long long)part_count(g));
  gguf_close(g);
  return NULL;
}

struct gguf *gguf_open_parts_bytes(const struct slice *bytes, size_t n, const char *name, struct error *err) {
  assert(n > 1);
  struct gguf **parts = mem_zalloc(n, sizeof *parts);
  for (size_t i = 0; i < n; i++) {
    if ((parts[i] = open_one(bytes[i], name, err))) continue;
    close_parts(parts, n);
    return NULL;
  }
  return join_or_close(parts, n, err);
}

struct gguf *gguf_open(const char *path, struct error *err) {
  struct gguf *g = map_one(path, err);
  return !g || part_count(g) == 1 ? g : map_others(g, path, err);
}

void gguf_close(struct gguf *g) {
  if (!g) return;
  for (size_t i = 0; i < g->n_others; i++) gguf_close(g->others[i]);
  free(g->others);
  names_free(&g->value_names);
  names_free(&g->tensor_names);
  free(g->values);
  free(g->tensors);
  fs_map_close(&g->map);
  free(g->name);
  free(g);
}

/* ---- getters ---- */

uint32_t gguf_version(const struct gguf *g) { return g->version; }

size_t gguf_n_parts(const struct gguf *g) { return g->n_others + 1; }

uint64_t gguf_bytes(const struct gguf *g) {
  uint64_t sum = g->bytes.len;
  for (size_t i = 0; i < g->n_others; i++) sum += g->others[i]->bytes.len;
  return sum;
}

size_t gguf_stamps(const struct gguf *g, struct fs_stamp *stamps) {
  if (stamps) stamps[0] = g->map.stamp;
  for (size_t i = 0; stamps && i < g->n_others; i++) stamps[1 + i] = g->others[i]->map.stamp;
  return 1 + g->n_others;
}

size_t gguf_n_values(const struct gguf *g) { return g->n_values; }

const struct gguf_value *gguf_value_at(const struct gguf *g, size_t i) {
  assert(i < g->n_values);
  return &g->values[i];
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key) {
  size_t i;
  return names_find(&g->value_names, slice_cstr(key), &i) ? &g->values[i] : NULL;
}

size_t gguf_n_tensors(const struct gguf *g) { return g->n_tensors; }

const struct file_tensor *gguf_tensor_at(const struct gguf *g, size_t i) {
  assert(i < g->n_tensors);
  return &g->tensors[i];
}

const struct file_tensor *gguf_tensor(const struct gguf *g, const char *name) {
  size_t i;
  return names_find(&g->tensor_names, slice_cstr(name), &i) ? &g->tensors[i] : NULL;
}

/* An integer of any type as its 64 bits; *ret_negative says how they count. False for other types. */
static bool integer_at(enum gguf_type type, const char *p, uint64_t *out, bool *ret_negative) {
  bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
  size_t size = scalar_bytes(type);
  if (size == 0 || type == GGUF_F32 || type == GGUF_F64 || type == GGUF_BOOL) return false;
  uint64_t value = 0;
  memcpy(&value, p, size); /* little-endian: the low bytes come first */
  unsigned unused = 64 - 8 * (unsigned)size;
  if (is_signed) value = (uint64_t)((int64_t)(value << unused) >> unused);
  *out = value;
  *ret_negative = is_signed && (int64_t)value < 0;
  return true;
}

static bool real_at(enum gguf_type type, const char *p, double *out) {
  float f32;
  if (type == GGUF_F64) {
    memcpy(out, p, sizeof *out);
  } else if (type == GGUF_F32) {
    memcpy(&f32, p, sizeof f32);
    *out = f32;
  } else {
    return false;
  }
  return true;
}

bool gguf_u64(const struct gguf *g, const char *key, uint64_t *out) {
  const struct gguf_value *v = gguf_find(g, key);
  uint64_t value;
  bool negative;
  if (!v || !integer_at(v->type, v->bytes.data, &value, &negative) || negative) return false;
  *out = value;
  return true;
}

bool gguf_f64(const struct gguf *g, const char *key, double *out) {
  const struct gguf_value *v = gguf_find(g, key);
  return v && real_at(v->type, v->bytes.data, out);
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
  if (*cursor == array->bytes.len) return false;
  uint64_t len;
  memcpy(&len, array->bytes.data + *cursor, sizeof len);
  *out = slice_make(array->bytes.data + *cursor + sizeof len, (size_t)len);
  *cursor += sizeof len + (size_t)len;
  return true;
}

double gguf_array_f64(const struct gguf_value *array, uint64_t i) {
  assert(array->type == GGUF_ARRAY && i < array->count);
  const char *p = array->bytes.data + i * scalar_bytes(array->element);
  uint64_t bits;
  bool negative;
  double value = 0;
  if (real_at(array->element, p, &value)) return value;
  if (array->element == GGUF_BOOL) return *p != 0;
  bool integer = integer_at(array->element, p, &bits, &negative);
  assert(integer);
  (void)integer;
  return negative ? (double)(int64_t)bits : (double)bits;
}

int64_t gguf_array_i64(const struct gguf_value *array, uint64_t i) {
  assert(array->type == GGUF_ARRAY && i < array->count);
  const char *p = array->bytes.data + i * scalar_bytes(array->element);
  uint64_t bits;
  bool negative;
  if (array->element == GGUF_BOOL) return *p != 0;
  bool integer = integer_at(array->element, p, &bits, &negative);
  assert(integer);
  (void)integer;
  return !negative && bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
}
