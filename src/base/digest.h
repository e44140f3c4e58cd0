/* digest: SHA-256 of files and texts, and git's name of a small file. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H
#include <stdbool.h>

#include "base/error.h"
#include "base/slice.h"

enum { DIGEST_HEX = 65, DIGEST_GIT_HEX = 41 };

struct digest; /* SHA-256 under way */
struct digest *digest_begin(void);
void digest_add(struct digest *d, const void *data, size_t n);
void digest_end(struct digest *d, char out[DIGEST_HEX]); /* d is gone */

/* Of a whole file; cancelled (may be NULL) is asked now and then. */
int digest_file(const char *path, bool (*cancelled)(void *arg), void *arg, char out[DIGEST_HEX], struct error *err);
/* SHA-1 of "blob <size>\0" and the bytes: how git names a file. */
int digest_git_blob(const char *path, char out[DIGEST_GIT_HEX], struct error *err);

#endif
