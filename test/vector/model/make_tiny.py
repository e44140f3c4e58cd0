#!/usr/bin/env python3
"""Tiny random checkpoints with the logits, hidden states or embeddings that Hugging Face code computes from them in fp32.

    make_tiny.py [NAME…]      writes tiny/<name>/{config.json, model*.safetensors, *.gguf, expected.json, …} beside this script

Needs torch, transformers 5, safetensors, gguf. The checkpoints cover what the default models do not: every architecture, three seeds or more of each, untied heads,
biases, bf16 and fp16 storage, shards, rope rules, sliding windows, ALiBi, experts, old and new names, CLS pooling, GGUF in BF16 and Q8_0. Where Hugging Face code has no
such option (MPT beyond its published settings), the reference is `mpt_reference` below, which is held to Hugging Face code where both apply.

Mixtures of experts: a prompt is taken only when, at each token and layer, the last chosen and the first left out expert differ by at least GAP in probability;
otherwise the next one of the generator is tried. So no expected value hangs on a rounding.
"""
import json, math, pathlib, shutil, sys
import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (BertConfig, BertModel, DbrxConfig, DbrxForCausalLM, GteConfig, GteModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          MixtralConfig, MixtralForCausalLM, MptConfig, MptForCausalLM)

here = pathlib.Path(__file__).parent / "tiny"
torch.set_grad_enabled(False)
GAP = 1e-3

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


def write_modules(name, cls, normalize, new=False):
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    (here / name / "modules.json").write_text(json.dumps([{"idx": i, "name": str(i), "path": p, "type": "sentence_transformers.models." + t} for i, (p, t) in enumerate(modules)]) + "\n")
    (here / name / "1_Pooling").mkdir()
    mode = {"pooling_mode": "cls" if cls else "mean"} if new else {"pooling_mode_cls_token": cls, "pooling_mode_mean_tokens": not cls}
    (here / name / "1_Pooling/config.json").write_text(json.dumps(mode) + "\n")


def bert(name, seed, prefix, cls, normalize):
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=90, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80, max_position_embeddings=80)
    model = BertModel(config, add_pooling_layer=False).float().eval()
    randomize(model, torch.float32)
    write(here / name, config.to_dict() | {"model_type": "bert"}, {prefix + k: v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()})
    write_modules(name, cls, normalize)
    cases = []
    for n in (1, 2, 31, 32, 33, 80):
        ids = torch.randint(0, 90, (n,)).tolist()
        hidden = model(torch.tensor([ids])).last_hidden_state[0]
        vector = hidden[0] if cls else hidden.mean(0)
        vector = torch.nn.functional.normalize(vector, dim=0) if normalize else vector
        cases.append({"ids": ids, "embedding": [round(float(x), 7) for x in vector]})
    (here / name / "expected.json").write_text(json.dumps(cases) + "\n")


# ---- decoders: logits and what goes into the final norm, of the last token ----


def run(model, norm, routers, k, ids):
    """Logits and hidden state; None when an expert was chosen by less than GAP."""
    seen, near = {}, []
    hooks = [norm.register_forward_pre_hook(lambda m, a: seen.update(hidden=a[0]))]

    def look(m, a, out):
        p = torch.softmax(out[0] if isinstance(out, tuple) else out, -1).sort(-1, descending=True).values
        if k < p.shape[-1] and (p[..., k - 1] - p[..., k]).min() < GAP:
            near.append(m)

    hooks += [r.register_forward_hook(look) for r in routers]
    logits = model(torch.tensor([ids])).logits[0, -1]
    for h in hooks:
        h.remove()
    return None if near else (logits, seen["hidden"].reshape(-1, seen["hidden"].shape[-1])[-1])


def rounded(values):
    return [round(float(x), 7) for x in values]


def write_cases(name, vocab, compute, lengths=(1, 7, 33, 70)):
    cases = []
    for n in lengths:
        for _ in range(1000):
            ids = torch.randint(0, vocab, (n,)).tolist()
            got = compute(ids)
            if got:
                break
        cases.append({"ids": ids, "logits": rounded(got[0]), "hidden": rounded(got[1])})
    (here / name / "expected.json").write_text(json.dumps(cases) + "\n")


def stored(model, dtype):
    return {k: v.to(dtype).contiguous().clone() for k, v in model.state_dict().items()}


def through_q8(model, keep):
    """Matrices become what Q8_0 holds of them."""
    for name, p in model.named_parameters():
        if p.ndim > 1 and not keep(name):
            q = gguf.quants.quantize(p.numpy(), gguf.GGMLQuantizationType.Q8_0)
            p.copy_(torch.from_numpy(gguf.quants.dequantize(q, gguf.GGMLQuantizationType.Q8_0).reshape(p.shape)))


def write_gguf(path, arch, values, tensors, kind):
    """values: key -> int, float, bool or str (its type follows); tensors: name -> array, matrices in `kind`, vectors and routers in F32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(path, arch)
    for key, v in values.items():
        key = f"{arch}.{key}"
        w.add_bool(key, v) if isinstance(v, bool) else w.add_uint32(key, v) if isinstance(v, int) else w.add_float32(key, v) if isinstance(v, float) else w.add_string(key, v)
    for name, t in tensors.items():
        t = np.ascontiguousarray(t.float().numpy())
        plain = t.ndim == 1 or "ffn_gate_inp" in name
        w.add_tensor(name, t if plain else gguf.quants.quantize(t, kind), raw_dtype=None if plain else kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


BF16, Q8 = gguf.GGMLQuantizationType.BF16, gguf.GGMLQuantizationType.Q8_0


def interleaved(w, heads):
    """Rows of q and k as GGUF's llama wants them."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def llama_gguf(path, c, state, kind, one_by_one=False, freqs=None):
    d = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    values = {"block_count": c.num_hidden_layers, "embedding_length": c.hidden_size, "context_length": c.max_position_embeddings, "feed_forward_length": c.intermediate_size,
              "attention.head_count": c.num_attention_heads, "attention.head_count_kv": c.num_key_value_heads, "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
              "attention.key_length": d, "attention.value_length": d, "rope.dimension_count": d, "rope.freq_base": float(c.rope_parameters["rope_theta"])}
    t = {"token_embd.weight": state["model.embed_tokens.weight"], "output_norm.weight": state["model.norm.weight"]}
    if not c.tie_word_embeddings:
        t["output.weight"] = state["lm_head.weight"]
    if freqs is not None:
        t["rope_freqs.weight"] = freqs
    experts = getattr(c, "num_local_experts", 0)
    if experts:
        values |= {"expert_count": experts, "expert_used_count": c.num_experts_per_tok}
    for n in range(c.num_hidden_layers):
        s, b = f"model.layers.{n}.", f"blk.{n}."
        t[b + "attn_norm.weight"], t[b + "ffn_norm.weight"] = state[s + "input_layernorm.weight"], state[s + "post_attention_layernorm.weight"]
        for hf, to, heads in (("q", "q", c.num_attention_heads), ("k", "k", c.num_key_value_heads), ("v", "v", 0), ("o", "output", 0)):
            w = state[s + f"self_attn.{hf}_proj.weight"]
            t[b + f"attn_{to}.weight"] = interleaved(w, heads) if heads else w
        if not experts:
            for hf in ("gate", "up", "down"):
                t[b + f"ffn_{hf}.weight"] = state[s + f"mlp.{hf}_proj.weight"]
            continue
        t[b + "ffn_gate_inp.weight"] = state[s + "mlp.gate.weight"]
        gate, up = state[s + "mlp.experts.gate_up_proj"].chunk(2, 1)
        for part, w in (("gate", gate), ("up", up), ("down", state[s + "mlp.experts.down_proj"])):
            if one_by_one:
                t |= {b + f"ffn_{part}.{e}.weight": w[e] for e in range(experts)}
            else:
                t[b + f"ffn_{part}_exps.weight"] = w
    write_gguf(path, "llama", values, t, kind)


def relative(config_class, model_class, name, seed, dtype=torch.bfloat16, as_gguf=None, old=False, names=None, safetensors=True, rope_freqs=False, **settings):
    """Llama, Mistral, Mixtral. old: config.json as transformers 4 wrote it. names: renames the tensors of the file."""
    torch.manual_seed(seed)
    c = config_class(**{**dict(vocab_size=48, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                               max_position_embeddings=128, tie_word_embeddings=False, rms_norm_eps=1e-5), **settings})
    model = model_class(c).float().eval()
    randomize(model, dtype)
    experts = getattr(c, "num_local_experts", 0)
    if as_gguf and as_gguf[0] == Q8:
        through_q8(model, lambda n: "gate.weight" in n and experts)
    model.tie_weights()
    config = c.to_dict()
    if old:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if safetensors:
        state = stored(model, dtype)
        if c.tie_word_embeddings:
            del state["lm_head.weight"]
        write(here / name, config, names(state) if names else state)
    for k, file, one_by_one in [as_gguf] if as_gguf else []:
        d = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        plain = c.rope_parameters["rope_theta"] ** -(torch.arange(0, d, 2).float() / d)
        llama_gguf(here / name / file, c, stored(model, torch.float32), k, one_by_one, plain / model.model.rotary_emb.inv_freq if rope_freqs else None)
    routers = [l.mlp.gate for l in model.model.layers] if experts else []
    k = c.num_experts_per_tok if experts else 0
    write_cases(name, c.vocab_size, lambda ids: run(model, model.model.norm, routers, k, ids))


def mixtral_file_names(state):
    """As the published checkpoints have them."""
    out = {}
    for key, w in state.items():
        key = key.replace(".mlp.", ".block_sparse_moe.")
        if key.endswith("gate_up_proj"):
            for e in range(w.shape[0]):
                out[key.replace("gate_up_proj", f"{e}.w1.weight")], out[key.replace("gate_up_proj", f"{e}.w3.weight")] = (p.contiguous() for p in w[e].chunk(2, 0))
        elif key.endswith("experts.down_proj"):
            out |= {key.replace("down_proj", f"{e}.w2.weight"): w[e].contiguous() for e in range(w.shape[0])}
        else:
            out[key] = w
    return out


# ---- DBRX ----


def dbrx(name, seed, dtype=torch.bfloat16, as_gguf=None, safetensors=True, old=True, theta=500000.0, attn={}, ffn={}, **settings):
    torch.manual_seed(seed)
    c = DbrxConfig(**{**dict(vocab_size=48, d_model=24, n_heads=4, n_layers=2, max_seq_len=128, rope_parameters={"rope_type": "default", "rope_theta": theta},
                             attn_config={"clip_qkv": 1.0, "kv_n_heads": 2, "rope_theta": theta} | attn,
                             ffn_config={"ffn_hidden_size": 16, "moe_num_experts": 8, "moe_top_k": 4, "moe_normalize_expert_weights": 1.0} | ffn), **settings})
    model = DbrxForCausalLM(c).float().eval()
    randomize(model, dtype)
    if as_gguf == Q8:
        through_q8(model, lambda n: "router" in n)
        for b in model.transformer.blocks:  # blocks run along the inner width of the turned matrix
            e = b.ffn.experts.mlp
            w = e.w2.view(c.ffn_config.moe_num_experts, -1, c.d_model).swapaxes(1, 2).contiguous().numpy()
            w = gguf.quants.dequantize(gguf.quants.quantize(w, Q8), Q8)
            e.w2.copy_(torch.from_numpy(w).swapaxes(1, 2).reshape(e.w2.shape))
    if safetensors:
        config = c.to_dict()
        if old:
            del config["rope_parameters"]
        write(here / name, config, stored(model, dtype))
    if as_gguf:
        state, f = stored(model, torch.float32), c.ffn_config
        t = {"token_embd.weight": state["transformer.wte.weight"], "output_norm.weight": state["transformer.norm_f.weight"], "output.weight": state["lm_head.weight"]}
        for n in range(c.n_layers):
            s, b = f"transformer.blocks.{n}.", f"blk.{n}."
            for hf, to in (("norm_1", "attn_norm"), ("attn.Wqkv", "attn_qkv"), ("attn.out_proj", "attn_output"), ("norm_2", "attn_output_norm")):
                t[b + to + ".weight"] = state[s + f"norm_attn_norm.{hf}.weight"]
            t[b + "ffn_gate_inp.weight"] = state[s + "ffn.router.layer.weight"]
            for hf, to in (("w1", "gate"), ("v1", "up"), ("w2", "down")):
                w = state[s + "ffn.experts.mlp." + hf].view(f.moe_num_experts, f.ffn_hidden_size, c.d_model)
                t[b + f"ffn_{to}_exps.weight"] = w.swapaxes(1, 2) if to == "down" else w
        write_gguf(here / name / "model.gguf", "dbrx", {"block_count": c.n_layers, "embedding_length": c.d_model, "context_length": c.max_seq_len, "feed_forward_length": f.ffn_hidden_size,
                   "attention.head_count": c.n_heads, "attention.head_count_kv": c.attn_config.kv_n_heads, "attention.layer_norm_epsilon": 1e-5, "attention.clamp_kqv": c.attn_config.clip_qkv,
                   "rope.freq_base": theta, "expert_count": f.moe_num_experts, "expert_used_count": f.moe_top_k}, t, as_gguf)
    write_cases(name, c.vocab_size, lambda ids: run(model, model.transformer.norm_f, [b.ffn.router for b in model.transformer.blocks], c.ffn_config.moe_top_k, ids))


# ---- MPT ----


def mpt_reference(config, state, ids):
    """The forward pass of the model's own code, with all its settings."""
    a, D, H = config["attn_config"], config["d_model"], config["n_heads"]
    d, T, eps = D // H, len(ids), config["layer_norm_epsilon"]
    K = {"multihead_attention": H, "multiquery_attention": 1, "grouped_query_attention": a.get("kv_n_heads")}[a["attn_type"]]
    get = lambda name: state.get("transformer." + name)
    linear = lambda x, name: torch.nn.functional.linear(x, get(name + ".weight"), get(name + ".bias"))
    norm = lambda x, name: torch.nn.functional.layer_norm(x, x.shape[-1:], get(name + ".weight"), get(name + ".bias"), eps)
    h = get("wte.weight")[ids]
    place = torch.arange(T)
    bias = torch.full((T, T), -math.inf).triu(1)[None]
    if a["alibi"]:
        n = 2 ** math.ceil(math.log2(H))
        slopes = [2 ** (-i * a["alibi_bias_max"] / n) for i in range(1, n + 1)]
        slopes = slopes if n == H else (slopes[1::2] + slopes[::2])[:H]
        bias = bias + torch.tensor(slopes)[:, None, None] * (place[None, :] - place[:, None])
    elif config["learned_pos_emb"]:
        h = h + get("wpe.weight")[:T]
    for n in range(config["n_layers"]):
        b = f"blocks.{n}."
        z = linear(norm(h, b + "norm_1"), b + "attn.Wqkv")
        if a["clip_qkv"]:
            z = z.clamp(-a["clip_qkv"], a["clip_qkv"])
        q, k, v = z.split([D, K * d, K * d], -1)
        if a["qk_ln"]:
            q, k = norm(q, b + "attn.q_ln"), norm(k, b + "attn.k_ln")
        q, k, v = (x.view(T, -1, d).swapaxes(0, 1) for x in (q, k, v))
        k, v = (x.repeat_interleave(H // K, 0) for x in (k, v))
        p = torch.softmax(q @ k.mT * (a["softmax_scale"] or d**-0.5) + bias, -1)
        h = h + linear((p @ v).swapaxes(0, 1).reshape(T, D), b + "attn.out_proj")
        h = h + linear(torch.nn.functional.gelu(linear(norm(h, b + "norm_2"), b + "ffn.up_proj")), b + "ffn.down_proj")
    head = get("wte.weight") if config["tie_word_embeddings"] else state["lm_head.weight"]
    logits = norm(h, "norm_f") @ head.T
    scale = config["logit_scale"]
    return logits[-1] * (1 if scale is None else D**-0.5 if scale == "inv_sqrt_d_model" else scale), h[-1]


def mpt_random(config, dtype):
    """Tensors for settings that Hugging Face code does not have."""
    a, D, H, F = config["attn_config"], config["d_model"], config["n_heads"], int(config["expansion_ratio"] * config["d_model"])
    kd = D // H * {"multihead_attention": H, "multiquery_attention": 1}.get(a["attn_type"], a.get("kv_n_heads"))
    state = {}

    def add(name, *shape, norm=False):
        w = torch.randn(shape) * (0.1 if norm else 0.25) + (1.0 if norm else 0.0)
        state[f"transformer.{name}.weight"] = w.to(dtype).float()
        if not config["no_bias"] and name[0] != "w":
            state[f"transformer.{name}.bias"] = (torch.randn(shape[0]) * 0.1).to(dtype).float()

    add("wte", config["vocab_size"], D)
    if config["learned_pos_emb"] and not a["alibi"]:
        add("wpe", config["max_seq_len"], D)
    for n in range(config["n_layers"]):
        b = f"blocks.{n}."
        for name, shape in (("norm_1", (D,)), ("norm_2", (D,)), ("attn.Wqkv", (D + 2 * kd, D)), ("attn.out_proj", (D, D)), ("ffn.up_proj", (F, D)), ("ffn.down_proj", (D, F))):
            add(b + name, *shape, norm=len(shape) == 1)
        if a["qk_ln"]:
            add(b + "attn.q_ln", D, norm=True)
            add(b + "attn.k_ln", kd, norm=True)
    add("norm_f", D, norm=True)
    return state


def mpt(name, seed, dtype=torch.bfloat16, as_gguf=None, safetensors=True, own=False, attn={}, **settings):
    """own: settings beyond those of Hugging Face code."""
    torch.manual_seed(seed)
    plain = dict(vocab_size=48, d_model=24, n_heads=4, n_layers=2, max_seq_len=80)
    if own:
        config = MptConfig(**plain).to_dict() | {"no_bias": True} | settings
        config["attn_config"] = config["attn_config"] | attn
        state = mpt_random(config, dtype)
    else:
        c = MptConfig(**{**plain, "attn_config": attn, **settings})
        model = MptForCausalLM(c).float().eval()
        randomize(model, dtype)
        if as_gguf == Q8:
            through_q8(model, lambda n: False)
        model.tie_weights()
        config, state = c.to_dict(), stored(model, torch.float32)
        if c.tie_word_embeddings:
            del state["lm_head.weight"]
    if safetensors:
        write(here / name, config, {k: v.to(dtype) for k, v in state.items()})
    if as_gguf:
        t = {"token_embd.weight": state["transformer.wte.weight"], "output_norm.weight": state["transformer.norm_f.weight"]}
        for n in range(config["n_layers"]):
            for hf, to in (("norm_1", "attn_norm"), ("attn.Wqkv", "attn_qkv"), ("attn.out_proj", "attn_output"), ("norm_2", "ffn_norm"), ("ffn.up_proj", "ffn_up"), ("ffn.down_proj", "ffn_down")):
                t[f"blk.{n}.{to}.weight"] = state[f"transformer.blocks.{n}.{hf}.weight"]
        values = {"block_count": config["n_layers"], "embedding_length": config["d_model"], "context_length": config["max_seq_len"], "feed_forward_length": 4 * config["d_model"],
                  "attention.head_count": config["n_heads"], "attention.layer_norm_epsilon": config["layer_norm_epsilon"], "attention.max_alibi_bias": float(config["attn_config"]["alibi_bias_max"])}
        if config["attn_config"]["clip_qkv"]:
            values["attention.clamp_kqv"] = float(config["attn_config"]["clip_qkv"])
        write_gguf(here / name / "model.gguf", "mpt", values, t, as_gguf)

    def compute(ids):
        ours = mpt_reference(config, state, ids)
        if not own:
            theirs = run(model, model.transformer.norm_f, [], 0, ids)
            assert all((x - y).abs().max() < 2e-5 for x, y in zip(ours, theirs)), name
        return ours if own else theirs

    write_cases(name, config["vocab_size"], compute)


# ---- GTE ----


def gte(name, seed, native=False, prefix="", packed=True, dtype=torch.bfloat16, theta=160000.0, **settings):
    """The rule "ntk" of the model's own code is, in Hugging Face code, "linear" with another base. native: Hugging Face's names and config."""
    torch.manual_seed(seed)
    plain = dict(vocab_size=48, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=128, type_vocab_size=2, pad_token_id=0) | settings
    d, s = plain["hidden_size"] // plain["num_attention_heads"], 2.0
    c = GteConfig(**plain, rope_parameters={"rope_type": "linear", "rope_theta": theta * s, "factor": s ** (2 / d)})
    model = GteModel(c).float().eval()
    randomize(model, dtype)
    state = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    config = c.to_dict()
    if not native:
        config = {k: v for k, v in config.items() if k != "rope_parameters"} | {
            "model_type": "new", "architectures": ["NewModel"], "rope_theta": theta, "rope_scaling": {"factor": s, "type": "ntk"}, "pack_qkv": packed, "position_embedding_type": "rope",
            "layer_norm_type": "layer_norm", "logn_attention_scale": False, "logn_attention_clip1": False, "unpad_inputs": False, "use_memory_efficient_attention": False}
        state = gte_file_names(state, prefix, packed, plain["num_hidden_layers"])
    write(here / name, config, state)
    write_modules(name, True, False, new=native)
    cases = []
    for n in (1, 2, 31, 32, 33, 128):
        ids = torch.randint(0, 48, (n,)).tolist()
        hidden = model(torch.tensor([ids])).last_hidden_state[0]
        cases.append({"ids": ids, "embedding": rounded(hidden[0]), "hidden": rounded(hidden[-1])})
    (here / name / "expected.json").write_text(json.dumps(cases) + "\n")


def gte_file_names(state, prefix, packed, layers):
    """As the published checkpoints have them."""
    out = {prefix + k: v for k, v in state.items() if k.startswith("embeddings.")}
    for n in range(layers):
        s, to = f"layers.{n}.", f"{prefix}encoder.layer.{n}."
        for kind in ("weight", "bias"):
            q, k, v = (state[f"{s}self_attn.{x}_proj.{kind}"] for x in "qkv")
            out |= {f"{to}attention.qkv_proj.{kind}": torch.cat([q, k, v])} if packed else {f"{to}attention.{x}_proj.{kind}": w for x, w in zip("qkv", (q, k, v))}
            out[f"{to}attention.o_proj.{kind}"] = state[f"{s}self_attn.o_proj.{kind}"]
            out[f"{to}mlp.down_proj.{kind}"] = state[f"{s}mlp.down_proj.{kind}"]
            out[f"{to}attn_ln.{kind}"], out[f"{to}mlp_ln.{kind}"] = state[f"{s}post_attention_layernorm.{kind}"], state[f"{s}post_mlp_layernorm.{kind}"]
        out[f"{to}mlp.up_gate_proj.weight"] = torch.cat([state[f"{s}mlp.up_proj.weight"], state[f"{s}mlp.gate_proj.weight"]])
    return out


LLAMA = (LlamaConfig, LlamaForCausalLM)
MISTRAL = (MistralConfig, MistralForCausalLM)
MIXTRAL = (MixtralConfig, MixtralForCausalLM)

TINY = {
    "llama-untied-bf16-shards": lambda n: llama(n, 1, torch.bfloat16, shards=3),
    "llama-tied-f16": lambda n: llama(n, 2, torch.float16, tie_word_embeddings=True),
    "llama-llama3-rope": lambda n: llama(n, 3, torch.float32, rope_parameters=LLAMA3),
    "llama-linear-rope": lambda n: llama(n, 4, torch.bfloat16, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    "llama-bias-head-dim": lambda n: llama(n, 5, torch.float32, attention_bias=True, head_dim=16),
    "bert-cls-normalized": lambda n: bert(n, 6, "bert.", True, True),
    "bert-mean": lambda n: bert(n, 7, "", False, False),
    "llama-31-old-config": lambda n: relative(*LLAMA, n, 8, old=True, as_gguf=(BF16, "model.gguf", False), rope_freqs=True, tie_word_embeddings=True, head_dim=8, rope_parameters=LLAMA3),
    "mistral-window": lambda n: relative(*MISTRAL, n, 11, sliding_window=9),
    "mistral-window-head-dim": lambda n: relative(*MISTRAL, n, 12, sliding_window=40, head_dim=16, num_hidden_layers=3, old=True),
    "mistral-no-window": lambda n: relative(*MISTRAL, n, 13, sliding_window=None, as_gguf=(BF16, "model.gguf", False), rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
    "mixtral": lambda n: relative(*MIXTRAL, n, 21, names=mixtral_file_names, as_gguf=(BF16, "one-by-one.gguf", True), num_local_experts=4, num_experts_per_tok=2, intermediate_size=20),
    "mixtral-fused-window": lambda n: relative(*MIXTRAL, n, 22, sliding_window=20, num_local_experts=5, num_experts_per_tok=3, intermediate_size=16, num_hidden_layers=1),
    "mixtral-q8": lambda n: relative(*MIXTRAL, n, 23, safetensors=False, as_gguf=(Q8, "model.gguf", False), hidden_size=32, intermediate_size=32, num_local_experts=4,
                                     num_experts_per_tok=2, sliding_window=None, head_dim=16),
    "mpt": lambda n: mpt(n, 31, attn={"clip_qkv": 1.0}, as_gguf=BF16),
    "mpt-6-heads": lambda n: mpt(n, 32, n_heads=6, n_layers=1),
    "mpt-all-settings": lambda n: mpt(n, 33, own=True, n_heads=6, n_layers=1, no_bias=False, logit_scale=0.5, expansion_ratio=2,
                                      attn={"alibi_bias_max": 16, "clip_qkv": 0.75, "qk_ln": True, "attn_type": "grouped_query_attention", "kv_n_heads": 2, "softmax_scale": 0.4}),
    "mpt-learned-positions": lambda n: mpt(n, 34, own=True, n_layers=1, logit_scale="inv_sqrt_d_model", attn={"alibi": False, "attn_type": "multiquery_attention"}),
    "mpt-untied": lambda n: mpt(n, 36, n_layers=1, tie_word_embeddings=False),
    "mpt-q8": lambda n: mpt(n, 35, safetensors=False, as_gguf=Q8, d_model=32, n_heads=2, n_layers=1),
    "dbrx": lambda n: dbrx(n, 41, as_gguf=BF16),
    "dbrx-no-norm": lambda n: dbrx(n, 42, old=False, n_layers=1, attn={"clip_qkv": 2.5}, ffn={"moe_num_experts": 6, "moe_top_k": 3, "moe_normalize_expert_weights": None}),
    "dbrx-q8": lambda n: dbrx(n, 43, safetensors=False, as_gguf=Q8, d_model=32, n_heads=2, n_layers=1, attn={"kv_n_heads": 1}, ffn={"ffn_hidden_size": 32}),
    "gte-new-prefix": lambda n: gte(n, 51, prefix="new."),
    "gte-new-unpacked": lambda n: gte(n, 52, packed=False, theta=500000.0, type_vocab_size=0),
    "gte-native": lambda n: gte(n, 53, native=True),
}
for name in sys.argv[1:] or TINY:
    TINY[name](name)
