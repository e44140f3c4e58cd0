"""`plinth import` in a home of its own, and a hub of ours for it. SPDX-License-Identifier: Apache-2.0"""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import hub as hub_server
import tiny

TOP = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PLINTH_PROGRAM") or TOP / "build/plinth").resolve()


class Home:
    """A models folder, and the program run on it."""

    def __init__(self, folder, endpoint):
        self.folder, self.models = folder, folder / "models"
        kept = {k: v for k, v in os.environ.items()
                if not k.startswith(("HF_", "PLINTH_", "TRANSFORMERS_", "SSL_CERT_")) and not k.lower().endswith(("_proxy", "_ca_bundle"))}
        self.environment = {**kept, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data"),
                            "PLINTH_MODELS_DIR": str(self.models), "HF_ENDPOINT": endpoint}

    def command(self, *args, **environment):
        return {"args": [PROGRAM, *map(str, args)], "env": {**self.environment, **environment}, "cwd": self.folder, "stdin": subprocess.DEVNULL}

    def run(self, *args, **environment):
        return subprocess.run(**self.command(*args, **environment), capture_output=True, text=True, timeout=240)

    def start(self, *args, **environment):
        return subprocess.Popen(**self.command(*args, **environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def imports(self, *args, **environment):
        """A run that must do; what it says, as JSON."""
        done = self.run("import", "--json", *args, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def refuses(self, *args, **environment):
        """A run that must not do; the text of the refusal. Nothing is left to be seen."""
        before = self.visible()
        done = self.run("import", *args, **environment)
        assert done.returncode == 1, done.stdout + done.stderr
        assert self.visible() == before
        return done.stderr

    def visible(self):
        return sorted(p.name for p in self.models.iterdir() if not p.name.startswith(".")) if self.models.exists() else []

    def files(self, name):
        root = self.models / name
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "plinth.json"}

    def manifest(self, name):
        return json.loads((self.models / name / "plinth.json").read_text())


@pytest.fixture(scope="session")
def tiny_files():
    return tiny.files()


@pytest.fixture
def hub():
    server = hub_server.Hub()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path, hub):
    return Home(tmp_path, hub.url)
