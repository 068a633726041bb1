"""Errors of every origin in OpenAI's shape, over the real worker."""

import json

from janagent.engine.replies import clean, json_reply
from tests.engine.engines import Client


async def test_an_unknown_path_is_404(client: Client):
    status, body = await client.post("nope")
    assert status == 404
    assert body["error"]["type"] == "invalid_request_error"


async def test_a_wrong_method_is_405(client: Client):
    async with client.session.get("/v1/completions") as answer:
        assert answer.status == 405
        assert "error" in await answer.json()


async def test_a_body_that_is_not_json_is_400(client: Client):
    async with client.session.post("/v1/completions", data=b"{oops") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "invalid_json"


def test_text_that_utf8_cannot_carry_is_replaced():
    assert clean("a\ud800b") == "a?b"


def test_a_reply_is_compact_utf8():
    reply = json_reply({"a": "é", "b": [1, 2]}, status=418)
    assert isinstance(reply.body, bytes)
    assert reply.body == '{"a":"é","b":[1,2]}'.encode()
    assert json.loads(reply.body) == {"a": "é", "b": [1, 2]}
    assert (reply.status, reply.content_type) == (418, "application/json")
