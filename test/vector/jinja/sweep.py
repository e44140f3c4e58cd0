#!/usr/bin/env python3
"""Compares what plinth's templates know of characters with Python's str, over all code points and over words of them.

  python test/vector/jinja/sweep.py build/plinth
Characters that this Python's Unicode does not know are left out. SPDX-License-Identifier: Apache-2.0
"""
import json
import random
import subprocess
import sys
import tempfile
import unicodedata

METHODS = ("upper", "lower", "title", "capitalize", "casefold", "swapcase", "isalpha", "isalnum", "isdecimal", "isdigit", "isnumeric", "isupper", "islower",
           "istitle", "isspace", "isprintable", "isidentifier", "strip", "splitlines", "split")
TEMPLATE = ("{% for c in x %}" + "|".join("{{ c." + m + "() }}" for m in METHODS) + "|{{ [c] }}|{{ c|upper }}|{{ c|lower }}|{{ c|title }}|{{ c|capitalize }}"
            "|{{ c is upper }}|{{ c is lower }}\n{% endfor %}")


def jinja_title(s):
    """The filter splits words in its own way."""
    import jinja2.filters
    return jinja2.filters.do_title(s)


def wanted(c):
    return "|".join([str(getattr(c, m)()) for m in METHODS] + [str([c]), c.upper(), c.lower(), jinja_title(c), c.capitalize(), str(c.isupper()),
                                                               str(c.islower())])


def compare(program, path, texts):
    done = subprocess.run([program, "render", "--template", path], input=json.dumps({"x": texts}).encode(), capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode())
    got, different = done.stdout.decode(), 0
    for text in texts:
        want = wanted(text) + "\n"
        if not got.startswith(want):
            different += 1
            end = got.find("\n", got.find(str([text])))
            print(ascii(text), [ord(c) for c in text], "\n  wanted", ascii(want), "\n  got   ", ascii(got[:end]))
            got = got[end + 1:]
        else:
            got = got[len(want):]
    return different


def main():
    known = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    rng = random.Random(5)
    cased = [c for c in known if c.upper() != c or c.lower() != c or c.title() != c] + list("ΣσςͅʼnI\u0307i\u0307'\u00ad\u0301.·- ") * 30
    words = ["".join(rng.choice(cased) for _ in range(rng.randrange(1, 7))) for _ in range(20000)]
    different, texts = 0, known + words
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
        f.write(TEMPLATE)
        f.flush()
        for at in range(0, len(texts), 20000):
            different += compare(sys.argv[1], f.name, texts[at:at + 20000])
    print(f"{len(known)} characters, {len(words)} words, {different} differ (Unicode {unicodedata.unidata_version})")
    return different != 0


if __name__ == "__main__":
    sys.exit(main())
