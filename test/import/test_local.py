"""Imports from a path, the verdict, and what can be done with an installed model. SPDX-License-Identifier: Apache-2.0"""
import array
import json
import math
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

import tiny
from conftest import PROGRAM, TOP

DEFAULTS = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "plinth/models"


@pytest.fixture
def source(home, tiny_files):
    return tiny.write(home.folder / "my model", {**tiny_files, "pytorch_model.bin": b"\x80", "train.py": b"raise SystemExit(1)"})


@pytest.mark.smoke
def test_a_folder_is_copied_without_what_is_no_model(home, source, tiny_files):
    assert home.imports(source)["name"] == "my-model"
    assert home.files("my-model") == tiny_files
    assert not (home.models / ".incoming").exists()


def test_links_take_no_room_and_the_source_stays(home, source):
    home.imports(source, "--link", "--name", "linked")
    assert (home.models / "linked/model.safetensors").samefile(source / "model.safetensors")
    assert home.run("models", "rm", "linked").returncode == 0
    assert (source / "model.safetensors").exists() and home.visible() == []


def test_all_reasons_of_a_refusal_come_at_once(home, source):
    home.imports(source, "--name", "taken")
    (source / "tokenizer.json").write_text(json.dumps(tiny.tokenizer(extra=9)))
    (source / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": "{% if %}"}))
    text = home.refuses(source, "--name", "taken")
    assert "refused for 4 reasons" in text
    assert "already a model" in text and "do not belong together" in text and "The chat template" in text
    assert str(home.models / ".incoming") not in text


@pytest.mark.parametrize("name, text, reason", [
    ("tokenizer_config.json", "[]", "no JSON object"),
    ("tokenizer_config.json", '{"chat_template": 3}', "'chat_template' must be a text"),
    ("generation_config.json", "[]", "no JSON object"),
    ("generation_config.json", '{"eos_token_id": "x"}', "'eos_token_id' must be a whole number"),
])
def test_a_file_beside_the_tokenizer_that_says_nothing_readable_is_refused(home, source, name, text, reason):
    (source / name).write_text(text)
    assert reason in home.refuses(source)


@pytest.mark.parametrize("change, reason", [
    ({"model_type": "mamba"}, "mamba"),
    ({"hidden_act": "swishy"}, "hidden_act"),
    ({"intermediate_size": 100}, "8192"),
    ({"num_hidden_layers": 2}, "layers.1"),
])
def test_a_configuration_that_the_weights_do_not_fit_is_refused_with_the_place(home, source, change, reason):
    (source / "config.json").write_text(json.dumps({**tiny.config(), **change}))
    assert reason in home.refuses(source)


def test_weights_that_are_not_finite_are_refused(home, source):
    tensors = tiny.llama()
    shape, values = tensors["model.layers.0.mlp.down_proj.weight"]
    tensors["model.layers.0.mlp.down_proj.weight"] = (shape, array.array("f", [math.nan] * len(values)))
    (source / "model.safetensors").write_bytes(tiny.safetensors(tensors))
    home.refuses(source)


def test_a_chat_model_without_an_end_is_refused(home, source):
    config = tiny.config()
    del config["eos_token_id"]
    (source / "config.json").write_text(json.dumps(config))
    (source / "generation_config.json").unlink()
    data = json.loads((source / "tokenizer.json").read_text())
    data["added_tokens"] = [{**t, "content": f"<|x{t['id']}|>"} for t in data["added_tokens"]]
    (source / "tokenizer.json").write_text(json.dumps(data))
    (source / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages[0].content }}"}))
    assert "eos_token_id" in home.refuses(source)


def test_a_pickle_is_refused_with_the_way_to_convert(home, source):
    text = home.refuses(source / "pytorch_model.bin")
    assert "pickle" in text and "save_pretrained" in text
    (source / "model.safetensors").unlink()
    assert "save_pretrained" in home.refuses(source)


def test_names_are_plain(home, source):
    for name in ("../x", "a/b", ".hidden", "a b", "x" * 101, "a/../../../../evil", ""):
        assert "cannot be an endpoint's" in home.refuses(source, "--name", name) or not name
    assert "no file or folder" in home.refuses(home.folder / "nothing")


def test_one_gguf_file_is_taken_alone_from_a_folder_of_many(home):
    model = DEFAULTS / "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
    folder = home.folder / "many"
    folder.mkdir()
    for name in ("SmolLM2.Q4_1.gguf", "other.gguf"):
        (folder / name).symlink_to(model)
    (folder / "locked").mkdir(mode=0)
    said = home.imports(folder / "SmolLM2.Q4_1.gguf", "--link")
    assert (said["name"], said["verdict"]) == ("smollm2.q4_1", "verified")
    assert list(home.files("smollm2.q4_1")) == ["SmolLM2.Q4_1.gguf"]
    assert "Several .gguf files fit" in home.refuses(folder) or os.getuid()
    assert home.run("models", "--check").returncode == 0


# ---- MLflow ----

def mlflow_folder(home, tiny_files, text):
    folder = home.folder / "logged"
    tokens = ("tokenizer.json", "tokenizer_config.json")
    tiny.write(folder / "model", {p: d for p, d in tiny_files.items() if p not in tokens})
    tiny.write(folder / "components/tokenizer", {p: tiny_files[p] for p in tokens})
    tiny.write(folder, {"MLmodel": text.encode(), "python_env.yaml": b"x", "requirements.txt": b"evil"})
    return folder


MLMODEL = """artifact_path: model
flavors:
  python_function:
    loader_module: mlflow.transformers
    model_binary: ../elsewhere
  transformers:
    code: null
    components:
    - tokenizer
    framework: pt
    instance_type: TextGenerationPipeline
    %s
    pipeline_model_type: LlamaForCausalLM
    source_model_name: org/tiny
    task: text-generation
    tokenizer_type: PreTrainedTokenizerFast
mlflow_version: 3.0.0
"""


def test_an_mlflow_model_is_put_together_from_its_parts(home, tiny_files):
    assert home.imports(mlflow_folder(home, tiny_files, MLMODEL % "model_binary: model"))["name"] == "logged"
    assert home.files("logged") == tiny_files


def test_an_mlflow_model_that_has_no_weights_or_another_flavor_is_refused_with_what_to_do(home, tiny_files):
    assert "hf:org/tiny" in home.refuses(mlflow_folder(home, tiny_files, MLMODEL % "x: y"))
    assert "leads out" in home.refuses(mlflow_folder(home, tiny_files, MLMODEL % "model_binary: ../../x"))
    assert "sklearn" in home.refuses(mlflow_folder(home, tiny_files, "flavors:\n  sklearn: {pickled_model: model.pkl}\n"))
    assert "MLmodel:1:" in home.refuses(mlflow_folder(home, tiny_files, "flavors: {a: *x}\n"))


# ---- adapters ----

def test_an_adapter_is_tried_on_its_base(home, source, tmp_path):
    home.imports(source, "--name", "tiny")
    good = tiny.write(tmp_path / "good", tiny.adapter("someone/Tiny"))
    assert home.imports(good)["base"] == "tiny"
    assert home.manifest("good")["kind"] == "adapter"
    assert "adapter" in home.run("models").stdout
    home.refuses(tiny.write(tmp_path / "bad", tiny.adapter("someone/Tiny", rows=tiny.HIDDEN + 1)))
    assert "is not in" in home.refuses(good, "--name", "again", "--base", "absent")
    nameless = {p: d.replace(b'"someone/Tiny"', b"null") for p, d in tiny.adapter("someone/Tiny").items()}
    assert "base_model_name_or_path" in home.refuses(tiny.write(tmp_path / "nameless", nameless))
    assert home.imports(tmp_path / "nameless", "--base", "tiny")["base"] == "tiny"
    pickled = tiny.adapter("someone/Tiny")
    pickled["adapter_model.bin"] = pickled.pop("adapter_model.safetensors")
    assert "PeftModel" in home.refuses(tiny.write(tmp_path / "pickled", pickled))


def test_an_adapter_merged_into_its_base_is_a_model_that_answers_as_the_two_do(home, source, tmp_path):
    home.imports(source, "--name", "tiny")
    folder = tiny.write(tmp_path / "tuned", tiny.adapter("someone/Tiny"))
    home.imports(folder, "--name", "apart")
    home.imports(folder, "--merge", "--name", "merged")
    about = home.manifest("merged")
    assert about["kind"] == "model" and "merged into" in about["source"]["from"] and "base" not in about
    assert set(home.files("merged")) == set(home.files("tiny"))
    say = ["--temperature", "0", "--compute", "f32", "--max-tokens", "24", "abc"]
    answers = {name: home.run("complete", "--model", name, *say).stdout for name in ("tiny", "apart", "merged")}
    assert answers["merged"] == answers["apart"]
    assert not (home.models / ".incoming").exists()
    assert "is not in" in home.refuses(folder, "--merge", "--name", "again", "--base", "absent")
    assert "adapter_config.json" in home.refuses(source, "--merge", "--name", "again")


# ---- the verdict ----

@pytest.fixture
def embedder(home):
    """The default embedding model as a source of its own, with vectors of the reference."""
    folder = home.folder / "embedder"
    for path in (DEFAULTS / "all-minilm-l6-v2").rglob("*"):
        if path.is_file() and path.name != "plinth.json":
            to = folder / path.relative_to(DEFAULTS / "all-minilm-l6-v2")
            to.parent.mkdir(parents=True, exist_ok=True)
            to.symlink_to(path)
    return folder


def vectors(*cases):
    return json.dumps({"plinth_vectors": 1, "cases": cases})


def test_the_catalogue_knows_the_default_models_byte_for_byte(home, embedder):
    said = home.imports(embedder, "--link")
    assert (said["verdict"], said["verified_by"]) == ("verified", "catalogue")
    (embedder / "tokenizer_config.json").unlink()
    (embedder / "tokenizer_config.json").write_text("{}")
    assert home.imports(embedder, "--link", "--name", "other")["verdict"] == "unverified"


@pytest.mark.parametrize("model", json.loads((TOP / "catalog/default-models.json").read_text())["models"], ids=lambda m: m["name"])
def test_the_fingerprints_of_the_catalogue_are_those_that_an_import_finds(home, model):
    assert home.imports(DEFAULTS / model["name"], "--link")["verdict"] == "verified"
    found = home.manifest(model["name"])["fingerprints"]
    assert {k: found[k] for k in model["fingerprints"]} == model["fingerprints"]
    set_up = DEFAULTS / model["name"] / "plinth.json"
    if set_up.exists():
        assert json.loads(set_up.read_text())["fingerprints"] == found


def test_vectors_that_match_make_a_model_verified_and_others_refuse_it(home, embedder):
    reference = json.loads((TOP / "test/vector/model/embed.json").read_text())[0]
    (embedder / "sentence_bert_config.json").unlink()
    (embedder / "sentence_bert_config.json").write_text('{"max_seq_length": 255, "do_lower_case": false}')  # not the catalogue's bytes any more
    text = {"text": "Hello world", "ids": [101, 7592, 2088, 102]}
    number = {"input_ids": reference["ids"], "embedding": reference["embedding"]}
    (embedder / "plinth-vectors.json").write_text(vectors(text, number))
    said = home.imports(embedder, "--link")
    assert (said["verdict"], said["verified_by"]) == ("verified", "vectors")
    (embedder / "plinth-vectors.json").write_text(vectors(text))
    assert home.imports(embedder, "--link", "--name", "half")["verdict"] == "unverified"
    wrong = {**number, "embedding": reference["embedding"][::-1]}
    (embedder / "plinth-vectors.json").write_text(vectors({**text, "ids": [101, 102]}, wrong))
    refusal = home.refuses(embedder, "--link", "--name", "wrong")
    assert "Case 1" in refusal and "other ids" in refusal and "Case 2" in refusal and "cosine" in refusal
    for other, told in (({"embedding": [3 * x for x in reference["embedding"]]}, "times as long"), ({"cosine": -1}, "from 0.99 to 1")):
        (embedder / "plinth-vectors.json").write_text(vectors(text, {**number, **other}))
        assert told in home.refuses(embedder, "--link", "--name", "wrong")


def test_vectors_of_a_chat_model_cover_template_and_numbers(home, source):
    """The tiny model's own greedy token and a distribution that sums to one: enough to see that each kind of case is compared."""
    hello = [104, 105]
    render = {"render": {"messages": [{"role": "user", "content": "é"}], "add_generation_prompt": True},
              "rendered": "<|im_start|>user\né<|im_end|>\n<|im_start|>assistant\n"}
    ids = {"text": "hi", "ids": hello}

    def offered(*cases):
        (source / "plinth-vectors.json").write_text(vectors(*cases))

    def following(logprob, **more):
        return {"input_ids": hello, "next": [{"id": 7, "logprob": logprob}], **more}

    def off(logprob):
        offered(render, ids, following(logprob))
        return float(re.search(r"off by ([0-9.e-]+)", home.refuses(source)).group(1))

    near = -1000.0 + off(-1000.0)  # three digits are told, so this is right within one
    step = off(near)
    exact = following(near + step if off(near - step / 2) > step else near - step, tolerance=0.05)
    offered(render, ids, exact)
    said = home.imports(source)
    assert (said["verdict"], said["verified_by"]) == ("verified", "vectors")
    for tolerance in (1000, -1, "wide"):
        offered(render, ids, {**exact, "tolerance": tolerance})
        assert '"tolerance" must be a number from 0 to 0.1' in home.refuses(source, "--name", "b")
    offered({**render, "rendered": "x"}, ids, exact)
    assert "another text" in home.refuses(source, "--name", "b")
    offered({"surprise": 1})
    assert "neither" in home.refuses(source, "--name", "b")


def test_a_changed_file_is_noticed_by_time_and_by_its_bytes(home, source):
    home.imports(source, "--name", "m")
    path = home.models / "m/model.safetensors"
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "changed" in home.run("models").stdout
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "changed" not in home.run("models").stdout
    done = home.run("models", "--check")
    assert done.returncode == 1 and "model.safetensors" in done.stdout
    data[-1] ^= 1
    path.write_bytes(data)
    assert "changed" in home.run("models").stdout
    assert home.run("models", "--check").returncode == 0  # the bytes are right: the new time is noted
    assert "changed" not in home.run("models").stdout


def test_a_model_put_there_by_hand_gets_a_manifest_by_check(home, source, tiny_files):
    tiny.write(home.models / "byhand", tiny_files)
    assert json.loads(home.run("models", "--json").stdout)[0].get("verdict") is None
    assert home.run("models", "--check").returncode == 0
    assert json.loads(home.run("models", "--json").stdout)[0]["verdict"] == "unverified"
    assert "fingerprint" in home.run("inspect", "byhand").stdout


def test_a_broken_manifest_is_told_and_the_model_stays_usable(home, source):
    home.imports(source, "--name", "m")
    (home.models / "m/plinth.json").write_text('{"plinth_manifest": 1, "files": [{"path": "../x"}]}')
    assert "plinth.json" in home.run("models").stdout
    assert home.run("inspect", "m").returncode == 0


def test_models_are_renamed_and_removed(home, source):
    home.imports(source, "--name", "m")
    assert home.run("models", "rename", "m", "n").returncode == 0
    assert home.visible() == ["n"]
    assert home.run("models", "rename", "n", "../n").returncode == 1
    assert home.run("models", "rm", "m").returncode == 1
    assert home.run("models", "drop", "n").returncode == 2
    assert home.run("models", "rm", "n").returncode == 0
    assert home.visible() == []


@pytest.mark.smoke
def test_the_api_shows_verdict_and_fingerprints(home, source, tmp_path):
    home.imports(source, "--name", "m")
    server = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--data-dir", tmp_path / "d", "--no-auth"], env=home.environment, stdin=subprocess.DEVNULL,
                              stdout=open(tmp_path / "log", "wb"), stderr=subprocess.STDOUT)
    try:
        for _ in range(1200):
            found = re.search(r"http://[0-9.]+:\d+", (tmp_path / "log").read_text())
            if found:
                break
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        for path in ("/v1/models/m", "/api/2.0/serving-endpoints/m"):
            shown = json.loads(urllib.request.urlopen(found.group(0) + path, timeout=60).read())["plinth"]
            assert shown["verdict"] == "unverified" and shown["source"] == "path"
            assert shown["fingerprints"] == home.manifest("m")["fingerprints"]
    finally:
        server.terminate()
        server.wait()
