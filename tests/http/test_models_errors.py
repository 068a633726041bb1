"""`janagent.http.models`: requests that cannot be meant; nothing starts for any of them."""

import asyncio
import json
from urllib.parse import quote

import pytest

from tests.http.conftest import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("query", ["filter=stopped", "state=", "filter=all&state=running", "filter=ALL"])
async def test_another_filter_is_400(shared: Served, query: str) -> None:
    status, error = await shared.error("GET", f"/v1/models?{query}")
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert error["param"] in ("filter", "state")


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "%00", "a\x00b", "😀", "nope/start", "x" * 20_000, "%", "%zz", "?x"]
)
async def test_an_unknown_id_is_404_whatever_it_holds(shared: Served, name: str) -> None:
    status, error = await shared.error("GET", f"/v1/models/{quote(name, safe='')}")
    assert (status, error["code"]) == (404, "model_not_found")


async def test_dots_in_a_raw_path_are_only_a_name(shared: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    writer.write(b"GET /v1/models/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert text.startswith(b"HTTP/1.1 404")
    assert b"model_not_found" in text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"id": "other"}, "id"),
        ({"id": 5}, "id"),
        ({"engine": "vllm"}, "engine"),
        ({"engine": "openai"}, "engine"),
        ({"engine": "api"}, "engine"),
        ({"engine": 7}, "engine"),
        ({"engine": ["llamacpp"]}, "engine"),
        ({"model_parameters": [1]}, "model_parameters"),
        ({"model_parameters": "x"}, "model_parameters"),
    ],
)
async def test_a_start_that_contradicts_itself_is_400(shared: Served, body: object, param: str) -> None:
    status, error = await shared.error("PUT", "/v1/models/tiny/start", json=body)
    assert (status, error["param"]) == (400, param)
    assert shared.runtime.engines() == []


@pytest.mark.parametrize(
    "parameters", [{"ctx_len": "many"}, {"init": {"ngl": -5}}, {"runtime": {"top_p": 7}}]
)
async def test_an_impossible_start_parameter_is_400_and_named(shared: Served, parameters: object) -> None:
    body = {"model_parameters": parameters}
    status, error = await shared.error("PUT", "/v1/models/tiny/start", json=body)
    assert status == 400
    assert error["param"]
    assert error["param"].rpartition(".")[2] in json.dumps(parameters)


@pytest.mark.parametrize("data", [b"{", b"[]", b"5"])
async def test_a_start_body_that_is_no_object_is_400(shared: Served, data: bytes) -> None:
    status, error = await shared.error("PUT", "/v1/models/tiny/start", data=data)
    assert (status, error["code"]) == (400, "invalid_json")


async def test_a_wait_that_is_neither_true_nor_false_is_400(shared: Served) -> None:
    status, error = await shared.error("PUT", "/v1/models/tiny/start?wait=maybe")
    assert (status, error["param"]) == (400, "wait")


@pytest.mark.parametrize("method_path", [("PUT", "none/start"), ("PUT", "none/stop"), ("DELETE", "none")])
async def test_commands_for_an_unknown_model_are_404(shared: Served, method_path: tuple[str, str]) -> None:
    method, path = method_path
    status, error = await shared.error(method, f"/v1/models/{path}")
    assert (status, error["code"]) == (404, "model_not_found")
