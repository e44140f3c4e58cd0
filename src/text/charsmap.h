/* charsmap: SentencePiece's table of replaced characters (nmt_nfkc and the like). SPDX-License-Identifier: Apache-2.0
 *
 * Layout: the size of a double array in bytes (u32, little-endian), the array (u32 units, as Darts-clone writes them), then the
 * replacements, each followed by a zero byte; a leaf of the array says where its replacement begins. */
#ifndef TEXT_CHARSMAP_H
#define TEXT_CHARSMAP_H
#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

struct charsmap; /* immutable; any thread */

/* Copies table. */
struct charsmap *charsmap_open(struct slice table, struct error *err);
void charsmap_free(struct charsmap *m);                /* NULL is fine */
struct slice charsmap_table(const struct charsmap *m); /* what it was opened from, borrowed */
/* Appends valid UTF-8 with its characters replaced, as the `tokenizers` package does it: what belongs together (a letter and its
 * marks) is looked up as a whole when it has fewer than 6 bytes, and then character by character. */
void charsmap_apply(const struct charsmap *m, struct slice text, struct buf *out);

#endif
