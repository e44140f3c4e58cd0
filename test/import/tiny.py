"""Small models made of nothing: what an import can be tried with. SPDX-License-Identifier: Apache-2.0"""
import array
import json
import random
import struct

HIDDEN, HEADS, LAYERS, FEED_FORWARD = 64, 4, 1, 8192  # wide between, so that the file is big enough to be fetched in ranges
SPECIAL = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def byte_alphabet():
    """The characters that byte-level BPE writes for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(other)}}


def tokenizer(extra=0):
    vocab = {c: i for i, (_, c) in enumerate(sorted(byte_alphabet().items()))}
    vocab.update({f"<extra{i}>": len(vocab) + i for i in range(extra)})
    added = [{"id": len(vocab) + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, t in enumerate(SPECIAL)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": level,
            "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}}


def safetensors(tensors):
    """{name: (shape, floats)} as a file."""
    header, blobs, at = {}, [], 0
    for name, (shape, values) in tensors.items():
        blob = values.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(blobs)


def floats(n, seed, scale=0.05):
    chosen = random.Random(seed)
    some = array.array("f", (chosen.gauss(0, scale) for _ in range(min(n, 4096 + seed))))
    return array.array("f", (some * (n // len(some) + 1))[:n])


def llama(vocab=258, ones=None):
    """The tensors of a Llama model."""
    kv = HIDDEN // 2
    shapes = {"model.embed_tokens.weight": [vocab, HIDDEN], "model.norm.weight": [HIDDEN]}
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        shapes.update({p + "self_attn.q_proj.weight": [HIDDEN, HIDDEN], p + "self_attn.k_proj.weight": [kv, HIDDEN],
                       p + "self_attn.v_proj.weight": [kv, HIDDEN], p + "self_attn.o_proj.weight": [HIDDEN, HIDDEN],
                       p + "mlp.gate_proj.weight": [FEED_FORWARD, HIDDEN], p + "mlp.up_proj.weight": [FEED_FORWARD, HIDDEN],
                       p + "mlp.down_proj.weight": [HIDDEN, FEED_FORWARD], p + "input_layernorm.weight": [HIDDEN],
                       p + "post_attention_layernorm.weight": [HIDDEN]})
    made = {}
    for seed, (name, shape) in enumerate(shapes.items()):
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        made[name] = (shape, array.array("f", [1.0] * n) if "norm" in name else floats(n, seed))
    return made


def config(vocab=258):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
            "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2, "max_position_embeddings": 256,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True, "eos_token_id": vocab - 1}


def files(vocab=258):
    """A whole model as {path: bytes}."""
    texts = {"config.json": config(vocab), "tokenizer.json": tokenizer(),
             "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[1], "chat_template": TEMPLATE},
             "generation_config.json": {"eos_token_id": vocab - 1}}
    return {**{p: json.dumps(t).encode() for p, t in texts.items()}, "model.safetensors": safetensors(llama(vocab))}


def adapter(base, rows=HIDDEN):
    """A LoRA adapter for the query projection."""
    p = "base_model.model.model.layers.0.self_attn.q_proj."
    tensors = {p + "lora_A.weight": ([2, HIDDEN], floats(2 * HIDDEN, 1)), p + "lora_B.weight": ([rows, 2], floats(rows * 2, 2))}
    about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
             "bias": "none", "lora_dropout": 0.0, "fan_in_fan_out": False, "inference_mode": True}
    return {"adapter_config.json": json.dumps(about).encode(), "adapter_model.safetensors": safetensors(tensors)}


def write(folder, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder
