/* line: lines of a conversation, typed at a terminal with editing and history, or from a pipe. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_LINE_H
#define APP_LINE_H
#include <stdbool.h>

#include "base/slice.h"

struct line_reader;

/* Reads standard input. With terminal: lines are edited (libedit; ~/.editrc counts), and the prompt goes to standard error. */
struct line_reader *line_open(bool terminal);
void line_close(struct line_reader *r);

enum line_got { LINE_END, LINE_TEXT, LINE_INTERRUPTED };
/* The next line without its end, good until the next call. LINE_INTERRUPTED: Ctrl-C; what was typed is dropped. */
enum line_got line_read(struct line_reader *r, struct slice *ret_line);

#endif
