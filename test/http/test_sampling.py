"""Sampling in both dialects, with the official client. SPDX-License-Identifier: Apache-2.0"""
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from conftest import CHAT, PROGRAM

FRANCE = "The capital of France is"
PARIS, FULL_STOP = 7042, 30  # token ids of SmolLM2: " Paris" and "."
GREET = [{"role": "user", "content": "Say hello."}]


def complete(client, prompt=FRANCE, **more):
    known = {"max_tokens", "n", "seed", "temperature", "top_p", "stop", "logprobs", "logit_bias", "presence_penalty", "frequency_penalty", "stream"}
    ask = {"max_tokens": 12, "temperature": 0, **{k: v for k, v in more.items() if k in known}}
    body = {k: v for k, v in more.items() if k not in known}
    return client.completions.create(model=CHAT, prompt=prompt, extra_body={"strict_fields": True, **body}, **ask)


def text(client, *args, **more):
    return complete(client, *args, **more).choices[0].text


@pytest.mark.smoke
def test_a_bias_bans_a_token_or_forces_it(client):
    assert text(client).startswith(" Paris.")
    assert "Paris" not in text(client, logit_bias={str(PARIS): -100})
    assert text(client, logit_bias={str(PARIS): 100}, max_tokens=4) == " Paris" * 4
    assert text(client, temperature=1.5, seed=3, logit_bias={str(PARIS): 100}, max_tokens=4) == " Paris" * 4


def test_logprobs_are_the_models_own_whatever_the_sampling(client):
    plain = complete(client, max_tokens=1, logprobs=5).choices[0].logprobs
    forced = complete(client, max_tokens=1, logprobs=5, logit_bias={str(FULL_STOP): 100}, repetition_penalty=2, temperature=0.5, seed=1).choices[0]
    assert forced.text == "." and forced.logprobs.token_logprobs[0] < plain.token_logprobs[0]
    assert {k: v for k, v in forced.logprobs.top_logprobs[0].items() if k != "."} == plain.top_logprobs[0]
    banned = complete(client, max_tokens=1, logprobs=5, logit_bias={str(PARIS): -100}).choices[0].logprobs
    assert banned.top_logprobs[0][" Paris"] == plain.token_logprobs[0]


def test_penalties_end_repetition(client):
    prompt = "one two one two one two one two"
    ids = {"max_tokens": 60, "logprobs": 0}

    def most(**more):
        tokens = complete(client, prompt, **ids, **more).choices[0].logprobs.tokens
        return Counter(tokens).most_common(1)[0][1]

    plain = most()
    assert plain > 12
    assert most(frequency_penalty=2) < plain / 2
    assert most(presence_penalty=2) < plain
    assert most(repetition_penalty=1.5) < plain / 2
    assert most(repetition_penalty=1, presence_penalty=0, frequency_penalty=0) == plain


def test_min_p_of_one_is_greedy_and_top_k_takes_its_dialects_range(plinth, v1):
    assert text(v1, temperature=2, min_p=1, seed=5) == text(v1)
    assert text(v1, temperature=2, top_k=0, seed=5) == text(v1, temperature=2, top_k=-1, seed=5) == text(v1, temperature=2, seed=5)
    databricks = openai.OpenAI(base_url=plinth.url + "/serving-endpoints", api_key=plinth.token, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="`top_k` must be from 1 to"):
        complete(databricks, top_k=0)


@pytest.mark.parametrize("field, value, words", [
    ("logit_bias", {"7042": 101}, "from -100 to 100"), ("logit_bias", {"x": 1}, "token ids"), ("logit_bias", {"49152": 1}, "49151"),
    ("logit_bias", {str(i): 1 for i in range(301)}, "300"), ("presence_penalty", 2.1, "from -2 to 2"), ("frequency_penalty", -3, "from -2 to 2"),
    ("repetition_penalty", 0, "from 0.01"), ("min_p", 2, "from 0 to 1"), ("min_tokens", 13, "max_tokens"), ("stop_token_ids", [-1], "from 0 to 49151"),
    ("return_sampling", 1, "true or false")])
def test_what_is_out_of_range_is_refused_by_name(plinth, v1, field, value, words):
    with pytest.raises(openai.BadRequestError, match=words) as e:
        complete(v1, **{field: value})
    assert e.value.param.startswith(field)
    r = httpx.post(f"{plinth.url}/serving-endpoints/{CHAT}/invocations", headers=plinth.headers, json={"prompt": "x", "max_tokens": 12, field: value})
    assert r.status_code == 400 and field in r.json()["message"] and r.json()["error_code"] == "BAD_REQUEST"


def test_min_tokens_lets_nothing_end_the_text_before(client):
    def ask(**more):
        r = client.chat.completions.create(model=CHAT, messages=GREET, max_tokens=120, temperature=0, extra_body=more)
        return r.usage.completion_tokens, r.choices[0].finish_reason, r.choices[0].message.content

    n, finish, short = ask()
    assert finish == "stop" and n < 60
    longer, _, content = ask(min_tokens=n + 20)
    assert longer > n + 19 and content.startswith(short)
    assert ask(ignore_eos=True)[0] == 120
    assert text(client, stop=".") == " Paris"
    whole = text(client, max_tokens=30)
    assert text(client, max_tokens=30, stop=".", min_tokens=2).startswith(" Paris.")
    # " Paris" and "." are the first two tokens: with min_tokens 1 the second may complete the stop string.
    assert text(client, max_tokens=30, stop=".", min_tokens=1) == whole[:whole.index(".")]


def test_a_stop_token_ends_the_text_without_being_in_it(client):
    r = complete(client, stop_token_ids=[FULL_STOP, 5], logprobs=0)
    assert r.choices[0].text == " Paris" and r.choices[0].finish_reason == "stop"
    assert r.usage.completion_tokens == 2 and r.choices[0].logprobs.tokens == [" Paris"]
    assert text(client, stop_token_ids=[FULL_STOP], ignore_eos=True) == " Paris"
    streamed = complete(client, stop_token_ids=[FULL_STOP], stream=True)
    assert "".join(c.choices[0].text for c in streamed if c.choices) == " Paris"


def test_a_seed_repeats_whatever_else_is_served(v1):
    ask = dict(temperature=1.3, seed=77, max_tokens=30, top_p=0.95, repetition_penalty=1.1, presence_penalty=0.5, logit_bias={"30": -5, "28": 1.5})
    alone = text(v1, **ask)
    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(text, v1, f"Number {i}:", temperature=1, seed=i, max_tokens=40, frequency_penalty=1) for i in range(12)]
        again = [pool.submit(text, v1, **ask) for _ in range(4)]
        assert {f.result() for f in again} == {alone}
        assert len({f.result() for f in others}) > 6


@pytest.mark.smoke
def test_what_a_reply_says_of_its_sampling_makes_it_again(client):
    first = complete(client, temperature=1.4, n=3, min_p=0.02, frequency_penalty=0.3, max_tokens=20, return_sampling=True)
    sampling = [c.model_extra["sampling"] for c in first.choices]
    assert len({s["seed"] for s in sampling}) == 3 and all(0 <= s["seed"] < 2**53 for s in sampling)
    assert sampling[0]["temperature"] == 1.4 and sampling[0]["min_p"] == 0.02 and sampling[0]["max_tokens"] == 20 and sampling[0]["top_p"] == 1
    assert len({c.text for c in first.choices}) > 1
    for choice, s in zip(first.choices, sampling):
        again = complete(client, return_sampling=True, **s)
        assert again.choices[0].text == choice.text and again.choices[0].model_extra["sampling"] == s
    with_n = complete(client, n=3, **{k: v for k, v in sampling[0].items()})
    assert [c.text for c in with_n.choices] == [c.text for c in first.choices]


def test_prompts_of_a_batch_can_be_made_again_alone(v1):
    batch = complete(v1, ["Once upon a time", "Once upon a time"], temperature=1.5, max_tokens=10, return_sampling=True)
    assert batch.choices[0].text != batch.choices[1].text
    for c in batch.choices:
        assert text(v1, "Once upon a time", **c.model_extra["sampling"]) == c.text


def test_the_last_event_of_a_stream_says_its_sampling(client):
    chunks = list(client.chat.completions.create(model=CHAT, messages=GREET, max_tokens=8, temperature=1.2, stream=True,
                                                 extra_body={"return_sampling": True}))
    said = [c.choices[0].model_extra["sampling"] for c in chunks if c.choices and c.choices[0].finish_reason]
    assert len(said) == 1
    assert all("sampling" not in (c.choices[0].model_extra or {}) for c in chunks if c.choices and not c.choices[0].finish_reason)
    ask = {k: v for k, v in said[0].items()}
    again = client.chat.completions.create(model=CHAT, messages=GREET, extra_body=ask)
    assert again.choices[0].message.content == "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_the_command_line_sends_all_of_it(plinth, v1):
    options = {"--temperature": 1.2, "--top-p": 0.9, "--top-k": 60, "--min-p": 0.01, "--repetition-penalty": 1.2, "--presence-penalty": -0.5,
               "--frequency-penalty": 0.25, "--seed": 11, "--max-tokens": 20, "--min-tokens": 15, "--stop": "e", "--stop-token-id": FULL_STOP}
    line = [PROGRAM, "complete", FRANCE, "--ignore-eos", "--logit-bias", f"{PARIS}=-3", "--logit-bias", "28=2"]
    line += [str(x) for pair in options.items() for x in pair]
    local = subprocess.run([*line, "--model", CHAT], capture_output=True, text=True, timeout=120, check=True).stdout
    env = {"PLINTH_TOKEN": plinth.token}
    remote = subprocess.run([*line, "--model", CHAT, "--url", plinth.url], env=env, capture_output=True, text=True, timeout=120, check=True).stdout
    api = text(v1, temperature=1.2, top_p=0.9, top_k=60, min_p=0.01, repetition_penalty=1.2, presence_penalty=-0.5, frequency_penalty=0.25, seed=11,
               max_tokens=20, min_tokens=15, stop="e", stop_token_ids=[FULL_STOP], ignore_eos=True, logit_bias={str(PARIS): -3, "28": 2})
    assert local == remote == api and len(local) > 20
