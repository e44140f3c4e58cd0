"""databricks-genai-inference 0.2.3, the Foundation Model API client of 2024. SPDX-License-Identifier: Apache-2.0

It pins an old SDK, so it has a virtual environment of its own.
"""
import pytest
from databricks_genai_inference import ChatCompletion, ChatSession, Completion, Embedding
from databricks_genai_inference.api.exception import FoundationModelAPIException

from conftest import CHAT, EMBED

MESSAGES = [{"role": "user", "content": "Name three rivers."}]


@pytest.fixture(autouse=True)
def environment(plinth, monkeypatch):
    for name, value in plinth.environment().items():
        monkeypatch.setenv(name, value)


def test_a_chat_is_answered():
    r = ChatCompletion.create(model=CHAT, messages=MESSAGES, max_tokens=12, temperature=0.0)
    assert r.message and r.id.startswith("chatcmpl_") and r.model == CHAT and r.usage["completion_tokens"] == 12


def test_a_chat_is_streamed():
    whole = ChatCompletion.create(model=CHAT, messages=MESSAGES, max_tokens=12, temperature=0.0).message
    assert "".join(c.message for c in ChatCompletion.create(model=CHAT, messages=MESSAGES, max_tokens=12, temperature=0.0, stream=True)) == whole


def test_a_completion_is_answered_and_streamed():
    ask = dict(model=CHAT, prompt="The capital of France is", use_raw_prompt=True, max_tokens=5, temperature=0.0)
    whole = Completion.create(**ask).text
    assert "Paris" in whole[0]
    assert "".join(c.text for c in Completion.create(stream=True, **ask)) == whole[0]


def test_texts_are_embedded():
    r = Embedding.create(model=EMBED, input=["a river", "a stream"], instruction="Represent this:")
    assert [len(v) for v in r.embeddings] == [384, 384]


def test_a_session_keeps_its_history():
    chat = ChatSession(model=CHAT, system_message="Be brief.", max_tokens=10)
    chat.reply("Hello.")
    chat.reply("And now?")
    assert chat.count == 2 and chat.last


def test_errors_are_the_clients_own(plinth):
    with pytest.raises(FoundationModelAPIException, match="temperature"):
        ChatCompletion.create(model=CHAT, messages=MESSAGES, temperature=3.0)
    with pytest.raises(FoundationModelAPIException, match="does not exist"):
        Embedding.create(model="none", input="x")
