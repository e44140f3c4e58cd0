"""/metrics as Prometheus reads it: what the requests of a server add up to. SPDX-License-Identifier: Apache-2.0"""
import contextlib
import os
import signal

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import CHAT, EMBED

COUNTS = ("plinth_request_queue_seconds", "plinth_request_prefill_seconds", "plinth_request_duration_seconds", "plinth_request_prompt_tokens",
          "plinth_request_completion_tokens", "vllm:request_queue_time_seconds", "vllm:request_prefill_time_seconds",
          "vllm:request_inference_time_seconds", "vllm:e2e_request_latency_seconds", "vllm:request_prompt_tokens", "vllm:request_generation_tokens")


class Scrape:
    """One look at /metrics: samples by name and labels."""

    def __init__(self, server):
        r = httpx.get(server.url + "/metrics")
        assert r.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.families = list(text_string_to_metric_families(r.text))
        self.samples = {(s.name, frozenset(s.labels.items())): s.value for f in self.families for s in f.samples}

    def __call__(self, name, model=CHAT, **labels):
        at = {"model_name": model, "engine": "0"} if name.startswith("vllm:") else {"model": model}
        return self.samples[name, frozenset({**at, **labels}.items())]


@pytest.fixture
def server(start_plinth):
    return start_plinth("--no-auth", "--metrics-vllm")


def complete(server, **more):
    r = httpx.post(server.url + "/v1/completions", json={"model": CHAT, "prompt": "One, two, three,", "max_tokens": 8, "ignore_eos": True, **more},
                   timeout=300)
    assert r.status_code == 200, r.text
    return r.json()["usage"]


def test_every_family_is_well_formed(server):
    complete(server)
    seen = Scrape(server)
    names = [f.name for f in seen.families]
    assert len(names) == len(set(names))
    for family in seen.families:
        assert family.type in ("counter", "gauge", "histogram") and family.documentation, family.name
        histograms = {}
        for s in family.samples:
            assert s.value >= 0, s
            if s.name.endswith("_bucket"):
                rest = frozenset((k, v) for k, v in s.labels.items() if k != "le")
                histograms.setdefault(rest, []).append((float(s.labels["le"]), s.value))
        for labels, buckets in histograms.items():
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets)  # cumulative, in order
            assert buckets[-1] == (float("inf"), seen.samples[family.name + "_count", labels])


def test_the_figures_add_up_to_the_requests_made(server):
    before = Scrape(server)
    usages = [complete(server), complete(server, n=2, seed=3), complete(server, prompt=["One, two, three,", "Four"], max_tokens=5)]
    with httpx.stream("POST", server.url + "/v1/completions", json={"model": CHAT, "prompt": "Four", "max_tokens": 6, "stream": True, "ignore_eos": True},
                      timeout=300) as r:
        assert r.read().endswith(b"data: [DONE]\n\n")
    httpx.post(server.url + "/v1/embeddings", json={"model": EMBED, "input": ["one", "two words"]}).raise_for_status()
    seen = Scrape(server)

    def more(name, **labels):
        return seen(name, **labels) - before(name, **labels)

    completion = sum(u["completion_tokens"] for u in usages) + 6
    assert more("plinth_completion_tokens_total") == completion == more("vllm:generation_tokens_total")
    assert more("plinth_prompt_tokens_total") == sum(u["prompt_tokens"] for u in usages) + 1
    for name in COUNTS:
        assert more(name + "_count") == 6, name
        assert more(name + "_count", model=EMBED) == 2, name
    assert more("plinth_request_completion_tokens_sum") == completion
    assert more("plinth_generations_ended_total", reason="length") == 6 == more("vllm:request_success_total", finished_reason="length")
    assert more("plinth_generations_ended_total", reason="stop", model=EMBED) == 2
    assert more("plinth_time_to_first_token_seconds_count") == 6 == more("vllm:time_to_first_token_seconds_count")
    assert more("plinth_inter_token_seconds_count") == completion - 6 == more("vllm:inter_token_latency_seconds_count")
    assert more("plinth_request_prompt_tokens_sum") == more("vllm:prompt_tokens_total") == more("plinth_engine_prefix_query_tokens_total")
    # What a request takes is made of its parts.
    parts = more("plinth_request_queue_seconds_sum") + more("plinth_request_inference_seconds_sum")
    assert 0 < parts <= more("plinth_request_duration_seconds_sum") + 0.01
    inference = more("plinth_request_prefill_seconds_sum") + more("plinth_request_decode_seconds_sum")
    assert more("plinth_request_inference_seconds_sum") == pytest.approx(inference)
    # The engine's steps computed what was asked for and not found, and the tokens that came; each sequence's last token needs no row.
    rows = more("plinth_request_prompt_tokens_sum") - more("plinth_engine_prefix_hit_tokens_total") + completion - 6
    wrong = more("plinth_engine_drafted_tokens_total", source="text") - more("plinth_engine_accepted_tokens_total", source="text")
    assert more("plinth_engine_step_tokens_sum") == rows + wrong
    assert more("plinth_engine_step_tokens_count") == more("plinth_engine_steps_total") == more("vllm:iteration_tokens_total_count")
    assert more("plinth_engine_decode_read_bytes_total") > 0 and more("plinth_engine_prefill_operations_total") > 0
    assert seen("plinth_engine_running") == seen("plinth_engine_waiting") == seen("plinth_kv_pages_used") == 0
    assert 0 <= seen("plinth_kv_usage_ratio") == seen("vllm:kv_cache_usage_perc") <= 1


def test_cancelled_and_refused_requests_are_counted_as_such(server):
    before = Scrape(server)
    with httpx.stream("POST", server.url + "/v1/completions", json={"model": CHAT, "prompt": "a", "stream": True, "ignore_eos": True}, timeout=300) as r:
        lines = r.iter_lines()  # closed, it would close the connection
        next(lines)
        assert Scrape(server)("vllm:num_requests_running") == 1
    server.wait_for(lambda: Scrape(server)("plinth_generations_ended_total", reason="cancelled") == 1, "the cancellation to be counted")
    assert httpx.post(server.url + "/v1/completions", json={"model": CHAT, "prompt": "a", "max_tokens": -1}).status_code == 400
    assert httpx.post(server.url + "/v1/completions", json={"model": CHAT, "prompt": "a", "max_tokens": 1 << 20}).status_code == 400
    seen = Scrape(server)
    assert seen("vllm:request_success_total", finished_reason="abort") == 1
    for reason in ("stop", "length", "failed"):
        assert seen("plinth_generations_ended_total", reason=reason) == 0
    assert seen("plinth_time_to_first_token_seconds_count") - before("plinth_time_to_first_token_seconds_count") == 1
    assert seen("plinth_request_duration_seconds_count") == 0  # of those that ended well
    assert seen("plinth_completion_tokens_total") >= 1  # its tokens were made all the same


def test_counts_survive_an_engine_that_dies(server):
    complete(server)
    before = Scrape(server)
    body = {"model": CHAT, "prompt": "a", "stream": True, "ignore_eos": True}
    with httpx.stream("POST", server.url + "/v1/completions", json=body, timeout=300) as r:
        lines = r.iter_lines()
        next(lines)
        os.kill(server.engine_pid(), signal.SIGKILL)
        with contextlib.suppress(httpx.RemoteProtocolError):
            list(lines)
    complete(server)
    seen = Scrape(server)
    counters = {f.name for f in before.families if f.type in ("counter", "histogram")}
    for (name, labels), value in before.samples.items():
        family = next(f.name for f in before.families for s in f.samples if s.name == name)
        if family in counters:
            assert seen.samples[name, labels] >= value, (name, labels)
    assert seen("plinth_engine_steps_total") > before("plinth_engine_steps_total")
    assert seen("plinth_generations_ended_total", reason="failed") == 1 == seen("vllm:request_success_total", finished_reason="error")
    assert seen("plinth_generations_ended_total", reason="length") == 2


def test_what_the_machine_can_do_is_measured_when_nothing_is_asked_for(server):
    server.wait_for(lambda: server.metric("plinth_machine_read_bytes_per_second"), "the machine to be measured")
    complete(server, max_tokens=40)
    seen = Scrape(server)
    read = seen.samples["plinth_machine_read_bytes_per_second", frozenset()]
    assert read > 1e8 and seen.samples["plinth_machine_operations_per_second", frozenset()] > 1e8
    assert 0 < seen("plinth_decode_bandwidth_ratio") < 4 and 0 < seen("plinth_prefill_peak_ratio") < 2


def test_the_names_of_vllm_come_with_the_switch_alone(plinth):
    text = httpx.get(plinth.url + "/metrics").text
    assert "vllm:" not in text and "plinth_engine_steps_total{" in text
