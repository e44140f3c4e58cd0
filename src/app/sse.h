/* sse: the events of a server's stream, line by line. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SSE_H
#define APP_SSE_H
#include <stdbool.h>

#include "base/buf.h"

/* The next "data:" line that stands whole in text behind *from: its value, without line end and the space in front. Other lines are passed
 * over. False when no whole line is left; the caller drops *from bytes then. The view is good until text changes. */
bool sse_next(const struct buf *text, size_t *from, struct slice *ret_data);

#endif
