#!/usr/bin/env python3
"""Writes plinth-vectors.json into a Hugging Face folder: what the reference computes from the model, so that `plinth import` can verify it.

    reference-vectors.py FOLDER

Needs torch and transformers; for an embedding model sentence-transformers. Run it where the model was made or is trusted. doc/design/import.md describes the file.
"""
import json
import sys
from pathlib import Path

import torch

TEXTS = ["Hello", "The river runs to the sea.", "x = [i ** 2 for i in range(10)]  # a comment", "Größe, naïve, 日本語, 🙂, и ещё 1234567"]
CHATS = [[{"role": "user", "content": "Name three rivers."}],
         [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "What is 2+2?"}]]
GREEDY_TOKENS, TOP = 16, 8


def tokenized(tokenizer):
    return [{"text": t, "add_special": True, "ids": tokenizer(t)["input_ids"]} for t in TEXTS]


def generating(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = tokenized(tokenizer)
    if tokenizer.chat_template:
        for messages in CHATS:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            cases.append({"render": {"messages": messages, "add_generation_prompt": True}, "rendered": text})
    for case in [c for c in cases if "ids" in c]:
        ids = torch.tensor([case["ids"]])
        best = model(ids).logits[0, -1].log_softmax(-1).topk(TOP)
        cases.append({"input_ids": case["ids"], "next": [{"id": int(i), "logprob": float(p)} for p, i in zip(*best)]})
        greedy = model.generate(ids, max_new_tokens=GREEDY_TOKENS, min_new_tokens=GREEDY_TOKENS, do_sample=False)
        cases.append({"input_ids": case["ids"], "greedy": greedy[0, ids.shape[1]:].tolist()})
    return cases


def embedding(folder):
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(folder, device="cpu")
    cases = tokenized(model.tokenizer)
    return cases + [{"input_ids": c["ids"], "embedding": [float(x) for x in model.encode(c["text"])]} for c in cases]


def main():
    folder = Path(sys.argv[1])
    torch.set_grad_enabled(False)
    cases = (embedding if (folder / "modules.json").exists() else generating)(str(folder))
    (folder / "plinth-vectors.json").write_text(json.dumps({"plinth_vectors": 1, "cases": cases}, ensure_ascii=False) + "\n")
    print(f"{len(cases)} cases in {folder / 'plinth-vectors.json'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
