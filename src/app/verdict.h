/* verdict: what a model's manifest says, for people and as JSON. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_VERDICT_H
#define APP_VERDICT_H
#include "base/jsonw.h"
#include "file/manifest.h"

/* Writes the members "verdict", "verified_by", "source", "fingerprints" … of an object; changed: the path of a file that is not as it was
 * written down, or NULL. */
void verdict_write(struct jsonw *w, const struct manifest *m, const char *changed);
/* "verified", "unverified", "changed"; "-" without a manifest (NULL). */
const char *verdict_word(const struct manifest *m, const char *changed);

#endif
