"""HTTP/1.1 over raw sockets: what is refused, what is answered, who is noticed leaving. SPDX-License-Identifier: Apache-2.0

Runs against test/unit/net/echo_server.c, which has the server's HTTP layer and no models. PLINTH_ECHO_SERVER is its path; without it, the
one that was built beside PLINTH_PROGRAM is taken. The requests that any path must refuse (the table REFUSED) also run against the
program itself: test_conformance_plinth.py.
"""
import concurrent.futures
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
import uuid
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PLINTH_PROGRAM") or TOP / "build/plinth")
ECHO = Path(os.environ.get("PLINTH_ECHO_SERVER") or PROGRAM.parent / "test/unit/net/http_echo")
WAIT_S = 20  # for what must happen; only a broken server makes a test wait so long

pytestmark = [pytest.mark.smoke, pytest.mark.skipif(not ECHO.exists(), reason=f"{ECHO} is not built")]


# ---- a client that hides nothing ----

class Reply:
    def __init__(self, status, headers, body, version):
        self.status, self.headers, self.body, self.version = status, headers, body, version

    def __getitem__(self, name):
        found = [v for n, v in self.headers if n.lower() == name.lower()]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None


class Client:
    """One connection. Reads replies exactly, so that what is left over shows."""

    def __init__(self, port, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(("127.0.0.1", port))
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def more(self):
        got = self.socket.recv(65536)
        self.data += got
        return bool(got)

    def until(self, mark):
        while mark not in self.data:
            assert self.more(), f"the connection ended before {mark!r}: {self.data!r}"
        line, self.data = self.data.split(mark, 1)
        return line

    def exactly(self, n):
        while len(self.data) < n:
            assert self.more(), f"the connection ended {n - len(self.data)} bytes early"
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _ = (lines[0] + "  ").split(" ", 2)
        return Reply(int(status), [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]], b"", version)

    def reply(self, bodiless=False):
        r = self.head()
        if bodiless or r.status in (100, 204):
            return r
        if r["Transfer-Encoding"] == "chunked":
            while size := int(self.until(b"\r\n"), 16):
                r.body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
        elif r["Content-Length"] is not None:
            r.body = self.exactly(int(r["Content-Length"]))
        else:
            r.body = self.rest()
        return r

    def rest(self):
        while self.more():
            pass
        taken, self.data = self.data, b""
        return taken

    def closed(self):
        """The server ends the connection, and says nothing more."""
        return self.rest() == b""

    def reset(self):
        """Leaves as a process that dies does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([ECHO, *map(str, options)], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("port "), line
        self.port = int(line.split()[1])
        self.idle_sockets = self.sockets()

    def sockets(self):
        return sum(os.readlink(fd).startswith("socket:") for fd in Path(f"/proc/{self.process.pid}/fd").iterdir() if fd.is_symlink())

    def wait_for_sockets(self, n):
        """Waits until one request was seen beside those that ask for it here, and then until the server has closed all sockets but n."""
        end = time.monotonic() + WAIT_S
        asked = 1
        while self.stats()["requests"] <= asked:
            assert time.monotonic() < end, "the request was not seen"
            asked += 1
        while self.sockets() > n:
            assert time.monotonic() < end, "the connection was not closed"
            time.sleep(0.02)

    def client(self, **more):
        return Client(self.port, **more)

    def ask(self, data, **more):
        with self.client() as c:
            return c.send(data).reply(**more)

    def get(self, path, *headers):
        return self.ask(get(path, *headers))

    def stats(self):
        return json.loads(self.get("/stats").body)

    def wait_for(self, **wanted):
        """Waits until the counters say so."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            stats = self.stats()
            if all(stats[k] == v for k, v in wanted.items()):
                return stats
            time.sleep(0.01)
        raise AssertionError(f"{stats} never became {wanted}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WAIT_S) == 0


def get(path, *headers, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *headers, "", ""])


def post(path, body, *headers):
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body


@pytest.fixture(scope="module")
def server():
    s = Server()
    yield s
    s.stop()


@pytest.fixture
def start():
    """Starts servers with options of the test's own."""
    servers = []

    def start_one(*options):
        servers.append(Server(*options))
        return servers[-1]

    yield start_one
    for s in servers:
        s.stop()


# ---- what is refused ----

POST = "POST /echo HTTP/1.1\r\nHost: h\r\n"
GET = "GET /hello HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n\r\n"
HELLO = "5\r\nhello\r\n0\r\n\r\n"

REFUSED = {
    "content-length and transfer-encoding": (400, POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO),
    "transfer-encoding and content-length": (400, POST + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + HELLO),
    "space before the colon": (400, POST + "Transfer-Encoding : chunked\r\n\r\n" + HELLO),
    "two different content-lengths": (400, POST + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "two equal content-lengths": (400, POST + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    "content-length 5, 5": (400, POST + "Content-Length: 5, 5\r\n\r\nhello"),
    "content-length +5": (400, POST + "Content-Length: +5\r\n\r\nhello"),
    "content-length 0x5": (400, POST + "Content-Length: 0x5\r\n\r\nhello"),
    "content-length empty": (400, POST + "Content-Length:\r\n\r\nhello"),
    "gzip, chunked and content-length": (400, POST + "Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n\r\nhello"),
    "xchunked": (400, POST + "Transfer-Encoding: xchunked\r\n\r\n" + HELLO),
    "chunked, gzip": (400, POST + "Transfer-Encoding: chunked, gzip\r\n\r\n" + HELLO),
    "gzip, chunked": (400, POST + "Transfer-Encoding: gzip, chunked\r\n\r\n" + HELLO),
    "chunk size 0x5": (400, CHUNKED + "0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size overflow": (400, CHUNKED + "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n"),
    "chunk longer than its size": (400, CHUNKED + "5\r\nhelloXX0\r\n\r\n"),
    "chunk extension too long": (400, CHUNKED + "5;" + "a" * 300 + "\r\nhello\r\n0\r\n\r\n"),
    "chunk line that ends in LF": (400, CHUNKED + "5\nhello\r\n0\r\n\r\n"),
    "trailers too large": (431, CHUNKED + "0\r\n" + "X: y\r\n" * 2000 + "\r\n"),
    "trailer content-length": (400, CHUNKED + "0\r\nContent-Length: 3\r\n\r\n"),
    "control character in a name": (400, GET + "X\x01Y: z\r\n\r\n"),
    "control character in a value": (400, GET + "X: y\x01z\r\n\r\n"),
    "NUL in a value": (400, GET + "X: y\0z\r\n\r\n"),
    "no host": (400, "GET /hello HTTP/1.1\r\n\r\n"),
    "two hosts": (400, GET + "Host: h\r\n\r\n"),
    "http/9.1": (505, "GET /hello HTTP/9.1\r\nHost: h\r\n\r\n"),
    "http/0.9": (400, "GET /hello\r\n"),
    "bare LF": (400, "GET /hello HTTP/1.1\nHost: h\n\n"),
    "bare LF behind a header": (400, "GET /hello HTTP/1.1\r\nHost: h\n\r\n"),
    "bare CR in a value": (400, GET + "X: a\rb\r\n\r\n"),
    "folded header": (400, GET + "X: y\r\n z\r\n\r\n"),
    "no colon": (400, GET + "nonsense\r\n\r\n"),
    "two spaces in the request line": (400, "GET  /hello HTTP/1.1\r\nHost: h\r\n\r\n"),
    "unknown method": (501, "BREW /hello HTTP/1.1\r\nHost: h\r\n\r\n"),
    "connect": (501, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
    "NUL in the path": (400, get("/hello%00")),
    "bad percent": (400, get("/hello%4")),
    "not UTF-8 in the path": (400, get("/hello%ff")),
    "dot dot": (400, get("/a/../hello")),
    "dot dot in escapes": (400, get("/a/%2e%2E/hello")),
    "user in the target": (400, get("http://user@h/hello")),
    "request line too long": (414, get("/" + "a" * 40000)),
    "headers too large": (431, get("/hello", "X: " + "a" * 40000)),
    "too many headers": (431, get("/hello", *["X: y"] * 101)),
    "unknown expectation": (417, get("/echo", "Expect: 200-ok", "Content-Length: 5", method="POST") + "hello"),
    "TLS": (400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"),
}


def expect_refusal(port, status, data):
    with Client(port) as c:
        c.send(data)
        r = c.reply()
        assert r.status == status
        assert r["Connection"] == "close"
        assert isinstance(json.loads(r.body), dict)
        assert c.closed()


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_requests_are_refused_and_the_connection_is_closed(server, name):
    expect_refusal(server.port, *REFUSED[name])


@pytest.mark.parametrize("name", ["bare LF", "folded header", "chunk size 0x5", "no host", "dot dot"])
def test_a_refusal_does_not_depend_on_how_the_bytes_arrive(server, name):
    status, data = REFUSED[name]
    with server.client() as c:
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for byte in data:
                c.send(byte)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before its end
        assert c.reply().status == status


def test_a_refused_request_takes_what_is_pipelined_behind_it_along(server):
    before = server.stats()["requests"]
    with server.client() as c:
        c.send(POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/hello") * 3)
        assert c.reply().status == 400
        assert c.closed()
    assert server.stats()["requests"] == before + 1  # the /stats itself


# ---- bodies ----

def test_a_chunked_body_arrives_as_its_content(server):
    r = server.ask(CHUNKED + "2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert (r.status, r.body) == (200, b"hello")


def test_every_byte_value_comes_back(server):
    every = bytes(range(256)) * 100
    with server.client() as c:
        c.send(POST + f"Content-Length: {len(every)}\r\n\r\n").send(every)
        assert c.reply().body == every
        c.send(CHUNKED).send(b"%x\r\n" % len(every) + every + b"\r\n0\r\n\r\n")
        assert c.reply().body == every


def test_a_large_body_arrives_whole(server):
    body = os.urandom(12_000_000)
    with server.client() as c, concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(c.send, POST.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert c.reply().body == body
        sent.result()


def test_a_body_may_stand_behind_any_method(server):
    assert server.ask(get("/echo", "Content-Length: 2") + "ok").body == b"ok"
    assert server.ask(get("/echo", "Content-Length: 2", method="DELETE") + "ok").body == b"ok"


def test_413_is_decided_at_the_head_for_content_length(server):
    with server.client() as c:
        c.send(get("/small", "Content-Length: 1001", method="POST"))  # no byte of the body is sent
        assert c.reply().status == 413
        assert c.closed()
    assert server.ask(post("/small", "x" * 1000)).status == 200


def test_413_is_decided_while_reading_for_chunks(server):
    chunk = "1f4\r\n" + "x" * 500 + "\r\n"
    head = "POST /small HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.ask(head + chunk * 2 + "0\r\n\r\n").status == 200
    with server.client() as c:
        c.send(head + chunk * 2 + "1\r\n")
        assert c.reply().status == 413
        assert c.closed()


def test_413_reaches_a_client_that_is_still_sending(server):
    body = b"x" * 20_000_000
    with server.client() as c, concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(c.send, post("/echo", "").replace("Content-Length: 0", f"Content-Length: {len(body)}").encode() + body)
        assert c.reply().status == 413
        sent.result(WAIT_S)  # it was read to its end, and thrown away: no reset
        assert c.closed()


def test_all_bodies_together_are_bounded(start):
    s = start("--bodies-bytes-max", 100_000)
    assert s.ask(post("/echo", "x" * 50_000)).status == 200
    with s.client() as holder, s.client() as other:
        holder.send(post("/hold", "x" * 60_000))
        s.wait_for(exchanges=2)  # with /stats
        other.send(post("/echo", "x" * 60_000))
        r = other.reply()
        assert (r.status, r["Retry-After"]) == (503, "1")
    s.wait_for(left=1)
    assert s.ask(post("/echo", "x" * 60_000)).status == 200


# ---- Expect ----

def test_100_continue_is_sent_when_the_body_will_be_read(server):
    with server.client() as c:
        c.send(get("/echo", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert c.reply().status == 100
        c.send("hello")
        assert c.reply().body == b"hello"


def test_100_continue_is_not_sent_when_the_body_is_refused(server):
    with server.client() as c:
        c.send(get("/small", "Content-Length: 2000", "Expect: 100-continue", method="POST"))
        assert c.reply().status == 413
        assert c.closed()


def test_an_unwanted_body_is_not_asked_for_and_the_connection_ends(server):
    chunk = "10000\r\n" + "x" * 0x10000 + "\r\n"
    for more, body in ((["Content-Length: 5", "Expect: 100-continue"], ""), (["Content-Length: 1000000"], ""), (["Transfer-Encoding: chunked"], 2 * chunk)):
        with server.client() as c:
            r = c.send(get("/hello", *more, method="POST") + body).reply()
            assert (r.status, r["Connection"]) == (200, "close")
            assert c.closed()


def test_a_small_unwanted_body_is_read_and_the_connection_goes_on(server):
    with server.client() as c:
        for _ in range(2):
            assert c.send(post("/hello", "x" * 1000)).reply().status == 200


def test_100_continue_is_not_sent_without_a_body_or_to_1_0(server):
    assert server.ask(get("/hello", "Expect: 100-continue")).status == 200
    assert server.ask("POST /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok").body == b"ok"


def test_100_continue_is_not_sent_when_the_body_is_here_already(server):
    assert server.ask(post("/echo", "ok", "Expect: 100-continue")).status == 200


# ---- methods, versions, targets, headers ----

def test_head_has_the_headers_of_get_and_no_body(server):
    with server.client() as c:
        for _ in range(2):  # the connection is still in step
            r = c.send(get("/hello", method="HEAD")).reply(bodiless=True)
            assert (r.status, r["Content-Length"]) == (200, "5")
        assert c.send(get("/hello")).reply().body == b"hello"


def test_head_of_a_stream_has_no_body(server):
    with server.client() as c:
        c.send(get("/stream?2", method="HEAD"))
        assert c.reply(bodiless=True)["Transfer-Encoding"] == "chunked"
        assert c.send(get("/hello")).reply().body == b"hello"


def test_http_1_0_is_answered_and_closed(server):
    with server.client() as c:
        r = c.send("GET /hello HTTP/1.0\r\n\r\n").reply()
        assert (r.body, r["Connection"]) == (b"hello", "close")
        assert c.closed()
    with server.client() as c:
        c.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert c.reply()["Connection"] == "close"


def test_http_1_0_stream_is_not_chunked(server):
    with server.client() as c:
        r = c.send("GET /stream?3 HTTP/1.0\r\n\r\n").reply()
        assert r["Transfer-Encoding"] is None
        assert r.body == b"piece 0\npiece 1\npiece 2\n"


def test_absolute_targets_and_escapes(server):
    info = json.loads(server.get("http://other:99/info/a%20b%2Fc%C3%A9?x=%20&y").body)
    assert info["path"] == "/info/a b/cé"
    assert info["query"] == "x=%20&y"
    assert info["peer"] == "127.0.0.1"


def test_options_star_is_answered(server):
    assert server.get("*").status == 404
    assert server.ask(get("*", method="OPTIONS")).status == 204


def test_header_names_have_no_case_and_values_no_white_space_around(server):
    assert json.loads(server.get("/info", "X-PROBE: \t two words \t").body)["probe"] == "two words"


def test_empty_lines_in_front_of_a_request_are_skipped(server):
    with server.client() as c:
        c.send("\r\n" + get("/hello")).reply()
        assert c.send("\r\n\r\n" + get("/hello")).reply().body == b"hello"


def test_replies_carry_date_server_and_an_id(server):
    r = server.get("/hello")
    assert re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", r["Date"])
    assert r["Server"] == "plinth"
    assert uuid.UUID(r["X-Request-Id"]).version == 4
    assert server.get("/hello")["X-Request-Id"] != r["X-Request-Id"]


def test_a_request_id_is_echoed_when_it_is_clean(server):
    assert server.get("/hello", "X-Request-Id: my-id/1")["X-Request-Id"] == "my-id/1"
    assert server.get("/hello", "X-Request-Id: " + "a" * 128)["X-Request-Id"] == "a" * 128
    for bad in ("a" * 129, "two words", "caf\xe9", ""):
        assert uuid.UUID(server.get("/hello", f"X-Request-Id: {bad}")["X-Request-Id"])
    r = server.get("/small", "X-Request-Id: mine", "Content-Length: 2000")
    assert (r.status, r["X-Request-Id"]) == (413, "mine")


def test_an_offer_to_upgrade_is_ignored(server):
    with server.client() as c:
        c.send(post("/echo", "ok", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"))
        assert c.reply().body == b"ok"
        assert c.send(get("/hello")).reply().body == b"hello"


# ---- connections ----

def test_a_connection_is_kept(server):
    with server.client() as c:
        for _ in range(50):
            r = c.send(get("/hello")).reply()
            assert (r.body, r["Connection"]) == (b"hello", None)


def test_connection_close_is_honoured(server):
    with server.client() as c:
        r = c.send(get("/hello", "Connection: close") + get("/hello")).reply()
        assert r["Connection"] == "close"
        assert c.closed()


def test_pipelined_requests_are_answered_in_order(server):
    with server.client() as c:
        c.send(get("/slow?50") + get("/hello") + post("/echo", "one") + get("/stream?2") + CHUNKED + HELLO + get("/hello"))
        assert [c.reply().body for _ in range(6)] == [b"slow", b"hello", b"one", b"piece 0\npiece 1\n", b"hello", b"hello"]


def test_many_pipelined_requests_are_all_answered(server):
    with server.client() as c, concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(c.send, post("/echo", "x" * 1000) * 3000)
        for _ in range(3000):
            assert len(c.reply().body) == 1000
        sent.result()


def test_requests_that_come_in_single_bytes_are_answered(server):
    with server.client() as c:
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post("/echo", "hello") + CHUNKED + HELLO:
            c.send(byte)
        assert [c.reply().body for _ in range(2)] == [b"hello", b"hello"]


def test_a_client_that_ends_its_side_after_a_quick_request_gets_its_reply(server):
    with server.client() as c:
        c.send(get("/hello") * 40)
        c.socket.shutdown(socket.SHUT_WR)
        assert [c.reply().body for _ in range(40)] == [b"hello"] * 40
        assert c.closed()


def test_an_early_reply_from_another_thread(server):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: server.get("/posts").body == b"slow", range(200)))


def test_streams_arrive_piece_by_piece(server):
    with server.client() as c:
        c.send(get("/stream?5"))
        r = c.head()
        assert (r["Transfer-Encoding"], r["Content-Length"]) == ("chunked", None)
        assert c.until(b"piece 0\n") == b"8\r\n"  # here, while later ones are still to be made
        c.until(b"\r\n0\r\n\r\n")


def test_an_aborted_stream_has_no_end(server):
    with server.client() as c:
        c.send(get("/abort")).head()
        assert c.rest() == b"4\r\none \r\n3\r\ntwo\r\n"


# ---- leaving clients ----

@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_client_that_leaves_before_its_reply_is_noticed(start, how):
    s = start()
    with s.client() as c:
        c.send(get("/hold"))
        s.wait_for(exchanges=2)
        {"close": c.socket.close, "reset": c.reset, "half": lambda: c.socket.shutdown(socket.SHUT_WR)}[how]()
        assert s.wait_for(left=1)["exchanges"] == 1


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_in_a_stream_is_noticed(start, how):
    s = start()
    with s.client() as c:
        c.send(get("/stream?1000000"))
        c.until(b"piece 3\n")
        c.socket.close() if how == "close" else c.reset()
        assert s.wait_for(left=1)["exchanges"] == 1


@pytest.mark.parametrize("behind", [1, 50_000, 90_000])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_is_noticed_although_bytes_wait_behind_its_request(start, behind, how):
    s = start()
    with s.client() as c:
        c.send(get("/hold") + "x" * behind)
        s.wait_for(exchanges=2)
        c.socket.close() if how == "close" else c.reset()
        assert s.wait_for(left=1)["exchanges"] == 1


def test_every_exchange_ends_exactly_once(start):
    s = start()
    def one(i):
        with s.client() as c:
            c.send(get(["/slow?20", "/hold", "/stream?3", "/posts"][i % 4]))
            if i % 4 != 1:
                c.reply()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(200)))
    s.wait_for(exchanges=1, left=50, done=150)


# ---- slow clients ----

def trickle(client, data):
    """Sends a little every now and then, until the server has something to say."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and not select.select([client.socket], [], [], 0.05)[0]:
        client.send(data)
    return client.reply()


def test_408_for_headers_that_trickle(start):
    s = start("--header-timeout-ms", 300)
    with s.client() as c:
        c.send("GET /hello HTTP/1.1\r\nHost: h\r\n")
        assert trickle(c, "X: y\r\n").status == 408


def test_408_is_told_to_a_silent_client(start):
    s = start("--header-timeout-ms", 200, "--body-timeout-ms", 200)
    for begun in ("GET /he", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe"):
        with s.client() as c:
            r = c.send(begun).reply()
            assert (r.status, r["Connection"]) == (408, "close")
            assert c.closed()


def test_408_for_a_body_that_trickles(start):
    s = start("--body-timeout-ms", 300)
    with s.client() as c:
        c.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        assert trickle(c, "x").status == 408


def test_an_idle_connection_is_closed_in_silence(start):
    s = start("--idle-timeout-ms", 1500)
    with s.client() as fresh, s.client() as used:
        used.send(get("/hello")).reply()
        assert fresh.closed() and used.closed()


def test_a_reader_that_lets_a_stream_pile_up_is_cancelled(start):
    s = start()
    with s.client(receive_bytes=4096) as c:
        c.send(get("/forever?1000"))
        assert s.wait_for(left=1)["exchanges"] == 1
        assert not c.rest().endswith(b"0\r\n\r\n")


def test_a_stream_may_be_far_longer_than_what_may_lie_unsent(start):
    s = start("--unsent-bytes-max", 500)
    r = s.get("/stream?300")
    assert r.body == b"".join(b"piece %d\n" % i for i in range(300))


def test_a_reply_that_nobody_reads_is_given_up(start):
    s = start("--write-timeout-ms", 300)
    with s.client(receive_bytes=4096) as c:
        c.send(get("/big?8000000"))
        s.wait_for_sockets(s.idle_sockets)
        with pytest.raises(AssertionError, match="early"):
            c.reply()


def test_a_client_that_asks_and_never_reads_is_not_served_on(start):
    s = start("--write-timeout-ms", 1000)
    with s.client(receive_bytes=4096) as c:
        c.socket.settimeout(0.5)
        with pytest.raises(OSError):
            for _ in range(2000):
                c.send(post("/echo", "x" * 30000) * 10)
        assert s.stats()["requests"] < 1000  # what the kernel holds for it, and 256 KiB
        status = Path(f"/proc/{s.process.pid}/status").read_text()
        assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 300_000  # kB: what it sends is not taken in either


# ---- many clients, drain ----

def test_more_clients_than_connections_are_served_in_the_end(start):
    s = start("--connections-max", 8)
    def one(_):
        with s.client() as c:
            return c.send(get("/slow?20")).reply().body
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert list(pool.map(one, range(100))) == [b"slow"] * 100


def test_silent_connections_cannot_lock_others_out(start):
    s = start("--connections-max", 8)
    silent = [s.client() for _ in range(8)]
    try:
        assert s.get("/hello").body == b"hello"
    finally:
        for c in silent:
            c.socket.close()


def test_a_drain_ends_idle_connections_and_lets_others_finish(start):
    s = start()
    with s.client() as idle, s.client() as streaming, s.client() as waiting:
        idle.send(get("/hello")).reply()
        streaming.send(get("/stream?400"))
        assert streaming.head()["Connection"] is None  # begun before the drain
        waiting.send(get("/slow?2000"))
        s.wait_for(exchanges=3)
        assert s.get("/drain")["Connection"] == "close"
        assert idle.closed()
        with pytest.raises(OSError):
            s.client()
        r = waiting.reply()
        assert (r.body, r["Connection"]) == (b"slow", "close")
        assert waiting.closed()
        assert streaming.until(b"piece 399\n")
        streaming.until(b"0\r\n\r\n")


# ---- CORS ----

PAGE = "Origin: https://page.example"
ASKS = "Access-Control-Request-Method: POST"


def cors_of(r):
    return {n.lower(): v for n, v in r.headers if n.lower().startswith("access-control") or n.lower() == "vary"}


def test_cors_is_off_by_default(server):
    assert cors_of(server.get("/hello", PAGE)) == {}
    r = server.ask(get("/hello", PAGE, ASKS, method="OPTIONS"))
    assert cors_of(r) == {}


def test_cors_lets_the_chosen_origin_in_and_no_other(start):
    s = start("--cors-origin", "https://page.example", "--cors-origin", "http://localhost:3000")
    assert cors_of(s.get("/hello", PAGE))["access-control-allow-origin"] == "https://page.example"
    assert cors_of(s.get("/hello", PAGE))["vary"] == "Origin"
    assert cors_of(s.get("/hello", "Origin: https://page.example.evil")) == {"vary": "Origin"}
    assert cors_of(s.get("/hello")) == {"vary": "Origin"}
    assert cors_of(s.ask(post("/small", "x" * 2000, PAGE)))["access-control-allow-origin"] == "https://page.example"


def test_cors_answers_a_preflight(start):
    s = start("--cors-origin", "https://page.example")
    r = s.ask(get("/echo", PAGE, ASKS, "Access-Control-Request-Headers: authorization,content-type", method="OPTIONS"))
    assert (r.status, r.body, r["Content-Length"]) == (204, b"", None)
    assert "POST" in r["Access-Control-Allow-Methods"]
    assert r["Access-Control-Allow-Headers"] == "authorization,content-type"
    r = s.ask(get("/echo", "Origin: https://evil.example", ASKS, method="OPTIONS"))
    assert cors_of(r) == {"vary": "Origin"}
    assert s.ask(get("/echo", PAGE, method="OPTIONS")).status == 200  # no preflight: a request like others


def test_cors_for_any_origin_says_so(start):
    s = start("--cors-origin", "*")
    assert cors_of(s.get("/hello", PAGE))["access-control-allow-origin"] == "*"
    assert "vary" not in cors_of(s.get("/hello", PAGE))
