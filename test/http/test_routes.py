"""What plain HTTP shows: headers, statuses, limits, health. SPDX-License-Identifier: Apache-2.0"""
import json
import re

import httpx
import pytest

from conftest import CHAT, EMBED

HELLO = {"model": CHAT, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 3}


@pytest.fixture
def http(plinth):
    with httpx.Client(base_url=plinth.url, headers=plinth.headers, timeout=300) as c:
        yield c


@pytest.mark.smoke
def test_health_readiness_and_metrics_need_no_token(plinth):
    assert httpx.get(plinth.url + "/health").json() == {"status": "ok"}
    assert httpx.get(plinth.url + "/readyz").json()["endpoints"] == {CHAT: "ready", EMBED: "ready"}
    text = httpx.get(plinth.url + "/metrics").text
    for name in ("plinth_http_requests_total", "plinth_time_to_first_token_seconds_bucket", "plinth_inter_token_seconds_count", "plinth_prompt_tokens_total",
                 "plinth_engine_up 1", "plinth_kv_memory_bytes", "process_resident_memory_bytes"):
        assert name in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_the_page_shows_a_line_to_copy(plinth):
    r = httpx.get(plinth.url + "/")
    assert r.headers["content-type"].startswith("text/html") and f"curl {plinth.url}/v1/chat/completions" in r.text


def test_no_token_and_a_wrong_one(plinth):
    for path, wrong in (("/v1/models", 401), ("/api/2.0/serving-endpoints", 403)):
        assert httpx.get(plinth.url + path).status_code == 401
        assert httpx.get(plinth.url + path, headers={"Authorization": "Bearer x"}).status_code == wrong
        assert httpx.get(plinth.url + path, auth=("token", plinth.token)).status_code == 200
        assert httpx.get(plinth.url + path, auth=("someone", plinth.token)).status_code == 401


def test_paths_and_methods(http):
    assert http.get("/.well-known/databricks-config").status_code == 404
    assert http.get("/v1/none").json()["error"]["type"] == "invalid_request_error"
    assert http.get("/api/2.0/none").json()["error_code"] == "ENDPOINT_NOT_FOUND"
    r = http.get("/v1/chat/completions")
    assert r.status_code == 405 and r.headers["allow"] == "POST"
    r = http.put("/v1/models")
    assert r.status_code == 405 and r.headers["allow"] == "GET, HEAD"
    r = http.head("/v1/models")
    assert r.status_code == 200 and r.content == b"" and int(r.headers["content-length"]) == len(http.get("/v1/models").content)
    assert http.get("/api/2.0/serving-endpoints/").json() == http.get("/api/2.0/serving-endpoints").json()


def test_json_is_read_whatever_the_content_type(http):
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
        assert http.post("/v1/chat/completions", content=json.dumps(HELLO), headers={"Content-Type": kind}).status_code == 200


def test_unknown_fields_are_named_or_refused(http):
    r = http.post("/v1/chat/completions", json={**HELLO, "best_of": 2, "length_penalty": 0})
    assert r.status_code == 200 and r.headers["x-plinth-ignored-fields"] == "best_of, length_penalty"
    r = http.post(f"/serving-endpoints/{CHAT}/invocations", json={**HELLO, "best_of": 2, "strict_fields": True})
    assert r.status_code == 400
    assert r.json() == {"error_code": "BAD_REQUEST", "message": 'Bad request: json: unknown field "best_of"'}


def test_limits_differ_by_dialect(http):
    many = {"model": EMBED, "input": ["x"] * 2048}
    r = http.post("/v1/embeddings", json=many)
    assert r.status_code == 200 and len(r.json()["data"]) == 2048
    assert http.post("/v1/embeddings", json={**many, "input": ["x"] * 2049}).status_code == 400
    assert http.post("/serving-endpoints/embeddings", json={**many, "input": ["x"] * 150}).status_code == 200
    assert http.post("/serving-endpoints/embeddings", json={**many, "input": ["x"] * 151}).status_code == 400
    prompts = {"model": CHAT, "prompt": ["x"] * 17, "max_tokens": 1}
    assert len(http.post("/v1/completions", json=prompts).json()["choices"]) == 17
    assert http.post("/serving-endpoints/completions", json=prompts).status_code == 400
    assert http.post("/serving-endpoints/completions", json={**prompts, "prompt": ["x", "y"], "stream": True}).status_code == 400


def test_a_body_over_the_limit_of_its_dialect_is_413(http):
    body = json.dumps({**HELLO, "padding": "x" * (5 << 20)})
    r = http.post("/serving-endpoints/chat/completions", content=body)
    assert r.status_code == 413 and r.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    r = http.post("/v1/chat/completions", content=body)
    assert r.status_code == 200 and r.headers["x-plinth-ignored-fields"] == "padding"


@pytest.mark.smoke
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"model": 1}', b'{"a": 1, "a": 2}', b"\xff", b'{"model": "\\ud800"}', b"[" * 100000,
                                  b'{"model": "%s", "messages": [{"role": "user", "content": "x"}], "max_tokens": 99999999999999999999}' % CHAT.encode()])
def test_a_malformed_body_is_400_in_both_dialects(http, body):
    assert http.post("/v1/chat/completions", content=body).status_code == 400
    assert http.post("/serving-endpoints/chat/completions", content=body).json()["error_code"] == "BAD_REQUEST"


def test_the_context_is_counted_in_both_dialects(http):
    long_chat = {**HELLO, "messages": [{"role": "user", "content": "word " * 9000}]}
    message = http.post("/v1/chat/completions", json=long_chat).json()["error"]["message"]
    assert "maximum context length is 8192 tokens" in message and re.search(r"\b9\d\d\d tokens", message)
    message = http.post(f"/serving-endpoints/{CHAT}/invocations", json=long_chat).json()["message"]
    assert message.startswith("Bad request: prompt token count (9")


def test_a_stream_is_data_lines_and_nothing_else(http):
    with http.stream("POST", f"/serving-endpoints/{CHAT}/invocations", json={**HELLO, "stream": True}) as r:
        assert r.headers["content-type"].startswith("text/event-stream")
        lines = list(r.iter_lines())
    assert all(line == "" or line.startswith("data: ") for line in lines)
    assert [line for line in lines if line][-1] == "data: [DONE]"


def test_an_error_before_the_first_token_is_no_stream(http):
    r = http.post("/v1/chat/completions", json={**HELLO, "stream": True, "temperature": 9})
    assert r.status_code == 400 and r.headers["content-type"] == "application/json"


def test_a_request_id_is_echoed_or_made(http):
    assert http.get("/v1/models", headers={"X-Request-Id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert len(http.get("/v1/none").headers["x-request-id"]) == 36


@pytest.mark.smoke
def test_a_client_that_leaves_frees_the_engine(plinth, http):
    with http.stream("POST", "/v1/completions", json={"model": CHAT, "prompt": "a", "n": 3, "stream": True, "ignore_eos": True}) as r:
        lines = r.iter_lines()  # kept: when it is collected the connection is closed
        next(lines)
        assert plinth.metric("plinth_generations") >= 3
    plinth.wait_for(lambda: plinth.metric("plinth_generations") == 0, "the generations to be cancelled")
    plinth.wait_for(lambda: plinth.metric("plinth_kv_pages_used") == 0 or plinth.metric("plinth_engine_running") == 0, "the engine to let go")
