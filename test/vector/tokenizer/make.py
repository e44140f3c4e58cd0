#!/usr/bin/env python3
"""Writes the vectors that the unit tests read, with the `tokenizers` package (0.23.3); `sentencepiece` trains some (0.2.3).

usage: make.py [NAME…]   writes <name>.jsonl beside this script, and <name>.json, .model or .tiktoken for the tokenizers that are trained here
A line is one of
  {"text": T, "ids": I, "decoded": D}     I: ids of T with special tokens; D: the text of I (left out when it is T)
      with "plain": ids when control tokens in the text are not matched (left out when they are I)
      with "hex" in place of "text" where the bytes are no UTF-8
  {"decode": I, "decoded": D, "skipped": S}    S: without special tokens (left out when it is D)
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import sys

import reference
import strings
import zoo

TRAINED = ("gpt2", "llama3", "neox", "roberta", "llama2_legacy", "llama2_metaspace", "unk_bpe", "fused_bpe", "bert_cased", "odd_added", "split_isolated", "unigram")
TEXT_MAX = 300  # characters
INVALID = (
    b"\xff", b"a\x80b", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82a", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80\xf0\x9f", b"\xed\xa0\x80", b"\xc0\xaf",
    b"\xf4\x90\x80\x80", b"\xfe\xfe\xff\xff", b"ok \xf0\x28\x8c\xbc ok", b"\xe1\x80\xc3\xa9\x80",
)


def random_ids(rng, tok):
    high = max(tok.get_vocab().values()) + 1
    return [rng.randrange(high) for _ in range(rng.choice([1, 2, 3, 8, 20]))]


def lines(tok, name, n_random):
    texts = strings.fixed()[:: 2 if name in TRAINED else 1] + strings.strings(name, n_random, strings.special_names(tok))
    texts = [t[:TEXT_MAX] for t in texts]
    for raw in texts + list(INVALID):
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        line = {"text": raw} if isinstance(raw, str) else {"hex": raw.hex()}
        tok.encode_special_tokens = False
        line["ids"] = tok.encode(text).ids
        tok.encode_special_tokens = True
        plain = tok.encode(text).ids
        if plain != line["ids"]:
            line["plain"] = plain
        decoded = tok.decode(line["ids"], skip_special_tokens=False)
        if decoded != raw:
            line["decoded"] = decoded
        yield line
    rng = random.Random(name)
    for _ in range(60):
        ids = random_ids(rng, tok)
        line = {"decode": ids, "decoded": tok.decode(ids, skip_special_tokens=False)}
        skipped = tok.decode(ids, skip_special_tokens=True)
        if skipped != line["decoded"]:
            line["skipped"] = skipped
        yield line


def write(tok, name, n_random):
    with open(os.path.join(reference.HERE, name + ".jsonl"), "w", encoding="utf-8") as f:
        for line in lines(tok, name, n_random):
            f.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    wanted = sys.argv[1:]
    for name, path in (("smollm2", reference.CHAT), ("minilm", reference.EMBED)):
        if not wanted or name in wanted:
            write(reference.open_reference(path), name, 250)
    for name in TRAINED:
        if wanted and name not in wanted:
            continue
        path = os.path.join(reference.HERE, name + ".json")
        tok = zoo.ZOO[name]()
        tok.save(path, pretty=False)
        write(reference.from_json(path), name, 60)
    for file, train in zoo.FILES.items():
        if wanted and file not in wanted:
            continue
        path = os.path.join(reference.HERE, file)
        with open(path, "wb") as f:
            f.write(train())
        write(reference.open_reference(path), file.split(".")[0], 60)


main()
