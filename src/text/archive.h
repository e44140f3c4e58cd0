/* archive: one function for a value's way to bytes and back. SPDX-License-Identifier: Apache-2.0
 *
 * A component's NAME_archive names its fields once: out set, they are appended; out NULL, they are read from in, into a component that is
 * all zero. Numbers lie as they do in memory, so bytes are only for the program that wrote them. Reading trusts their meaning (who keeps
 * them holds a digest), but not their length: where they end too early, broken is set and what is read is zero. */
#ifndef TEXT_ARCHIVE_H
#define TEXT_ARCHIVE_H
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/slice.h"
#include "text/regex.h"
#include "text/text.h"

struct archive {
  struct buf *out; /* NULL: reading */
  struct slice in; /* what is left to read */
  bool broken;
};

void archive_bytes(struct archive *a, void *data, size_t n);
#define ARCHIVE(a, field) archive_bytes(a, &(field), sizeof(field))
/* A number of elements; one that the bytes left cannot hold is read as 0. */
void archive_count(struct archive *a, size_t *n);
/* n elements of size bytes: items when writing, else new memory (NULL for none). */
void *archive_array(struct archive *a, void *items, size_t n, size_t size);
void archive_buf(struct archive *a, struct buf *b);
void archive_slice(struct archive *a, struct slice *s); /* read into new memory, the owner's; {NULL, 0} for an empty one */
void archive_ids(struct archive *a, struct ids *ids);
void archive_regex(struct archive *a, struct regex **r); /* NULL is one too */

#endif
