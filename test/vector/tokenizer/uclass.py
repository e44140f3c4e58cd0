#!/usr/bin/env python3
"""Writes src/text/uclass_data.h: the character classes that the `tokenizers` package uses.

Its parts rest on different Unicode versions (Oniguruma 16, Rust's char 17, the unicode_categories crate 8, the
normalization crate 12), so no one library gives the same answers. This script asks the package itself, code point by code
point, and writes what it says as runs. SPDX-License-Identifier: Apache-2.0

usage: uclass.py > src/text/uclass_data.h      (tokenizers 0.23.3)
"""
import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODEPOINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
BLOCK = 4096
BITS = ("LETTER", "NUMBER", "SPACE", "NUMERIC", "WORD", "PUNCT", "CONTROL", "NONSPACING", "MARK", "NORMAL")


def blocks():
    for begin in range(0, len(CODEPOINTS), BLOCK):
        yield [chr(c) for c in CODEPOINTS[begin : begin + BLOCK]]


def matched(pattern):
    """Code points that Oniguruma matches with a one-character pattern."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {ord(c) for block in blocks() for piece, _ in split.pre_tokenize_str("".join(block)) for c in piece}


def isolated(pre):
    """Code points that a pre-tokenizer puts into a piece of their own between two letters."""
    found = set()
    for block in blocks():
        for piece, _ in pre.pre_tokenize_str("a" + "a".join(block) + "a"):
            if len(piece) == 1 and piece != "a":
                found.add(ord(piece))
    return found


def word():
    """\\w of Rust's regex crate, as the Whitespace pre-tokenizer has it: joins its neighbours."""
    pre = pre_tokenizers.Whitespace()
    found = set()
    for block in blocks():
        for piece, _ in pre.pre_tokenize_str(" ".join("a" + c + "a" for c in block)):
            if len(piece) == 3:
                found.add(ord(piece[1]))
    return found


def dropped(normalizer):
    return {c for c in CODEPOINTS if normalizer.normalize_str("a" + chr(c) + "a") == "aa"}


def normal():
    """Code points that take part in normalization: they decompose, reorder, or are a part of something that composes."""
    nfd, nfkd, nfc = normalizers.NFD(), normalizers.NFKD(), normalizers.NFC()
    found = set()
    for c in CODEPOINTS:
        s = chr(c)
        d = nfd.normalize_str(s)
        if d != s:
            found.add(c)
            found.update(map(ord, d))
        if nfkd.normalize_str(s) != s or nfc.normalize_str(s) != s:
            found.add(c)
        # U+0345 has the highest combining class, 240; U+0301 has 230.
        if nfd.normalize_str("a\u0345" + s) != "a\u0345" + d or nfd.normalize_str("a" + s + "\u0301") != "a" + d + "\u0301":
            found.add(c)
    return found


def lower_runs():
    """(first, last, delta, step) of the simple lower-case maps, and the code points that map to several."""
    low = normalizers.Lowercase()
    single, several = {}, {}
    for c in CODEPOINTS:
        to = low.normalize_str(chr(c))
        if to == chr(c):
            continue
        if len(to) == 1:
            single[c] = ord(to) - c
        else:
            several[c] = [ord(x) for x in to]
    runs, left = [], dict(single)
    for c in sorted(single):
        if c not in left:
            continue
        delta, best = left[c], c
        step = 1 if left.get(c + 1) == delta else 2
        while left.get(best + step) == delta:
            best += step
        for x in range(c, best + 1, step):
            del left[x]
        runs.append((c, best, delta, step))
    # uclass.c looks at the two runs that begin last before a code point.
    assert runs == sorted(runs)
    for c, delta in single.items():
        near = [r for r in runs if r[0] <= c][-2:]
        assert [r[2] for r in near if c <= r[1] and (c - r[0]) % r[3] == 0] == [delta], hex(c)
    return runs, several


def columns(items, n):
    for i in range(0, len(items), n):
        print("  " + ", ".join(items[i : i + n]) + ",")


def main():
    bert = normalizers.BertNormalizer
    classes = {
        "LETTER": matched(r"\p{L}"),
        "NUMBER": matched(r"\p{N}"),
        "SPACE": matched(r"\s"),
        "NUMERIC": isolated(pre_tokenizers.Digits(individual_digits=True)),
        "WORD": word(),
        "PUNCT": isolated(pre_tokenizers.Punctuation()),
        "CONTROL": dropped(bert(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)),
        "NONSPACING": dropped(bert(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)),
        "MARK": dropped(normalizers.StripAccents()),
        "NORMAL": normal(),
    }
    value = [0] * 0x110000
    for bit, name in enumerate(BITS):
        for c in classes[name]:
            value[c] |= 1 << bit
    runs = [(c, value[c]) for c in range(0x110000) if c == 0 or value[c] != value[c - 1]]
    index, at = [], 0
    for page in range(0, 0x110000, 1024):
        while at + 1 < len(runs) and runs[at + 1][0] <= page:
            at += 1
        index.append(at)
    lower, several = lower_runs()
    print("/* uclass_data: written by test/vector/tokenizer/uclass.py from tokenizers %s; do not edit." % tokenizers.__version__)
    print(" * SPDX-License-Identifier: Apache-2.0 */")
    print("/* clang-format off */")
    print("/* Code point << 11 | class bits: the bits hold from here to the next run. */")
    print("static const uint32_t uclass_runs[] = {")
    columns(["0x%X" % (c << 11 | v) for c, v in runs], 11)
    print("};")
    print("/* The class bits of ASCII. */")
    print("static const uint16_t uclass_ascii[128] = {")
    columns(["0x%X" % v for v in value[:128]], 16)
    print("};")
    print("/* The run that holds code point page * 1024. */")
    print("static const uint16_t uclass_index[] = {")
    columns([str(i) for i in index], 22)
    print("};")
    print("/* Lower case: every step-th code point from first to last moves by delta. */")
    print("static const struct uclass_lower_run uclass_lower_runs[] = {")
    columns(["{0x%X, 0x%X, %d, %d}" % r for r in lower], 5)
    print("};")
    assert several == {0x130: [0x69, 0x307]}, several
    assert classes["SPACE"] == {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, *range(9, 14), *range(0x2000, 0x200B)}


main()
