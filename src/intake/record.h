/* record: examines a model and fills its manifest. Private to intake. SPDX-License-Identifier: Apache-2.0 */
#ifndef INTAKE_RECORD_H
#define INTAKE_RECORD_H
#include "intake/checks.h"

bool record_is_weights(const char *path); /* .safetensors or .gguf */
/* Everything that can be said about the model at path; what cannot be tried is left out with the reason. */
void record_examine(const char *path, bool no_load, int threads, struct intake_checks *c, struct manifest *m);
/* Size and time of the file at path. */
void record_time(struct manifest_file *f, const char *path);
/* The files with their hashes are there: sorts them, adds the checks, the fingerprint of the weights and the catalogue's verdict. */
void record_settle(struct manifest *m, const struct intake_checks *checks);

#endif
