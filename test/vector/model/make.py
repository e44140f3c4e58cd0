#!/usr/bin/env python3
"""Reference vectors of the default models, by Hugging Face code on the same (dequantized) weights in fp32.

    make.py MODELS_DIR        writes chat.bin and embed.json beside this script

chat.bin (little-endian): "PLV1", u32 prompts, u32 vocabulary; per prompt: u32 ids, ids i32, u32 continuation, ids i32, then fp32
logits of the last prompt position at every 64th vocabulary entry. Needs torch, transformers, gguf, safetensors, numpy, tokenizers.
"""
import json, pathlib, struct, sys
import gguf, numpy as np, torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

here = pathlib.Path(__file__).parent
models = pathlib.Path(sys.argv[1])
torch.set_grad_enabled(False)

TEXTS = [
    "The capital of France is", "Water boils at a temperature of", "def fibonacci(n):\n", "Once upon a time, in a small village,",
    "The three laws of thermodynamics state that", "SELECT name, age FROM users WHERE", "In 1969, the first humans", "Dear Sir or Madam,\n\nI am writing to",
    "1, 2, 3, 4, 5,", "The quick brown fox", "To make a cup of tea, first", "Photosynthesis is the process by which", "import numpy as np\n\n",
    "Roses are red,", "The main difference between a virus and a bacterium is", "Q: What is 12 times 12?\nA:", "<html>\n<head>\n<title>",
    "Der schnelle braune Fuchs", "The stock market fell sharply today because", "A triangle with sides 3, 4 and 5", "He opened the door slowly and",
    "The recipe calls for two cups of flour, one", "Albert Einstein was born in", "Machine learning models are trained by",
]
SENTENCES = [
    "What is Deep Learning?", "a", "The quick brown fox jumps over the lazy dog.", "Plinth serves open foundation models from your own machines.",
    "Überraschung: naïve café über 東京 and Москва!", "word " * 240, "SELECT * FROM t WHERE x = 1;", "", "Two sentences. Here is the second one, a bit longer.",
    "email@example.com https://example.com/path?query=1", "1234567890 3.14159 -2e10", "The cat sat on the mat. " * 20,
]


def half_split(w, heads):
    """Rows of q or k as Hugging Face has them, out of GGUF's interleaved order."""
    d = w.shape[0] // heads
    return w.reshape(heads, d // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def chat_model():
    path = next((models / "smollm2-135m-instruct").glob("*.gguf"))
    reader = gguf.GGUFReader(path)
    key = lambda name: reader.fields["llama." + name].contents()
    heads, kv = key("attention.head_count"), key("attention.head_count_kv")
    t = {x.name: torch.from_numpy(gguf.quants.dequantize(x.data, x.tensor_type).astype(np.float32)) for x in reader.tensors}
    config = LlamaConfig(
        vocab_size=t["token_embd.weight"].shape[0], hidden_size=key("embedding_length"), intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"), num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=key("context_length"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"), rope_theta=key("rope.freq_base"), tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": key("rope.freq_base")})
    model = LlamaForCausalLM(config).float().eval()
    state = {"model.embed_tokens.weight": t["token_embd.weight"], "model.norm.weight": t["output_norm.weight"]}
    for i in range(config.num_hidden_layers):
        g, h = f"blk.{i}.", f"model.layers.{i}."
        for a, b in {"attn_norm": "input_layernorm", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
                     "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}.items():
            state[h + b + ".weight"] = t[g + a + ".weight"]
        state[h + "self_attn.q_proj.weight"] = half_split(t[g + "attn_q.weight"], heads)
        state[h + "self_attn.k_proj.weight"] = half_split(t[g + "attn_k.weight"], kv)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    model.tie_weights()
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    return model, tokenizer_of(tokens, merges)


def tokenizer_of(tokens, merges):
    from tokenizers import models as m, pre_tokenizers as p, decoders
    t = Tokenizer(m.BPE(vocab={x: i for i, x in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    return t


def greedy(model, ids, n):
    """Plain greedy continuation; end-of-generation ids are not special here."""
    past, x, out, first = None, torch.tensor([ids]), [], None
    for _ in range(n):
        r = model(x, past_key_values=past, use_cache=True)
        past, logits = r.past_key_values, r.logits[0, -1]
        first = logits if first is None else first
        out.append(int(logits.argmax()))
        x = torch.tensor([[out[-1]]])
    return first.numpy(), out


def write_chat():
    model, tokenizer = chat_model()
    with open(here / "chat.bin", "wb") as f:
        f.write(b"PLV1" + struct.pack("<II", len(TEXTS) + 1, model.config.vocab_size))
        long = tokenizer.encode(" ".join(TEXTS * 3)).ids[:600]
        for ids in [tokenizer.encode(t).ids for t in TEXTS] + [long]:
            logits, out = greedy(model, ids, 64)
            for x in (ids, out):
                f.write(struct.pack("<I", len(x)) + np.array(x, "<i4").tobytes())
            f.write(logits[::64].astype("<f4").tobytes())


def write_embed():
    folder = models / "all-minilm-l6-v2"
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).float().eval()
    state = {k.removeprefix("bert."): v.float() for k, v in load_file(folder / "model.safetensors").items()}
    missing, unexpected = model.load_state_dict({k: v for k, v in state.items() if not k.startswith("pooler") and k != "embeddings.position_ids"}, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding(), tokenizer.no_truncation()
    cases = []
    for text in SENTENCES:
        ids = tokenizer.encode(text).ids
        hidden = model(torch.tensor([ids])).last_hidden_state[0]
        vector = torch.nn.functional.normalize(hidden.mean(0), dim=0)
        cases.append({"ids": ids, "embedding": [float(np.float32(v)) for v in vector]})
    (here / "embed.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


write_embed()
write_chat()
