/* parts: the names of files that are one model together: NAME-00001-of-00003.gguf. For this room only. SPDX-License-Identifier: Apache-2.0 */
#ifndef FILE_PARTS_H
#define FILE_PARTS_H
#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

enum { PARTS_MAX = 4096 };

struct parts {
  struct slice stem;      /* what stands before "-00001-of-00003.gguf"; borrowed, may hold folders */
  unsigned number, count; /* number counts from 1: 1 <= number <= count <= PARTS_MAX */
};

/* False when the path does not end as a part's does. */
bool parts_parse(struct slice path, struct parts *out);
/* The path of part number (from 1) of the same set, in new memory. */
char *parts_path(const struct parts *p, unsigned number);

#endif
