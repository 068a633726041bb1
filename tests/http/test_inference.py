"""`janagent.http.inference`: what the daemon itself checks of a request."""

import json
from typing import Any

import pytest

from tests.http.conftest import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"hello", b"[]", b"null", b'{"model":"tiny","messages":NaN}', b"\xff\xfe"],
)
async def test_a_request_that_is_not_json_is_400(shared: Served, body: bytes) -> None:
    status, error = await shared.error("POST", "/v1/chat/completions", data=body)
    assert (status, error["code"], error["type"]) == (400, "invalid_json", "invalid_request_error")


async def test_a_body_nested_10000_deep_is_400(shared: Served) -> None:
    body = b'{"model":"tiny","messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    status, error = await shared.error("POST", "/v1/chat/completions", data=body)
    assert (status, error["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("endpoint", "change", "param"),
    [
        ("chat/completions", {"model": None}, "model"),
        ("chat/completions", {"model": 5}, "model"),
        ("chat/completions", {"model": ""}, "model"),
        ("chat/completions", {"model": ["tiny"]}, "model"),
        ("chat/completions", {"stream": "yes"}, "stream"),
        ("chat/completions", {"stream": 1}, "stream"),
        ("chat/completions", {"messages": None}, "messages"),
        ("chat/completions", {"messages": "hi"}, "messages"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}, "b"]}, "messages[1]"),
        ("completions", {"prompt": None}, "prompt"),
        ("completions", {"prompt": {"a": 1}}, "prompt"),
        ("embeddings", {"input": None}, "input"),
        ("embeddings", {"input": 5}, "input"),
        ("embeddings", {"input": []}, "input"),
        ("rerank", {"query": None}, "query"),
        ("rerank", {"query": ""}, "query"),
        ("rerank", {"query": ["a"]}, "query"),
        ("rerank", {"documents": None}, "documents"),
        ("rerank", {"documents": "a"}, "documents"),
        ("rerank", {"documents": []}, "documents"),
    ],
)
async def test_a_wrong_type_is_400_and_names_the_field(
    shared: Served, endpoint: str, change: dict[str, Any], param: str
) -> None:
    body = {**CHAT, "prompt": "hi", "input": "hi", "query": "q", "documents": ["d"], **change}
    status, error = await shared.error("POST", f"/v1/{endpoint}", json=body)
    assert (status, error["param"]) == (400, param)
    assert param in error["message"]
    assert shared.runtime.engines() == []


@pytest.mark.parametrize(
    "model",
    [
        "nothing",
        "../../etc/passwd",
        "a/b/c",
        "nul\x00byte",
        "😀",
        "tin",
        "x" * 30_000,
        "\ud800",
        "%2e%2e",
        "/",
    ],
)
async def test_an_id_that_nobody_has_is_404_wherever_it_stands(shared: Served, model: str) -> None:
    status, error = await shared.error(
        "POST", "/v1/chat/completions", data=json.dumps({**CHAT, "model": model})
    )
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")


async def test_the_nearest_ids_are_named(shared: Served) -> None:
    _, error = await shared.error("POST", "/v1/chat/completions", json={**CHAT, "model": "tinny"})
    assert "tiny" in error["message"]


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "embeddings"])
async def test_an_azure_client_names_the_model_in_the_path(shared: Served, endpoint: str) -> None:
    body = {"messages": CHAT["messages"], "prompt": "hi", "input": "hi", "model": "ignored"}
    path = f"/openai/deployments/tiny/{endpoint}?api-version=2024-02-01"
    status, told = await shared.json("POST", path, json=body)
    assert (status, told["path"], told["body"]["model"]) == (200, f"/v1/{endpoint}", "tiny")


async def test_an_azure_client_gets_404_for_an_unknown_deployment(shared: Served) -> None:
    status, error = await shared.error("POST", "/openai/deployments/none/chat/completions", json=CHAT)
    assert (status, error["code"]) == (404, "model_not_found")


async def test_a_client_without_a_content_type_is_served(shared: Served) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _ = await shared.json("POST", "/v1/chat/completions", data=json.dumps(CHAT), headers=headers)
    assert status == 200
