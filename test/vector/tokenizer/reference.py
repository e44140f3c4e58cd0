"""The reference tokenizers that vectors and fuzzing compare with, all of the `tokenizers` package (0.23.3).
SPDX-License-Identifier: Apache-2.0"""
import json
import os

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "plinth", "models")
CHAT = os.path.join(MODELS, "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf")
EMBED = os.path.join(MODELS, "all-minilm-l6-v2")
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def split_llama3():
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def digits_gpt2():
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])


# tokenizer.ggml.pre -> (normalizer, pre-tokenizer, ignore_merges)
FAMILIES = {
    "smollm": (None, digits_gpt2, False),
    "starcoder": (None, digits_gpt2, False),
    "refact": (None, digits_gpt2, False),
    "command-r": (None, digits_gpt2, False),
    "gpt-2": (None, byte_level, False),
    "mpt": (normalizers.NFC, byte_level, False),
    "llama-bpe": (None, split_llama3, True),
    "dbrx": (None, split_llama3, False),
}


def from_gguf(path):
    """A byte-level BPE of a GGUF file, with the pre-tokenizer of its family; control and unknown tokens are special."""
    import gguf

    reader = gguf.GGUFReader(path)

    def field(name, default=None):
        found = reader.fields.get("tokenizer.ggml." + name)
        return default if found is None else found.contents()

    assert field("model") == "gpt2", field("model")
    normalizer, pre, ignore_merges = FAMILIES[field("pre")]
    tokens = field("tokens")
    types = field("token_type", [1] * len(tokens))
    merges = []
    for merge in field("merges"):
        at = merge.index(" ", 1)
        merges.append((merge[:at], merge[at + 1 :]))
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens) if t}, merges, ignore_merges=ignore_merges))
    if normalizer:
        tok.normalizer = normalizer()
    tok.pre_tokenizer = pre()
    tok.decoder = decoders.ByteLevel()
    ends = {field(name + "_token_id") for name in ("bos", "eos", "eot", "eom")}
    for i, token in enumerate(tokens):
        special = types[i] in (2, 3) or i in ends
        if token and (special or types[i] == 4):
            tok.add_tokens([AddedToken(token, special=special, normalized=False)])
    bos = field("bos_token_id")
    if field("add_bos_token", field("pre") == "llama-bpe") and bos is not None:
        tok.post_processor = processors.TemplateProcessing(single=f"{tokens[bos]} $A", special_tokens=[(tokens[bos], bos)])
    return tok


def from_json(path):
    with open(path, encoding="utf-8") as f:
        data = json.load(f)
    data["truncation"] = data["padding"] = None
    return Tokenizer.from_str(json.dumps(data))


def open_reference(path):
    """Of a .gguf file, a tokenizer.json, or a directory with one of them."""
    if os.path.isdir(path):
        names = sorted(os.listdir(path))
        path = os.path.join(path, "tokenizer.json" if "tokenizer.json" in names else next(n for n in names if n.endswith(".gguf")))
    return from_gguf(path) if path.endswith(".gguf") else from_json(path)
