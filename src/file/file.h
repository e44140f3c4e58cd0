/* file: model files; hostile bytes in, checked views out. The door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * Everything here maps files read-only and checks every offset, size and count before it is used. A broken file gets an
 * error that names the file, what is wrong and where (byte offset, key or tensor). Views die with the object they came from.
 * Opened objects are immutable and may be read by any thread. Formats: doc/format/gguf.md, doc/format/safetensors.md. */
#ifndef FILE_FILE_H
#define FILE_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/slice.h"

enum { FILE_RANK_MAX = 4 };

/* A tensor as it lies in a file. */
struct file_tensor {
  struct slice name; /* borrowed */
  enum dtype dtype;
  unsigned rank;                 /* 0 to FILE_RANK_MAX */
  uint64_t shape[FILE_RANK_MAX]; /* outermost first, as torch prints it: a linear weight is [out, in] (GGUF's order is turned) */
  uint64_t n_elements;           /* product of shape */
  const void *data;              /* n_bytes of the mapped file; not necessarily aligned */
  uint64_t n_bytes;
};

/* ---- GGUF, version 2 and 3, little-endian ---- */

struct gguf;

enum gguf_type {
  GGUF_U8,
  GGUF_I8,
  GGUF_U16,
  GGUF_I16,
  GGUF_U32,
  GGUF_I32,
  GGUF_F32,
  GGUF_BOOL,
  GGUF_STRING,
  GGUF_ARRAY,
  GGUF_U64,
  GGUF_I64,
  GGUF_F64
};

/* A metadata value, a view into the file. Scalars are unaligned there: use the gguf_* getters. */
struct gguf_value {
  struct slice key;
  enum gguf_type type;
  enum gguf_type element; /* of an array; else equal to type */
  uint64_t count;         /* elements of an array; else 1 */
  struct slice bytes;     /* the value's bytes, for a string without its length; for an array its elements, checked */
};

/* A file that is one of several parts (NAME-00001-of-00003.gguf) is opened with all the others, whichever is named; what it says beside
 * tensors is that of the first part. */
struct gguf *gguf_open(const char *path, struct error *err);
/* The same on bytes that stay the caller's (tests, fuzzing). name is for messages. */
struct gguf *gguf_open_bytes(struct slice bytes, const char *name, struct error *err);
/* The model's name in a file's name: without ".gguf", or without "-00001-of-00003.gguf". The whole name when it is no GGUF file's.
 * *ret_part counts from 1 and may be NULL; 1 for a file that is whole, 0 for other names. */
struct slice gguf_stem(struct slice file_name, unsigned *ret_part);
struct gguf *gguf_open_parts_bytes(const struct slice *bytes, size_t n, const char *name, struct error *err); /* n > 1 */
void gguf_close(struct gguf *g);                                                                              /* NULL is fine */

uint32_t gguf_version(const struct gguf *g);
size_t gguf_n_parts(const struct gguf *g); /* 1 for a file that is whole */
uint64_t gguf_bytes(const struct gguf *g); /* of all its files */
size_t gguf_n_values(const struct gguf *g);
const struct gguf_value *gguf_value_at(const struct gguf *g, size_t i);    /* in file order */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key); /* NULL when absent */
/* False when absent or of another kind; any integer type converts when it fits, bool does not. */
bool gguf_u64(const struct gguf *g, const char *key, uint64_t *out);
bool gguf_f64(const struct gguf *g, const char *key, double *out); /* f32 or f64 */
bool gguf_bool(const struct gguf *g, const char *key, bool *out);
bool gguf_str(const struct gguf *g, const char *key, struct slice *out);
/* Walks an array of strings in one pass: start with *cursor = 0; false at the end. */
bool gguf_next_str(const struct gguf_value *array, size_t *cursor, struct slice *out);
/* Element i of a number or bool array as a double / int64 (asserts i < count and a fitting type family). */
double gguf_array_f64(const struct gguf_value *array, uint64_t i);
int64_t gguf_array_i64(const struct gguf_value *array, uint64_t i);

size_t gguf_n_tensors(const struct gguf *g);
const struct file_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct file_tensor *gguf_tensor(const struct gguf *g, const char *name); /* NULL when absent */

/* The stamps of its files, one after the other (base/fs.h). NULL stamps: how many there are. */
size_t gguf_stamps(const struct gguf *g, struct fs_stamp *stamps);

/* ---- writing GGUF, version 3 ---- */

struct gguf_writer;

/* The number of a type in the format; false for a type that GGUF does not have. */
bool gguf_dtype_id(enum dtype type, uint32_t *out);
/* A file that appears at path, whole and synced, when it is finished; until then it grows beside it under a temporary name. */
struct gguf_writer *gguf_writer_create(const char *path, struct error *err);
void gguf_writer_abandon(struct gguf_writer *w); /* removes what was written; NULL is fine */
/* Values and tensors, in the order of the file; no key and no name twice, which is the caller's care. */
void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_writer_f32(struct gguf_writer *w, const char *key, float v);
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_writer_str(struct gguf_writer *w, const char *key, struct slice v);
void gguf_writer_strs(struct gguf_writer *w, const char *key, const struct slice *v, size_t n);
void gguf_writer_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n);
void gguf_writer_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n);
void gguf_writer_copy(struct gguf_writer *w, const struct gguf_value *v);
/* shape: outermost first. */
void gguf_writer_tensor(struct gguf_writer *w, struct slice name, enum dtype dtype, unsigned rank, const uint64_t *shape);
/* The next n bytes of the tensors' data, in the order of the declarations; a call does not reach across two tensors. */
int gguf_writer_data(struct gguf_writer *w, const void *data, size_t n, struct error *err);
/* Ends w, whatever the result. All data has been given (asserted). */
int gguf_writer_finish(struct gguf_writer *w, struct error *err);

/* ---- safetensors: one file, or shards by model.safetensors.index.json ---- */

struct safetensors;

/* path: a .safetensors file, an index file, or a directory that holds model.safetensors(.index.json); the index wins. */
struct safetensors *safetensors_open(const char *path, struct error *err);
struct safetensors *safetensors_open_bytes(struct slice bytes, const char *name, struct error *err);
/* Names, types and shapes without data (all data is NULL): for plans. Names are copied. */
struct safetensors *safetensors_outline(const struct file_tensor *tensors, size_t n, struct error *err);
void safetensors_close(struct safetensors *s); /* NULL is fine */
size_t safetensors_n_tensors(const struct safetensors *s);
uint64_t safetensors_bytes(const struct safetensors *s); /* of all its files; 0 for an outline */
const struct file_tensor *safetensors_tensor_at(const struct safetensors *s, size_t i);
const struct file_tensor *safetensors_tensor(const struct safetensors *s, const char *name); /* NULL when absent */

size_t safetensors_stamps(const struct safetensors *s, struct fs_stamp *stamps); /* as gguf_stamps */

/* Begins a file with these tensors (plain types; name, dtype, rank, shape and n_bytes count): the header is written, and ends at a multiple
 * of SAFETENSORS_ALIGNMENT. The caller puts the data of each, in this order, and commits (base/fs.h). */
enum { SAFETENSORS_ALIGNMENT = 64 };
struct fs_writer *safetensors_write(const char *path, const struct file_tensor *const *tensors, size_t n, struct error *err);

/* ---- a model on disk, whatever its container ---- */

enum file_container { FILE_GGUF, FILE_SAFETENSORS };

/* A model's files: a .gguf file, a directory with exactly one .gguf file (or one set of parts), or a Hugging Face directory (config.json +
 * safetensors). */
struct file_model {
  enum file_container container;
  char *path;                  /* the .gguf file (its first part), or the directory */
  struct gguf *gguf;           /* when FILE_GGUF */
  struct safetensors *tensors; /* when FILE_SAFETENSORS */
  struct js *config;           /* config.json, when FILE_SAFETENSORS */
};

struct file_model *file_model_open(const char *path, struct error *err);
/* The same without mapping tensor data of safetensors (tensors stays NULL): for a reader of config, tokenizer and template. */
struct file_model *file_model_open_text(const char *path, struct error *err);
void file_model_close(struct file_model *m); /* NULL is fine */
/* Names what is in the files of an opened model: by the fingerprint of its manifest where that still holds, else by size, time and inode of
 * its files; with the bytes of config.json. SHA-256 in hex. */
void file_model_identity(const struct file_model *m, char out[65]);
/* By name in either container; NULL when absent. */
const struct file_tensor *file_model_tensor(const struct file_model *m, const char *name);
/* Parses NAME inside a Hugging Face directory ("tokenizer_config.json", "1_Pooling/config.json"). Absent: returns 0 and *ret_json is
 * NULL. The caller frees with js_free. */
int file_model_json(const struct file_model *m, const char *name, struct js **ret_json, struct error *err);

/* ---- what is kept for a model in a folder of its own, so that a later start need not compute it again ---- */

/* DIR/HASH.KIND.LAYOUT.EXT in new memory: HASH is the beginning of identity (SHA-256 in hex), ext "safetensors" or "tables". */
char *file_kept_path(const char *dir, const char *identity, const char *kind, unsigned layout, const char *ext);
/* Whether a file's name is one of these, or that of one whose writing began; kind NULL: of any kind. */
bool file_kept_is(const char *file, const char *kind);
/* Removes these files of a folder but one (NULL: all): of earlier states of the model, in earlier layouts, of writers that were killed. */
void file_kept_remove(const char *dir, const char *kind, const char *but_path);

/* ---- a LoRA adapter on disk: a PEFT folder with adapter_config.json and adapter_model.safetensors ---- */

struct file_adapter {
  char *path;
  char *base;        /* name of the model that it belongs to: "base" in its plinth.json, else the last part of base_model_name_or_path */
  struct js *config; /* adapter_config.json, an object */
  struct safetensors *tensors;
};

bool file_is_adapter(const char *path); /* a folder that holds adapter_config.json */
struct file_adapter *file_adapter_open(const char *path, struct error *err);
void file_adapter_close(struct file_adapter *a); /* NULL is fine */

#endif
