"""What test_conformance.py asks of the HTTP layer, asked of the program itself. SPDX-License-Identifier: Apache-2.0"""
import json
import socket

import pytest
from test_conformance import REFUSED, Client, expect_refusal, get, post

pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def port(plinth):
    return int(plinth.url.rsplit(":", 1)[1])


def with_token(plinth):
    return f"Authorization: Bearer {plinth.token}"


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_requests_are_refused_and_the_connection_is_closed(port, name):
    expect_refusal(port, *REFUSED[name])


def test_a_refusal_speaks_the_dialect_of_its_path(port):
    for path, keys in (("/v1/chat/completions", {"error"}), ("/serving-endpoints/x/invocations", {"error_code", "message"})):
        with Client(port) as c:
            c.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            r = c.reply()
            assert (r.status, set(json.loads(r.body))) == (400, keys)
        for line, status in ((f"GET {path}%zz", 400), (f"BREW {path}", 501)):
            with Client(port) as c:
                r = c.send(f"{line} HTTP/1.1\r\nHost: h\r\n\r\n").reply()
                assert (r.status, set(json.loads(r.body))) == (status, keys)


def test_head_405_and_keep_alive(port):
    with Client(port) as c:
        whole = c.send(get("/health")).reply()
        head = c.send(get("/health", method="HEAD")).reply(bodiless=True)
        assert (head.status, head["Content-Length"]) == (200, str(len(whole.body)))
        r = c.send(get("/v1/chat/completions", method="DELETE")).reply()
        assert (r.status, r["Allow"], r["Connection"]) == (405, "POST", None)
        assert c.send(get("/health", "Connection: close")).reply().status == 200
        assert c.closed()


def test_pipelined_requests_are_answered_in_order(plinth, port):
    ask = json.dumps({"model": "smollm2-135m-instruct", "max_tokens": 8, "stream": True, "messages": [{"role": "user", "content": "Hi"}]})
    with Client(port) as c:
        c.send(post("/v1/chat/completions", ask, with_token(plinth), "X-Request-Id: first") + get("/health", "X-Request-Id: second"))
        c.send(get("/v1/models", with_token(plinth), "X-Request-Id: third"))
        replies = [c.reply() for _ in range(3)]
    assert [r["X-Request-Id"] for r in replies] == ["first", "second", "third"]
    assert [r.status for r in replies] == [200, 200, 200]
    assert replies[0].body.endswith(b"data: [DONE]\n\n")


def test_a_chunked_request_and_expect_continue(plinth, port):
    ask = json.dumps({"model": "all-minilm-l6-v2", "input": "hello"}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\n{with_token(plinth)}\r\n"
    with Client(port) as c:
        c.send(head + "Transfer-Encoding: chunked\r\n\r\n").send(b"5;x=y\r\n" + ask[:5] + b"\r\n%x\r\n" % len(ask[5:]) + ask[5:] + b"\r\n0\r\n\r\n")
        assert c.reply().status == 200
        c.send(head + f"Expect: 100-continue\r\nContent-Length: {len(ask)}\r\n\r\n")
        assert c.reply().status == 100
        assert c.send(ask).reply().status == 200


def test_413_is_decided_at_the_head(port):
    with Client(port) as c:
        c.send(get("/serving-endpoints/x/invocations", f"Content-Length: {4 * 1024 * 1024 + 1}", "Expect: 100-continue", method="POST"))
        assert c.reply().status == 413
        assert c.closed()


def test_http_1_0_stream_goes_until_close(plinth, port):
    ask = json.dumps({"model": "smollm2-135m-instruct", "max_tokens": 4, "stream": True, "messages": [{"role": "user", "content": "Hi"}]})
    with Client(port) as c:
        c.send(f"POST /v1/chat/completions HTTP/1.0\r\n{with_token(plinth)}\r\nContent-Length: {len(ask)}\r\n\r\n{ask}")
        r = c.reply()
    assert (r.status, r["Transfer-Encoding"], r["Connection"]) == (200, None, "close")
    assert r.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_its_generation(plinth, port, how, stream):
    before = plinth.metric("plinth_requests_cancelled_total")
    ask = json.dumps({"model": "smollm2-135m-instruct", "max_tokens": 4000, "ignore_eos": True, "stream": stream,
                      "messages": [{"role": "user", "content": "Tell me a long story."}]})
    with Client(port) as c:
        c.send(post("/v1/chat/completions", ask, with_token(plinth)))
        if stream:
            c.until(b"data: ")
        {"close": c.socket.close, "reset": c.reset, "half": lambda: c.socket.shutdown(socket.SHUT_WR)}[how]()
        plinth.wait_for(lambda: plinth.metric("plinth_requests_cancelled_total") == before + 1, "the cancel to be counted")


def test_cors_is_off_by_default_and_set_by_its_option(start_plinth, port):
    page = "Origin: https://page.example"
    with Client(port) as c:
        assert c.send(get("/health", page)).reply()["Access-Control-Allow-Origin"] is None
    allowing = start_plinth("--no-auth", "--cors-origin", "https://page.example")
    with Client(int(allowing.url.rsplit(":", 1)[1])) as c:
        assert c.send(get("/health", page)).reply()["Access-Control-Allow-Origin"] == "https://page.example"
        r = c.send(get("/v1/chat/completions", page, "Access-Control-Request-Method: POST", method="OPTIONS")).reply()
        assert (r.status, r["Access-Control-Allow-Origin"]) == (204, "https://page.example")
        assert c.send(get("/v1/models", page)).reply().status == 200
        r = c.send(get("/v1/models", "Origin: https://evil.example")).reply()
        assert (r.status, r["Access-Control-Allow-Origin"]) == (403, None)


def test_without_auth_a_browser_is_no_door_for_other_sites(start_plinth):
    server = start_plinth("--no-auth")
    port = int(server.url.rsplit(":", 1)[1])
    with Client(port) as c:
        def ask(host, *headers):
            return c.send(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n{''.join(h + chr(13) + chr(10) for h in headers)}\r\n".encode()).reply().status
        own = f"localhost:{port}"
        assert ask(own) == ask(own, f"Origin: http://{own}") == ask("[::1]") == 200
        assert ask("localhost.") == ask(f"localhost.:{port}", f"Origin: http://localhost.:{port}") == ask("tab.localhost.") == 200  # the root written out
        assert ask("rebound.example.") == ask(".") == ask("..") == 403
        assert ask("rebound.example") == ask(f"rebound.example:{port}", f"Origin: http://rebound.example:{port}") == 403
        assert ask(own, "Origin: https://evil.example") == ask(own, "Origin: null") == ask(own, "Origin: http://localhost:1") == 403
