/* input: texts that come in on standard input or as arguments. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_INPUT_H
#define APP_INPUT_H
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

/* Appends all of standard input; more than bytes_max is refused. */
int input_read(size_t bytes_max, struct buf *in, struct error *err);
/* Fails where text is not UTF-8, with the place. The tokenizers would take U+FFFD for such bytes, and the answer would be to another text
 * than the one that was given. */
int input_check(struct slice text, struct error *err);

#endif
