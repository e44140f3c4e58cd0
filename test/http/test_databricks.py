"""Databricks' clients: MLflow Deployments and the SDK. SPDX-License-Identifier: Apache-2.0"""
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, NotFound, PermissionDenied
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from mlflow.deployments import get_deploy_client

from conftest import CHAT, EMBED

RIVERS = {"messages": [{"role": "user", "content": "Name three rivers."}], "max_tokens": 12, "temperature": 0}


@pytest.fixture
def environment(plinth, monkeypatch):
    for name, value in plinth.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def mlflow(environment):
    return get_deploy_client("databricks")


@pytest.fixture
def sdk(plinth, environment):
    return WorkspaceClient(host=plinth.url, token=plinth.token)


def test_mlflow_predicts_chats_completions_and_embeddings(mlflow):
    chat = mlflow.predict(endpoint=CHAT, inputs=RIVERS)
    assert chat["choices"][0]["message"]["content"] and chat["usage"]["completion_tokens"] == 12
    raw = mlflow.predict(endpoint=CHAT, inputs={"prompt": "The capital of France is", "use_raw_prompt": True, "max_tokens": 5, "temperature": 0})
    assert "Paris" in raw["choices"][0]["text"]
    vectors = mlflow.predict(endpoint=EMBED, inputs={"input": ["a river", "a stream"], "instruction": "Represent this:"})
    assert [len(d["embedding"]) for d in vectors["data"]] == [384, 384]


def test_mlflow_streams(mlflow):
    whole = mlflow.predict(endpoint=CHAT, inputs=RIVERS)["choices"][0]["message"]["content"]
    chunks = list(mlflow.predict_stream(endpoint=CHAT, inputs=RIVERS))
    assert "".join(c["choices"][0]["delta"]["content"] for c in chunks) == whole
    assert all(c["choices"][0]["delta"]["role"] == "assistant" for c in chunks)
    counts = [c["usage"]["completion_tokens"] for c in chunks]
    assert counts == sorted(counts) and counts[-1] == 12


def test_mlflow_lists_and_gets_endpoints(mlflow):
    assert {e["name"] for e in mlflow.list_endpoints()} >= {CHAT, EMBED}
    e = mlflow.get_endpoint(CHAT)
    assert e["task"] == "llm/v1/chat" and e["state"]["ready"] == "READY"


def test_the_sdk_queries(sdk):
    r = sdk.serving_endpoints.query(name=CHAT, messages=[ChatMessage(role=ChatMessageRole.USER, content="Name three rivers.")], max_tokens=12,
                                    temperature=0)
    assert r.choices[0].message.content and r.usage.completion_tokens == 12
    assert r.served_model_name == CHAT
    r = sdk.serving_endpoints.query(name=EMBED, input="a river")
    assert len(r.data[0].embedding) == 384
    r = sdk.serving_endpoints.query(name=CHAT, prompt="Hello", max_tokens=3)
    assert r.choices[0].text is not None


def test_the_sdk_lists_and_gets_endpoints(sdk):
    assert {e.name for e in sdk.serving_endpoints.list()} >= {CHAT, EMBED}
    e = sdk.serving_endpoints.get(EMBED)
    assert e.task == "llm/v1/embeddings" and e.state.ready.value == "READY" and len(e.id) == 32
    assert e.config.served_entities[0].state.deployment.value == "DEPLOYMENT_READY"
    with pytest.raises(NotFound):
        sdk.serving_endpoints.get("none")


def test_the_sdk_raises_its_own_errors(plinth, sdk):
    with pytest.raises(BadRequest, match="temperature"):
        sdk.serving_endpoints.query(name=CHAT, messages=[ChatMessage(role=ChatMessageRole.USER, content="x")], temperature=3)
    with pytest.raises(NotFound):
        sdk.serving_endpoints.query(name="none", prompt="x")
    for ask in (lambda: sdk.serving_endpoints.query(name=EMBED, input="x" * (5 << 20)),
                lambda: sdk.api_client.do("POST", "/api/2.0/serving-endpoints", body={})):
        with pytest.raises(BadRequest):  # 413 and 405: as a class that MLflow does not take for a passing trouble of the server
            ask()
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        WorkspaceClient(host=plinth.url, token="wrong").serving_endpoints.get(CHAT)
