"""LoRA adapters beside their base, through the API. SPDX-License-Identifier: Apache-2.0

The adapters are made here, for the default chat model: one that changes nothing (B is zero) and one that changes much.
"""
import json
import os
import random
import struct
from pathlib import Path

import pytest
from conftest import CHAT, Plinth
from openai import OpenAI

MODELS = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "plinth/models"
WIDTH, RANK = 576, 4


def write_adapter(folder, base, scale, **settings):
    draw = random.Random(5)
    tensors = {}
    for layer in range(0, 30, 3):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_"
        tensors[name + "A.weight"] = ((RANK, WIDTH), [draw.gauss(0, 0.3) for _ in range(RANK * WIDTH)])
        tensors[name + "B.weight"] = ((WIDTH, RANK), [draw.gauss(0, 0.3) * scale for _ in range(RANK * WIDTH)])
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "base_model_name_or_path": base, "target_modules": ["q_proj"], **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    (models / CHAT).symlink_to(MODELS / CHAT)
    write_adapter(models / "a-silent", "HuggingFaceTB/SmolLM2-135M-Instruct", 0)
    write_adapter(models / "loud", CHAT, 1)
    write_adapter(models / "orphan", "org/not-there", 1)
    write_adapter(models / "dora", CHAT, 1, use_dora=True)
    server = Plinth("--models-dir", models, "--compute", "f32", ready=False)
    server.wait_for(lambda: server.url and "loud is ready" in server.output() and "a-silent is ready" in server.output(), "the adapters")
    with OpenAI(base_url=server.url + "/v1", api_key=server.token) as c:
        yield c
    server.stop()


def ask(client, model, seed=None):
    settings = {"temperature": 0} if seed is None else {"temperature": 1, "seed": seed}
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Name three rivers."}], max_tokens=24, **settings).choices[0].message.content


def test_adapters_are_endpoints_of_their_own(client):
    assert {"a-silent", "loud", CHAT} <= {m.id for m in client.models.list()}


def test_an_adapter_that_adds_nothing_answers_as_its_base(client):
    assert ask(client, "a-silent", seed=7) == ask(client, CHAT, seed=7)


def test_an_adapter_changes_its_own_answers_and_no_others(client):
    before = ask(client, CHAT)
    assert ask(client, "loud") != before
    assert ask(client, CHAT) == before
    assert ask(client, "loud") == ask(client, "loud")


@pytest.mark.parametrize("model, part", [("orphan", "not-there"), ("dora", "use_dora")])
def test_an_adapter_that_cannot_be_served_says_why(client, model, part):
    with pytest.raises(Exception) as failed:
        ask(client, model)
    assert failed.value.status_code == 503 and part in str(failed.value)
