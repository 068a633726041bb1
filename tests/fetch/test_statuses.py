from email.utils import formatdate

import pytest

from janagent.fetch.statuses import trouble

NOW = 1_700_000_000
DATE = {"Date": formatdate(NOW, usegmt=True)}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_trouble_of_a_server_may_pass_and_names_the_host(status: int):
    error = trouble(status, {}, host="hub.example")
    assert error is not None
    assert error.is_passing
    assert "hub.example" in error.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416])
def test_what_is_about_the_file_or_the_repo_is_for_others_to_say(status: int):
    assert trouble(status, {"Retry-After": "7"}, host="hub.example") is None


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True), **DATE}, 90.0),
        ({"Retry-After": formatdate(NOW - 90, usegmt=True), **DATE}, 0.0),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True)}, None),
        ({"Retry-After": "soon", **DATE}, None),
        ({}, None),
    ],
)
def test_the_wait_that_a_server_names_is_kept(headers: dict[str, str], wait_s: float | None):
    error = trouble(429, headers, host="hub.example")
    assert error is not None
    assert error.retry_after_s == wait_s
