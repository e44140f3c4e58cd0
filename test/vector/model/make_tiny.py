#!/usr/bin/env python3
"""Tiny random checkpoints with the logits or embeddings that Hugging Face code computes from them in fp32.

    make_tiny.py      writes tiny/<name>/{config.json, model*.safetensors, expected.json, …} beside this script

Needs torch, transformers, safetensors. The checkpoints cover what the default models do not: untied heads, biases, bf16 and fp16 storage, shards, the
llama3 and linear rope rules, head sizes other than width / heads, CLS pooling, the "bert." prefix.
"""
import json, pathlib, shutil
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

here = pathlib.Path(__file__).parent / "tiny"
torch.set_grad_enabled(False)

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def randomize(model, dtype):
    """Weights large enough that every part matters, rounded to the stored type."""
    for name, p in model.named_parameters():
        p.copy_((torch.randn_like(p) * (0.25 if p.ndim > 1 else 0.1) + (1.0 if "norm" in name.lower() and p.ndim == 1 and "bias" not in name else 0.0)).to(dtype).float())


def write(folder, config, state, shards=1):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    names = sorted(state)
    if shards == 1:
        return save_file(state, folder / "model.safetensors")
    where = {}
    for i in range(shards):
        part = names[i::shards]
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({n: state[n] for n in part}, folder / file)
        where.update({n: file for n in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}, indent=1) + "\n")


def llama(name, seed, dtype, shards=1, **settings):
    torch.manual_seed(seed)
    config = LlamaConfig(**{**dict(vocab_size=90, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                   max_position_embeddings=256, tie_word_embeddings=False, rms_norm_eps=1e-5), **settings})
    model = LlamaForCausalLM(config).float().eval()
    randomize(model, dtype)
    model.tie_weights()
    state = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items() if not (config.tie_word_embeddings and k == "lm_head.weight")}
    write(here / name, config.to_dict(), state, shards)
    prompts = [torch.randint(0, config.vocab_size, (n,)).tolist() for n in (1, 7, 33, 100)]
    cases = [{"ids": p, "logits": [round(float(x), 7) for x in model(torch.tensor([p])).logits[0, -1]]} for p in prompts]
    (here / name / "expected.json").write_text(json.dumps(cases) + "\n")


def bert(name, seed, prefix, cls, normalize):
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=90, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80, max_position_embeddings=80)
    model = BertModel(config, add_pooling_layer=False).float().eval()
    randomize(model, torch.float32)
    write(here / name, config.to_dict() | {"model_type": "bert"}, {prefix + k: v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    (here / name / "modules.json").write_text(json.dumps([{"idx": i, "name": str(i), "path": p, "type": "sentence_transformers.models." + t} for i, (p, t) in enumerate(modules)]) + "\n")
    (here / name / "1_Pooling").mkdir()
    (here / name / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_cls_token": cls, "pooling_mode_mean_tokens": not cls}) + "\n")
    cases = []
    for n in (1, 2, 31, 32, 33, 80):
        ids = torch.randint(0, 90, (n,)).tolist()
        hidden = model(torch.tensor([ids])).last_hidden_state[0]
        vector = hidden[0] if cls else hidden.mean(0)
        vector = torch.nn.functional.normalize(vector, dim=0) if normalize else vector
        cases.append({"ids": ids, "embedding": [round(float(x), 7) for x in vector]})
    (here / name / "expected.json").write_text(json.dumps(cases) + "\n")


llama("llama-untied-bf16-shards", 1, torch.bfloat16, shards=3)
llama("llama-tied-f16", 2, torch.float16, tie_word_embeddings=True)
llama("llama-llama3-rope", 3, torch.float32, rope_parameters=LLAMA3)
llama("llama-linear-rope", 4, torch.bfloat16, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})
llama("llama-bias-head-dim", 5, torch.float32, attention_bias=True, head_dim=16)
bert("bert-cls-normalized", 6, "bert.", True, True)
bert("bert-mean", 7, "", False, False)
