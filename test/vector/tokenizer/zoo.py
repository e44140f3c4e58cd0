#!/usr/bin/env python3
"""Trains tiny tokenizers with all sorts of components, for fuzz.py and make.py.

usage: zoo.py DIR      writes DIR/<name>.json for each, and DIR/<name>.model or .tiktoken (needs the `sentencepiece` package, 0.2.3)
SPDX-License-Identifier: Apache-2.0
"""
import base64
import io
import os
import random
import sys
import tempfile
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import reference
import strings

Sequence = pre_tokenizers.Sequence


def corpus():
    """Without U+0000: Plinth's JSON refuses it in the names of an object, and a vocabulary with it is of no use."""
    return [s.replace("\0", "") for s in strings.fixed() + strings.strings(7, 1500, [])]


def train_bpe(normalizer, pre, size=500, **model):
    tok = Tokenizer(models.BPE(**model))
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    byte_level = "ByteLevel" in repr(pre) or "ByteLevel" in repr(normalizer)
    options = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()} if byte_level else {"limit_alphabet": 250}
    if model.get("byte_fallback"):
        options["special_tokens"] = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    elif model.get("unk_token"):
        options["special_tokens"] = [model["unk_token"]]
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if name in model:
            options[name] = model[name]
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, show_progress=False, **options))
    return tok


def special(*names):
    return [AddedToken(name, special=True, normalized=False) for name in names]


def gpt2():
    tok = train_bpe(None, reference.byte_level(), size=600)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.add_special_tokens(special("<|endoftext|>"))
    return tok


def llama3():
    tok = train_bpe(None, reference.split_llama3(), size=620, ignore_merges=True)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"))
    bos = tok.token_to_id("<|begin_of_text|>")
    tok.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|> $B:1",
                special_tokens=[("<|begin_of_text|>", bos)],
            ),
        ]
    )
    return tok


def neox():
    """NFC, runs of spaces as added tokens that are not special."""
    tok = train_bpe(normalizers.NFC(), reference.byte_level())
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(special("<|endoftext|>", "<|padding|>"))
    tok.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return tok


def roberta():
    tok = train_bpe(None, pre_tokenizers.ByteLevel(add_prefix_space=True), size=600)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(special("<s>", "</s>"))
    tok.add_special_tokens([AddedToken("<mask>", special=True, lstrip=True, normalized=False)])
    tok.post_processor = processors.RobertaProcessing(("</s>", tok.token_to_id("</s>")), ("<s>", tok.token_to_id("<s>")))
    return tok


def llama2_legacy():
    tok = train_bpe(
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, size=640,
        unk_token="<unk>", byte_fallback=True, fuse_unk=True,
    )
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tok


def llama2_metaspace():
    tok = train_bpe(
        None, pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False), size=640, unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.add_tokens([AddedToken("[INST]", special=True), AddedToken("hello", single_word=True, normalized=False)])
    return tok


def metaspace():
    tok = train_bpe(normalizers.NFKC(), pre_tokenizers.Metaspace("▁", prepend_scheme="always"), unk_token="<unk>")
    tok.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    return tok


def unk_bpe():
    """Unknown characters, not fused; word suffixes."""
    tok = train_bpe(
        normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]),
        Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)]),
        unk_token="[UNK]", end_of_word_suffix="</w>",
    )
    return tok


def fused_bpe():
    tok = train_bpe(
        normalizers.Sequence([normalizers.NFKD(), normalizers.Nmt(), normalizers.Replace(Regex("e+"), "E")]),
        Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.FixedLength(7)]),
        unk_token="<unk>", fuse_unk=True, continuing_subword_prefix="@@",
    )
    tok.add_tokens([AddedToken("Hello", lstrip=True, rstrip=True, normalized=True), AddedToken("world", single_word=True, normalized=True)])
    return tok


def splits(behavior):
    def make():
        return train_bpe(
            normalizers.ByteLevel() if behavior == "removed" else None,
            Sequence(
                [
                    pre_tokenizers.Split(Regex(r"[A-Z]|(?<=\d)(?=\d{3}\b)|\s"), behavior),
                    pre_tokenizers.Split("e", behavior, invert=False),
                    pre_tokenizers.Split(Regex(r"[\w-]+\b|\h{2}|\W\B"), behavior, invert=True),
                    pre_tokenizers.Punctuation(behavior),
                    pre_tokenizers.CharDelimiterSplit("o"),
                ]
            ),
            unk_token="<unk>",
        )

    return make


def bert(cased):
    def make():
        tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
        tok.normalizer = normalizers.BertNormalizer(lowercase=not cased, clean_text=True, handle_chinese_chars=True, strip_accents=None)
        tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tok.decoder = decoders.WordPiece(cleanup=not cased)
        tok.train_from_iterator(
            corpus(), trainers.WordPieceTrainer(vocab_size=500, limit_alphabet=200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)
        )
        tok.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        return tok

    return make


def odd_added():
    """Added tokens that overlap, nest, strip and are words."""
    tok = train_bpe(normalizers.Lowercase(), reference.byte_level(), size=400)
    tok.decoder = decoders.ByteLevel()
    tok.add_tokens(
        [
            AddedToken("ab", normalized=False), AddedToken("abc", normalized=True), AddedToken("AB CD", normalized=True, single_word=True),
            AddedToken("<x>", special=True, lstrip=True), AddedToken("<x", special=True, rstrip=True), AddedToken("x>", rstrip=True, normalized=False),
            AddedToken("the", single_word=True, lstrip=True, rstrip=True), AddedToken("  ", normalized=False), AddedToken("é", single_word=True),
            AddedToken("\n", special=True), AddedToken("1", single_word=True, normalized=False),
        ]
    )
    return tok


# ---- SentencePiece and tiktoken ----

def rules():
    """A small table of replaced characters in SentencePiece's form: compatibility forms, and some letters with their marks."""
    ranges = [(0xA0, 0x180), (0x2000, 0x2070), (0x2100, 0x2150), (0x3000, 0x3001), (0xFB00, 0xFB07), (0xFF01, 0xFF5F)]
    single = [chr(c) for low, high in ranges for c in range(low, high) if unicodedata.normalize("NFKC", chr(c)) != chr(c)]
    pairs = [letter + mark for letter in "aeiouAEIOU" for mark in "\u0300\u0301\u0308"]
    drop = [("\u200b", ""), ("\t", " "), ("\n", " "), ("\r", " "), ("\u00ad", "")]
    for source, target in [(s, unicodedata.normalize("NFKC", s)) for s in single + pairs] + drop:
        yield " ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target)


def phrases():
    """Few different characters, as SentencePiece wants them in so small a vocabulary."""
    rng = random.Random(3)
    words = [w for w in strings.WORDS if max(w) < "\u0250"] * 3 + strings.WORDS[-60:-30] + [c.strip() for c in strings.CODE]
    return [" ".join(rng.choice(words) for _ in range(12)) for _ in range(1500)]


def train_spm(kind, table=False, **options):
    """The bytes of a tokenizer.model."""
    import sentencepiece

    out = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        if table:
            f.write("\n".join(rules()) + "\n")
            f.flush()
            options["normalization_rule_tsv"] = f.name
        else:
            options["normalization_rule_name"] = "identity"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(phrases()), model_writer=out, model_type=kind, minloglevel=2, num_threads=1, input_sentence_size=0, **options
        )
    return out.getvalue()


def spm_bpe():
    """As Llama 2."""
    return train_spm(
        "bpe", vocab_size=700, character_coverage=0.98, byte_fallback=True, remove_extra_whitespaces=False, split_digits=True, add_dummy_prefix=True,
        allow_whitespace_only_pieces=True, user_defined_symbols=["[SEP]", "é é"], control_symbols=["<ctl>", "[INST]"],
    )


def spm_unigram():
    """As XLM-RoBERTa, with a table."""
    return train_spm("unigram", table=True, vocab_size=600, hard_vocab_limit=False, character_coverage=0.98, user_defined_symbols=["[SEP]"], control_symbols=["<ctl>"])


def spm_fallback():
    """Unigram with byte tokens and spaces kept."""
    return train_spm("unigram", vocab_size=900, hard_vocab_limit=False, character_coverage=0.98, byte_fallback=True, remove_extra_whitespaces=False, add_dummy_prefix=False)


def tiktoken_ranks():
    """Ranks as tiktoken writes them, of a trained byte-level BPE: bytes first, then what merges make, in their order."""
    import json

    tok = train_bpe(None, reference.split_llama3(), size=620)
    back = {c: b for b, c in reference.byte_chars().items()}
    model = json.loads(tok.to_str())["model"]
    tokens = list(dict.fromkeys([bytes([b]) for b in range(256)] + [bytes(back[c] for c in "".join(m)) for m in model["merges"]]))
    return b"".join(base64.b64encode(token) + b" %d\n" % i for i, token in enumerate(tokens))


FILES = {"spm_bpe.model": spm_bpe, "spm_unigram.model": spm_unigram, "spm_fallback.model": spm_fallback, "ranks.tiktoken": tiktoken_ranks}


def unigram():
    """With the table of a SentencePiece model."""
    table = io.BytesIO(spm_unigram())
    with tempfile.NamedTemporaryFile(suffix=".model") as f:
        f.write(table.getvalue())
        f.flush()
        model = reference.Pieces(f.name)
    tok = reference.unigram(model)
    tok.add_tokens([AddedToken("hello", single_word=True), AddedToken("<mask>", special=True, lstrip=True)])
    return tok


ZOO = {
    "unigram": unigram,
    "gpt2": gpt2, "llama3": llama3, "neox": neox, "roberta": roberta, "llama2_legacy": llama2_legacy, "llama2_metaspace": llama2_metaspace,
    "metaspace": metaspace, "unk_bpe": unk_bpe, "fused_bpe": fused_bpe, "bert": bert(False), "bert_cased": bert(True), "odd_added": odd_added,
}
for _behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
    ZOO["split_" + _behavior] = splits(_behavior)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, make in ZOO.items():
        make().save(os.path.join(sys.argv[1], name + ".json"))
        print(name)
    for name, make in FILES.items():
        with open(os.path.join(sys.argv[1], name), "wb") as f:
            f.write(make())
        print(name)
