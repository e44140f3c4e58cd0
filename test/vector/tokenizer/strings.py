#!/usr/bin/env python3
"""Strings that are hard on tokenizers.

usage: strings.py N SEED MODEL… > FILE     N strings, a JSON string a line, for fuzz.py --file; with the special tokens of all MODELs
SPDX-License-Identifier: Apache-2.0
"""
import json
import random
import sys

SCRIPTS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0x41, 0x7A), (0x61, 0x7A), (0x30, 0x39), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF),
    (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x530, 0x5FF), (0x600, 0x6FF), (0x700, 0x7BF), (0x900, 0x97F), (0xE00, 0xE7F),
    (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x1AB0, 0x1AFF), (0x1DC0, 0x1E00),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x20D0, 0x20FF), (0x2100, 0x218F), (0x2190, 0x23FF),
    (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2C60, 0x2C7F), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3300, 0x33FF), (0x3400, 0x34FF),
    (0x4E00, 0x9FFF), (0xA640, 0xA69F), (0xA720, 0xA7FF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF),
    (0xFE00, 0xFE2F), (0xFE70, 0xFEFF), (0xFF00, 0xFFEF), (0xFFF0, 0xFFFF), (0x10000, 0x100FF), (0x10400, 0x1044F), (0x11000, 0x110FF),
    (0x11900, 0x1195F), (0x16E00, 0x16EFF), (0x1D100, 0x1D1FF), (0x1D400, 0x1D7FF), (0x1E000, 0x1E0FF), (0x1E900, 0x1E95F),
    (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x200FF), (0x2B700, 0x2BA00), (0x2F800, 0x2FA1F), (0xE0000, 0xE01EF),
    (0x0, 0x1F), (0x7F, 0x9F), (0x0, 0x10FFFF),
]
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u180e", "\u200b", "\x0b", "\x0c", "\ufeff"]
WORDS = (
    "the of and to in a is that it for was on are as with his they at be this from I have or by one had not but what all were when we there "
    "can an your which their said if do will each about how up out them then she many some so these would other into has more her two like "
    "him see time could no make than first been its who now people my made over did down only way find use may water long little very "
    "after words called just where most know internationalization antidisestablishmentarianism don't I'm we'll they've you're he'd it's "
    "DON'T I'M WE'LL THEY'VE YOU'RE HE'D IT'S it\u2019s 'S 'LL 'ſ 'ſt naïve café Ångström ﬁne ﬂoß Straße İstanbul ıssız ΌΣΟΣ "
    "привет мир как дела שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก 你好世界 こんにちは世界 안녕하세요 세계 Γειά σου Κόσμε xin chào thế giới "
    "e\u0301 a\u0323\u0307 \u0344 ｆｕｌｌ ｗｉｄｔｈ Ⅷ ½ ² ٣٤ १२३ 一二三 ㊙ ㌀ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛"
).split()
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "1️⃣", "❤️", "🧑🏿‍🚀", "☺︎", "🫠", "🪿", "©®™", "→⇒∀∃∅"]
CODE = [
    "def f(x):\n    return x**2  # sq\n", "for (int i = 0; i < n; i++) {\n\ta[i] += b[i]*3.14e-10;\n}\n", "<div class=\"a\">&nbsp;</div>",
    "SELECT * FROM t WHERE a='x''y' AND b<>3;", "{\"key\": [1, 2.50, null, true]}", "https://example.org/a?b=c&d=%20#e", "user@example.com",
    "\\begin{equation} \\alpha_{i}^{2} \\end{equation}", "0xDEADBEEF 1_000_000 1,234.56 -7e+10", "#!/bin/sh\nset -eu\n", "C:\\Program Files\\x.txt",
    "----====____****", "...!!!???,,,", "(((([[[[{{{{", "a.b.c::d->e", "\"\"''``´´«»„“”‚‘’", "~~~^^^|||\\\\\\///", "##### Title\n\n- item\n  1. sub\n",
]


def special_names(tok):
    return [t.content for t in tok.get_added_tokens_decoder().values() if not t.content.startswith("\U0010fffe")]


def char(rng):
    while True:
        low, high = rng.choice(SCRIPTS)
        c = rng.randint(low, high)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def run(rng):
    """One thing over and over."""
    what = rng.choice([char(rng), rng.choice(SPACES), rng.choice(WORDS), rng.choice(EMOJI), "ab", "\u0301\u0323", "0", " 1", "'s"])
    return what * rng.choice([2, 3, 5, 8, 13, 40, 100, 300])


def script_word(rng):
    low, high = rng.choice(SCRIPTS)
    return "".join(chr(c) for c in (rng.randint(low, high) for _ in range(rng.randint(1, 12))) if not 0xD800 <= c <= 0xDFFF)


def part(rng, specials):
    kind = rng.random()
    if kind < 0.30:
        return rng.choice(WORDS)
    if kind < 0.45:
        return rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 7])
    if kind < 0.58:
        return script_word(rng)
    if kind < 0.66:
        return char(rng)
    if kind < 0.72:
        return str(rng.randint(0, 10 ** rng.randint(1, 9)))
    if kind < 0.78:
        return rng.choice(EMOJI)
    if kind < 0.84:
        return rng.choice(CODE)
    if kind < 0.90:
        return rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") * rng.choice([1, 1, 2, 5])
    if kind < 0.96 and specials:
        name = rng.choice(specials)
        return name if rng.random() < 0.7 else name[: rng.randint(1, len(name))] + rng.choice(["", " ", "|"])
    return run(rng) if rng.random() < 0.3 else char(rng)


def string(rng, specials):
    glue = rng.choice(["", "", " ", " ", "\n"])
    return glue.join(part(rng, specials) for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 30])))


def fixed():
    """Strings that every tokenizer is tried with."""
    out = ["", " ", "  ", "\n", "\t", "a", " a", "a ", "  a  b  ", "Hello, world!", "Hello  12345 World's  \n\n x", "\x00", "a\x00b", "\ufffd",
           "\u0345\u0301\u0323\u0315", "a" * 1000, " " * 1000, "\n" * 200, "1" * 200, "'" * 50, "é" * 300, "漢" * 300, "\u0301" * 100,
           "e\u0301\u0302\u0303\u0304" * 20, " \n \n  \n x", "\r\n\r\n  x", "x\r\n", "x \n", "\u2028\u2029x", "don't DON'T Don'T",
           "'ſ'S", "a\u200db", "\u180e \u180e", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0010ffff", "\ue000", "\U0002b920\U0002b820"]
    out += WORDS + EMOJI + CODE
    out += [" " + w for w in WORDS[::3]] + [w + "." for w in WORDS[::4]]
    return out


def strings(seed, n, specials):
    rng = random.Random(seed)
    return [string(rng, specials) for _ in range(n)]


if __name__ == "__main__":
    import reference

    names = sorted({name for path in sys.argv[3:] for name in special_names(reference.open_reference(path)) if "unused" not in name and "reserved" not in name})
    rng = random.Random(int(sys.argv[2]))
    for _ in range(int(sys.argv[1])):
        print(json.dumps(string(rng, names), ensure_ascii=False))
