#!/usr/bin/env python3
"""Compares `plinth tokenize` with the `tokenizers` package for one pipeline of each family, published vocabularies where there are any.

usage: differential.py PLINTH [--strings N] [--seed S]      a line `ok NAME` or `not ok NAME` for each pipeline
`NAME as GGUF`: the same vocabulary in a file that `plinth quantize` wrote.
Vocabularies: the default models, those that tools/fetch-models fetched (vocabularies.json), and the small ones beside this script.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
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
# Vocabulary files that GGUF can express.
AS_GGUF = ("llama2", "mistral", "mistral-v3", "mixtral", "llama3-tiktoken", "dbrx")


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


def write_model(folder, n_vocab):
    """A Llama of zeros around the tokenizer."""
    layer = "model.layers.0."
    square = [layer + f"self_attn.{x}_proj.weight" for x in "qkvo"] + [layer + f"mlp.{x}_proj.weight" for x in ("gate", "up", "down")]
    shapes = {"model.embed_tokens.weight": [n_vocab, 32], "model.norm.weight": [32], layer + "input_layernorm.weight": [32],
              layer + "post_attention_layernorm.weight": [32], **{name: [32, 32] for name in square}}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + bytes(at))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump({"model_type": "llama", "vocab_size": n_vocab, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                   "num_attention_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": True}, f)


def as_gguf(plinth, path, n_vocab, work):
    """The GGUF file that `plinth quantize` makes of a model with this tokenizer and a few rows more."""
    folder = os.path.join(work, "source")
    os.makedirs(folder)
    for file in {reference.find(path), os.path.join(path, "tokenizer_config.json")}:
        if os.path.exists(file):
            name = "tiktoken.model" if os.path.basename(file) == "ranks.tiktoken" else os.path.basename(file)
            shutil.copyfile(file, os.path.join(folder, "tokenizer.model" if name.startswith("spm_") else name))
    write_model(folder, n_vocab + 7)
    out = os.path.join(work, "out.gguf")
    subprocess.run([plinth, "quantize", folder, out, "--to", "f16", "--no-certificate"], check=True)
    return out


def compare(plinth, path, tok, n, seed):
    args = types.SimpleNamespace(plinth=plinth, model=path, seed=seed)
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
            path = prepared(path, config, work)
            tok = reference.open_reference(path)
            models = {name: path}
            if name in AS_GGUF:
                models[name + " as GGUF"] = as_gguf(args.plinth, path, max(tok.get_vocab().values()) + 1, work)
            for title, model in models.items():
                compared, differ = compare(args.plinth, model, tok, args.strings, args.seed)
                bad += differ > 0
                print(f"{'not ok' if differ else 'ok'} {title}: {compared} compared, {differ} differ", flush=True)
    sys.exit(bad > 0)


main()
