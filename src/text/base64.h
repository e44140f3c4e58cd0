/* base64: the standard alphabet, as vocabulary files have it. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_BASE64_H
#define TEXT_BASE64_H
#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* Appends the bytes. False, with nothing appended, when text is not base64 with its padding. */
bool base64_decode(struct slice text, struct buf *out);

#endif
