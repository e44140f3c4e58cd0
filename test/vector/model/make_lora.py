#!/usr/bin/env python3
"""LoRA adapters on a tiny checkpoint of make_tiny.py, with the logits that PEFT computes with them in fp32.

    make_lora.py      writes lora/<name>/{adapter_config.json, adapter_model.safetensors, expected.json} beside this script

Needs torch, transformers, peft. `every` adapts all seven products of a layer, with ranks and alphas of their own for some; `few` adapts q and v
with rank-stabilized scaling, stored in bf16.
"""
import json, pathlib, shutil
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

here = pathlib.Path(__file__).parent
BASE = "llama-untied-bf16-shards"
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
torch.set_grad_enabled(False)


def adapter(name, seed, dtype, **settings):
    torch.manual_seed(seed)
    base = LlamaForCausalLM.from_pretrained(here / "tiny" / BASE, dtype=torch.float32).eval()
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=True, **settings)).eval()
    for key, p in model.named_parameters():
        if "lora_" in key:
            p.copy_((torch.randn_like(p) * 0.2).to(dtype).float())
    folder = here / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink()
    weights = folder / "adapter_model.safetensors"
    save_file({k: v.to(dtype).contiguous() for k, v in load_file(weights).items()}, weights)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "tiny/" + BASE
    config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    cases = []
    for n in (1, 7, 33, 70):
        ids = torch.randint(0, base.config.vocab_size, (n,)).tolist()
        cases.append({"ids": ids, "logits": [round(float(x), 7) for x in model(torch.tensor([ids])).logits[0, -1]]})
    (folder / "expected.json").write_text(json.dumps(cases) + "\n")


adapter("every", 21, torch.float32, r=4, lora_alpha=6, target_modules=EVERY, rank_pattern={"gate_proj": 7}, alpha_pattern={"layers.1.self_attn.k_proj": 3, "down_proj": 16})
adapter("few", 22, torch.bfloat16, r=8, lora_alpha=16, use_rslora=True, target_modules=["q_proj", "v_proj"])
