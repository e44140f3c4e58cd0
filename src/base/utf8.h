/* utf8: strict UTF-8 (RFC 3629): no surrogates, no overlong forms, at most U+10FFFF. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define UTF8_REPLACEMENT 0xFFFDu

/* Decodes the character at s.data into *codepoint; returns its length in bytes (1 to 4), or 0 when the bytes there are no
 * valid character (or s is empty). */
size_t utf8_get(struct slice s, uint32_t *codepoint);
/* Writes 1 to 4 bytes; an invalid codepoint is written as U+FFFD. Returns the count. */
size_t utf8_put(char out[4], uint32_t codepoint);
bool utf8_valid(struct slice s);
/* The length of the maximal invalid subpart at s.data (Unicode 3.9, table 3-8): how many bytes one U+FFFD stands for when
 * utf8_get returned 0. At least 1 for a non-empty s. */
size_t utf8_invalid_len(struct slice s);
/* How many bytes at the end of s are the beginning of a character that may still be completed (0 to 3). */
size_t utf8_incomplete_tail(struct slice s);
/* Makes text fit to be shown in one line of a terminal, in place: each control character and each invalid subpart becomes '?'. Returns the
 * length, which never grows. */
size_t utf8_make_line(char *text, size_t len);

#endif
