#!/usr/bin/env python3
"""LoRA adapters on a tiny checkpoint of make_tiny.py, with the logits that PEFT computes with them in fp32.

    make_lora.py [NAME…]      writes lora/<name>/{adapter_config.json, adapter_model.safetensors, expected.json} beside this script; without names all

Needs torch, transformers, peft. `every` adapts all seven products of a layer, with ranks and alphas of their own for some; `few` adapts q and v
with rank-stabilized scaling, stored in bf16. On a Mixtral: `experts`, `experts-down` and `experts-parameters` as PEFT writes them with
transformers 5, one pair of tensors for all experts; `experts-old` as it did with transformers 4, a pair for each.
"""
import json, pathlib, shutil, sys
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, MixtralForCausalLM

here = pathlib.Path(__file__).parent
BASE = "llama-untied-bf16-shards"
MIXTRAL = "mixtral"
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
torch.set_grad_enabled(False)


def finish(name, folder, config, base, ids_logits):
    config["base_model_name_or_path"] = "tiny/" + base
    config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    cases = []
    for n in (1, 7, 33, 70):
        ids = torch.randint(0, 48 if base == MIXTRAL else 90, (n,)).tolist()
        cases.append({"ids": ids, "logits": [round(float(x), 7) for x in ids_logits(torch.tensor([ids]))[0, -1]]})
    (folder / "expected.json").write_text(json.dumps(cases) + "\n")


def adapter(name, seed, dtype, base=BASE, kind=LlamaForCausalLM, **settings):
    if sys.argv[1:] and name not in sys.argv[1:]:
        return
    torch.manual_seed(seed)
    plain = kind.from_pretrained(here / "tiny" / base, dtype=torch.float32).eval()
    model = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=True, **settings)).eval()
    for key, p in model.named_parameters():
        if "lora_" in key:
            p.copy_((torch.randn_like(p) * 0.2).to(dtype).float())
    folder = here / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink()
    weights = folder / "adapter_model.safetensors"
    save_file({k: v.to(dtype).contiguous() for k, v in load_file(weights).items()}, weights)
    finish(name, folder, json.loads((folder / "adapter_config.json").read_text()), base, lambda ids: model(ids).logits)


def old_experts(name, seed, r=3, alpha=5):
    """Of transformers 4: modules of their own; some experts have none. W + s·BA by hand."""
    if sys.argv[1:] and name not in sys.argv[1:]:
        return
    torch.manual_seed(seed)
    model = MixtralForCausalLM.from_pretrained(here / "tiny" / MIXTRAL, dtype=torch.float32).eval()
    tensors = {}

    def pair(module, w):
        a, b = torch.randn(r, w.shape[1]) * 0.3, torch.randn(w.shape[0], r) * 0.3
        w += alpha / r * b @ a
        tensors.update({f"base_model.model.{module}.lora_A.weight": a, f"base_model.model.{module}.lora_B.weight": b})

    for n, layer in enumerate(model.model.layers):
        prefix, experts = f"model.layers.{n}.block_sparse_moe.", layer.mlp.experts
        F = experts.down_proj.shape[2]
        pair(f"model.layers.{n}.self_attn.v_proj", layer.self_attn.v_proj.weight)
        pair(prefix + "gate", layer.mlp.gate.weight)
        for e in range(n, experts.down_proj.shape[0]):
            pair(prefix + f"experts.{e}.w1", experts.gate_up_proj[e, :F])
            pair(prefix + f"experts.{e}.w3", experts.gate_up_proj[e, F:])
            pair(prefix + f"experts.{e}.w2", experts.down_proj[e])
    folder = here / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": r, "lora_alpha": alpha, "target_modules": ["gate", "v_proj", "w1", "w2", "w3"], "bias": "none"}
    finish(name, folder, config, MIXTRAL, lambda ids: model(ids).logits)


def base(name, single):
    """The same Mixtral in fp32, with the names that transformers 5 has in memory or with the published ones."""
    if sys.argv[1:] and name not in sys.argv[1:]:
        return
    folder = here / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(here / "tiny" / MIXTRAL / "config.json", folder / "config.json")
    published = {k: v.float().contiguous() for k, v in load_file(here / "tiny" / MIXTRAL / "model.safetensors").items()}
    model = MixtralForCausalLM.from_pretrained(here / "tiny" / MIXTRAL, dtype=torch.float32)
    save_file(published if single else {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")


adapter("every", 21, torch.float32, r=4, lora_alpha=6, target_modules=EVERY, rank_pattern={"gate_proj": 7}, alpha_pattern={"layers.1.self_attn.k_proj": 3, "down_proj": 16})
adapter("few", 22, torch.bfloat16, r=8, lora_alpha=16, use_rslora=True, target_modules=["q_proj", "v_proj"])
adapter("experts", 23, torch.float32, MIXTRAL, MixtralForCausalLM, r=2, lora_alpha=3, target_modules=["q_proj", "gate", "w1", "w2", "w3"])
adapter("experts-down", 24, torch.bfloat16, MIXTRAL, MixtralForCausalLM, r=3, lora_alpha=4, use_rslora=True, target_modules=["w2"])
adapter("experts-parameters", 25, torch.float32, MIXTRAL, MixtralForCausalLM, r=3, lora_alpha=4, target_modules=[],
        target_parameters=["mlp.experts.gate_up_proj", "layers.1.mlp.experts.down_proj"], alpha_pattern={"down_proj": 9})
old_experts("experts-old", 26)
base("mixtral-fused", False)
base("mixtral-single", True)
