"""`plinth bench serve` against a real server: what it counts is what the server did. SPDX-License-Identifier: Apache-2.0"""
import json
import subprocess

import pytest

from conftest import CHAT, EMBED, PROGRAM


def bench(plinth, *options, code=0):
    done = subprocess.run([PROGRAM, "bench", "serve", "--json", *options], capture_output=True, text=True, timeout=300, env=plinth.environment())
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.mark.parametrize("task", ["chat", "completions"])
def test_a_closed_loop_counts_every_token(plinth, task):
    made = plinth.metric("plinth_engine_decode_tokens_total")
    r = bench(plinth, "-m", CHAT, "--task", task, "--num-prompts", "6", "--max-concurrency", "3", "--input-tokens", "40", "--output-tokens", "8")
    assert (r["completed"], r["failed"], r["total_output_tokens"]) == (6, 0, 48)
    assert r["total_input_tokens"] >= 6 * 40
    assert 1 <= r["max_concurrent_requests"] <= 3
    assert 0 < r["median_ttft_ms"] <= r["p99_ttft_ms"] <= r["duration"] * 1000
    assert r["metrics"]["output_token_count"]["successful"]["total_sum"] == 48
    assert plinth.metric("plinth_engine_decode_tokens_total") > made


def test_an_open_loop_keeps_its_rate(plinth):
    r = bench(plinth, "-m", CHAT, "--num-prompts", "8", "--request-rate", "20", "--output-tokens", "2", "--input-tokens", "5", "--seed", "1")
    assert r["completed"] == 8 and r["request_rate"] == 20
    assert r["duration"] > 0.1  # eight Poisson arrivals of this seed take longer than that


def test_embeddings_are_measured(plinth):
    r = bench(plinth, "-m", EMBED, "--task", "embeddings", "--num-prompts", "5", "--max-concurrency", "2", "--input-tokens", "30")
    assert r["completed"] == 5 and r["total_output_tokens"] == 0 and r["median_e2el_ms"] > 0
    assert "mean_ttft_ms" not in r


def test_what_fails_is_counted_and_said(plinth):
    assert "does not exist" in bench(plinth, "-m", "nobody", code=1)
    r = bench(plinth, "-m", "nobody", "--warmup", "0", "--num-prompts", "3", code=1)
    assert (r["completed"], r["failed"]) == (0, 3) and all("does not exist" in e for e in r["errors"])


def test_a_wrong_rate_is_a_usage_error(plinth):
    assert "--request-rate" in bench(plinth, "-m", CHAT, "--request-rate", "fast", code=2)
