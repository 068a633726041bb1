"""Endpoints, headers, refusals, event streams; tests/cli/test_client.py has them over a real connection."""

import http.client
import io
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from janagent.caller import Endpoint, model_path, refusal, server_sent_events
from tests.daemons import Daemon


def test_an_id_is_one_encoded_segment_of_the_path():
    assert model_path("a/b c#?%é", "/start") == "/v1/models/a%2Fb%20c%23%3F%25%C3%A9/start"


def test_a_key_travels_as_a_bearer_token_and_is_not_printed():
    endpoint = Endpoint("http://127.0.0.1:1", "secret")
    assert endpoint.headers("x")["Authorization"] == "Bearer secret"
    assert "secret" not in repr(endpoint)
    assert "Authorization" not in Endpoint("http://127.0.0.1:1").headers("x")


@pytest.mark.parametrize(
    ("url", "host", "port"), [("http://127.0.0.1:7", "127.0.0.1", 7), ("http://[::1]:8", "::1", 8)]
)
def test_an_address_of_either_kind_is_understood(url: str, host: str, port: int):
    connection = Endpoint(url).connection(timeout_s=1)
    assert (connection.host, connection.port) == (host, port)


def test_a_certificate_that_is_not_there_is_an_error_at_once(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        Endpoint("https://127.0.0.1:1", tls_cert=tmp_path / "none.pem").connection(timeout_s=1)


def test_https_trusts_what_the_machine_trusts():
    connection = Endpoint("https://127.0.0.1:1").connection(timeout_s=1)
    assert isinstance(connection, http.client.HTTPSConnection)
    assert connection._context.verify_mode is ssl.CERT_REQUIRED  # type: ignore[attr-defined]


@pytest.mark.parametrize("body", [b"", b"<ht>", b"[]", b'{"error": "no"}', b'{"error": {"code": "c"}}'])
def test_an_answer_that_is_not_ours_still_makes_a_sentence(body: bytes):
    assert refusal(502, body) == ("unknown", "the server answered 502 Bad Gateway")


def test_a_refusal_of_ours_brings_code_and_message():
    body = json.dumps({"error": {"code": "model_not_found", "message": "no model"}}).encode()
    assert refusal(404, body) == ("model_not_found", "no model")


def events_of(text: bytes) -> list[tuple[str, Any]]:
    """What the parser makes of a whole stream, read in any pieces."""
    response = http.client.HTTPResponse.__new__(http.client.HTTPResponse)
    source = io.BytesIO(text)
    response.read1 = lambda n=-1: source.read(7)  # type: ignore[method-assign]
    return list(server_sent_events(response))


def test_comments_ids_and_unnamed_events_are_understood():
    assert events_of(b": hi\n\nevent: model\r\ndata: {\r\ndata: }\r\nid: 7\r\n\r\ndata: [1]\n\n") == [
        ("model", {}),
        ("message", [1]),
    ]


def test_an_event_that_did_not_end_is_not_told():
    assert events_of(b"data: 1\n\ndata: 2\n") == [("message", 1)]


def test_a_real_daemon_is_called(daemon: Daemon):
    connection = Endpoint(daemon.url).connection(timeout_s=10)
    connection.request("GET", model_path("smol"), headers=Endpoint(daemon.url).headers("test"))
    assert json.loads(connection.getresponse().read())["id"] == "smol"
    connection.close()
