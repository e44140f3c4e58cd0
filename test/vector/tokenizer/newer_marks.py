#!/usr/bin/env python3
"""Writes src/text/charsmap_newer.h: the marks that the `tokenizers` package joins to the letter before them and Unicode 14 does not know.

Its rust crate for graphemes has Unicode 17; the utf8proc of Debian 12 has 14, as Python 3.11 has. The package itself is asked, by a table that turns
"x" into "y" and that takes a letter and its marks as a whole. SPDX-License-Identifier: Apache-2.0

usage: newer_marks.py > src/text/charsmap_newer.h      (tokenizers 0.23.3, Python 3.11)
"""
import struct
import unicodedata

import tokenizers
from tokenizers import normalizers


def table(key, value):
    """A double array of one key of one byte: the root at 0, the key's unit at its byte, its value behind the bytes."""
    units = [0] * 512
    units[ord(key)] = (0x100 ^ ord(key)) << 10 | 1 << 8 | ord(key)
    units[0x100] = 1 << 31
    array = struct.pack("<512I", *units)
    return struct.pack("<I", len(array)) + array + value.encode() + b"\0"


def main():
    assert unicodedata.unidata_version == "14.0.0", "Python 3.11 knows Unicode 14"
    normalizer = normalizers.Precompiled(table("x", "y"))
    assert normalizer.normalize_str("xx\u0301z") == "yyz"
    runs = []
    for c in range(0x80, 0x110000):
        if 0xD800 <= c <= 0xDFFF or unicodedata.category(chr(c)) != "Cn" or normalizer.normalize_str("x" + chr(c)) != "y":
            continue
        if runs and runs[-1][1] == c - 1:
            runs[-1][1] = c
        else:
            runs.append([c, c])
    print("/* charsmap_newer: written by test/vector/tokenizer/newer_marks.py from tokenizers %s; do not edit." % tokenizers.__version__)
    print(" * SPDX-License-Identifier: Apache-2.0 */")
    print("/* clang-format off */")
    print("/* Marks newer than Unicode 14, ascending: first, last. */")
    print("static const struct newer_marks {\n  uint32_t first, last;\n} newer_marks[] = {")
    cells = ["{0x%X, 0x%X}" % (a, b) for a, b in runs]
    for i in range(0, len(cells), 6):
        print("  " + ", ".join(cells[i : i + 6]) + ",")
    print("};")


main()
