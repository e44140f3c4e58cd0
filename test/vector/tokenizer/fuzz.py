#!/usr/bin/env python3
"""Compares `plinth tokenize` with the `tokenizers` package on many strings and id lists.

usage: fuzz.py PLINTH MODEL [--strings N] [--ids N] [--seed S]
MODEL: a .gguf file, a tokenizer.json, or a directory with one. Exits with 1 on the first kind of difference.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import random
import subprocess
import sys

import reference
import strings


def plinth(args, lines, extra):
    """The answers to lines, one JSON value each."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    command = [args.plinth, "tokenize", "--jsonl", "--model", args.model] + extra
    done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True)
    answers = done.stdout.decode().split("\n")[:-1]
    assert len(answers) == len(lines), (len(answers), len(lines))
    return [json.loads(answer) for answer in answers]


def report(kind, given, want, got):
    print(f"{kind}: {given!r}\n  tokenizers {want!r}\n  plinth     {got!r}")


def check(kind, given, want, got):
    bad = [(g, w, p) for g, w, p in zip(given, want, got) if w != p]
    for g, w, p in bad[:5]:
        report(kind, g if len(str(g)) < 400 else str(g)[:400], str(w)[:400], str(p)[:400])
    print(f"{kind}: {len(given)} compared, {len(bad)} differ", flush=True)
    return len(bad)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("plinth")
    p.add_argument("model")
    p.add_argument("--strings", type=int, default=100000)
    p.add_argument("--ids", type=int, default=50000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--every", action="store_true", help="every code point too")
    args = p.parse_args()
    tok = reference.open_reference(args.model)
    specials = strings.special_names(tok)
    bad = 0
    batch = 20000
    for begin in range(0, 0x110000, 4096) if args.every else []:
        texts = [f"{c}\u0301 a{c}b,{c}1 {c}{c}\u0345{c}\u0323" for c in map(chr, range(begin, begin + 4096)) if not "\ud800" <= c <= "\udfff"]
        want = [e.ids for e in tok.encode_batch(texts)]
        got = plinth(args, texts, [])
        if want != got:
            bad += check("every", texts, want, got)
    for begin in range(0, args.strings, batch):
        n = min(batch, args.strings - begin)
        texts = strings.strings(args.seed * 1000003 + begin, n, specials) + (strings.fixed() if begin == 0 else [])
        for special in (True, False):
            for plain in (False, True):
                if special and plain:
                    continue
                tok.encode_special_tokens = plain
                want = [e.ids for e in tok.encode_batch(texts, add_special_tokens=special)]
                extra = ([] if special else ["--no-special"]) + (["--plain"] if plain else [])
                bad += check("encode " + " ".join(extra), texts, want, plinth(args, texts, extra))
                if special or plain:
                    for skip in (False, True):
                        text = tok.decode_batch(want, skip_special_tokens=skip)
                        extra = ["--decode"] + (["--no-special"] if skip else [])
                        bad += check("decode encoded " + " ".join(extra), want, text, plinth(args, want, extra))
    rng = random.Random(args.seed)
    size = tok.get_vocab_size()
    high = max(tok.get_vocab().values()) + 1
    for begin in range(0, args.ids, batch):
        lists = [[rng.randrange(high) for _ in range(rng.choice([0, 1, 2, 3, 5, 20]))] for _ in range(min(batch, args.ids - begin))]
        for skip in (False, True):
            want = tok.decode_batch(lists, skip_special_tokens=skip)
            extra = ["--decode"] + (["--no-special"] if skip else [])
            bad += check("decode random " + " ".join(extra), lists, want, plinth(args, lists, extra))
    print(f"{size} tokens: {bad} differences")
    sys.exit(bad > 0)


main()
