/* suggest: "did you mean …?". SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SUGGEST_H
#define APP_SUGGEST_H
#include <stddef.h>

/* The name that is nearest to word (insertions, deletions, changes, neighbours swapped; case does not count), or NULL when none
 * is near enough to be meant. Borrowed from names. */
const char *suggest_nearest(const char *word, const char *const *names, size_t n);

#endif
