"""What a server is started with: ports, folders, models, memory. SPDX-License-Identifier: Apache-2.0"""
import json
import os
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from server import CHAT, EMBED, MODELS, PROGRAM, wait_for

GGUF = next((MODELS / CHAT).glob("*.gguf"))


def failed(server):
    """Waits for a start that fails; what it says."""
    assert server.ended() == 1
    assert "Sanitizer" not in server.log
    return server.log


def models_with(tmp_path, name, content):
    """A models folder with the good embedding model and a .gguf file of this content."""
    models = tmp_path / "models"
    models.mkdir()
    (models / EMBED).symlink_to(MODELS / EMBED)
    (models / f"{name}.gguf").write_bytes(content)
    return models


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


# ---- the machine ----

def test_a_port_in_use_is_told(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"{port}" in failed(start("--port", str(port)))


def test_two_servers_cannot_share_a_data_folder(start, tmp_path):
    first = start(data_dir=tmp_path / "data").listening()
    text = failed(start(data_dir=tmp_path / "data"))
    assert f"process {first.process.pid}" in text and "--data-dir" in text


def test_a_data_folder_that_cannot_be_made_is_told(start, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--data-dir" in failed(start(data_dir=tmp_path / "file" / "data"))
    assert "--data-dir" in failed(start(data_dir="/proc/plinth"))


def test_a_full_disk_is_told_at_the_start(start):
    def nothing_can_be_written():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    text = failed(start(preexec_fn=nothing_can_be_written))
    assert text.startswith("plinth: ") and text.rstrip().endswith(".")


def test_without_standard_descriptors_nothing_lands_in_a_file(start, tmp_path):
    server = start("--show-token", data_dir=tmp_path / "data", preexec_fn=lambda: os.closerange(0, 2))
    wait_for("readiness", lambda: server._checked() and "Every endpoint is ready" in server.log)
    wait_for("the kept weights", lambda: len(list(tmp_path.glob("data/cache/*/*.safetensors"))) == 2)  # no file is renamed any more
    token = (tmp_path / "data/admin-token").read_bytes().strip()
    for file in files_of(tmp_path / "data"):
        assert file.name == "admin-token" or token not in file.read_bytes(), file


def test_without_auth_only_on_loopback(start, tmp_path):
    for host in ("0.0.0.0", "::", "127.example.com", "128.0.0.1"):  # a name that begins like an address may stand for any
        assert "loopback" in failed(start("--no-auth", "--host", host))
    server = start("--no-auth").listening()
    c = server.connect()
    c.request("GET", "/v1/models")
    assert c.getresponse().status == 200
    assert not (server.data_dir / "admin-token").exists()


# ---- the token ----

@pytest.mark.smoke
def test_the_first_start_makes_the_admin_token_and_keeps_only_its_hash(start):
    server = start().listening()
    file = server.data_dir / "admin-token"
    token = file.read_text().strip()
    assert re.fullmatch(r"plinth_[0-9a-f]{64}", token) and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    assert token not in server.out and str(file) in server.out and "curl" in server.out
    assert server.status("/v1/models") == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.ended() == 0
    for other in files_of(server.data_dir):
        assert other == file or token.encode() not in other.read_bytes()
    assert token not in server.log


def test_the_token_is_shown_where_that_is_asked_and_kept_over_restarts(start, tmp_path):
    first = start("--show-token", data_dir=tmp_path / "data").listening()
    token = (tmp_path / "data/admin-token").read_text().strip()
    assert token in first.out
    first.stop()
    second = start(data_dir=tmp_path / "data").listening()
    assert (tmp_path / "data/admin-token").read_text().strip() == token
    assert second.status("/v1/models") == 200
    second.stop()
    (tmp_path / "data/admin-token").unlink()
    third = start(data_dir=tmp_path / "data").listening()
    assert "plinth token reset" in third.out
    assert not (tmp_path / "data/admin-token").exists()


def test_token_reset_works_on_a_running_server(start):
    server = start().listening()
    old = server.headers()
    done = subprocess.run([PROGRAM, "token", "reset", "--data-dir", str(server.data_dir)], capture_output=True, text=True, check=True)
    assert server.headers()["Authorization"] == "Bearer " + done.stdout.strip() and server.headers() != old
    wait_for("the new token", lambda: server.status("/v1/models") == 200)
    c = server.connect()
    c.request("GET", "/v1/models", headers=old)
    assert c.getresponse().status == 401


def test_token_reset_makes_no_data_folder(tmp_path):
    done = subprocess.run([PROGRAM, "token", "reset", "--data-dir", str(tmp_path / "tpyo")], capture_output=True, text=True)
    assert done.returncode == 1 and "There is no data folder" in done.stderr and not (tmp_path / "tpyo").exists()


# ---- models ----

def test_a_model_whose_name_would_disturb_a_terminal_is_left_out(start, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("fine", "bad\x1b[2J", "two\nlines", " ", b"\xff".decode("utf-8", "surrogateescape")):
        (models / (name + ".gguf")).symlink_to(GGUF)
    server = start(models=models).listening()
    c = server.connect()
    c.request("GET", "/v1/models", headers=server.headers())
    assert [m["id"] for m in json.load(c.getresponse())["data"]] == ["fine"]
    wait_for("the lines in the log", lambda: server.log.count("is left out") == 4)  # a thread reads them
    assert "\x1b" not in server.log + server.out


def test_no_model_at_all_is_told(start, tmp_path):
    (tmp_path / "models").mkdir()
    assert str(tmp_path / "models") in failed(start(models=tmp_path / "models"))
    assert "nowhere" in failed(start(models=tmp_path / "nowhere"))
    (tmp_path / "models/broken.gguf").write_bytes(b"GGUF")
    assert "broken" in failed(start(models=tmp_path / "models"))


@pytest.mark.smoke
@pytest.mark.parametrize("name, change", [
    ("truncated", lambda b: b[: len(b) // 2]),
    ("headless", lambda b: b"FUGG" + b[4:]),
    ("stranger", lambda b: b.replace(b"llama", b"gnulm")),
    ("empty", lambda b: b""),
])
def test_a_broken_model_is_an_endpoint_that_says_why_and_the_others_work(start, tmp_path, name, change):
    server = start(models=models_with(tmp_path, name, change(GGUF.read_bytes()))).listening()
    wait_for("the embedding model", lambda: server.embed()[0] == 200)
    status, headers, text = wait_for("the failure", lambda: (answer := server.complete(model=name))[0] and answer)
    assert status == 503
    assert name in json.loads(text)["error"]["message"]
    wait_for("the line in the log", lambda: f"The model {name} cannot be served" in server.log)  # a thread reads it
    assert server.status("/readyz") == 503


def test_too_little_kv_memory_is_told_with_numbers(start):
    server = start("--kv-mib", "1").listening()
    assert server.embed()[0] == 200
    status, _, text = server.complete()
    assert status == 503
    message = json.loads(text)["error"]["message"]
    assert "--kv-mib" in message and re.search(r"\b1 MiB\b", message) and len(re.findall(r"\d+ MiB", message)) == 3


def test_a_context_that_the_kv_memory_cannot_hold_is_cut_and_says_so_everywhere(start):
    server = start("--kv-mib", "40").listening()
    assert server.complete()[0] == 200
    served = json.loads(server.call("GET", f"/v1/models/{CHAT}")[2])["context_length"]
    assert 128 <= served < 8192 and served % 32 == 0
    assert f"a context of {served} tokens; its own has 8192" in server.log
    status, _, text = server.complete(prompt="word " * served)
    message = json.loads(text)["error"]["message"]
    assert status == 400 and "8192" in message and str(served) in message and "--kv-mib" in message


def available_bytes():
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def test_without_a_given_size_a_context_beyond_the_memory_of_the_machine_is_cut_to_it(start, tmp_path):
    key, huge = b"llama.context_length" + struct.pack("<I", 4), 1 << 23  # 180 GiB of KV
    content = GGUF.read_bytes()
    at = content.index(key) + len(key)
    models = models_with(tmp_path, "huge", content[:at] + struct.pack("<I", huge) + content[at + 4:])
    before = available_bytes()
    server = start(models=models).listening()
    assert server.complete(model="huge")[0] == 200
    served = json.loads(server.call("GET", "/v1/models/huge")[2])["context_length"]
    kv = server.metric("plinth_kv_memory_bytes")
    assert 8192 < served < huge and served % 32 == 0
    page = server.metric('plinth_kv_page_bytes{model="huge"}')
    assert served // 32 * page <= kv < before
    assert f"a context of {served} tokens" in server.log
    assert server.complete(model="huge", max_tokens=served)[0] == 400


def test_too_little_memory_is_told_and_the_server_stays(start):
    def one_gigabyte():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    server = start(preexec_fn=one_gigabyte).listening()
    status, _, text = server.complete()
    assert status == 503 and "memory" in json.loads(text)["error"]["message"].lower()
    assert server.embed()[0] == 200


def mapped_by(server):
    return Path(f"/proc/{server.engine()}/maps").read_text()


def text_of(reply):
    status, _, body = reply
    assert status == 200, body
    return json.loads(body)["choices"][0]["text"]


def test_the_second_start_maps_the_weights_that_the_first_has_packed(start, tmp_path):
    models, data = tmp_path / "models", tmp_path / "data"
    models.mkdir()
    for name in (CHAT, EMBED):
        (models / name).symlink_to(MODELS / name)
    first = start(data_dir=data, models=models).ready()
    wait_for("the kept files", lambda: len(list(data.glob("cache/*/*.safetensors"))) == 2)
    assert str(data / "cache") not in mapped_by(first)
    said = text_of(first.complete())
    first.stop()
    second = start(data_dir=data, models=models).ready()
    assert f"cache/{CHAT}/" in mapped_by(second) and f"cache/{EMBED}/" in mapped_by(second)
    assert text_of(second.complete()) == said

    def moved():
        assert second.complete()[0] == 200 and second.embed()[0] == 200  # what is copied is taken before a pass
        return str(data / "cache") not in mapped_by(second)
    wait_for("the weights to move to memory of their own", moved)
    assert text_of(second.complete()) == said
    second.stop()
    (models / EMBED).unlink()
    start(data_dir=data, models=models).ready()
    assert [p.parent.name for p in data.glob("cache/*/*.safetensors")] == [CHAT]


def test_without_a_weight_cache_nothing_is_kept(start, tmp_path):
    start("--weight-cache", "off", data_dir=tmp_path / "data").ready().stop()
    assert not list((tmp_path / "data").glob("cache/*/*"))


def test_kernels_are_measured_once_and_recorded(start, tmp_path):
    first = start(data_dir=tmp_path / "data").ready()
    wait_for("the record", lambda: list((tmp_path / "data/cache").glob("kernels-*.json")))
    assert "(to be measured)" in first.log and "Kernels by measurement" in first.log
    said = text_of(first.complete())
    first.stop()
    second = start(data_dir=tmp_path / "data").ready()
    assert text_of(second.complete()) == said
    second.stop()
    assert "(as recorded)" in second.log and "Kernels by measurement" not in second.log
    plain = start("--kernels", "ref", data_dir=tmp_path / "data").ready()
    assert text_of(plain.complete(max_tokens=4)) == said[:len(text_of(plain.complete(max_tokens=4)))]
    plain.stop()
    assert "kernels ref (as asked for)" in plain.log
