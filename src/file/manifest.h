/* manifest: plinth.json, what an import has written down about a model. Stands beside the door. SPDX-License-Identifier: Apache-2.0
 *
 * Lies in the model's folder as plinth.json, or beside NAME.gguf as NAME.plinth.json. doc/design/import.md describes the file. */
#ifndef FILE_MANIFEST_H
#define FILE_MANIFEST_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum manifest_verdict { MANIFEST_UNVERIFIED, MANIFEST_VERIFIED };

struct manifest_file {
  char *path; /* inside the folder */
  uint64_t bytes;
  int64_t mtime_ns;
  char sha256[65];
};

struct manifest_check {
  char *name, *result, *detail; /* result: "passed", "skipped" */
};

/* All strings are owned; NULL where there is none. */
struct manifest {
  bool adapter;            /* a LoRA adapter, no model of its own */
  char *source;            /* "hf:org/repo", or a path */
  char *revision, *commit; /* of a hub */
  char *base;              /* an adapter's base model */
  int64_t imported_s;      /* since 1970 */
  enum manifest_verdict verdict;
  char *verified_by;                         /* "catalogue", "vectors" */
  char *weights, *tokenizer, *chat_template; /* fingerprints: "sha256:<64 hex digits>" */
  struct manifest_file *files;
  size_t n_files;
  struct manifest_check *checks;
  size_t n_checks;
};

/* Where the manifest of the model at path (a folder or a .gguf file) lies; free it. */
char *manifest_path(const char *model_path);
/* 1: read; 0: there is none, *ret is empty; -1: it is broken. manifest_free in any case. */
int manifest_read(const char *model_path, struct manifest *ret, struct error *err);
int manifest_parse(struct slice json, struct manifest *ret, struct error *err);
void manifest_free(struct manifest *m); /* leaves {0} */
int manifest_write(const struct manifest *m, const char *model_path, struct error *err);
void manifest_format(const struct manifest *m, struct buf *out);

/* Appends a file. */
struct manifest_file *manifest_add_file(struct manifest *m, const char *path);
void manifest_add_check(struct manifest *m, const char *name, const char *result, const char *detail);
/* The path of a manifest's file below the model at model_path; free it. */
char *manifest_file_path(const char *model_path, const struct manifest_file *f);

/* Compares size and time of every file with what was written down. NULL: as it was; else the path of the first that is not. */
const char *manifest_changed(const struct manifest *m, const char *model_path);
const char *manifest_verdict_name(enum manifest_verdict verdict); /* "verified", "unverified" */
/* Whether a path from outside is plain and stays inside: relative, no "..", ".", empty part, backslash or control character. */
bool manifest_safe_path(struct slice path);

#endif
