/* known: the models of the catalogue, whose files are known by their hashes. Private to intake. SPDX-License-Identifier: Apache-2.0 */
#ifndef INTAKE_KNOWN_H
#define INTAKE_KNOWN_H
#include <stdbool.h>
#include <stddef.h>

#include "file/manifest.h"

extern const unsigned char known_catalogue[]; /* the catalogue's text, put into the program by the build */
extern const size_t known_catalogue_bytes;

/* Whether the manifest's files are exactly those of a model of the catalogue, byte for byte; licences and the like do not count. */
bool known_model(const struct manifest *m);

#endif
