"""Models that are added, removed, loaded and unloaded while the server serves. SPDX-License-Identifier: Apache-2.0

Each test has a models folder of its own, with links to the default models.
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from conftest import CHAT, EMBED, PROGRAM

INSTALLED = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "plinth/models"


def put(folder, name, model):
    """A model of the set-up under another name; in place at once, as an import does it."""
    hidden = folder / f".{name}"
    shutil.copytree(INSTALLED / model, hidden, copy_function=os.link if (INSTALLED.stat().st_dev == folder.stat().st_dev) else shutil.copy)
    hidden.rename(folder / name)


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    put(folder, "embed", EMBED)
    return folder


def call(server, method, path, body=None):
    """(status, answer)"""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(server.url + path, data, {**server.headers, "Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def chat(server, model, **more):
    return call(server, "POST", "/v1/chat/completions",
                {"model": model, "messages": [{"role": "user", "content": "Name three colours."}], "temperature": 0, "max_tokens": 12, **more})


def embed(server):
    return call(server, "POST", "/v1/embeddings", {"model": "embed", "input": "Hello"})[0]


def names(server):
    return [m["id"] for m in call(server, "GET", "/v1/models")[1]["data"]]


def state(server, name):
    """"READY", "CREATING", "FAILED", "ABORTED" with its message; None: there is no such endpoint."""
    status, answer = call(server, "GET", f"/api/2.0/serving-endpoints/{name}")
    if status != 200:
        return None
    entity = answer["config"]["served_entities"][0]["state"]
    assert (answer["state"]["ready"] == "READY") == (entity["deployment"] == "DEPLOYMENT_READY")
    return entity["deployment"].removeprefix("DEPLOYMENT_"), entity["deployment_state_message"]


def wait_for_state(server, name, wanted):
    return server.wait_for(lambda: (s := state(server, name)) and s[0] == wanted and s, f"{name} to be {wanted}")


def engine_kib(server, what):
    text = Path(f"/proc/{server.engine_pid()}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(what + ":")).split()[1])


class Stream:
    """A streamed answer that is read on a thread."""

    def __init__(self, server, model, **more):
        body = {"model": model, "stream": True, "max_tokens": 4000, "temperature": 0, "ignore_eos": True,
                "messages": [{"role": "user", "content": "Count."}], **more}
        request = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(),
                                         {**server.headers, "Content-Type": "application/json"})
        self.reply = urllib.request.urlopen(request, timeout=120)
        self.text, self.n, self.error, self.done = "", 0, None, False
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        try:
            for line in self.reply:
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    self.done = True
                    continue
                event = json.loads(line[6:])
                self.error = event.get("error") or self.error
                self.n += bool(event.get("choices"))
                self.text += "".join(c["delta"].get("content") or "" for c in event.get("choices", []))
        except (OSError, ValueError, http.client.HTTPException):
            pass  # it was closed

    def end(self):
        self.thread.join(120)
        assert not self.thread.is_alive()

    def close(self):
        """Closing it under the thread that reads would wait for the next line."""
        self.reply.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        self.end()


def plinth(server, *args):
    environment = {k: v for k, v in os.environ.items() if k != "PLINTH_TOKEN"}
    return subprocess.run([PROGRAM, "models", *args, "--url", server.url, "--data-dir", Path(server.home.name) / "data"],
                          capture_output=True, text=True, env=environment, timeout=120)


def test_a_model_that_is_imported_while_the_server_runs_answers_and_a_removed_one_is_gone(start_plinth, models):
    server = start_plinth("--models-dir", str(models), "--drain-s", "5")
    assert names(server) == ["embed"]
    assert chat(server, "colours")[0] == 404
    source = next((INSTALLED / CHAT).glob("*.gguf"), INSTALLED / CHAT)
    subprocess.run([PROGRAM, "import", source, "--name", "colours", "--models-dir", models, "--no-load"], check=True, capture_output=True)
    server.wait_for(lambda: "colours" in names(server), "the imported model")
    status, answer = chat(server, "colours")
    assert status == 200 and answer["choices"][0]["message"]["content"]
    assert embed(server) == 200
    assert urllib.request.urlopen(server.url + "/readyz").status == 200
    with_model = engine_kib(server, "Pss")
    subprocess.run([PROGRAM, "models", "rm", "colours", "--models-dir", models], check=True, capture_output=True)
    server.wait_for(lambda: names(server) == ["embed"], "the model to disappear")
    assert chat(server, "colours")[0] == 404
    server.wait_for(lambda: with_model - engine_kib(server, "Pss") > 64 * 1024, "the memory of the model to be free")
    assert embed(server) == 200


def test_streams_go_on_while_a_model_is_loaded_and_unloaded(start_plinth, models):
    put(models, "first", CHAT)
    server = start_plinth("--models-dir", str(models))
    alone = chat(server, "first", max_tokens=60)[1]["choices"][0]["message"]["content"]
    stream = Stream(server, "first")
    server.wait_for(lambda: stream.n > 5, "the stream to begin")
    put(models, "second", CHAT)
    server.wait_for(lambda: "second" in names(server), "the second model to be noticed")
    loading_at = stream.n
    wait_for_state(server, "second", "READY")
    assert stream.n > loading_at  # it went on meanwhile
    assert chat(server, "second", max_tokens=60)[1]["choices"][0]["message"]["content"] == alone  # the same bits, beside a busy one
    answer = plinth(server, "unload", "second")
    assert answer.returncode == 0 and "unloaded" in answer.stdout, answer.stderr
    before = stream.n
    server.wait_for(lambda: stream.n > before + 5, "the stream to go on")
    assert not stream.error
    stream.close()


def test_unloading_ends_streams_after_the_drain_time_and_gives_the_memory_back(start_plinth, models):
    put(models, "chat", CHAT)
    server = start_plinth("--models-dir", str(models), "--drain-s", "1")
    stream = Stream(server, "chat", max_tokens=7000)
    server.wait_for(lambda: stream.n > 5, "the stream to begin")
    loaded = engine_kib(server, "Pss")
    answer = plinth(server, "unload", "chat")
    assert answer.returncode == 0 and "chat is unloaded" in answer.stdout, answer.stderr
    status, refused = chat(server, "chat")
    assert status == 400 and "plinth models load chat" in refused["error"]["message"]
    assert state(server, "chat")[0] == "ABORTED"
    stream.end()
    assert "unloaded" in stream.error["message"] and not stream.done
    server.wait_for(lambda: loaded - engine_kib(server, "Pss") > 64 * 1024, "the memory of the model to be free")
    assert embed(server) == 200
    assert urllib.request.urlopen(server.url + "/readyz").status == 200
    answer = plinth(server, "load", "chat")
    assert answer.returncode == 0 and "chat is loaded" in answer.stdout, answer.stderr
    assert chat(server, "chat")[0] == 200
    assert plinth(server, "load", "nothing").returncode == 1


def test_the_routes_ask_for_a_token_and_a_name_that_there_is(start_plinth, models):
    server = start_plinth("--models-dir", str(models))
    for verb in ("load", "unload"):
        path = f"/api/2.0/plinth/models/embed/{verb}"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(server.url + path, b"{}"))
        assert refused.value.code == 401
        assert call(server, "GET", path)[0] == 405
        status, answer = call(server, "POST", f"/api/2.0/plinth/models/nothing/{verb}", {})
        assert status == 404 and answer["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert state(server, "embed")[0] == "READY"


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(models, start_plinth):
    put(models, "chat", CHAT)
    server = start_plinth("--models-dir", str(models))
    free_kib = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")).split()[1])
    server.stop()
    server = start_plinth("--models-dir", str(models), "--kv-mib", str(free_kib // 1024 + 4096), ready=False)
    state, why = wait_for_state(server, "chat", "FAILED")
    assert "MiB are free besides" in why and "--kv-mib" in why
    assert chat(server, "chat")[0] == 503


def test_a_broken_model_fails_alone_and_is_served_when_it_is_whole(start_plinth, models):
    server = start_plinth("--models-dir", str(models))
    source = next((INSTALLED / CHAT).glob("*.gguf"), None)
    if not source:
        pytest.skip("the default chat model is no .gguf file")
    whole = source.read_bytes()
    (models / "chat.gguf").write_bytes(whole[:len(whole) // 2])
    wait_for_state(server, "chat", "FAILED")
    assert embed(server) == 200
    assert urllib.request.urlopen(server.url + "/readyz").status == 200
    status, answer = chat(server, "chat")
    assert status == 503 and answer["error"]["message"]
    (models / "chat.gguf").write_bytes(whole)
    wait_for_state(server, "chat", "READY")
    assert chat(server, "chat")[0] == 200


def test_two_models_under_load_take_turns_and_each_answers_as_it_does_alone(start_plinth, models):
    put(models, "first", CHAT)
    put(models, "second", CHAT)
    server = start_plinth("--models-dir", str(models))
    alone = chat(server, "first", max_tokens=40)[1]["choices"][0]["message"]["content"]
    streams = [Stream(server, model) for model in ("first", "second") for _ in range(3)]
    server.wait_for(lambda: all(s.n > 3 for s in streams), "all streams to begin")
    before = [s.n for s in streams]
    server.wait_for(lambda: all(s.n > n + 10 for s, n in zip(streams, before)), "all streams to go on")
    got = [sum(s.n for s in streams[:3]), sum(s.n for s in streams[3:])]
    assert min(got) > max(got) / 4  # neither is starved
    for model in ("first", "second"):
        assert chat(server, model, max_tokens=40)[1]["choices"][0]["message"]["content"] == alone
    assert len({s.text[:40] for s in streams}) == 1
    for s in streams:
        s.close()


def test_an_engine_that_dies_while_it_loads_comes_back_with_everything(start_plinth, models):
    server = start_plinth("--models-dir", str(models))
    put(models, "chat", CHAT)
    server.wait_for(lambda: "chat" in names(server), "the model to be noticed")
    os.kill(server.engine_pid(), signal.SIGKILL)
    wait_for_state(server, "chat", "READY")
    wait_for_state(server, "embed", "READY")
    assert chat(server, "chat")[0] == 200 and embed(server) == 200
