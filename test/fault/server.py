"""A `plinth serve` of a test's own, with its engine process at hand. SPDX-License-Identifier: Apache-2.0"""
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

PROGRAM = os.environ.get("PLINTH_PROGRAM") or str(Path(__file__).resolve().parents[2] / "build/plinth")
MODELS = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "plinth/models"
CHAT, EMBED = "smollm2-135m-instruct", "all-minilm-l6-v2"
PATIENCE_S = 120 * (5 if os.environ.get("PLINTH_SLOW") else 1)  # bounds a test that fails; decides nothing


def wait_for(what, condition):
    """Waits until condition() is true and returns its value."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE_S} s in vain for: {what}")
        time.sleep(0.01)
    return value


def is_running(pid):
    """A process that ended and only waits for its parent does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_background(call):
    """call() on a thread; the returned function waits for its result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(call()))
    thread.start()

    def wait():
        thread.join()
        return result[0]

    return wait


class Server:
    def __init__(self, data_dir, *args, models=MODELS, program=PROGRAM, **more):
        self.data_dir = Path(data_dir)
        self.process = subprocess.Popen([program, "serve", "--port", "0", "--data-dir", str(data_dir), "--models-dir", str(models), *args],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        self.out, self.log = "", ""
        self.readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in ("stdout", "stderr")]
        for reader in self.readers:
            reader.start()

    def _read(self, name):
        for line in getattr(self.process, name):
            if name == "stdout":
                self.out += line
            else:
                self.log += line

    def listening(self):
        self.port = int(wait_for("the URL", lambda: self._checked() and re.search(r"http://127\.0\.0\.1:(\d+)\n", self.out)).group(1))
        return self

    def ready(self):
        self.listening()
        wait_for("readiness", lambda: self._checked() and self.status("/readyz") == 200)
        return self

    def _checked(self):
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
        return True

    def ended(self):
        """Waits for the end; the exit code."""
        code = self.process.wait(PATIENCE_S)
        for reader in self.readers:
            reader.join(PATIENCE_S)
        return code

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.ended()

    def engine(self):
        """The engine process's id; None while there is none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next((int(pid) for pid in children if is_running(pid)), None)

    def kill_engine(self):
        os.kill(wait_for("an engine process", self.engine), signal.SIGKILL)

    # ---- requests ----

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def headers(self):
        return {"Authorization": "Bearer " + (self.data_dir / "admin-token").read_text().strip(), "Content-Type": "application/json"}

    def call(self, method, path, body=None):
        """(status, headers, text)"""
        c = self.connect()
        try:
            c.request(method, path, json.dumps(body) if body is not None else None, self.headers())
            r = c.getresponse()
            return r.status, r.headers, r.read().decode()
        finally:
            c.close()

    def status(self, path):
        return self.call("GET", path)[0]

    def metric(self, name):
        text = self.call("GET", "/metrics")[2]
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M)
        return sum(map(float, found)) if found else None

    def complete(self, prompt="One, two,", max_tokens=8, **more):
        return self.call("POST", "/v1/completions", {"model": CHAT, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **more})

    def embed(self, text="Hello"):
        return self.call("POST", "/v1/embeddings", {"model": EMBED, "input": text})

    def stream(self, max_tokens=4000, **more):
        return Stream(self, {"model": CHAT, "stream": True, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True,
                             "messages": [{"role": "user", "content": "Count."}], **more})


class Stream:
    """A streamed answer, read line by line."""

    def __init__(self, server, body):
        self.connection = server.connect()
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body), server.headers())
        self.response = self.connection.getresponse()
        self.cut = False  # the body ended before its proper end
        assert self.response.status == 200, self.response.read()

    def next(self):
        """The next data line; None at the end."""
        try:
            for line in self.response:
                if line.startswith(b"data: "):
                    return line[6:].decode().strip()
        except (http.client.HTTPException, ConnectionError):
            self.cut = True
        return None

    def content(self, n):
        """Reads until n pieces of text have come."""
        for _ in range(n):
            line = self.next()
            assert line and "error" not in json.loads(line), line

    def rest(self):
        lines = []
        while (line := self.next()) is not None:
            lines.append(line)
        return lines

    def close(self):
        self.response.close()
        self.connection.close()
