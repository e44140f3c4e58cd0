"""A draft model beside the default one: the same texts, counted by source; and what is refused. SPDX-License-Identifier: Apache-2.0"""
import subprocess
from pathlib import Path

import httpx
import pytest

from conftest import PROGRAM, TOP

ASKS = [{"prompt": "The history of Rome begins", "max_tokens": 24, "temperature": t, "seed": 7, "n": n, "logprobs": 2, **more}
        for t, n, more in ((0, 1, {}), (0.8, 3, {"top_p": 0.9}), (1, 2, {"top_k": 40, "presence_penalty": 0.5}), (0.7, 1, {"stop": ["."], "min_tokens": 5}),
                           (0.9, 1, {"logit_bias": {"28": 3}, "repetition_penalty": 1.2}))]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The default model, one of four times its layers that says the same, and one of its first layers that guesses badly."""
    folder = tmp_path_factory.mktemp("models")
    default = next((Path.home() / ".local/share/plinth/models/smollm2-135m-instruct").glob("*.gguf"))
    (folder / "small.gguf").symlink_to(default)
    for name, layers in (("large", 120), ("cut", 3)):
        subprocess.run([TOP / "bench/cut-layers", default, folder / f"{name}.gguf", str(layers)], check=True)
    return folder


def answers(server):
    got = []
    for ask in ASKS:
        r = httpx.post(server.url + "/v1/completions", json={"model": "large", **ask}, timeout=300)
        assert r.status_code == 200, r.text
        got.append((r.json()["choices"], r.json()["usage"]))
    return got


def drafted(server, what):
    text = httpx.get(server.url + "/metrics").text
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                if line.startswith(f'plinth_engine_{what}_tokens_total{{model="large",source="model"}}'))


def test_a_draft_model_changes_no_text_no_logprob_and_no_bill(start_plinth, models):
    want = answers(start_plinth("--no-auth", "--models-dir", models, "--speculate", "off"))
    for draft in ("small", "cut"):
        server = start_plinth("--no-auth", "--models-dir", models, "--draft", f"large={draft}")
        assert answers(server) == want
        assert drafted(server, "accepted") <= drafted(server, "drafted")
        if draft == "small":  # it thinks as the large one does
            assert drafted(server, "accepted") > 0.7 * drafted(server, "drafted") > 10


@pytest.mark.parametrize("value,words", [("large", "is not MODEL=DRAFT"), ("large=none", "there is no model none"), ("none=small", "there is no model none"),
                                         ("large=large", "drafting for itself")])
def test_a_pair_that_cannot_be_is_refused_at_the_start(models, tmp_path, value, words):
    run = subprocess.run([PROGRAM, "serve", "--port", "0", "--data-dir", tmp_path, "--models-dir", models, "--draft", value], capture_output=True, text=True,
                         timeout=60)
    assert run.returncode != 0 and words in run.stderr
