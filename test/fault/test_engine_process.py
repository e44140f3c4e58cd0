"""The engine process dies, stops, cannot start; the gateway dies. SPDX-License-Identifier: Apache-2.0"""
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from server import CHAT, PROGRAM, in_background, is_running, wait_for


@pytest.mark.smoke
def test_a_stream_whose_engine_is_killed_gets_an_error_and_no_done(start):
    server = start().ready()
    stream = server.stream()
    stream.content(5)
    server.kill_engine()
    lines = stream.rest()
    assert "error" in json.loads(lines[-1]) and "message" in json.loads(lines[-1])["error"]
    assert "[DONE]" not in lines
    assert server.complete()[0] == 200  # waits for the new engine
    assert server.metric("plinth_engine_restarts_total") == 1


def test_what_is_greedy_is_the_same_after_a_restart(start):
    server = start().ready()
    before = json.loads(server.complete(max_tokens=32)[2])["choices"][0]["text"]
    server.kill_engine()
    assert json.loads(server.complete(max_tokens=32)[2])["choices"][0]["text"] == before


@pytest.mark.smoke
def test_requests_that_wait_are_served_by_the_next_engine(start):
    server = start().ready()
    engine = server.engine()
    os.kill(engine, signal.SIGSTOP)
    answers = [in_background(server.complete) for _ in range(4)] + [in_background(server.embed)]
    wait_for("the requests", lambda: server.metric("plinth_generations") == 5)
    os.kill(engine, signal.SIGKILL)
    assert [answer()[0] for answer in answers] == [200] * 5


def test_an_engine_that_was_stopped_goes_on_and_the_gateway_answers_meanwhile(start):
    server = start().ready()
    expected = json.loads(server.complete(max_tokens=64)[2])["choices"][0]["text"]
    engine = server.engine()
    os.kill(engine, signal.SIGSTOP)
    answer = in_background(lambda: server.complete(max_tokens=64))
    wait_for("the request", lambda: server.metric("plinth_generations") == 1)
    assert server.status("/health") == 200
    os.kill(engine, signal.SIGCONT)
    status, _, text = answer()
    assert status == 200 and json.loads(text)["choices"][0]["text"] == expected
    assert server.engine() == engine


def test_an_engine_that_hangs_is_replaced(start):
    server = start("--engine-stall-s", "2").ready()
    engine = server.engine()
    os.kill(engine, signal.SIGSTOP)
    assert server.complete()[0] == 200
    assert not is_running(engine)


def test_terminal_and_service_signals_leave_the_engine_alone(start):
    server = start().ready()
    engine = server.engine()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(engine, number)
    assert server.complete()[0] == 200
    assert server.engine() == engine


@pytest.mark.smoke
def test_an_engine_whose_gateway_is_gone_ends(start):
    server = start().ready()
    engine = server.engine()
    server.process.kill()
    wait_for("the end of the engine", lambda: not is_running(engine))


def test_an_engine_that_computes_ends_with_its_gateway(start):
    server = start().ready()
    stream = server.stream()
    stream.content(3)
    engine = server.engine()
    server.process.kill()
    wait_for("the end of the engine", lambda: not is_running(engine))


def test_an_engine_that_cannot_be_started_is_told_and_comes_back(start, tmp_path):
    program = tmp_path / "plinth"
    shutil.copy(PROGRAM, program)
    server = start(program=str(program)).ready()
    program.chmod(0o600)  # the running gateway starts its engines from this very file
    server.kill_engine()
    status, headers, text = wait_for("a refusal", lambda: (answer := server.complete())[0] == 503 and answer)
    assert int(headers["Retry-After"]) > 0 and "cannot be started" in json.loads(text)["error"]["message"]
    status, headers, text = server.call("POST", f"/serving-endpoints/{CHAT}/invocations", {"messages": [{"role": "user", "content": "Hi"}]})
    assert status == 503 and "Retry-After" in headers and json.loads(text)["error_code"]
    assert server.status("/readyz") == 503
    program.chmod(0o700)
    wait_for("readiness", lambda: server.status("/readyz") == 200)
    assert server.complete()[0] == 200


def test_a_client_that_leaves_frees_the_engine(start):
    server = start().ready()
    stream = server.stream()
    stream.content(3)
    assert server.metric("plinth_generations") == 1
    stream.close()
    wait_for("the end of the generation", lambda: server.metric("plinth_generations") == 0)
    wait_for("an idle engine", lambda: server.metric("plinth_engine_running") == 0)
    assert server.metric("plinth_kv_pages_used") == 0


def test_an_idle_engine_takes_no_processor_time(start):
    def ticks(pid):
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))

    server = start().ready()
    assert server.complete()[0] == 200
    engine = server.engine()

    def rests():
        before = ticks(engine)
        time.sleep(1)
        return ticks(engine) - before <= 2

    wait_for("an engine that rests, once its packed weights are kept", rests)


def test_a_prompt_that_was_computed_is_not_computed_again_and_drafts_change_no_text(start):
    prompt = "one two three four five six seven eight nine ten " * 10

    def ask(server):
        status, _, reply = server.complete(prompt, max_tokens=60, temperature=0)
        assert status == 200
        return json.loads(reply)["choices"][0]["text"]

    texts = []
    for args in ((), ("--speculate", "off")):
        server = start(*args).ready()
        texts.append(ask(server))
        computed = server.metric("plinth_engine_prefill_tokens_total")
        texts.append(ask(server))
        again = server.metric("plinth_engine_prefill_tokens_total") - computed
        assert again <= 32 and server.metric("plinth_engine_prefix_hit_tokens_total") >= computed - 64
        assert server.metric("plinth_kv_pages_used") == 0 and server.metric("plinth_kv_pages_cached") > 0
    assert len(set(texts)) == 1
    assert server.metric("plinth_engine_drafted_tokens_total") == 0
