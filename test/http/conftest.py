"""A real `plinth serve` with the default models, started once for all tests. SPDX-License-Identifier: Apache-2.0

PLINTH_PROGRAM is the program, by default build/plinth. The data folder is a temporary one; the models are those of the set-up.
"""
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PLINTH_PROGRAM") or TOP / "build/plinth")
CHAT, EMBED = "smollm2-135m-instruct", "all-minilm-l6-v2"
os.environ.setdefault("PLINTH_WEIGHT_CACHE", "off")  # no test here is about it, and each server would write 190 MB
READY_S = 300 if os.environ.get("PLINTH_SLOW") else 60  # only a broken server makes a test wait so long


class Plinth:
    """A server of a test's own, on a port that the system picked."""

    def __init__(self, *options, ready=True):
        self.home = tempfile.TemporaryDirectory()
        self.log = open(Path(self.home.name) / "log", "w+b")
        self.process = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--data-dir", Path(self.home.name) / "data", *options],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        try:
            self.wait_for(self._ready if ready else self._listens, "the server to be ready")
        except BaseException:
            self.stop()
            raise

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def wait_for(self, fact, what, seconds=READY_S):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            got = fact()
            if got:
                return got
            assert self.process.poll() is None, f"the server ended: {self.output()}"
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s for {what}: {self.output()}")

    def _listens(self):
        found = re.search(r"http://[0-9.]+:(\d+)", self.output())
        if not found:
            return False
        self.url = f"http://127.0.0.1:{found.group(1)}"
        token = Path(self.home.name) / "data/admin-token"
        self.token = token.read_text().strip() if token.exists() else "none"
        return True

    def _ready(self):
        if not self._listens():
            return False
        try:
            return urllib.request.urlopen(self.url + "/readyz", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def metric(self, name):
        text = urllib.request.urlopen(self.url + "/metrics", timeout=30).read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(re.escape(name) + r"[{ ]", line))

    def engine_pid(self):
        """The newest child; 0 when there is none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[-1]) if children else 0

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(READY_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.home.cleanup()

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.token}"}

    def environment(self):
        """For clients that are configured by environment, apart from any configuration of the user's."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATABRICKS_", "MLFLOW_", "OPENAI_"))}
        return {**kept, "HOME": self.home.name, "PLINTH_URL": self.url, "PLINTH_TOKEN": self.token, "DATABRICKS_HOST": self.url,
                "DATABRICKS_TOKEN": self.token}


@pytest.fixture(scope="session")
def plinth():
    server = Plinth()
    yield server
    status = server.process.poll()
    output = server.output()
    server.stop()
    assert status is None, output
    assert server.process.returncode == 0, output


@pytest.fixture
def start_plinth():
    """Starts servers with options of the test's own."""
    servers = []

    def start(*options, **more):
        servers.append(Plinth(*options, **more))
        return servers[-1]

    yield start
    for s in servers:
        s.stop()


@pytest.fixture(params=["/v1", "/serving-endpoints"])
def client(plinth, request):
    """OpenAI's client on both dialects, each in its turn."""
    import openai  # not in every environment whose tests share this file

    return openai.OpenAI(base_url=plinth.url + request.param, api_key=plinth.token, max_retries=0)


@pytest.fixture
def v1(plinth):
    import openai

    return openai.OpenAI(base_url=plinth.url + "/v1", api_key=plinth.token, max_retries=0)
