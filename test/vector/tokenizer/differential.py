#!/usr/bin/env python3
"""Compares `plinth tokenize` with the `tokenizers` package for one pipeline of each family, published vocabularies where there are any.

usage: differential.py PLINTH [--strings N] [--seed S]      a line `ok NAME` or `not ok NAME` for each pipeline
Vocabularies: the default models, those that tools/fetch-models fetched (vocabularies.json), and the small ones beside this script.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import sys
import tempfile
import types

import fuzz
import reference
import strings

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "plinth", "vocabularies")
DBRX = {
    100257: "<|endoftext|>", 100258: "<|fim_prefix|>", 100259: "<|fim_middle|>", 100260: "<|fim_suffix|>", 100276: "<|endofprompt|>", 100277: "<|pad|>",
    100278: "<|im_start|>", 100279: "<|im_end|>",
}


def here(name):
    return os.path.join(reference.HERE, name), None


def fetched(name, config):
    return os.path.join(CACHE, name), config


# name -> (path, tokenizer_config.json beside it)
PIPELINES = {
    "llama2": here("spm_bpe.model"),
    "llama2-json": here("llama2_legacy.json"),
    "mistral": fetched("mistral-v1", {"legacy": True, "add_bos_token": True}),
    "mistral-v3": fetched("mistral-v3", {"legacy": False}),
    "mixtral": fetched("mistral-v1", {"legacy": False, "add_prefix_space": True}),
    "llama3": here("llama3.json"),
    "llama3-tiktoken": here("ranks.tiktoken"),
    "dbrx": fetched("cl100k", {"added_tokens_decoder": {str(i): {"content": t, "special": True, "normalized": False} for i, t in DBRX.items()}}),
    "mpt": here("neox.json"),
    "smollm2": (reference.CHAT, None),
    "bert": (reference.EMBED, None),
    "bert-cased": here("bert_cased.json"),
    "unigram": here("spm_unigram.model"),
    "unigram-bytes": here("spm_fallback.model"),
    "added-tokens": here("odd_added.json"),
    "patterns": here("split_isolated.json"),
}


def prepared(path, config, work):
    """The path itself, or a directory with its file and the config."""
    if config is None:
        return path
    file = reference.find(path)
    folder = os.path.join(work, "model")
    os.makedirs(folder)
    os.symlink(file, os.path.join(folder, os.path.basename(file)))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    return folder


def compare(plinth, path, n, seed):
    args = types.SimpleNamespace(plinth=plinth, model=path, seed=seed)
    tok = reference.open_reference(path)
    count = fuzz.Count()
    texts = strings.fixed() + strings.strings(seed, n, strings.special_names(tok))
    fuzz.encode_and_decode(args, tok, texts, fuzz.MODES[:2], count)
    fuzz.random_ids(args, tok, n // 4, count)
    return sum(count.compared.values()), sum(count.differ.values())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("plinth")
    p.add_argument("--strings", type=int, default=1000, help="for each pipeline")
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    bad = 0
    for name, (path, config) in PIPELINES.items():
        if not os.path.exists(path):
            print(f"not ok {name}: there is no {path}; ./dev test fetches it", flush=True)
            bad += 1
            continue
        with tempfile.TemporaryDirectory() as work:
            compared, differ = compare(args.plinth, prepared(path, config, work), args.strings, args.seed)
        bad += differ > 0
        print(f"{'not ok' if differ else 'ok'} {name}: {compared} compared, {differ} differ", flush=True)
    sys.exit(bad > 0)


main()
