/* names: finds things by name, for this room only. SPDX-License-Identifier: Apache-2.0
 * Sorted and searched by halves: no hostile set of names makes it slow. */
#ifndef FILE_NAMES_H
#define FILE_NAMES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct names {
  const struct slice *first; /* borrowed: names lie stride bytes apart */
  size_t stride;
  uint32_t *order; /* owned: indices sorted by name */
  size_t n;
};

/* first: the name of item 0, inside an array of structs of stride bytes that stays in place; NULL when n is 0. n fits in 32 bits (asserted). When a name
 * stands twice, returns false with the later of the two indices in *ret_twice; names_free is needed all the same. */
bool names_build(struct names *names, const struct slice *first, size_t stride, size_t n, size_t *ret_twice);
bool names_find(const struct names *names, struct slice name, size_t *ret_index);
void names_free(struct names *names);

/* A name from outside for a message: control characters and broken UTF-8 become '?', a long one is cut with "…". */
enum { NAMES_QUOTED_MAX = 100 };
const char *names_quoted(struct slice name, char out[NAMES_QUOTED_MAX]);

#endif
