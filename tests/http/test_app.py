"""`janagent.http.app`: the server as a whole: who may call, unknown paths, limits of a connection."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from janagent import __version__
from janagent.http.context import Limits
from tests.http.conftest import Serve, Served

KEY = "sk-right"
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


async def talk(served: Served, data: bytes, *, within_s: float = 10) -> bytes:
    """Send bytes as they are; what came back until the server closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), within_s)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v2/models", "/openai/deployments/x/images"])
async def test_an_unknown_path_is_an_openai_shaped_404(served: Served, path: str) -> None:
    method = "POST" if path.startswith("/openai") else "GET"
    status, error = await served.error(method, path)
    assert (status, error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("GET", "/v1/models/tiny/start", "PUT"),
        ("DELETE", "/v1/models/tiny/stop", "PUT"),
        ("PUT", "/v1/models/tiny", "DELETE"),
        ("POST", "/v1/models/tiny/logs", "GET"),
        ("GET", "/v1/shutdown", "POST"),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_one(
    served: Served, method: str, path: str, allowed: str
) -> None:
    async with served.client.request(method, path) as response:
        assert response.status == 405
        assert allowed in response.headers["Allow"]
        assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_a_foreign_host_is_403(served: Served) -> None:
    status, error = await served.error("GET", "/v1/models", headers={"Host": "evil.example"})
    assert (status, error["code"], error["type"]) == (403, "forbidden_host", "permission_error")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
async def test_a_foreign_page_is_403_for_reading_and_for_writing(
    served: Served, headers: dict[str, str]
) -> None:
    for method, path in [("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/v1/shutdown")]:
        status, error = await served.error(method, path, headers=headers)
        assert (status, error["code"]) == (403, "forbidden_origin")
    assert not served.runtime.shutdown_wanted.is_set()


async def test_an_allowed_host_and_an_allowed_origin_pass(serve: Serve) -> None:
    served = await serve(allowed_hosts=("box.example",), cors_origins=("https://app.example",))
    headers = {"Host": "box.example", "Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    async with served.client.get("/v1/models", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert response.headers["Vary"] == "Origin"
    async with served.client.get("/v1/models/none", headers=headers) as response:
        assert response.status == 404
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_a_preflight_of_an_allowed_origin_is_answered_without_a_key(serve: Serve) -> None:
    served = await serve(api_key=KEY, cors_origins=("https://app.example",))
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
        "Sec-Fetch-Site": "cross-site",
    }
    async with served.client.options("/v1/chat/completions", headers=headers) as response:
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert response.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_a_preflight_of_a_foreign_origin_is_403(served: Served) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    status, error = await served.error("OPTIONS", "/v1/chat/completions", headers=headers)
    assert (status, error["code"]) == (403, "forbidden_origin")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/events", "/metrics", "/v1/nothing"])
async def test_without_the_key_every_call_is_401(serve: Serve, path: str) -> None:
    served = await serve(api_key=KEY)
    async with served.client.get(path, headers={"Authorization": "Bearer sk-wrong"}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        error = (await response.json())["error"]
        assert (error["code"], error["type"]) == ("invalid_api_key", "authentication_error")


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"api-key": KEY}])
async def test_with_the_key_calls_pass_under_any_host(serve: Serve, headers: dict[str, str]) -> None:
    served = await serve(api_key=KEY)
    status, body = await served.json("GET", "/v1/models", headers={**headers, "Host": "tunnel.example"})
    assert (status, body["object"]) == (200, "list")


async def test_health_says_all_with_the_key_and_only_ok_without(serve: Serve) -> None:
    served = await serve(api_key=KEY)
    assert await served.json("GET", "/v1/health") == (200, {"status": "ok"})
    status, body = await served.json("GET", "/v1/health", headers={"api-key": KEY})
    assert (status, body["status"], body["version"]) == (200, "ok", __version__)
    assert body["counts"] == {"downloaded": 1}
    assert set(body["machine"]) == {
        "memory_used_bytes",
        "memory_budget_bytes",
        "downloads_paused",
        "version",
    }


async def test_every_answer_carries_a_request_id_and_keeps_the_clients(served: Served) -> None:
    async with served.client.get("/v1/nothing") as response:
        assert response.headers["X-Request-Id"].startswith("req_")
    async with served.client.get("/v1/models", headers={"X-Request-Id": "mine-1"}) as response:
        assert response.headers["X-Request-Id"] == "mine-1"
    async with served.client.get("/v1/models", headers={"X-Request-Id": "a b <script>"}) as response:
        assert response.headers["X-Request-Id"].startswith("req_")


async def test_shutdown_is_answered_and_then_wanted(served: Served) -> None:
    status, _ = await served.json("POST", "/v1/shutdown")
    assert status == 202
    assert served.runtime.shutdown_wanted.is_set()


@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_body_over_the_limit_is_413(serve: Serve, is_declared: bool) -> None:
    served = await serve(max_body_bytes=1000)

    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100

    data = b" " * 2000 if is_declared else chunks()
    status, error = await served.error("POST", "/v1/chat/completions", data=data)
    assert (status, error["code"]) == (413, "body_too_large")
    assert "1,000" in error["message"]


async def test_a_small_body_that_unpacks_to_a_huge_one_is_413(serve: Serve) -> None:
    served = await serve(max_body_bytes=100_000)
    headers = {"Content-Encoding": "gzip"}
    data = gzip.compress(b" " * 50_000_000)
    status, error = await served.error("POST", "/v1/chat/completions", data=data, headers=headers)
    assert (status, error["code"]) == (413, "body_too_large")


async def test_a_head_that_never_ends_is_cut(serve: Serve) -> None:
    served = await serve(limits=Limits(head_s=0.3))
    assert await talk(served, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ") == b""


async def test_an_idle_connection_is_closed(serve: Serve) -> None:
    served = await serve(limits=Limits(head_s=0.3))
    text = await talk(served, b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert text.startswith(b"HTTP/1.1 200")


async def test_a_body_that_never_comes_is_408(serve: Serve) -> None:
    served = await serve(limits=Limits(body_idle_s=0.2))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    text = await talk(served, head + b"Content-Length: 10\r\n\r\n{")
    assert text.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in text


async def test_a_request_without_host_is_400(served: Served) -> None:
    text = await talk(served, b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b" 400 " in text.splitlines()[0]


async def test_bytes_that_are_no_http_are_400(served: Served) -> None:
    assert b"400" in (await talk(served, b"\x16\x03\x01 hello\r\n\r\n")).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"hello", b"[]", b"null", b'{"model":"tiny","messages":NaN}', b"\xff\xfe"],
)
async def test_a_request_that_is_not_json_is_400(served: Served, body: bytes) -> None:
    status, error = await served.error("POST", "/v1/chat/completions", data=body)
    assert (status, error["code"], error["type"]) == (400, "invalid_json", "invalid_request_error")


async def test_a_body_nested_10000_deep_is_400(served: Served) -> None:
    body = b'{"model":"tiny","messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    status, error = await served.error("POST", "/v1/chat/completions", data=body)
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
    ],
)
async def test_a_wrong_type_is_400_and_names_the_field(
    served: Served, endpoint: str, change: dict[str, Any], param: str
) -> None:
    body = {**CHAT, "prompt": "hi", "input": "hi", **change}
    status, error = await served.error("POST", f"/v1/{endpoint}", json=body)
    assert (status, error["param"]) == (400, param)
    assert param in error["message"]
    assert served.runtime.engines() == []


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
async def test_an_id_that_nobody_has_is_404_wherever_it_stands(served: Served, model: str) -> None:
    status, error = await served.error(
        "POST", "/v1/chat/completions", data=json.dumps({**CHAT, "model": model})
    )
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")


async def test_the_nearest_ids_are_named(served: Served) -> None:
    _, error = await served.error("POST", "/v1/chat/completions", json={**CHAT, "model": "tinny"})
    assert "tiny" in error["message"]


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "embeddings"])
async def test_an_azure_client_names_the_model_in_the_path(served: Served, endpoint: str) -> None:
    body = {"messages": CHAT["messages"], "prompt": "hi", "input": "hi", "model": "ignored"}
    path = f"/openai/deployments/tiny/{endpoint}?api-version=2024-02-01"
    status, told = await served.json("POST", path, json=body)
    assert (status, told["path"], told["body"]["model"]) == (200, f"/v1/{endpoint}", "tiny")


async def test_an_azure_client_gets_404_for_an_unknown_deployment(served: Served) -> None:
    status, error = await served.error("POST", "/openai/deployments/none/chat/completions", json=CHAT)
    assert (status, error["code"]) == (404, "model_not_found")


async def test_a_client_without_a_content_type_is_served(served: Served) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _ = await served.json("POST", "/v1/chat/completions", data=json.dumps(CHAT), headers=headers)
    assert status == 200
