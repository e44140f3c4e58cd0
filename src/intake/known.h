/* known: the models of the catalogue, whose files are known by their hashes. Private to intake. SPDX-License-Identifier: Apache-2.0 */
#ifndef INTAKE_KNOWN_H
#define INTAKE_KNOWN_H
#include <stdbool.h>

#include "file/manifest.h"

/* Whether the manifest's files are exactly those of a model of the catalogue, byte for byte; licences and the like do not count. */
bool known_model(const struct manifest *m);

#endif
