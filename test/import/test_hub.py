"""Imports from a hub: what is fetched, how it resumes, what is refused. SPDX-License-Identifier: Apache-2.0"""
import base64
import email.utils
import json
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

import tiny
from hub import Hub, Repo, git_hash

TOKEN = "hf_secret"
EXTRA = {"pytorch_model.bin": b"\x80\x04pickle", "modeling_custom.py": b"raise SystemExit('never run')", ".gitattributes": b"", "README.md": b"# tiny",
         "onnx/model.onnx": b"onnx", "consolidated.safetensors": b"other names", "LICENSE": b"free", "1_Pooling/config.json": b"{}"}


@pytest.fixture
def repo(hub, tiny_files):
    hub.repos["org/Tiny"] = Repo({**tiny_files, **EXTRA})
    return hub.repos["org/Tiny"]


def weights(hub):
    return hub.served["model.safetensors"]


@pytest.mark.smoke
def test_only_what_a_model_needs_is_fetched_and_the_commit_is_noted(hub, home, repo, tiny_files):
    said = home.imports("hf:org/Tiny")
    assert said["name"] == "tiny" and said["verdict"] == "unverified"
    assert home.files("tiny") == {**tiny_files, "LICENSE": b"free", "1_Pooling/config.json": b"{}"}
    manifest = home.manifest("tiny")
    assert manifest["source"] == {"from": "hf:org/Tiny", "revision": "main", "commit": repo.commit}
    assert all(f"/resolve/{repo.commit}/" in path for origin, _, path, _ in hub.requests if "/resolve/" in path)
    assert not (home.models / ".incoming").exists()
    assert "tiny" in home.run("models", "--check").stdout


def test_the_token_goes_to_the_hub_and_to_no_other_server(hub, home, repo):
    repo.token = TOKEN
    home.imports("hf:org/Tiny", HF_TOKEN=TOKEN)
    asked = {origin: {h.get("Authorization") for o, _, _, h in hub.requests if o == origin} for origin in ("hub", "cdn")}
    assert asked == {"hub": {f"Bearer {TOKEN}"}, "cdn": {None}}


def test_the_token_file_of_the_hub_client_is_read(hub, home, repo):
    repo.token = TOKEN
    folder = home.folder / "cache/huggingface"
    folder.mkdir(parents=True)
    (folder / "token").write_text(TOKEN + "\n")
    home.imports("hf:org/Tiny")


@pytest.mark.smoke
def test_broken_connections_are_gone_on_with(hub, home, repo, tiny_files):
    hub.cut_after, hub.cuts = 300_000, 6
    home.imports("hf:org/Tiny")
    assert home.files("tiny")["model.safetensors"] == tiny_files["model.safetensors"]
    assert weights(hub) < 1.2 * len(tiny_files["model.safetensors"])


def wait_for(fact, seconds=60):
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_download_that_was_ended_goes_on_where_it_was(hub, home, repo, tiny_files, how):
    hub.bytes_per_s = 500_000  # of each connection
    process = home.start("import", "hf:org/Tiny")
    wait_for(lambda: weights(hub) > 3_000_000)
    hub.bytes_per_s = 20_000  # what is left would take most of a minute
    time.sleep(1.5 if how == signal.SIGKILL else 0)  # the state is written every second
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (1 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert "run the same command again" in stderr
    assert home.visible() == []
    hub.bytes_per_s = None
    time.sleep(0.5)
    hub.served.clear()
    home.imports("hf:org/Tiny")
    assert home.files("tiny")["model.safetensors"] == tiny_files["model.safetensors"]
    assert weights(hub) < len(tiny_files["model.safetensors"]) - 1_000_000


def test_a_server_without_ranges_gets_one_request(hub, home, repo, tiny_files):
    hub.ranges = False
    home.imports("hf:org/Tiny")
    assert home.files("tiny")["model.safetensors"] == tiny_files["model.safetensors"]


def test_a_busy_hub_is_asked_again_after_the_time_it_names(hub, home, repo):
    hub.statuses = [(429, {"Retry-After": "1"}), (503, {}), (500, {})]
    home.imports("hf:org/Tiny")
    assert not hub.statuses


@pytest.mark.parametrize("headers", [{"RateLimit": '"api";r=7;t=200, "resolvers";r=0;t=2'}, {"RateLimit": '"resolvers"; r=0; t=2', "Retry-After": "1"},
                                     {"RateLimit": '"resolvers";r=0;t=1', "Retry-After": "2"},
                                     {"Retry-After": lambda: email.utils.formatdate(time.time() + 3, usegmt=True)}])
def test_a_quota_that_is_used_up_is_waited_for(hub, home, repo, headers):
    hub.statuses = [(429, {k: v() if callable(v) else v for k, v in headers.items()})]
    begin = time.monotonic()
    home.imports("hf:org/Tiny")
    assert not hub.statuses and time.monotonic() - begin > 1.9


def test_quotas_that_say_nothing_about_this_answer_are_not_waited_for(hub, home, repo):
    used_up = {"RateLimit": '"api";r=0;t=280'}
    hub.statuses = [(503, used_up), (429, {"RateLimit": '"api";r=3;t=280'}), (429, {"RateLimit": '"api";;r=;t=x,,;r=0;t=-280'})]
    begin = time.monotonic()
    home.imports("hf:org/Tiny")
    assert not hub.statuses and time.monotonic() - begin < 60


@pytest.mark.parametrize("headers", [{"RateLimit": '"resolvers";r=0;t=301'}, {"Retry-After": "4294967297"}])
def test_a_wait_that_is_too_long_is_told_and_not_begun(hub, home, repo, headers):
    hub.statuses = [(429, headers)]
    text = home.refuses("hf:org/Tiny")
    assert "asks to wait" in text and "HF_TOKEN" in text


def test_a_hub_that_stays_down_is_given_up_with_what_to_do(hub, home, repo):
    hub.statuses = [(429, {"Retry-After": "3600"})]
    assert "asks to wait 3600 seconds" in home.refuses("hf:org/Tiny")


@pytest.mark.parametrize("path", ["model.safetensors", "tokenizer.json"])
def test_bytes_that_have_not_the_listed_hash_are_refused(hub, home, repo, tiny_files, path):
    data = bytearray(tiny_files[path])
    data[-5] ^= 1
    hub.changed[path] = bytes(data)
    assert "has not the hash" in home.refuses("hf:org/Tiny")


def test_a_file_of_another_size_than_listed_is_refused(hub, home, repo, tiny_files):
    hub.changed["model.safetensors"] = tiny_files["model.safetensors"] + b"more"
    assert "size" in home.refuses("hf:org/Tiny")


@pytest.mark.parametrize("path", ["../evil.json", "/tmp/evil.json", "a/../../evil.json", "a\\b.json", "a\nb.json", "", "a//b.json"])
def test_a_path_that_leads_out_is_refused(hub, home, repo, path):
    repo.tree_extra = [{"type": "file", "oid": git_hash(b"{}"), "size": 2, "path": path}]
    assert "path is not plain" in home.refuses("hf:org/Tiny")
    assert not list(home.folder.rglob("evil*"))


@pytest.mark.parametrize("entry", [{"size": -1}, {"oid": "x"}, {"size": "2"}, {"path": "config.json"}])
def test_a_list_that_cannot_be_right_is_refused(hub, home, repo, entry):
    repo.tree_extra = [{"type": "file", "oid": git_hash(b"{}"), "size": 2, "path": "z.json", **entry}]
    home.refuses("hf:org/Tiny")


def test_a_list_does_not_go_on_at_another_server(hub, home, repo):
    hub.next_link = hub.cdn_url + "/api/models/org/Tiny/tree/main"
    assert "another server" in home.refuses("hf:org/Tiny")
    assert not [r for r in hub.requests if r[0] == "cdn"]


def test_refusals_of_the_hub_say_what_to_do(hub, home, repo):
    assert "no repository org/None" in home.refuses("hf:org/None")
    assert 'no branch, tag or commit "v9"' in home.refuses("hf:org/Tiny@v9")
    repo.gated, repo.token = True, TOKEN
    assert "Accept its terms" in home.refuses("hf:org/Tiny")
    assert "Accept its terms" in home.refuses("hf:org/Tiny", HF_TOKEN="hf_wrong")
    assert "no repository of a hub" in home.refuses("hf:a/b/c")
    assert "no token" in home.refuses("hf:org/Tiny", HF_TOKEN="two words")


@pytest.mark.parametrize("status", [403, 404])
def test_a_listed_file_that_is_not_given_is_named(hub, home, repo, status):
    hub.statuses = [(status, {})] * 99
    text = home.refuses("hf:org/Tiny")
    assert f"config.json and does not give it: 127.0.0.1 answered {status}" in text and "no repository" not in text


def test_a_revision_with_a_slash_is_one_name(hub, home, repo):
    repo.revisions["feature/x"] = repo.commit
    assert home.imports("hf:org/Tiny@feature/x")["revision"] == "feature/x"
    assert any("/revision/feature%2Fx" in r[2] for r in hub.requests)


def test_weights_in_pickle_format_alone_are_refused_with_the_way_to_convert(hub, home, tiny_files):
    hub.repos["org/old"] = Repo({"config.json": tiny_files["config.json"], "pytorch_model.bin": b"\x80\x04"})
    text = home.refuses("hf:org/old")
    assert "pickle" in text and "save_pretrained" in text
    assert not hub.served


def test_an_unknown_architecture_or_tokenizer_is_found_before_the_weights_come(hub, home, tiny_files):
    hub.repos["org/odd"] = Repo({**tiny_files, "tokenizer.json": b'{"model": {"type": "Magic"}}'})
    hub.repos["org/new"] = Repo({**tiny_files, "config.json": json.dumps({**tiny.config(), "model_type": "mamba"}).encode()})
    assert "Magic" in home.refuses("hf:org/odd")
    assert "mamba" in home.refuses("hf:org/new")
    assert not hub.served["model.safetensors"]


def test_of_several_gguf_files_one_must_be_named(hub, home):
    hub.repos["org/q"] = Repo({f"m-{q}.gguf": b"GGUF" + q.encode() for q in ("Q4_K_M", "Q8_0")} | {"x/m-F16-0000%d-of-00002.gguf" % i: b"GGUF" for i in (1, 2)})
    text = home.refuses("hf:org/q")
    assert "m-Q4_K_M.gguf" in text and "m-Q8_0.gguf" in text
    assert "no .gguf file" in home.refuses("hf:org/q:IQ1_S")
    home.refuses("hf:org/q:Q8_0")  # it is no model, but it is the one that was fetched
    assert set(hub.served) == {"m-Q8_0.gguf"}
    home.refuses("hf:org/q:F16")
    assert {"x/m-F16-00001-of-00002.gguf", "x/m-F16-00002-of-00002.gguf"} < set(hub.served)


def fill_cache(home, repo, files):
    """The cache as huggingface_hub leaves it: blobs by hash, a snapshot of links."""
    root = home.folder / "cache/huggingface/hub/models--org--Tiny"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text(repo.commit)
    (root / "blobs").mkdir()
    for path, data in files.items():
        entry = repo.entry(path)
        blob = root / "blobs" / (entry["lfs"]["oid"] if "lfs" in entry else entry["oid"])
        blob.write_bytes(data)
        link = root / "snapshots" / repo.commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return root


def test_offline_the_cache_is_all_there_is(hub, home, repo, tiny_files):
    assert "HF_HUB_OFFLINE" in home.refuses("hf:org/Tiny", HF_HUB_OFFLINE="1")
    fill_cache(home, repo, tiny_files)
    assert home.imports("hf:org/Tiny", HF_HUB_OFFLINE="1")["commit"] == repo.commit
    assert home.files("tiny") == tiny_files and not hub.requests


def test_what_the_cache_has_is_not_fetched_again(hub, home, repo, tiny_files):
    fill_cache(home, repo, {"model.safetensors": tiny_files["model.safetensors"]})
    home.imports("hf:org/Tiny", "--link")
    assert not weights(hub) and (home.models / "tiny/model.safetensors").samefile(
        home.folder / "cache/huggingface/hub/models--org--Tiny/snapshots" / repo.commit / "model.safetensors")


def test_a_broken_file_of_the_cache_is_fetched(hub, home, repo, tiny_files):
    data = bytearray(tiny_files["model.safetensors"])
    root = fill_cache(home, repo, {"model.safetensors": bytes(data)})
    data[-1] ^= 1
    next((root / "blobs").iterdir()).write_bytes(data)
    home.imports("hf:org/Tiny")
    assert home.files("tiny")["model.safetensors"] == tiny_files["model.safetensors"]


def test_a_proxy_of_the_environment_is_asked(hub, home, repo):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    hub.public_url = url
    home.imports("hf:org/Tiny", HF_ENDPOINT=url, http_proxy=hub.url)  # nobody listens there: only the proxy can have answered
    assert any(r[2].startswith(url) for r in hub.requests)


def test_the_password_of_an_address_is_sent_and_never_told(hub, home, repo):
    at = hub.url.replace("http://", "http://someone:h%40rd@")
    done = home.run("import", "hf:org/Tiny", HF_ENDPOINT=at)
    assert done.returncode == 0 and f"Asking {hub.url} about" in done.stdout + done.stderr
    assert hub.requests[0][3]["Authorization"] == "Basic " + base64.b64encode(b"someone:h@rd").decode()
    said = done.stdout + done.stderr + home.refuses("hf:org/Missing", HF_ENDPOINT=at) + home.refuses("hf:org/Tiny", HF_ENDPOINT="someone:h%40rd@127.0.0.1")
    assert "someone" not in said and "h%40rd" not in said and hub.url in said
    assert "h%40rd" not in json.dumps(home.manifest("tiny"))


def test_a_taken_name_is_found_before_anything_is_fetched(hub, home, repo):
    home.imports("hf:org/Tiny")
    hub.served.clear()
    assert "already a model called tiny" in home.refuses("hf:org/Tiny")
    assert not hub.served
    home.imports("hf:org/Tiny", "--replace")


def test_a_part_of_other_content_is_not_gone_on_with(hub, home, repo, tiny_files):
    stage = home.models / ".incoming" / f"hf--org-Tiny@{repo.commit[:12]}"
    stage.mkdir(parents=True)
    (stage / "model.safetensors.part").write_bytes(bytes(len(tiny_files["model.safetensors"])))
    (stage / "model.safetensors.part.state").write_bytes(b"plinthpt" + os.urandom(400))
    (stage / "left-over.txt").write_text("of an earlier version")
    home.imports("hf:org/Tiny")
    assert "left-over.txt" not in home.files("tiny")
    assert home.files("tiny")["model.safetensors"] == tiny_files["model.safetensors"]


def test_a_full_disk_is_said_before_the_download(hub, home, tiny_files):
    hub.repos["org/huge"] = Repo(tiny_files)
    entry = hub.repos["org/huge"].entry
    hub.repos["org/huge"].entry = lambda p: {**entry(p), **({"size": 1 << 55} if p == "model.safetensors" else {})}
    assert "MiB are free" in home.refuses("hf:org/huge")
    assert not hub.served


def test_json_lists_every_check(hub, home, repo):
    checks = {c["name"]: c["result"] for c in home.imports("hf:org/Tiny")["checks"]}
    assert checks == dict.fromkeys(["architecture", "tokenizer", "chat template", "stop ids", "weights", "first forward"], "passed")
    done = home.run("import", "--json", "hf:org/Tiny")
    assert json.loads(done.stdout)["result"] == "refused" and done.returncode == 1


# ---- HTTPS ----


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """An authority of our own, and certificates from it: for 127.0.0.1, and for another host."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=An authority for tests")
    for name, host in (("here", "IP:127.0.0.1"), ("elsewhere", "DNS:hub.example")):
        (folder / f"{name}.ext").write_text(f"subjectAltName={host}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=test")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext",
                "-out", f"{name}.pem")
    return folder


@pytest.fixture
def secure(authority, home, tiny_files, request):
    """A hub over HTTPS in place of the other one; parameter: which certificate it shows."""
    name = getattr(request, "param", "here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / f"{name}.pem", authority / f"{name}.key")
    server = Hub(context)
    server.repos["org/Tiny"] = Repo(tiny_files, token=TOKEN)
    home.environment.update(HF_ENDPOINT=server.url, HF_TOKEN=TOKEN)
    yield server
    server.close()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_over_https_an_authority_of_the_environment_is_trusted(secure, home, authority, tiny_files, variable):
    home.imports("hf:org/Tiny", **{variable: str(authority / "ca.pem")})
    assert home.files("tiny") == tiny_files
    asked = {origin: {h.get("Authorization") for o, _, _, h in secure.requests if o == origin} for origin in ("hub", "cdn")}
    assert asked == {"hub": {f"Bearer {TOKEN}"}, "cdn": {None}}


def test_an_authority_that_nobody_named_is_not_trusted(secure, home):
    text = home.refuses("hf:org/Tiny")
    assert "is not trusted" in text and "SSL_CERT_FILE" in text
    assert not secure.requests  # nor was the token sent


@pytest.mark.parametrize("secure", ["elsewhere"], indirect=True)
def test_a_certificate_of_another_host_is_not_trusted(secure, home, authority):
    assert "is not trusted" in home.refuses("hf:org/Tiny", SSL_CERT_FILE=str(authority / "ca.pem"))
    assert not secure.requests


def test_https_does_not_become_http_on_the_way(secure, home, authority):
    secure.cdn_scheme = "http"
    assert "from https to a place without it" in home.refuses("hf:org/Tiny", SSL_CERT_FILE=str(authority / "ca.pem"))
    assert not [r for r in secure.requests if r[0] == "cdn"]


def test_a_file_of_certificates_that_is_missing_is_said(secure, home):
    assert "SSL_CERT_FILE" in home.refuses("hf:org/Tiny", SSL_CERT_FILE="/nowhere/ca.pem")


# ---- a disk that fills up ----


@pytest.fixture
def small_disk(home):
    """The models folder on a file system of 96 MiB."""
    home.models.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(home.models)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here: " + made.stderr.strip())
    yield home.models
    subprocess.run(["umount", "-l", str(home.models)], check=True)


def fill(folder):
    with open(folder / ".filler", "wb", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            try:
                while f.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


def test_a_disk_that_fills_up_during_the_download_is_said_and_gone_on_with(hub, home, small_disk, repo, tiny_files):
    hub.before["tokenizer.json"] = lambda: fill(small_disk)  # the weights have no room any more
    text = home.refuses("hf:org/Tiny")
    assert not hub.before and "The disk is full" in text and "run the same command again" in text
    (small_disk / ".filler").unlink()
    home.imports("hf:org/Tiny")
    assert home.files("tiny")["model.safetensors"] == tiny_files["model.safetensors"]
    assert weights(hub) == len(tiny_files["model.safetensors"])
    assert not (small_disk / ".incoming").exists()


def test_weights_have_their_room_before_they_come(hub, home, small_disk, repo, tiny_files):
    hub.before["model.safetensors"] = lambda: fill(small_disk)
    done = home.run("import", "hf:org/Tiny")
    assert not hub.before and weights(hub) == len(tiny_files["model.safetensors"])
    (small_disk / ".filler").unlink()
    if done.returncode:  # what else is written did not fit
        assert "The disk is full" in done.stderr and home.visible() == []
        home.imports("hf:org/Tiny")
    assert home.files("tiny")["model.safetensors"] == tiny_files["model.safetensors"]
    assert weights(hub) == len(tiny_files["model.safetensors"])
