"""The reference tokenizers that vectors and fuzzing compare with, all of the `tokenizers` package (0.23.3).
SPDX-License-Identifier: Apache-2.0"""
import base64
import json
import os
import struct

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


# ---- SentencePiece ----

def fields(message):
    """The fields of a Protocol Buffers message: (number, value)."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            value = message[at : at + size]
            at += size
        yield key >> 3, value


class Pieces:
    """What a tokenizer.model holds: (text, score, type) of each piece, and the specification."""

    def __init__(self, path):
        self.pieces = []
        self.spec = {"model_type": 1, "byte_fallback": 0, "unk_id": 0, "bos_id": 1, "eos_id": 2, "add_dummy_prefix": 1, "remove_extra": 1, "charsmap": b""}
        names = {(2, 3): "model_type", (2, 35): "byte_fallback", (2, 40): "unk_id", (2, 41): "bos_id", (2, 42): "eos_id",
                 (3, 2): "charsmap", (3, 3): "add_dummy_prefix", (3, 4): "remove_extra"}
        with open(path, "rb") as f:
            data = f.read()
        for number, value in fields(data):
            if number == 1:
                piece = dict(fields(value))
                self.pieces.append((piece[1].decode(), struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0], piece.get(3, 1)))
            elif number in (2, 3):
                for n, v in fields(value):
                    if (number, n) in names:
                        self.spec[names[number, n]] = v


def score_merges(pieces):
    """As transformers makes merges from scores."""
    vocab = {text: i for i, (text, _, kind) in enumerate(pieces) if kind not in (2, 3, 6)}
    merges = []
    for text, i in vocab.items():
        local = [(text[:k], text[k:], pieces[i][1]) for k in range(1, len(text)) if text[:k] in vocab and text[k:] in vocab]
        merges += sorted(local, key=lambda m: (vocab[m[0]], vocab[m[1]]))
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    return [(left, right) for left, right, _ in merges]


def llama(pieces, prefix=True, legacy=True, bos=1, byte_fallback=True):
    """The pipeline of Llama 2, Mistral and Mixtral."""
    unk = next((text for text, _, kind in pieces if kind == 2), None)
    tok = Tokenizer(
        models.BPE({text: i for i, (text, _, _) in enumerate(pieces)}, score_merges(pieces), unk_token=unk, fuse_unk=True, byte_fallback=byte_fallback)
    )
    if legacy:
        tok.normalizer = normalizers.Sequence(([normalizers.Prepend("▁")] if prefix else []) + [normalizers.Replace(" ", "▁")])
    else:
        tok.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first" if prefix else "never", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tok.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    tok.add_tokens([AddedToken(text, special=kind != 4, normalized=False) for text, _, kind in pieces if kind in (2, 3, 4)])
    if bos is not None:
        tok.post_processor = processors.TemplateProcessing(single=f"{pieces[bos][0]} $A", special_tokens=[(pieces[bos][0], bos)])
    return tok


def unigram(model):
    """The general conversion of transformers for Unigram models."""
    spec = model.spec
    tok = Tokenizer(models.Unigram([(text, score) for text, score, _ in model.pieces], unk_id=spec["unk_id"], byte_fallback=bool(spec["byte_fallback"])))
    steps = [normalizers.Precompiled(spec["charsmap"])] if spec["charsmap"] else []
    if spec["remove_extra"]:
        steps += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
    tok.normalizer = normalizers.Sequence(steps)
    prepend = "always" if spec["add_dummy_prefix"] else "never"
    tok.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=prepend)
    metaspace = decoders.Metaspace("▁", prepend_scheme=prepend)
    # transformers leaves byte tokens as they are written here; they are bytes.
    tok.decoder = decoders.Sequence([metaspace, decoders.ByteFallback(), decoders.Fuse()]) if spec["byte_fallback"] else metaspace
    tok.add_tokens([AddedToken(text, special=kind != 4, normalized=False) for text, _, kind in model.pieces if kind in (2, 3, 4)])
    return tok


def from_spm(path, config):
    model = Pieces(path)
    if model.spec["model_type"] == 1:
        return unigram(model)
    prefix = config.get("add_prefix_space", bool(model.spec["add_dummy_prefix"]))
    bos = model.spec["bos_id"] if config.get("add_bos_token", True) else None
    return llama(model.pieces, prefix, config.get("legacy", True), bos, bool(model.spec["byte_fallback"]))


# ---- tiktoken ----

LLAMA3_SPECIALS = (
    ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>",
     "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
    + [f"<|reserved_special_token_{i}|>" for i in range(3, 248)]
)
CL100K_SPECIALS = {"<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276}


FILLER = "\U0010fffe"  # begins the tokens that stand where an id is not used


def byte_chars():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(other)}}


def read_ranks(path):
    with open(path, "rb") as f:
        return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in f if line.strip())}


def tiktoken_specials(n_ranks, config):
    listed = {t["content"]: int(i) for i, t in config.get("added_tokens_decoder", {}).items()}
    if not listed and n_ranks == 128000:
        listed = {name: n_ranks + i for i, name in enumerate(LLAMA3_SPECIALS)}
    return listed or (CL100K_SPECIALS if n_ranks == 100256 else {})


def from_tiktoken(path, config):
    """As transformers converts a tiktoken file; gaps between the ids of special tokens are filled."""
    ranks = read_ranks(path)
    chars = byte_chars()
    text = {token: "".join(chars[b] for b in token) for token in ranks}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        local = [(token[:k], token[k:]) for k in range(1, len(token)) if token[:k] in ranks and token[k:] in ranks]
        merges += [(text[a], text[b]) for a, b in sorted(local, key=lambda m: (ranks[m[0]], ranks[m[1]]))]
    tok = Tokenizer(models.BPE({text[t]: r for t, r in ranks.items()}, merges, ignore_merges=True))
    tok.pre_tokenizer = split_llama3()
    tok.decoder = decoders.ByteLevel()
    specials = {i: name for name, i in tiktoken_specials(len(ranks), config).items()}
    for i in range(len(ranks), max(specials, default=-1) + 1):
        tok.add_tokens([AddedToken(specials.get(i, f"{FILLER}{i}"), special=True, normalized=False)])
    if len(ranks) == 128000:
        tok.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 128000)])
    return tok


# ---- GGUF ----

def gguf_values(path):
    """The metadata of a GGUF file."""
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as f:

        def number(code):
            return struct.unpack("<" + code, f.read(struct.calcsize("<" + code)))[0]

        def value(kind):
            if kind == 8:
                return f.read(number("Q")).decode()
            if kind == 9:
                element, count = number("I"), number("Q")
                if element in numbers:
                    return list(struct.unpack(f"<{count}{numbers[element]}", f.read(count * struct.calcsize("<" + numbers[element]))))
                return [value(element) for _ in range(count)]
            return number(numbers[kind])

        assert f.read(4) == b"GGUF"
        f.read(12)  # version and number of tensors
        return {key: value(number("I")) for key in (value(8) for _ in range(number("Q")))}


def bert(tokens, types, lowercase):
    """A WordPiece vocabulary of a GGUF file, where words begin with a mark and what continues one does not."""
    names = [t if types[i] in (2, 3) else t[1:] if t.startswith("▁") else "##" + t for i, t in enumerate(tokens)]
    tok = Tokenizer(models.WordPiece({t: i for i, t in enumerate(names)}, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece(cleanup=True)
    tok.add_tokens([AddedToken(t, special=True, normalized=False) for i, t in enumerate(names) if types[i] in (2, 3)])
    tok.post_processor = processors.BertProcessing(("[SEP]", names.index("[SEP]")), ("[CLS]", names.index("[CLS]")))
    return tok


def from_gguf(path):
    """The tokenizer of a GGUF file, a byte-level BPE with the pre-tokenizer of its family; control and unknown tokens are special."""
    values = gguf_values(path)

    def field(name, default=None):
        return values.get("tokenizer.ggml." + name, default)

    tokens = field("tokens")
    types = field("token_type", [1] * len(tokens))
    if field("model") == "llama":
        pieces = list(zip(tokens, map(float, field("scores")), types))
        return llama(pieces, field("add_space_prefix", True), True, field("bos_token_id", 1) if field("add_bos_token", True) else None)
    if field("model") == "bert":
        return bert(tokens, types, field("normalizer.lowercase", True))
    assert field("model") == "gpt2", field("model")
    normalizer, pre, ignore_merges = FAMILIES[field("pre")]
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


VOCABULARIES = ("tokenizer.model", "tiktoken.model", "cl100k_base.tiktoken")


def is_tiktoken(path):
    with open(path, "rb") as f:
        line = f.readline(1000).split()
    return len(line) == 2 and line[1].isdigit()


def beside(path):
    """The tokenizer_config.json beside a file."""
    path = os.path.join(os.path.dirname(path), "tokenizer_config.json")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def find(path):
    """The file that a directory's tokenizer is read from."""
    if not os.path.isdir(path):
        return path
    names = sorted(os.listdir(path))
    return os.path.join(path, next(n for n in ("tokenizer.json", *VOCABULARIES, *(n for n in names if n.endswith(".gguf"))) if n in names))


def open_reference(path):
    """Of a .gguf file, a tokenizer.json, a tokenizer.model, a tiktoken file, or a directory with one of them."""
    path = find(path)
    if path.endswith((".model", ".tiktoken")):
        return from_tiktoken(path, beside(path)) if is_tiktoken(path) else from_spm(path, beside(path))
    return from_gguf(path) if path.endswith(".gguf") else from_json(path)
