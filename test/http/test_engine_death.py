"""The engine process is killed: what streams, replies and later requests see. SPDX-License-Identifier: Apache-2.0"""
import json
import os
import signal
import threading

import httpx
import pytest

from conftest import CHAT

LONG = {"model": CHAT, "prompt": "a", "ignore_eos": True}


def kill_engine(server):
    os.kill(server.engine_pid(), signal.SIGKILL)


@pytest.mark.smoke
def test_a_stream_ends_with_an_error_and_the_next_request_is_served(start_plinth):
    server = start_plinth("--no-auth")
    with httpx.stream("POST", server.url + "/v1/completions", json={**LONG, "stream": True}, timeout=300) as r:
        lines = r.iter_lines()
        assert next(lines).startswith("data: ")
        kill_engine(server)
        rest = []
        try:
            rest = [line for line in lines if line]
        except httpx.RemoteProtocolError as e:
            assert "incomplete" in str(e) or "closed" in str(e)
    # The events may have been lost with the broken end of the transfer; what came is no proper end.
    assert "data: [DONE]" not in rest
    r = httpx.post(server.url + "/v1/completions", json={**LONG, "max_tokens": 3}, timeout=300)
    assert r.status_code == 200  # it waited for the new engine
    assert server.metric("plinth_engine_restarts_total") == 1


def test_a_reply_in_one_piece_survives_and_is_the_same(start_plinth):
    server = start_plinth("--no-auth")
    body = {**LONG, "max_tokens": 200, "temperature": 1, "seed": 11, "logprobs": 2}
    want = httpx.post(server.url + "/v1/completions", json=body, timeout=300).json()
    got = []
    asking = threading.Thread(target=lambda: got.append(httpx.post(server.url + "/v1/completions", json=body, timeout=300)))
    before = server.metric("plinth_engine_decode_tokens_total")
    asking.start()
    server.wait_for(lambda: server.metric("plinth_engine_decode_tokens_total") > before + 20, "tokens")
    kill_engine(server)
    asking.join()
    assert got[0].status_code == 200 and server.metric("plinth_engine_restarts_total") == 1
    assert got[0].json()["choices"] == want["choices"] and got[0].json()["usage"] == want["usage"]


def read_raw(server, body, killed):
    """The bytes of a stream to their very end, without a client that hides them."""
    import socket
    host, port = server.url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    with socket.create_connection((host, int(port)), timeout=300) as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        got = b""
        while more := s.recv(65536):
            got += more
            if b"data: " in got and not killed.is_set():
                kill_engine(server)
                killed.set()
    return got


def test_the_error_is_the_last_event(start_plinth):
    server = start_plinth("--no-auth")
    got = read_raw(server, {**LONG, "stream": True}, threading.Event())
    events = [line[6:] for line in got.split(b"\n") if line.startswith(b"data: ")]
    assert "error" in json.loads(events[-1]) and b"[DONE]" not in got
    assert not got.endswith(b"0\r\n\r\n")  # the transfer itself has no proper end either


def test_a_reply_that_had_not_begun_waits_for_the_new_engine_or_is_503(start_plinth):
    server = start_plinth("--no-auth")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(httpx.post(server.url + "/v1/completions", json={**LONG, "max_tokens": 400}, timeout=300)))
    thread.start()
    server.wait_for(lambda: server.metric("plinth_generations") == 1, "the request to run")
    kill_engine(server)
    thread.join()
    assert answers[0].status_code in (200, 503)
    if answers[0].status_code == 503:
        assert int(answers[0].headers["retry-after"]) > 0
