"""A GGUF file of the llama architecture as a Hugging Face folder in bfloat16, for peers that read no GGUF. SPDX-License-Identifier: Apache-2.0

    export.py FILE.gguf FOLDER

Weights are dequantized by the `gguf` package: the values are the file's, their storage is not.
"""
import json, pathlib, re, sys

import gguf, torch
from safetensors.torch import save_file

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def name_of(name):
    stem = name.removesuffix(".weight")
    if match := re.fullmatch(r"blk\.(\d+)\.(\w+)", stem):
        return f"model.layers.{match[1]}.{PARTS[match[2]]}.weight"
    return NAMES[stem] + ".weight"


def main(source, folder):
    reader = gguf.GGUFReader(source)
    field = lambda key, default=None: reader.fields[key].contents() if key in reader.fields else default
    heads = {"attn_q": field("llama.attention.head_count"), "attn_k": field("llama.attention.head_count_kv")}
    tensors = {}
    for t in reader.tensors:
        values = torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(reversed(t.shape.tolist()))).copy())
        for part, n in heads.items():
            if f".{part}." in t.name:  # GGUF keeps the pairs of a rotation side by side; Hugging Face half a head apart
                rows, columns = values.shape
                values = values.reshape(n, rows // n // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        if t.name != "rope_freqs.weight":
            tensors[name_of(t.name)] = values.to(torch.bfloat16).contiguous()
    vocabulary = tensors["model.embed_tokens.weight"].shape[0]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16", "vocab_size": vocabulary,
              "hidden_size": field("llama.embedding_length"), "intermediate_size": field("llama.feed_forward_length"), "num_hidden_layers": field("llama.block_count"),
              "num_attention_heads": heads["attn_q"], "num_key_value_heads": heads["attn_k"], "rms_norm_eps": field("llama.attention.layer_norm_rms_epsilon"),
              "rope_theta": field("llama.rope.freq_base", 10000.0), "max_position_embeddings": min(field("llama.context_length"), 8192),
              "tie_word_embeddings": "lm_head.weight" not in tensors, "bos_token_id": field("tokenizer.ggml.bos_token_id"), "eos_token_id": field("tokenizer.ggml.eos_token_id")}
    out = pathlib.Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    # Prompts are token ids; a tokenizer stands here because peers want to find one.
    plain = {chr(256 + i): i for i in range(256)}
    (out / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                                        "use_regex": True}, "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                                        "model": {"type": "BPE", "vocab": plain, "merges": []}}))
    (out / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


main(*sys.argv[1:])
