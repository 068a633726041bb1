"""What is said of an upstream's errors."""

import json

import pytest

from janagent.remote.faults import error_of, health_fault, in_shape, redirected, words_of

OPENAI = b'{"error": {"message": "no", "type": "x", "param": null, "code": "y"}, "more": 1}'


def test_an_error_in_openai_s_shape_stays_as_it_is() -> None:
    assert in_shape(400, OPENAI, host="h") is OPENAI


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>no</html>", b'{"detail": "no"}', b'{"error": "no"}', b"[" * 100_000, b"\xff"]
)
def test_any_other_body_is_put_into_it(body: bytes) -> None:
    error = json.loads(in_shape(503, body, host="h"))["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"].startswith("h answered 503 Service Unavailable")
    assert error["type"] == "server_error"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "authentication_error"), (403, "permission_error"), (404, "invalid_request_error"),
     (429, "rate_limit_error"), (500, "server_error"), (599, "server_error")],
)  # fmt: skip
def test_the_type_follows_the_status(status: int, kind: str) -> None:
    assert json.loads(in_shape(status, b"", host="h"))["error"]["type"] == kind


def test_a_long_page_is_quoted_in_part_and_without_its_markup() -> None:
    page = b"<html><script>var x = 1;</script><p>Sorry,\n  we   are down</p>" + b"<p>x</p>" * 10_000
    words = words_of(502, page, host="h")
    assert words.startswith("h answered 502 Bad Gateway: Sorry, we are down")
    assert len(words) < 400


@pytest.mark.parametrize("status", [200, 400, 409, 413, 422])
def test_what_is_wrong_with_one_request_says_nothing_of_the_upstream(status: int) -> None:
    assert health_fault(status, OPENAI, host="h") is None


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_what_is_wrong_with_the_upstream_is_its_health(status: int) -> None:
    fault = health_fault(status, OPENAI, host="h")
    assert fault is not None
    assert fault.message.endswith(": no")


def test_a_redirect_s_secrets_are_not_repeated() -> None:
    words = str(redirected("h", "https://me:pw@other.example/x?token=abc123def"))
    assert "other.example" in words
    assert "pw" not in words.replace("upstream", "")
    assert "abc123def" not in words


def test_an_error_that_is_no_object_is_none() -> None:
    assert error_of(b'{"error": 5}') == 5
    assert error_of(b"5") is None
    assert error_of(b"no") is None
