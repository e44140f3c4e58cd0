"""Keys and values in 8 bits and in bf16, over HTTP: the same answers alone and together, in half the memory. SPDX-License-Identifier: Apache-2.0"""
from concurrent.futures import ThreadPoolExecutor

import httpx
from conftest import CHAT


def chat(server, question, **more):
    body = {"model": CHAT, "messages": [{"role": "user", "content": question}], "max_tokens": 32, "temperature": 0, "logprobs": True, **more}
    r = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=120)
    assert r.status_code == 200, r.text
    return r.json()["choices"][0]


def page_bytes(server):
    text = httpx.get(server.url + "/metrics").text
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f'plinth_kv_page_bytes{{model="{CHAT}"'))


def test_a_server_takes_bf16_for_keys_and_values(start_plinth):
    server = start_plinth("--no-auth", "--kv", "bf16")
    assert "KV in bf16" in server.output()
    answers = [chat(server, "What is 2+2?") for _ in range(2)]
    assert "4" in answers[0]["message"]["content"] and answers[0] == answers[1]


def test_a_server_with_keys_and_values_in_8_bits_answers_from_pages_of_little_more_than_half_the_bytes(start_plinth):
    plain = start_plinth("--no-auth")
    page, answer = page_bytes(plain), chat(plain, "What is 2+2?")
    plain.stop()
    server = start_plinth("--no-auth", "--kv", "q8")
    assert "KV in q8" in server.output()
    assert page_bytes(server) == page * 8.5 / 16
    got = chat(server, "What is 2+2?")
    assert "4" in got["message"]["content"] and "4" in answer["message"]["content"]
    assert got["logprobs"] != answer["logprobs"]  # its bits are its own


def test_answers_with_keys_and_values_in_8_bits_do_not_depend_on_the_neighbours(start_plinth):
    server = start_plinth("--no-auth", "--kv", "q8")
    questions = [f"Tell me about the number {i}." * (1 + i % 3) for i in range(8)]
    alone = [chat(server, q, seed=5, temperature=0.8) for q in questions]
    with ThreadPoolExecutor(8) as together:
        assert list(together.map(lambda q: chat(server, q, seed=5, temperature=0.8), questions)) == alone
