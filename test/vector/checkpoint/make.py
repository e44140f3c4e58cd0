#!/usr/bin/env python3
"""Tiny random Llamas, and mixtures of experts, in every quantized form that Plinth loads, with the logits that Hugging Face code computes in fp32 from the weights that the formulas give.

    make.py [NAME…]      writes <name>/{config.json, model.safetensors, expected.json, …} beside this script; without names all

Needs numpy, torch, transformers, safetensors. Integers, zeros and scales are drawn, then packed here from the published layouts (doc/format/checkpoints.md) bit by bit.
"""
import json, pathlib, shutil, sys, zlib
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import DbrxConfig, DbrxForCausalLM, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

here = pathlib.Path(__file__).parent
torch.set_grad_enabled(False)
F8 = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def strings(values, bits):
    """Each row's integers as one string of bits, lowest first, in 32-bit words."""
    rows, n = values.shape
    words = np.zeros((rows, (n * bits + 31) // 32), dtype=np.uint64)
    for i in range(n):
        for b in range(bits):
            at = i * bits + b
            words[:, at // 32] |= ((values[:, i].astype(np.uint64) >> np.uint64(b)) & np.uint64(1)) << np.uint64(at % 32)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32))


def awq_words(values):
    """[rows, out] to [rows, out / 8]: nibble t of a word is output 8c + order[t]."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    eights = values.reshape(values.shape[0], -1, 8).astype(np.uint32)
    words = np.zeros(eights.shape[:2], dtype=np.uint32)
    for t, o in enumerate(order):
        words |= eights[:, :, o] << np.uint32(4 * t)
    return torch.from_numpy(words.view(np.int32))


def scales_of(rng, shape, bits, dtype):
    s = torch.from_numpy((rng.uniform(0.3, 1.0, shape) / 2 ** (bits - 1)).astype(np.float32)).to(dtype)
    return s, s.float().numpy()


def gptq(rng, out, n, bits, group, sym=True, order=False, v2=False):
    groups = (n + group - 1) // group if group > 0 else 1
    g = np.arange(n) // (group if group > 0 else n)
    if order:
        g = rng.permutation(g)
    q = rng.integers(0, 2**bits, (n, out))
    z = np.full((groups, out), 2 ** (bits - 1)) if sym else rng.integers(0 if v2 else 1, 2**bits, (groups, out))
    s, sf = scales_of(rng, (groups, out), bits, torch.float16)
    tensors = {"qweight": strings(q.T, bits).T.contiguous(), "qzeros": strings(z - (not v2), bits), "scales": s, "g_idx": torch.from_numpy(g.astype(np.int32))}
    return tensors, (sf[g] * (q - z[g])).T


def awq(rng, out, n, group):
    q, z = rng.integers(0, 16, (n, out)), rng.integers(0, 16, (n // group, out))
    s, sf = scales_of(rng, (n // group, out), 4, torch.float16)
    g = np.arange(n) // group
    return {"qweight": awq_words(q), "qzeros": awq_words(z), "scales": s}, (sf[g] * (q - z[g])).T


def packed(rng, out, n, bits, group, sym=True, order=False, dtype=torch.bfloat16):
    groups = n // group if group else 1
    g = np.arange(n) // (group or n)
    half = 2 ** (bits - 1)
    if order:
        g = rng.permutation(g)
    q = rng.integers(-half, half, (out, n))
    z = np.zeros((out, groups), dtype=int) if sym else rng.integers(-half, half, (out, groups))
    s, sf = scales_of(rng, (out, groups), bits, dtype)
    tensors = {"weight_packed": strings(q + half, bits), "weight_scale": s, "weight_shape": torch.tensor([out, n])}
    if not sym:
        tensors["weight_zero_point"] = strings((z + half).T, bits).T.contiguous()
    if order:
        tensors["weight_g_idx"] = torch.from_numpy(g.astype(np.int32))
    return tensors, sf[:, g] * (q - z[:, g])


def int8(rng, out, n, sym=True):
    q = rng.integers(-128, 128, (out, n))
    s, sf = scales_of(rng, (out, 1), 8, torch.bfloat16)
    z = np.zeros((out, 1), dtype=int) if sym else rng.integers(-30, 30, (out, 1))
    tensors = {"weight": torch.from_numpy(q.astype(np.int8)), "weight_scale": s}
    if not sym:
        tensors["weight_zero_point"] = torch.from_numpy(z.astype(np.int8))
    return tensors, sf * (q - z)


def int8_tensor(rng, out, n):
    """One scale and one zero for the whole matrix."""
    q, z = rng.integers(-128, 128, (out, n)), 11
    s, sf = scales_of(rng, (1,), 8, torch.bfloat16)
    return {"weight": torch.from_numpy(q.astype(np.int8)), "weight_scale": s, "weight_zero_point": torch.tensor([z], dtype=torch.int8)}, sf[0] * (q - z)


def fp8(rng, out, n, kind, how, name="weight_scale", block=(32, 48)):
    w = torch.from_numpy(rng.normal(size=(out, n)).astype(np.float32) * 3).to(F8[kind])
    if how == "block":
        s, sf = scales_of(rng, (-(-out // block[0]), -(-n // block[1])), 5, torch.float32)
        full = np.repeat(np.repeat(sf, block[0], 0), block[1], 1)[:out, :n]
    elif how == "channel":
        s, sf = scales_of(rng, (out, 1), 5, torch.bfloat16)
        full = sf
    else:
        s, sf = scales_of(rng, (1,), 5, torch.float32)
        s, full = (s[0] if how == "scalar" else s), sf[0]
    return {"weight": w, name: s, "input_scale": torch.tensor(0.5)}, full * w.float().numpy()


def compressed(format, **weights):
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True, "dynamic": False, **weights}
    return {"quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}}}


def wanted(name):
    return not sys.argv[1:] or name in sys.argv[1:]


def make(name, settings, quantize, beside=None, inner=96):
    if not wanted(name):
        return
    seed = zlib.crc32(name.encode())
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=40, hidden_size=64, intermediate_size=inner, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
                         max_position_embeddings=128, tie_word_embeddings=True, rms_norm_eps=1e-5)
    model = LlamaForCausalLM(config).float().eval()
    state = {}
    for key, p in model.named_parameters():
        if not key.endswith("_proj.weight"):
            p.copy_((torch.randn_like(p) * 0.2 + (1.0 if p.ndim == 1 else 0.0)).half().float())
            state[key] = p.half().contiguous()
            continue
        tensors, w = quantize(rng, *p.shape)
        p.copy_(torch.from_numpy(np.ascontiguousarray(w, dtype=np.float32)))
        state.update({key[:-6] + last: t.contiguous() for last, t in tensors.items()})
    model.tie_weights()
    state.pop("lm_head.weight", None)
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    d = {k: config.to_dict()[k] for k in ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                                          "max_position_embeddings", "tie_word_embeddings", "rms_norm_eps", "hidden_act")}
    (folder / "config.json").write_text(json.dumps(d | ({} if beside else {"quantization_config": settings}), indent=1) + "\n")
    if beside:
        (folder / beside).write_text(json.dumps(settings) + "\n")
    save_file(state, folder / "model.safetensors")
    prompts = [torch.randint(0, 40, (n,)).tolist() for n in (3, 40)]
    cases = [{"ids": p, "logits": [round(float(x), 7) for x in model(torch.tensor([p])).logits[0, -1]]} for p in prompts]
    (folder / "expected.json").write_text(json.dumps(cases) + "\n")


def stacked(rng, w, block):
    """Scales of one matrix of experts [E, rows, columns]; block None: one for each expert, "halves": one for each half of it; a third element:
    blocks begin anew at the second half."""
    E, rows, cols = w.shape
    q = torch.from_numpy(rng.normal(size=w.shape).astype(np.float32) * 3).to(F8["e4m3"])
    if block is None or block == "halves":
        s, sf = scales_of(rng, (E, 2 if block else 1, 1), 5, torch.float32)
        full = np.repeat(sf, rows // sf.shape[1], 1)
    elif len(block) > 2:
        per_half = -(-rows // 2 // block[0])
        s, sf = scales_of(rng, (E, 2 * per_half, -(-cols // block[1])), 5, torch.float32)
        full = np.repeat(sf, block[1], 2)[:, :, :cols]
        full = np.concatenate([np.repeat(h, block[0], 1)[:, : rows // 2] for h in (full[:, :per_half], full[:, per_half:])], 1)
    else:
        s, sf = scales_of(rng, (E, -(-rows // block[0]), -(-cols // block[1])), 5, torch.float32)
        full = np.repeat(np.repeat(sf, block[0], 1), block[1], 2)[:, :rows, :cols]
    return q, s, full * q.float().numpy()


def make_experts(name, model, config, settings, rename, block, linear):
    """A mixture of experts whose experts lie in one tensor; other matrices as `linear` gives them."""
    if not wanted(name):
        return
    seed = zlib.crc32(name.encode())
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    state, E = {}, 3
    for key, p in model.named_parameters():
        if ".experts." in key:
            gate_up = key.endswith("gate_up_proj")
            q, s, w = stacked(rng, p.reshape(E, -1, p.shape[-1]), "halves" if block is None and gate_up else block if gate_up or not block else block[:2])
            p.copy_(torch.from_numpy(np.ascontiguousarray(w.reshape(p.shape), dtype=np.float32)))
            state |= rename(key, q.reshape(p.shape), s)
        elif key.endswith(("_proj.weight", "Wqkv.weight")):
            tensors, w = linear(rng, *p.shape)
            p.copy_(torch.from_numpy(np.ascontiguousarray(w, dtype=np.float32)))
            state |= {key[:-6] + last: t.contiguous() for last, t in tensors.items()}
        else:
            p.copy_((torch.randn_like(p) * 0.2 + (1.0 if p.ndim == 1 else 0.0)).half().float())
            state[key] = p.half().contiguous()
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}, indent=1) + "\n")
    save_file(state, folder / "model.safetensors")
    prompts = [torch.randint(0, 40, (n,)).tolist() for n in (3, 40)]
    cases = [{"ids": p, "logits": [round(float(x), 7) for x in model(torch.tensor([p])).logits[0, -1]]} for p in prompts]
    (folder / "expected.json").write_text(json.dumps(cases) + "\n")


def mixtral(name, settings, block, linear):
    """As transformers 5 holds Mixtral in memory: gate_up_proj and down_proj of all experts, scales in NAME_scale_inv."""
    sizes = dict(vocab_size=40, hidden_size=64, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=128, num_local_experts=3, num_experts_per_tok=2, rms_norm_eps=1e-5)
    model = MixtralForCausalLM(MixtralConfig(**sizes)).float().eval()
    make_experts(name, model, {"model_type": "mixtral", "hidden_act": "silu", **sizes}, settings, lambda key, q, s: {key: q, key + "_scale_inv": s}, block, linear)


def dbrx(name, settings, linear):
    """As Quark writes DBRX: w1_weight and one scale for each expert."""
    c = DbrxConfig(vocab_size=40, d_model=64, n_heads=4, n_layers=1, max_seq_len=128, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
                   attn_config={"clip_qkv": 8.0, "kv_n_heads": 2, "rope_theta": 10000.0}, ffn_config={"ffn_hidden_size": 40, "moe_num_experts": 3, "moe_top_k": 2})
    config = {"model_type": "dbrx", "vocab_size": 40, "d_model": 64, "n_heads": 4, "n_layers": 1, "max_seq_len": 128,
              "attn_config": {"clip_qkv": 8.0, "kv_n_heads": 2, "rope_theta": 10000.0}, "ffn_config": {"ffn_hidden_size": 40, "moe_num_experts": 3, "moe_top_k": 2}}
    rename = lambda key, q, s: {key + "_weight": q, key + "_weight_scale": s.reshape(-1), key + "_input_scale": torch.full((3,), 0.5)}
    make_experts(name, DbrxForCausalLM(c).float().eval(), config, settings, rename, None, linear)


G = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True, "lm_head": False, "checkpoint_format": "gptq"}
make("gptq-4bit", G, lambda r, o, n: gptq(r, o, n, 4, 32))
make("gptq-4bit-act-order", G | {"desc_act": True, "sym": False}, lambda r, o, n: gptq(r, o, n, 4, 32, sym=False, order=True))
make("gptq-4bit-v2-asymmetric", G | {"checkpoint_format": "gptq_v2", "sym": False}, lambda r, o, n: gptq(r, o, n, 4, 32, sym=False, v2=True))
make("gptq-8bit-whole-input", {"bits": 8, "group_size": -1, "desc_act": False, "sym": True}, lambda r, o, n: gptq(r, o, n, 8, -1), beside="quantize_config.json")
make("gptq-3bit", G | {"bits": 3, "sym": False}, lambda r, o, n: gptq(r, o, n, 3, 32, sym=False))
make("gptq-2bit-g16", G | {"bits": 2, "group_size": 16}, lambda r, o, n: gptq(r, o, n, 2, 16))
make("awq", {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True, "modules_to_not_convert": None}, lambda r, o, n: awq(r, o, n, 32))
make("awq-first-tools", {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}, lambda r, o, n: awq(r, o, n, 32), beside="quant_config.json")
make("packed-int4", compressed("pack-quantized"), lambda r, o, n: packed(r, o, n, 4, 32))
make("packed-int4-asymmetric", compressed("pack-quantized", symmetric=False), lambda r, o, n: packed(r, o, n, 4, 32, sym=False))
make("packed-int4-act-order", compressed("pack-quantized", actorder="group"), lambda r, o, n: packed(r, o, n, 4, 32, order=True))
make("packed-int8-channel", compressed("pack-quantized", num_bits=8, strategy="channel", group_size=None), lambda r, o, n: packed(r, o, n, 8, 0))
make("packed-int5", compressed("pack-quantized", num_bits=5), lambda r, o, n: packed(r, o, n, 5, 32, dtype=torch.float16))
make("int8-channel", compressed("int-quantized", num_bits=8, strategy="channel", group_size=None), lambda r, o, n: int8(r, o, n))
make("int8-channel-asymmetric", compressed("int-quantized", num_bits=8, strategy="channel", group_size=None, symmetric=False), lambda r, o, n: int8(r, o, n, False))
make("int8-tensor-asymmetric", compressed("int-quantized", num_bits=8, strategy="tensor", group_size=None, symmetric=False), int8_tensor)
make("float8-tensor", compressed("float-quantized", num_bits=8, type="float", strategy="tensor", group_size=None), lambda r, o, n: fp8(r, o, n, "e4m3", "tensor"))
make("float8-channel", compressed("float-quantized", num_bits=8, type="float", strategy="channel", group_size=None), lambda r, o, n: fp8(r, o, n, "e4m3", "channel"))
make("fp8-block", {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [32, 48]}, lambda r, o, n: fp8(r, o, n, "e4m3", "block", "weight_scale_inv"))
make("fp8-default-blocks", {"quant_method": "fp8", "activation_scheme": "dynamic"},
     lambda r, o, n: fp8(r, o, n, "e4m3", "block", "weight_scale_inv", (128, 128)), inner=136)
make("fp8-scalar-e5m2", {"quant_method": "fp8", "fmt": "e5m2", "activation_scheme": "static"}, lambda r, o, n: fp8(r, o, n, "e5m2", "scalar"))
mixtral("fp8-block-experts", {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 48]}, (32, 48),
        lambda r, o, n: fp8(r, o, n, "e4m3", "block", "weight_scale_inv"))
mixtral("fp8-halves-experts", {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": None}, None,
        lambda r, o, n: fp8(r, o, n, "e4m3", "tensor", "weight_scale_inv"))
mixtral("fp8-block-halves-experts", {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 48]}, (32, 48, "apart"),
        lambda r, o, n: fp8(r, o, n, "e4m3", "block", "weight_scale_inv"))
dbrx("fp8-dbrx-experts", {"quant_method": "fp8", "activation_scheme": "static"}, lambda r, o, n: fp8(r, o, n, "e4m3", "tensor"))
