import pytest
from yarl import URL

from janagent.fetch.client import Auth, Source, _next
from janagent.fetch.faults import FetchError
from janagent.fetch.plan import RemoteFile

AUTH = Auth(token="hf_secret", host="https://hub.example")


@pytest.mark.parametrize("url", ["https://hub.example/a", "https://hub.example:443/a"])
def test_the_hub_is_shown_the_token(url: str):
    assert AUTH.headers(URL(url)) == {"Authorization": "Bearer hf_secret"}


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.example/a",
        "https://hub.example:8443/a",
        "https://cdn.hub.example/a",
        "https://hub.example.org",
    ],
)
def test_nobody_else_is_shown_the_token(url: str):
    assert AUTH.headers(URL(url)) == {}


def test_the_token_is_not_part_of_what_a_log_may_show():
    assert "hf_secret" not in repr(AUTH)


def test_a_redirect_keeps_a_signed_address_as_it_is():
    signed = "https://cdn.example/x%2Fy?sig=a%2Bb%3D"
    assert str(_next(URL("https://hub.example/f"), signed)) == signed


@pytest.mark.parametrize("text", ["http://host:99999999/a?sig=secret", "http://[half?sig=secret"])
def test_an_address_that_is_none_and_a_redirect_to_such_a_one_are_said_to_be_that(text: str):
    with pytest.raises(FetchError, match="not a URL") as caught:
        Source(RemoteFile("a", text))
    assert caught.value.is_permanent
    assert "secret" not in str(caught.value)
    with pytest.raises(FetchError, match="not an address") as caught:
        _next(URL("https://hub.example/f"), text)
    assert caught.value.is_permanent


@pytest.mark.parametrize("location", ["http://cdn.example/f", "file:///etc/passwd", "ftp://cdn.example/f"])
def test_a_redirect_to_something_less_safe_is_refused(location: str):
    with pytest.raises(FetchError, match="not safe"):
        _next(URL("https://hub.example/f"), location)
