/* stage: the hidden folder in which a model is put together, and how it gets its name. Private to intake. SPDX-License-Identifier: Apache-2.0
 *
 * MODELS/.incoming/KEY/ with a lock MODELS/.incoming/KEY.lock beside it. Readers of the models folder leave hidden entries out, so a model is
 * seen whole or not at all. */
#ifndef INTAKE_STAGE_H
#define INTAKE_STAGE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"

struct stage {
  char *incoming, *path, *lock_path; /* owned */
  int lock_fd;
};

/* Makes the folders and takes the lock; another import with the same key is refused. */
int stage_open(struct stage *s, const char *models_dir, const char *key, struct error *err);
/* Gives the lock back; the folder stays when it is to be gone on with. */
void stage_close(struct stage *s, bool keep);
/* Removes every file of the stage that keep(arg, path) does not want. */
int stage_sweep(struct stage *s, bool (*keep)(void *arg, const char *inside), void *arg, struct error *err);

/* Copies from into the stage's file to, hashing it on the way; or links it (hard, else symbolic) and reads it for the hash. */
int stage_bring(struct stage *s, const char *from, const char *to, bool link_it, bool (*cancelled)(void *arg), void *arg,
                char sha256[DIGEST_HEX], struct error *err);
/* The path of a file of the stage, its folder made; free it. NULL with an error. */
char *stage_file(struct stage *s, const char *to, struct error *err);
/* Syncs and renames the stage to MODELS/name; replace: what has that path goes away afterwards. */
int stage_publish(struct stage *s, const char *target, const char *replaced, struct error *err);

/* The path of the model of that name in the models folder; NULL: there is none. Free it. */
char *stage_installed(const char *models_dir, const char *name, bool any_case);

/* Bytes that the file system of dir has free. */
uint64_t stage_free_bytes(const char *dir);
/* Removes a folder with all that is in it, or a file; symbolic links are removed, not followed. */
int stage_remove_tree(const char *path, struct error *err);

#endif
