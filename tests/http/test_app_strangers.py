"""`janagent.http.app`: unknown paths, foreign pages and bytes that are no request."""

import pytest

from tests.http.conftest import Served
from tests.http.test_app import talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v2/models", "/openai/deployments/x/images"])
async def test_an_unknown_path_is_an_openai_shaped_404(shared: Served, path: str) -> None:
    method = "POST" if path.startswith("/openai") else "GET"
    status, error = await shared.error(method, path)
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
    shared: Served, method: str, path: str, allowed: str
) -> None:
    async with shared.client.request(method, path) as response:
        assert response.status == 405
        assert allowed in response.headers["Allow"]
        assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_a_foreign_host_is_403(shared: Served) -> None:
    status, error = await shared.error("GET", "/v1/models", headers={"Host": "evil.example"})
    assert (status, error["code"], error["type"]) == (403, "forbidden_host", "permission_error")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
async def test_a_foreign_page_is_403_for_reading_and_for_writing(
    shared: Served, headers: dict[str, str]
) -> None:
    for method, path in [("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/v1/shutdown")]:
        status, error = await shared.error(method, path, headers=headers)
        assert (status, error["code"]) == (403, "forbidden_origin")
    assert not shared.runtime.shutdown_wanted.is_set()


async def test_a_preflight_of_a_foreign_origin_is_403(shared: Served) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    status, error = await shared.error("OPTIONS", "/v1/chat/completions", headers=headers)
    assert (status, error["code"]) == (403, "forbidden_origin")


async def test_every_answer_carries_a_request_id_and_keeps_the_clients(shared: Served) -> None:
    async with shared.client.get("/v1/nothing") as response:
        assert response.headers["X-Request-Id"].startswith("req_")
    async with shared.client.get("/v1/models", headers={"X-Request-Id": "mine-1"}) as response:
        assert response.headers["X-Request-Id"] == "mine-1"
    async with shared.client.get("/v1/models", headers={"X-Request-Id": "a b <script>"}) as response:
        assert response.headers["X-Request-Id"].startswith("req_")


async def test_a_request_without_host_is_400(shared: Served) -> None:
    text = await talk(shared, b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b" 400 " in text.splitlines()[0]


async def test_bytes_that_are_no_http_are_400(shared: Served) -> None:
    assert b"400" in (await talk(shared, b"\x16\x03\x01 hello\r\n\r\n")).split(b"\r\n")[0]
