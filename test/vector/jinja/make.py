#!/usr/bin/env python3
"""Writes the vectors of the Jinja interpreter from jinja2 in transformers' settings (reference.py).

  snippets.jsonl  the templates of snippets.txt (separated by a line "---") on SNIPPET_CONTEXT
  random.jsonl    random expressions and statements
  families.jsonl  templates in the manner of the model families, with the texts that the families' own templates give
  corpus.jsonl    whole templates in the manner of many families (corpus.py) on all conversations (conversations.py)
  model.jsonl     conversations in the default chat model's own template, which the test takes from the GGUF file

Each line: {"template", "context", "text"}; text null means that the template fails. In corpus.jsonl {"template", "texts", "continued"}: texts
by the name of the context, and those that transformers ends inside the last message. Needs transformers, jinja2 and gguf:
  python test/vector/jinja/make.py [path of SmolLM2-135M-Instruct.Q4_1.gguf]
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import re
import sys

import conversations
import corpus
import families
import random_templates
from reference import continue_final, render

HERE = os.path.dirname(os.path.abspath(__file__))
SNIPPET_CONTEXT = {
    "x": "Hello World", "n": 5, "f": 2.5, "l": [3, 1, 2], "d": {"b": 1, "a": [1, 2, {"z": None}], "items": 7}, "t": True, "no": None,
    "s": ["b", "A", "c", "a"], "u": "Straße ǆ ﬁ ΑΣ é", "e": "",
    "users": [{"name": "bob", "age": 3, "tags": ["x"]}, {"name": "Al", "age": 1, "tags": []}, {"name": "bob", "age": 2}],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}],
}
MODEL_FILE = "~/.local/share/plinth/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"


def depends_on_run(text):
    """Texts that hold an address, or that our 64-bit integers and folded constants explain."""
    return text is not None and (" at 0x" in text or " at 0X" in text or "TemplateReference" in text or len(text) > 4000)


def write(name, cases):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as out:
        for case in cases:
            out.write(json.dumps(case, ensure_ascii=False) + "\n")
    failing = sum(c["text"] is None for c in cases)
    print(f"{name}: {len(cases)} cases, {failing} of them fail")


def snippet_cases():
    with open(os.path.join(HERE, "snippets.txt"), encoding="utf-8", newline="") as f:
        templates = f.read().rstrip("\n").split("\n---\n")
    singles = [e for t in templates if "{%" not in t for e in re.findall(r"{{ .*? }}", t)]
    return [{"template": t, "context": "snippets", "text": render(t, SNIPPET_CONTEXT)} for t in dict.fromkeys(templates + singles)]


def random_cases():
    expressions, statements = random_templates.Expressions(20), random_templates.Statements(21)
    cases = []
    for generator, context, wanted, failing_max in ((expressions, random_templates.CONTEXT, 500, 120),
                                                    (statements, random_templates.STATEMENT_CONTEXT, 200, 50)):
        made = failing = 0
        while made < wanted:
            template = generator.template()
            text = render(template, context)
            failing += text is None
            if depends_on_run(text) or len(template) > 1200 or (text is None and failing > failing_max) or "**" in template:
                continue
            if text is not None and text == render(template, {}):
                continue  # says nothing about the context
            cases.append({"template": template, "context": "expressions" if generator is expressions else "statements", "text": text})
            made += 1
    return cases


def chat_template(path):
    from gguf import GGUFReader
    field = GGUFReader(os.path.expanduser(path)).fields["tokenizer.chat_template"]
    return bytes(field.parts[field.data[0]]).decode()


def model_cases(path):
    template = chat_template(path)
    cases = []
    for messages in families.CONVERSATIONS:
        for prompt in (True, False):
            context = {"messages": messages, "add_generation_prompt": prompt, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
            cases.append({"context": context, "text": render(template, context)})
    return cases


def family_cases():
    cases = []
    for name, template, context, text in families.golden():
        assert render(template, context) == text, (name, render(template, context), text)
        cases.append({"template": template, "context": context, "text": text})
    return cases


def corpus_cases():
    contexts = {name: conversations.whole(context) for name, context in conversations.contexts()}
    cases = [{"contexts": contexts, "text": ""}]
    for name, template in corpus.TEMPLATES.items():
        texts = {n: render(template, c) for n, c in contexts.items() if "tool" in template or not c["tools"] or n == "tools"}
        assert sum(t is not None for t in texts.values()) >= 8, (name, texts)
        continued = {n: continue_final(template, c) for n, c in contexts.items() if c["messages"] and c["messages"][-1]["role"] == "assistant"}
        cases.append({"name": name, "template": template, "texts": texts, "continued": continued, "text": ""})
    print(f"corpus: {len(cases) - 1} templates, {sum(len(c.get('texts', ())) for c in cases)} renderings")
    return cases


if __name__ == "__main__":
    write("snippets.jsonl", [{"contexts": {"snippets": SNIPPET_CONTEXT}, "text": ""}] + snippet_cases())
    write("random.jsonl", [{"contexts": {"expressions": random_templates.CONTEXT, "statements": random_templates.STATEMENT_CONTEXT},
                            "text": ""}] + random_cases())
    write("families.jsonl", family_cases())
    write("corpus.jsonl", corpus_cases())
    write("model.jsonl", model_cases(sys.argv[1] if len(sys.argv) > 1 else MODEL_FILE))
