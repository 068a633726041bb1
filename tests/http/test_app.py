"""`janagent.http.app`: the server as a whole: who may call, unknown paths, limits of a connection."""

import asyncio
import gzip
from typing import Any

import pytest

from janagent.http.context import Limits
from tests.http.conftest import Serve, Served

KEY = "sk-right"
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


async def talk(served: Served, data: bytes, *, within_s: float = 60) -> bytes:
    """Send bytes as they are; what came back until the server closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), within_s)
    finally:
        writer.close()
        await writer.wait_closed()


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
