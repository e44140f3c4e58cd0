/* intake: models from outside, checked and put into the models folder. The door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * A model comes from a path (a Hugging Face folder, a .gguf file or its parts, a PEFT adapter's folder, an MLflow model) or from a hub. Its
 * files are brought into a hidden folder beside the others, checked there, and appear under the model's name at once or not at all. Nothing
 * of a source is executed. One import at a time in a process; doc/design/import.md tells the whole. */
#ifndef INTAKE_INTAKE_H
#define INTAKE_INTAKE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "file/manifest.h"

enum intake_result { INTAKE_PASSED, INTAKE_SKIPPED, INTAKE_FAILED };

struct intake_check {
  const char *name; /* "tokenizer" */
  enum intake_result result;
  char detail[512]; /* a sentence; for a failed one the reason of the refusal */
};
struct intake_checks {
  struct intake_check *items; /* owned */
  size_t n, n_failed;
};
void intake_checks_free(struct intake_checks *c); /* leaves {0} */
const char *intake_result_name(enum intake_result result);

struct intake_config {
  const char *source;         /* a path, or hf:ORG/REPO[@REVISION][:FILE.gguf] */
  const char *name;           /* NULL: made from the source */
  const char *revision;       /* of a hub; NULL: what the source says, else main */
  const char *const *include; /* names or patterns of .gguf files */
  size_t n_include;
  const char *told_source; /* what the manifest calls the source; NULL: its own name */
  const char *base;        /* an adapter's base model: its name in models_dir; NULL: what the adapter says */
  const char *models_dir;
  bool link;                                        /* hard or symbolic links in place of copies */
  bool replace;                                     /* a model of that name goes away */
  bool no_load;                                     /* leave out what needs the weights in memory */
  int threads;                                      /* 0: the cores that may be used */
  bool (*cancelled)(void *arg);                     /* NULL: never */
  void (*on_note)(void *arg, const char *sentence); /* what happens now; NULL: not told */
  void (*on_progress)(void *arg, const char *file, uint64_t bytes_done, uint64_t bytes_total); /* of the whole import; NULL: not told */
  void *arg;
};

struct intake_report {
  char *name, *path; /* of the model in models_dir */
  struct manifest manifest;
  struct intake_checks checks;
  uint64_t bytes;
};
/* ERROR_UNSUPPORTED with n_failed in report->checks: the model was refused, for the reasons there. intake_report_free in any case. */
int intake_import(const struct intake_config *config, struct intake_report *report, struct error *err);
/* The same for an adapter's folder, merged into its base (installed, plain safetensors): the result is a model of its own. */
int intake_merge(const struct intake_config *config, struct intake_report *report, struct error *err);
void intake_report_free(struct intake_report *r);

/* Looks at every byte of an installed model (a folder or .gguf file): hashes against its manifest. A model without one is checked as an
 * import would (but not moved) and gets one, where the folder can be written. 1: all as written down (or newly written); 0: something
 * differs, or the check failed of a model without a manifest (*ret is empty then); *ret_what says what (free it). */
int intake_recheck(const char *path, int threads, bool (*cancelled)(void *arg), void *arg, struct manifest *ret, char **ret_what,
                   struct error *err);

/* Whether name may be a model's: a letter or digit, then those, '.', '-' and '_', at most 100. */
bool intake_name_valid(const char *name);
int intake_remove(const char *models_dir, const char *path, struct error *err);
int intake_rename(const char *path, const char *models_dir, const char *new_name, struct error *err);

#endif
