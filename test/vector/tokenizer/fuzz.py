#!/usr/bin/env python3
"""Compares `plinth tokenize` with the `tokenizers` package on many strings and id lists.

usage: fuzz.py PLINTH MODEL [--strings N] [--ids N] [--seed S] [--every] [--quick] [--truth] [--file FILE]
MODEL: a .gguf file, a tokenizer.json, a tokenizer.model, a tiktoken file, or a directory with one. Exits with 1 when something differs.
--truth compares with the `sentencepiece` or `tiktoken` package too, text without special tokens, where one of them is the model's own.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import random
import subprocess
import sys

import reference
import strings

MODES = ((True, False), (True, True), (False, False))  # special tokens added, control tokens in the text are plain


def plinth(args, lines, extra):
    """The answers to lines, one JSON value each."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    command = [args.plinth, "tokenize", "--jsonl", "--model", args.model] + extra
    done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True)
    answers = done.stdout.decode().split("\n")[:-1]
    assert len(answers) == len(lines), (len(answers), len(lines))
    return [json.loads(answer) for answer in answers]


class Count:
    """How many were compared and how many differ, for each kind; the first differences are printed."""

    def __init__(self):
        self.compared, self.differ = {}, {}

    def check(self, kind, given, want, got):
        bad = [(g, w, p) for g, w, p in zip(given, want, got) if w != p] if want != got else []
        before = self.differ.get(kind, 0)
        for g, w, p in bad[: max(0, 5 - before)]:
            print(f"{kind}: {str([g])[1:400]}\n  reference {str(w)[:400]}\n  plinth    {str(p)[:400]}", flush=True)
        self.compared[kind] = self.compared.get(kind, 0) + len(given)
        self.differ[kind] = before + len(bad)

    def report(self, name):
        for kind, n in self.compared.items():
            print(f"{name}: {kind}: {n} compared, {self.differ[kind]} differ")
        return sum(self.differ.values())


def encode_and_decode(args, tok, texts, modes, count, decode=(False, True)):
    for special, plain in modes:
        tok.encode_special_tokens = plain
        want = [e.ids for e in tok.encode_batch(texts, add_special_tokens=special)]
        extra = ([] if special else ["--no-special"]) + (["--plain"] if plain else [])
        count.check("encode " + " ".join(extra), texts, want, plinth(args, texts, extra))
        if not special or plain:
            continue
        for skip in decode:
            text = tok.decode_batch(want, skip_special_tokens=skip)
            extra = ["--decode"] + (["--no-special"] if skip else [])
            count.check("decode what was encoded " + " ".join(extra[1:]), want, text, plinth(args, want, extra))


def every_code_point(args, tok, count):
    for begin in range(0, 0x110000, 4096):
        texts = [f"{c}\u0301 a{c}b,{c}1 {c}{c}\u0345{c}\u0323" for c in map(chr, range(begin, begin + 4096)) if not "\ud800" <= c <= "\udfff"]
        if texts:
            count.check("every code point", texts, [e.ids for e in tok.encode_batch(texts)], plinth(args, texts, []))


def whole_file(args, tok, count):
    """Strings that strings.py has written: encoded with special tokens, and the ids decoded again."""
    with open(args.file, encoding="utf-8") as f:
        while lines := f.readlines(8 << 20):
            texts = [json.loads(line) for line in lines]
            encode_and_decode(args, tok, texts, MODES[:1], count, decode=(False,))


def random_ids(args, tok, n, count):
    rng = random.Random(args.seed)
    high = max(tok.get_vocab().values()) + 1
    fillers = {i for i, t in tok.get_added_tokens_decoder().items() if t.content.startswith(reference.FILLER)}
    lists = [[i for i in (rng.randrange(high) for _ in range(rng.choice([0, 1, 2, 3, 5, 20]))) if i not in fillers] for _ in range(n)]
    for skip in (False, True):
        want = tok.decode_batch(lists, skip_special_tokens=skip)
        extra = ["--decode"] + (["--no-special"] if skip else [])
        count.check("decode random ids " + " ".join(extra[1:]), lists, want, plinth(args, lists, extra))


def truth(model):
    """The package that the vocabulary is made for, as a function of texts; None where `tokenizers` is (for Unigram too: transformers adds in
    double precision what sentencepiece adds in single, and cuts other white space)."""
    path = reference.find(model)
    if not path.endswith((".model", ".tiktoken")):
        return None, None
    if reference.is_tiktoken(path):
        import tiktoken

        encoding = tiktoken.Encoding("truth", pat_str=reference.LLAMA3, mergeable_ranks=reference.read_ranks(path), special_tokens={})
        return "tiktoken", lambda texts: encoding.encode_ordinary_batch(texts, num_threads=2)
    if reference.Pieces(path).spec["model_type"] == 1:
        return None, None
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    return "sentencepiece", processor.encode


def main():
    p = argparse.ArgumentParser()
    p.add_argument("plinth")
    p.add_argument("model")
    p.add_argument("--strings", type=int, default=100000)
    p.add_argument("--ids", type=int, default=50000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--every", action="store_true", help="every code point too")
    p.add_argument("--quick", action="store_true", help="one mode only: special tokens added and matched")
    p.add_argument("--truth", action="store_true", help="sentencepiece or tiktoken too")
    p.add_argument("--file", help="the strings of this file and nothing else")
    args = p.parse_args()
    tok = reference.open_reference(args.model)
    specials = strings.special_names(tok)
    count = Count()
    name, encode = truth(args.model) if args.truth else (None, None)
    if args.file:
        whole_file(args, tok, count)
        args.strings = args.ids = 0
    if args.every:
        every_code_point(args, tok, count)
    batch = 20000
    for begin in range(0, args.strings, batch):
        n = min(batch, args.strings - begin)
        texts = strings.strings(args.seed * 1000003 + begin, n, specials) + (strings.fixed() if begin == 0 else [])
        encode_and_decode(args, tok, texts, MODES[:1] if args.quick else MODES, count)
        if encode:
            # Text between special tokens: those of the vocabulary's own symbols that always match are another matter.
            texts = [t for t in texts if not any(s in t for s in specials)]
            count.check(name, texts, encode(texts), plinth(args, texts, ["--no-special", "--plain"]))
    for begin in range(0, args.ids, batch):
        args.seed += 1
        random_ids(args, tok, min(batch, args.ids - begin), count)
    bad = count.report(os.path.basename(args.model.rstrip("/")))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
