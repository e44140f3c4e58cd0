"""How a server ends. SPDX-License-Identifier: Apache-2.0"""
import json
import signal

import pytest
from server import CHAT, EMBED, in_background, is_running, wait_for


@pytest.mark.smoke
def test_after_sigterm_streams_finish_and_new_requests_get_503(start):
    server = start("--drain-s", "3600").ready()
    engine = server.engine()
    stream = server.stream(max_tokens=800)
    stream.content(2)
    server.process.send_signal(signal.SIGTERM)
    wait_for("draining", lambda: server.status("/readyz") == 503)
    status, headers, text = server.complete()
    assert status == 503 and "Retry-After" in headers and "shutting down" in text
    lines = stream.rest()
    assert lines[-1] == "[DONE]" and not stream.cut
    assert json.loads(lines[-2])["choices"][0]["finish_reason"] == "length"
    assert server.ended() == 0
    assert not is_running(engine)


def test_a_batch_under_way_at_sigterm_is_finished(start):
    server = start("--drain-s", "3600").ready()
    bodies = [("/v1/completions", {"model": CHAT, "prompt": [f"{i}, " for i in range(150)], "max_tokens": 8, "ignore_eos": True}),
              ("/serving-endpoints/embeddings", {"model": EMBED, "input": [f"{i}" for i in range(150)]})]
    server.call("POST", *bodies[1])
    answers = [in_background(lambda body=body: server.call("POST", *body)) for body in bodies]
    wait_for("the batch", lambda: server.metric("plinth_engine_running") >= 64)
    server.process.send_signal(signal.SIGTERM)
    completions, embeddings = (answer() for answer in answers)
    assert completions[0] == 200 and len(json.loads(completions[2])["choices"]) == 150
    assert embeddings[0] == 200 and len(json.loads(embeddings[2])["data"]) == 150
    assert server.ended() == 0


def test_a_stream_past_the_drain_time_gets_an_error(start):
    server = start("--drain-s", "1").ready()
    engine = server.engine()
    stream = server.stream(max_tokens=8000)
    stream.content(2)
    server.process.send_signal(signal.SIGTERM)
    lines = stream.rest()
    assert "shutting down" in json.loads(lines[-1])["error"]["message"] and "[DONE]" not in lines
    assert server.ended() == 0
    assert not is_running(engine)


def test_an_idle_server_ends_at_once_on_sigint(start):
    server = start("--drain-s", "3600").ready()
    server.process.send_signal(signal.SIGINT)
    assert server.ended() == 0


def test_a_second_sigint_does_not_wait_for_streams(start):
    server = start("--drain-s", "3600").ready()
    engine = server.engine()
    stream = server.stream(max_tokens=8000)
    stream.content(2)
    server.process.send_signal(signal.SIGINT)
    wait_for("draining", lambda: server.status("/readyz") == 503)
    server.process.send_signal(signal.SIGINT)
    assert server.ended() == 128 + signal.SIGINT
    wait_for("the end of the engine", lambda: not is_running(engine))


def test_sigterm_before_the_server_is_ready_ends_it(start):
    server = start().listening()
    server.process.send_signal(signal.SIGTERM)
    assert server.ended() == 0
