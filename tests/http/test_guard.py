"""`janagent.http.guard`: who may call."""

import socket

import pytest

from janagent.core.faults import Refusal
from janagent.http.guard import Authority, Guard, parse_authority, preflight_headers

KEY = "s3cret"
OPEN = Guard.of(api_key=None, allowed_hosts=("box.example",), cors_origins=("https://app.example",))
LOCKED = Guard.of(api_key=KEY)


def refused(guard: Guard, headers: dict[str, str]) -> str:
    with pytest.raises(Refusal) as caught:
        guard.admit(headers)
    return caught.value.code


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1337",
        "jan.localhost:1337",
        "127.0.0.1:1337",
        "[::1]:1337",
        "192.168.1.20",
        "box.example",
        "Box.Example.:80",
        socket.gethostname(),
    ],
)
def test_own_names_and_ip_literals_pass(host: str) -> None:
    assert OPEN.admit({"Host": host}).has_key


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "a@localhost", "localhost:x", "[::1"],
)
def test_a_foreign_or_broken_host_is_forbidden(host: str) -> None:
    assert refused(OPEN, {"Host": host}) == "forbidden_host"


def test_any_host_passes_with_a_valid_key() -> None:
    headers = {"Host": "tunnel.example", "Authorization": f"Bearer {KEY}"}
    assert LOCKED.admit(headers).has_key
    assert refused(LOCKED, {"Host": "tunnel.example", "Authorization": "Bearer wrong"}) == "forbidden_host"


def test_a_key_that_nobody_set_opens_no_foreign_host() -> None:
    assert refused(OPEN, {"Host": "evil.example", "Authorization": "Bearer anything"}) == "forbidden_host"


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer  {KEY}"}, {"api-key": KEY}]
)
def test_the_key_comes_as_bearer_or_as_api_key(headers: dict[str, str]) -> None:
    assert LOCKED.has_key(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"api-key": ""},
        {"api-key": "s3cret "},
        {"api-key": "ключ"},
    ],
)
def test_anything_else_is_no_key(headers: dict[str, str]) -> None:
    assert not LOCKED.has_key(headers)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:1337", "http://localhost:1337"),
        ("127.0.0.1:1337", "http://localhost:1337"),
        ("[::1]:1337", "http://127.0.0.1:1337"),
        ("box.example", "https://box.example"),
        ("192.168.1.20:1337", "http://192.168.1.20:1337"),
        ("localhost:1337", "https://app.example"),
    ],
)
def test_our_own_pages_and_allowed_origins_pass(host: str, origin: str) -> None:
    assert OPEN.admit({"Host": host, "Origin": origin}).cors_origin == origin


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost:3000",
        "http://localhost",
        "http://192.168.1.20:1337",
        "null",
        "",
        "file://",
        "chrome-extension://abc",
        "http://app.example",
        "http://localhost:1337@evil.example",
    ],
)
def test_a_foreign_origin_is_forbidden(origin: str) -> None:
    assert refused(OPEN, {"Host": "localhost:1337", "Origin": origin}) == "forbidden_origin"


def test_a_foreign_origin_is_forbidden_even_with_a_key() -> None:
    headers = {"Host": "localhost", "Origin": "https://evil.example", "api-key": KEY}
    assert refused(LOCKED, headers) == "forbidden_origin"


def test_a_cross_site_request_without_origin_is_forbidden() -> None:
    assert refused(OPEN, {"Host": "localhost", "Sec-Fetch-Site": "cross-site"}) == "forbidden_origin"


def test_a_page_of_an_allowed_origin_is_cross_site_and_passes() -> None:
    headers = {"Host": "localhost", "Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"}
    assert OPEN.admit(headers).cors_origin == "https://app.example"


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_requests_that_are_not_cross_site_pass(site: str) -> None:
    assert OPEN.admit({"Host": "localhost", "Sec-Fetch-Site": site}).cors_origin is None


def test_a_missing_host_is_only_right_for_http_1_0() -> None:
    assert refused(OPEN, {}) == "invalid_request"
    assert OPEN.admit({}, is_http_10=True).has_key


def test_a_preflight_is_told_the_headers_it_asked_for() -> None:
    asked = {"Access-Control-Request-Headers": "authorization,x-stainless-os"}
    assert preflight_headers(asked)["Access-Control-Allow-Headers"] == "authorization,x-stainless-os"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("localhost:1337", Authority("localhost", "1337")),
        ("[fe80::1]", Authority("fe80::1", "")),
        ("a/b", None),
        ("a?b", None),
        ("a:b:c", None),
    ],
)
def test_an_authority_is_a_host_and_a_port(value: str, expected: Authority | None) -> None:
    assert parse_authority(value) == expected
