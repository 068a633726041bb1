"""`janagent.http.errors`: refusals in OpenAI's shape."""

import json
import logging

import pytest

from janagent.core.faults import Refusal
from janagent.http.errors import TABLE, ApiError, error_event, error_response, status_and_type

OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    409: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    507: "server_error",
}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("model_not_found", 404),
        ("model_invalid", 409),
        ("model_missing", 409),
        ("model_stopped", 409),
        ("model_downloading", 503),
        ("insufficient_memory", 507),
        ("memory_busy", 503),
        ("engine_failed", 502),
        ("engine_backoff", 503),
        ("context_length_exceeded", 400),
        ("invalid_request", 400),
        ("queue_full", 429),
        ("invalid_api_key", 401),
        ("forbidden_host", 403),
        ("forbidden_origin", 403),
        ("shutting_down", 503),
        ("body_too_large", 413),
    ],
)
def test_each_code_of_the_contract_has_its_status(code: str, status: int) -> None:
    assert status_and_type(code)[0] == status


def test_every_type_is_one_of_openais() -> None:
    assert {kind for _, kind in TABLE.values()} <= set(OPENAI_TYPES.values())
    for status, kind in TABLE.values():
        assert kind == OPENAI_TYPES.get(status, kind)


def test_the_body_has_openais_four_fields() -> None:
    response = error_response(Refusal("invalid_request", "'n' must be a number.", param="n"))
    assert json.loads(response.body) == {  # type: ignore[arg-type]
        "error": {
            "message": "'n' must be a number.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_request",
        }
    }


@pytest.mark.parametrize(
    ("retry_after_s", "header"), [(0.0, "1"), (0.2, "1"), (1.2, "2"), (30.0, "30"), (None, "1")]
)
def test_retry_after_is_whole_seconds_and_never_zero(retry_after_s: float | None, header: str) -> None:
    refusal = Refusal("engine_backoff", "later", retry_after_s=retry_after_s)
    assert error_response(refusal).headers["Retry-After"] == header


@pytest.mark.parametrize(
    "code", ["queue_full", "model_downloading", "memory_busy", "engine_backoff", "shutting_down"]
)
def test_codes_that_promise_a_retry_time_always_carry_one(code: str) -> None:
    assert int(error_response(Refusal(code, "later")).headers["Retry-After"]) >= 1


def test_other_refusals_carry_none() -> None:
    assert "Retry-After" not in error_response(Refusal("model_not_found", "no")).headers


def test_a_refusal_of_http_brings_its_headers() -> None:
    response = error_response(ApiError("method_not_allowed", "no", headers={"Allow": "GET"}))
    assert (response.status, response.headers["Allow"]) == (405, "GET")


def test_a_code_that_nobody_listed_is_our_mistake(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert error_response(Refusal("made_up", "hm")).status == 500
    assert "made_up" in caplog.text


def test_no_url_in_an_error_gives_a_secret_away() -> None:
    body = error_response(Refusal("engine_failed", "no answer from https://me:pw@h.example/v1?sig=abc")).body
    assert isinstance(body, bytes)
    assert b"https://***@h.example/v1?sig=***" in body


def test_an_error_within_a_stream_is_one_event() -> None:
    text = error_event(Refusal("engine_failed", "gone\nfor good"))
    assert text.startswith(b'data: {"error":{')
    assert text.endswith(b"}}\n\n")
    assert text.count(b"\n") == 2
