/* checks: what an import tries on a model before it lets it in. Private to intake. SPDX-License-Identifier: Apache-2.0 */
#ifndef INTAKE_CHECKS_H
#define INTAKE_CHECKS_H
#include "base/arena.h"
#include "base/js.h"
#include "file/manifest.h"
#include "intake/intake.h"
#include "model/model.h"
#include "text/text.h"

/* Sentences are cut at 512 bytes. */
void checks_add(struct intake_checks *c, const char *name, enum intake_result result, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void checks_add_error(struct intake_checks *c, const char *name, const struct error *err);

/* A model under examination: what could be opened. */
struct subject {
  const char *path;
  struct file_model *file;
  struct model_info info;
  bool known; /* info is filled */
  struct tokenizer *tokenizer;
  struct chat_template *chat_template;
  struct js *vectors; /* plinth-vectors.json, or NULL */
};

/* Opens the parts of the model and adds a check for each: architecture, tensors, tokenizer, template, stop ids. The fingerprints of
 * tokenizer and template go into the manifest. */
void checks_open(struct subject *s, const char *path, struct intake_checks *c, struct manifest *m);
void checks_close(struct subject *s);
/* plinth-vectors.json of a folder, or NULL; a broken one is a failed check. */
struct js *checks_vectors(const char *path, struct intake_checks *c);
/* Loads the model and runs it: a first forward with finite numbers, then the vectors if the model brings some; sets the verdict. base:
 * the model's own path, or of an adapter's base; adapter: NULL or the adapter's folder. */
void checks_forward(const struct subject *s, const char *adapter, int threads, struct intake_checks *c, struct manifest *m);

/* ---- vectors.c ---- */

/* A loaded model that computes. */
struct runner {
  const struct subject *subject;
  struct model *model;
  struct adapter *adapter; /* or NULL */
  void **pages;            /* KV for rows_max positions */
  size_t rows_max;
  float *out; /* logits of one row [n_vocab], or an embedding [n_embd] */
};
/* The numbers behind the last of the ids (1 … rows_max, each in the vocabulary), in r->out. */
void checks_run(struct runner *r, const int32_t *ids, size_t n);

/* What a set of vectors covers. */
struct vectors_cover {
  size_t n_ids, n_rendered, n_numbers;
};
/* Tries the cases that need no weights (ids, rendered templates; runner NULL), or those that do. A case that does not match is a failed
 * check. */
void vectors_try(const struct subject *s, struct runner *runner, struct vectors_cover *cover, struct intake_checks *c);

#endif
