"""The official OpenAI client against both dialects. SPDX-License-Identifier: Apache-2.0"""
import asyncio
import base64
import math
import struct

import openai
import pytest

from conftest import CHAT, EMBED

RIVERS = [{"role": "user", "content": "Name three rivers."}]


def joined(stream):
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


@pytest.mark.smoke
def test_a_chat_is_answered(client):
    r = client.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=20, temperature=0)
    assert r.object == "chat.completion" and r.model == CHAT
    assert r.choices[0].message.role == "assistant" and len(r.choices[0].message.content) > 10
    assert r.choices[0].finish_reason == "length"
    assert r.usage.completion_tokens == 20 and r.usage.total_tokens == r.usage.prompt_tokens + 20


@pytest.mark.smoke
def test_a_stream_equals_the_whole_reply(client):
    for more in ({"temperature": 0}, {"seed": 7, "temperature": 1.2, "top_p": 0.9, "extra_body": {"top_k": 40}}):
        ask = dict(model=CHAT, messages=RIVERS, max_tokens=40, **more)
        whole = client.chat.completions.create(**ask).choices[0].message.content
        chunks = list(client.chat.completions.create(stream=True, **ask))
        assert joined(chunks) == whole
        assert chunks[-1].choices[0].finish_reason == "length"


def test_a_seed_repeats_and_no_seed_does_not(v1):
    def ask(**more):
        return v1.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=30, temperature=1.5, **more).choices[0].message.content

    assert ask(seed=1) == ask(seed=1)
    assert len({ask() for _ in range(4)}) > 1


def test_usage_of_a_stream_comes_when_asked_for(v1):
    ask = dict(model=CHAT, messages=RIVERS, max_tokens=5, stream=True)
    assert all(c.usage is None for c in v1.chat.completions.create(**ask))
    chunks = list(v1.chat.completions.create(stream_options={"include_usage": True}, **ask))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 5
    assert all(c.usage is None for c in chunks[:-1])
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(c.choices[0].delta.role is None for c in chunks[1:-1])


def test_a_stop_string_ends_the_text_before_it(v1):
    whole = v1.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=60, temperature=0).choices[0].message.content
    stop = whole[12:18]
    for stops in (stop, [stop, "zzzz"]):
        r = v1.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=60, temperature=0, stop=stops)
        assert r.choices[0].message.content == whole[:whole.index(stop)]
        assert r.choices[0].finish_reason == "stop" and r.usage.completion_tokens < 60


def test_several_choices(v1):
    r = v1.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=15, n=3, seed=3, temperature=1.5)
    one = v1.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=15, seed=3, temperature=1.5)
    assert [c.index for c in r.choices] == [0, 1, 2]
    assert len({c.message.content for c in r.choices}) > 1
    assert r.choices[0].message.content == one.choices[0].message.content
    assert r.usage.completion_tokens == 45


def test_a_chat_may_have_logprobs(client):
    r = client.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=8, temperature=0, logprobs=True, top_logprobs=3)
    entries = r.choices[0].logprobs.content
    assert len(entries) == 8
    assert b"".join(bytes(e.bytes) for e in entries).decode() == r.choices[0].message.content
    for e in entries:
        assert e.logprob <= 0 and len(e.top_logprobs) == 3
        assert e.top_logprobs[0].token == e.token  # greedy
        assert math.isclose(e.top_logprobs[0].logprob, e.logprob)
        assert sorted((t.logprob for t in e.top_logprobs), reverse=True) == [t.logprob for t in e.top_logprobs]


def test_messages_may_be_of_every_role_and_in_parts(v1):
    r = v1.chat.completions.create(model=CHAT, max_completion_tokens=5, messages=[
        {"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Bye."}])
    assert r.usage.completion_tokens <= 5


@pytest.mark.smoke
def test_a_completion_continues_the_prompt(client):
    r = client.completions.create(model=CHAT, prompt="The capital of France is", max_tokens=5, temperature=0)
    assert r.object == "text_completion" and "Paris" in r.choices[0].text
    assert r.usage.prompt_tokens == 5  # no template around it


def test_prompts_in_a_batch_get_what_they_get_alone(client):
    prompts = ["One, two,", "The sky is", "Once upon a time"]
    batch = client.completions.create(model=CHAT, prompt=prompts, max_tokens=8, temperature=0)
    assert [c.index for c in batch.choices] == [0, 1, 2]
    for p, c in zip(prompts, batch.choices):
        assert client.completions.create(model=CHAT, prompt=p, max_tokens=8, temperature=0).choices[0].text == c.text


def test_echo_suffix_and_the_old_logprobs(client):
    r = client.completions.create(model=CHAT, prompt="The capital of France is", suffix=" END", echo=True, logprobs=2, max_tokens=4, temperature=0)
    text, l = r.choices[0].text, r.choices[0].logprobs
    assert text.startswith("The capital of France is") and text.endswith(" END")
    assert len(l.tokens) == len(l.token_logprobs) == len(l.top_logprobs) == len(l.text_offset) == 9
    assert l.token_logprobs[0] is None and all(x <= 0 for x in l.token_logprobs[1:])
    for token, offset in zip(l.tokens, l.text_offset):
        assert text[offset:offset + len(token)] == token
    assert all(2 <= len(t) <= 3 for t in l.top_logprobs[1:])


def test_a_prompt_can_be_scored_alone(client):
    r = client.completions.create(model=CHAT, prompt="The capital of France is Paris", echo=True, logprobs=0, max_tokens=0)
    assert r.choices[0].text == "The capital of France is Paris" and r.usage.completion_tokens == 0
    assert r.choices[0].logprobs.token_logprobs[-1] > -3


def test_a_prompt_may_be_token_ids(client):
    ids = client.completions.create(model=CHAT, prompt=[504, 3575, 282], max_tokens=4, temperature=0, echo=True)
    text = client.completions.create(model=CHAT, prompt=ids.choices[0].text[:0] + "The capital of", max_tokens=4, temperature=0, echo=True)
    assert ids.choices[0].text == text.choices[0].text
    with pytest.raises(openai.BadRequestError, match="49152"):
        client.completions.create(model=CHAT, prompt=[49152])


def test_a_streamed_completion_equals_the_whole(client):
    ask = dict(model=CHAT, prompt="Once upon a time", max_tokens=30, temperature=0, echo=True, suffix="!")
    whole = client.completions.create(**ask).choices[0].text
    assert "".join(c.choices[0].text for c in client.completions.create(stream=True, **ask)) == whole


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.smoke
def test_embeddings_mean_what_texts_mean(client):
    r = client.embeddings.create(model=EMBED, input=["A river is a moving lake.", "Water flows in a stream.", "Bread rises in the oven."])
    a, b, c = (d.embedding for d in r.data)
    assert len(a) == 384 and math.isclose(cosine(a, a), 1) and math.isclose(sum(x * x for x in a), 1, abs_tol=1e-4)
    assert cosine(a, b) > cosine(a, c) + 0.2
    assert r.usage.total_tokens == r.usage.prompt_tokens > 15


def test_floats_and_base64_are_the_same_numbers(client):
    floats = client.embeddings.create(model=EMBED, input="Hello", encoding_format="float").data[0].embedding
    raw = client.embeddings.with_raw_response.create(model=EMBED, input="Hello", encoding_format="base64").http_response.json()
    packed = base64.b64decode(raw["data"][0]["embedding"])
    assert list(struct.unpack("<384f", packed)) == [struct.unpack("<f", struct.pack("<f", x))[0] for x in floats]


def test_a_batch_of_embeddings_keeps_its_order(v1):
    texts = [f"number {i}" for i in range(40)]
    batch = v1.embeddings.create(model=EMBED, input=texts, encoding_format="float")
    assert [d.index for d in batch.data] == list(range(40))
    for i in (0, 17, 39):
        assert v1.embeddings.create(model=EMBED, input=texts[i], encoding_format="float").data[0].embedding == batch.data[i].embedding


def test_a_long_input_is_refused_or_cut(client):
    text = "word " * 400
    with pytest.raises(openai.BadRequestError, match=r"402.*256"):
        client.embeddings.create(model=EMBED, input=text)
    r = client.embeddings.create(model=EMBED, input=text, extra_body={"truncate_prompt_tokens": 256})
    assert r.usage.prompt_tokens == 256
    same = client.embeddings.create(model=EMBED, input="word " * 254)
    assert cosine(r.data[0].embedding, same.data[0].embedding) > 0.9999


def test_errors_are_the_clients_own_classes(plinth, v1):
    with pytest.raises(openai.NotFoundError) as e:
        v1.chat.completions.create(model="none", messages=RIVERS)
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as e:
        v1.chat.completions.create(model=CHAT, messages=RIVERS, temperature=3)
    assert e.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as e:
        v1.chat.completions.create(model=CHAT, messages=RIVERS, max_tokens=9000)
    assert e.value.code == "context_length_exceeded" and "8192" in e.value.message and "9000" in e.value.message
    with pytest.raises(openai.BadRequestError, match="llm/v1/embeddings"):
        v1.chat.completions.create(model=EMBED, messages=RIVERS)
    with pytest.raises(openai.BadRequestError, match="llm/v1/chat"):
        v1.embeddings.create(model=CHAT, input="x")
    with pytest.raises(openai.BadRequestError, match="functions"):
        v1.chat.completions.create(model=CHAT, messages=RIVERS, tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=plinth.url + "/v1", api_key="wrong").models.list()
    with pytest.raises(openai.PermissionDeniedError):
        openai.OpenAI(base_url=plinth.url + "/serving-endpoints", api_key="wrong").embeddings.create(model=EMBED, input="x")


def test_models_are_listed_and_found(v1):
    assert {m.id for m in v1.models.list()} >= {CHAT, EMBED}
    assert v1.models.retrieve(CHAT).id == CHAT
    with pytest.raises(openai.NotFoundError):
        v1.models.retrieve("none")


@pytest.mark.asyncio
@pytest.mark.smoke
async def test_the_asynchronous_client_streams_many_at_once(plinth):
    client = openai.AsyncOpenAI(base_url=plinth.url + "/v1", api_key=plinth.token, max_retries=0)

    async def one(i):
        text = ""
        async for c in await client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": f"Count from {i}."}], max_tokens=12,
                                                            temperature=0, stream=True):
            text += c.choices[0].delta.content or ""
        return text

    together = await asyncio.gather(*(one(i % 4) for i in range(32)))
    assert len(set(together)) <= 4 and all(together)  # the same question, the same bits, whoever else is served
    assert together[0] == await one(0)
    vectors = await client.embeddings.create(model=EMBED, input=["a", "b"])
    assert len(vectors.data) == 2
    await client.close()
