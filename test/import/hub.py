"""A hub of our own: the HTTP API that `plinth import hf:…` asks, with the faults that networks have. SPDX-License-Identifier: Apache-2.0

Two servers on loopback: the hub, which redirects files of LFS to a second origin ("cdn"), as the real one does.
"""
import hashlib
import http.server
import json
import threading
import time
import urllib.parse
from collections import Counter

PAGE = 4  # files a page of the tree


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    def __init__(self, files, lfs=(".safetensors", ".gguf", ".bin"), token=None, gated=False):
        self.files, self.lfs, self.token, self.gated = dict(files), lfs, token, gated
        self.commit = hashlib.sha1(repr(sorted((k, len(v)) for k, v in files.items())).encode()).hexdigest()
        self.revisions = {"main": self.commit, self.commit: self.commit}
        self.tree_extra = []  # entries that no honest hub would list

    def entry(self, path):
        data = self.files[path]
        entry = {"type": "file", "oid": git_hash(data), "size": len(data), "path": path}
        if path.endswith(self.lfs):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 135}
        return entry

    def tree(self):
        folders = sorted({p.rsplit("/", 1)[0] for p in self.files if "/" in p})
        return [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in folders] + [self.entry(p) for p in sorted(self.files)] + self.tree_extra


class Hub:
    """repos by name; faults are attributes that a test sets."""

    def __init__(self, tls=None):
        """tls: an ssl.SSLContext for both origins."""
        self.tls = tls
        self.repos = {}
        self.requests = []  # (origin, method, path, headers)
        self.served = Counter()  # bytes of bodies by path
        self.cut_after = None  # every body of the cdn ends after so many bytes
        self.cuts = 10**9  # how many times
        self.ranges = True
        self.statuses = []  # (status, headers) that the next requests for files get instead
        self.bytes_per_s = None
        self.changed = {}  # path: bytes that are sent in place of the right ones
        self.next_link = None  # where the list of files goes on
        self.before = {}  # path: what is called before the file is sent, once
        self.cdn_scheme = None  # another one than its own in redirects
        self.lock = threading.Lock()
        self.hub, self.cdn = self._server("hub"), self._server("cdn")
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.hub.server_port}"
        self.public_url = self.url  # what it calls itself
        self.cdn_url = f"{scheme}://127.0.0.1:{self.cdn.server_port}"

    def _server(self, origin):
        state = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                try:
                    state.requests.append((origin, "GET", self.path, dict(self.headers)))
                    (state.answer_hub if origin == "hub" else state.answer_cdn)(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # a client that does not trust us hangs up
        if self.tls:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def close(self):
        for server in (self.hub, self.cdn):
            server.shutdown()
            server.server_close()

    # ---- answers ----

    def send(self, h, status, body=b"", headers=()):
        h.send_response(status)
        for key, value in dict(headers).items():
            h.send_header(key, value)
        h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        h.wfile.write(body)

    def refuse(self, h, status, code, message):
        self.send(h, status, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def answer_hub(self, h):
        url = urllib.parse.urlsplit(h.path)
        if h.path.startswith(self.cdn_url):  # asked as a proxy
            return self.answer_cdn(h)
        parts = [urllib.parse.unquote(p) for p in url.path.split("/")[1:]]
        if parts[:2] == ["api", "models"]:
            name, what, rest = "/".join(parts[2:4]), parts[4], parts[5]
        else:
            name, what, rest = "/".join(parts[:2]), parts[2], parts[3]
        repo, token = self.repos.get(name), h.headers.get("Authorization", "").removeprefix("Bearer ")
        if not repo or (repo.token and not repo.gated and token != repo.token):
            return self.refuse(h, 401 if not token else 404, "RepoNotFound", "Repository not found")
        if repo.gated and token != repo.token and what != "revision":
            return self.refuse(h, 403 if token else 401, "GatedRepo", "Access to model is restricted")
        if rest not in repo.revisions:
            return self.refuse(h, 404, "RevisionNotFound", f"Invalid rev id: {rest}")
        if what == "revision":
            return self.send(h, 200, json.dumps({"id": name, "sha": repo.revisions[rest], "gated": repo.gated}).encode())
        if what == "tree":
            return self.answer_tree(h, repo, url)
        return self.answer_file(h, repo, "/".join(parts[4:]), name)

    def answer_tree(self, h, repo, url):
        query = urllib.parse.parse_qs(url.query)
        begin = int(query.get("cursor", ["0"])[0])
        tree, headers = repo.tree(), {}
        if begin + PAGE < len(tree):
            link = self.next_link or f"{self.public_url}{url.path}?recursive=true&cursor={begin + PAGE}"
            headers["Link"] = f'<{link}>; rel="next"'
        self.send(h, 200, json.dumps(tree[begin:begin + PAGE]).encode(), headers)

    def answer_file(self, h, repo, path, name):
        if path not in repo.files:
            return self.refuse(h, 404, "EntryNotFound", "Entry not found")
        if path.endswith(repo.lfs):
            where = f"{self.cdn_scheme or self.cdn_url.split(':')[0]}:{self.cdn_url.split(':', 1)[1]}/{name}/{urllib.parse.quote(path)}?Signature=secret"
            return self.send(h, 302, b"", {"Location": where, "X-Linked-Etag": f'"{repo.entry(path)["lfs"]["oid"]}"',
                                           "X-Linked-Size": str(len(repo.files[path])), "X-Repo-Commit": repo.commit})
        self.send_file(h, path, self.changed.get(path, repo.files[path]))

    def answer_cdn(self, h):
        url = urllib.parse.urlsplit(h.path)
        parts = urllib.parse.unquote(url.path).split("/")[1:]
        path = "/".join(parts[2:])
        self.send_file(h, path, self.changed.get(path, self.repos["/".join(parts[:2])].files[path]))

    def send_file(self, h, path, data):
        with self.lock:
            if path in self.before:
                self.before.pop(path)()
            fault = self.statuses.pop(0) if self.statuses else None
        if fault:
            return self.send(h, fault[0], b"not now", fault[1])
        begin, end, wanted = 0, len(data), h.headers.get("Range")
        if wanted and self.ranges:
            first, last = wanted.removeprefix("bytes=").split("-")
            begin, end = int(first), min(int(last) + 1, len(data))
        h.send_response(206 if wanted and self.ranges else 200)
        h.send_header("Content-Length", str(end - begin))
        if wanted and self.ranges:
            h.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        h.end_headers()
        self.send_body(h, path, data[begin:end])

    def send_body(self, h, path, body):
        cut = None
        with self.lock:
            if self.cut_after is not None and self.cuts > 0 and len(body) > self.cut_after:
                cut, self.cuts = self.cut_after, self.cuts - 1
        body = body if cut is None else body[:cut]
        step = 64 * 1024
        for i in range(0, len(body), step):
            h.wfile.write(body[i:i + step])
            self.served[path] += len(body[i:i + step])
            if self.bytes_per_s:
                time.sleep(step / self.bytes_per_s)
        if cut is not None:
            h.close_connection = True
