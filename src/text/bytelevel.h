/* bytelevel: the alphabet in which byte-level vocabularies are written. SPDX-License-Identifier: Apache-2.0
 *
 * Every byte is one printable character: bytes 33-126, 161-172 and 174-255 are the characters of the same number; the other
 * 68 bytes, in rising order, are U+0100, U+0101, … (a space is U+0120). Source: the GPT-2 encoder. */
#ifndef TEXT_BYTELEVEL_H
#define TEXT_BYTELEVEL_H
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* The character of a byte. */
uint32_t bytelevel_char(unsigned char byte);
/* The byte of a character, or -1 when the character is not of the alphabet. */
int bytelevel_byte(uint32_t codepoint);
/* Appends the alphabet's characters for the bytes of raw. */
void bytelevel_map(struct slice raw, struct buf *out);
/* Appends the bytes that mapped stands for; when one of its characters is not of the alphabet, mapped itself. */
void bytelevel_unmap(struct slice mapped, struct buf *out);

#endif
