#!/usr/bin/env python3
"""Writes src/text/regex_newer.h: the characters that the patterns of the `tokenizers` package know and Unicode 14 does not.

Oniguruma has Unicode 16; the PCRE2 of Debian 12 has 14, as Python 3.11 has. The classes are asked of the package itself. SPDX-License-Identifier: Apache-2.0

usage: newer.py > src/text/regex_newer.h      (tokenizers 0.23.3, Python 3.11)
"""
import unicodedata

import tokenizers
from tokenizers import Regex, pre_tokenizers

CODEPOINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
BLOCK = 4096


def matched(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    blocks = ("".join(map(chr, CODEPOINTS[i : i + BLOCK])) for i in range(0, len(CODEPOINTS), BLOCK))
    return {ord(c) for block in blocks for piece, _ in split.pre_tokenize_str(block) for c in piece}


def main():
    assert unicodedata.unidata_version == "14.0.0", "Python 3.11 knows Unicode 14"
    category = {c: name for name in CATEGORIES for c in matched(r"\p{%s}" % name)}
    alphabetic, han = matched(r"\p{Alphabetic}"), matched(r"\p{Han}")
    runs = []
    for c in CODEPOINTS:
        if unicodedata.category(chr(c)) != "Cn" or c not in category:
            continue
        what = (category[c], c in alphabetic, c in han)
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == what:
            runs[-1][1] = c
        else:
            runs.append([c, c, what])
    print("/* regex_newer: written by test/vector/tokenizer/newer.py from tokenizers %s; do not edit." % tokenizers.__version__)
    print(" * SPDX-License-Identifier: Apache-2.0 */")
    print("/* clang-format off */")
    print("/* Characters newer than Unicode 14, ascending: first, last, general category, alphabetic, Han. */")
    print("static const struct newer {\n  uint32_t first, last;\n  char category[3];\n  bool alphabetic, han;\n} newer[] = {")
    cells = ['{0x%X, 0x%X, "%s", %d, %d}' % (a, b, kind, alpha, of_han) for a, b, (kind, alpha, of_han) in runs]
    for i in range(0, len(cells), 4):
        print("  " + ", ".join(cells[i : i + 4]) + ",")
    print("};")


main()
