"""`janagent.redact`: what must never leave the daemon."""

import io
import logging
import time
from typing import Any

import pytest

from janagent.redact import RedactingFilter, is_secret_name, redact, redact_text, redact_url


@pytest.mark.parametrize(
    "name",
    ["API-KEY", "api_key", "apiKey", "OPENAI_API_KEY", "client-secret", "Password", "Proxy-Authorization",
     "credentials", "hf_token", "accessToken", "token"],
)  # fmt: skip
def test_a_telling_name_holds_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["token_limit", "max_tokens", "ctx_len", "tokens", "key", "tokenizer"])
def test_other_names_do_not(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_are_hidden_at_any_depth_and_the_original_stays() -> None:
    value = {
        "parameters": {"init": {"API-KEY": "sk-1", "ctx_len": 5}, "more": [{"x": {"password": {"a": 1}}}]}
    }
    assert redact(value) == {
        "parameters": {"init": {"API-KEY": "***", "ctx_len": 5}, "more": [{"x": {"password": "***"}}]}
    }
    assert value["parameters"]["init"]["API-KEY"] == "sk-1"


def test_an_empty_secret_is_shown_as_empty() -> None:
    assert redact({"API-KEY": "", "token": None}) == {"API-KEY": "", "token": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:pw@hub.example/a/b", "https://***@hub.example/a/b"),
        ("https://hub.example/f.gguf?download=true", "https://hub.example/f.gguf?download=true"),
        ("https://h.example/f?sig=abc&download=true#x", "https://h.example/f?sig=***&download=true#x"),
        ("see https://h/a?api-version=2023-05-15&k=v ok", "see https://h/a?api-version=2023-05-15&k=*** ok"),
        ("https://h.example?k=v", "https://h.example?k=***"),
        ("nothing here", "nothing here"),
        ("sent Authorization: Bearer sk-12345678 to it", "sent Authorization: Bearer *** to it"),
    ],
)  # fmt: skip
def test_urls_lose_their_user_info_and_query_values(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://u:p/w@hub.example/a", "https://***@hub.example/a"),
        ("https://hub.example:8443/a@main", "https://hub.example:8443/a@main"),
        ("https://hub.example/cb#access_token=abc", "https://hub.example/cb#access_token=***"),
        ("f.gguf?download=true&sig=abc", "f.gguf?download=true&sig=***"),
        ("hub.example/f?X-Amz-Signature=abc", "hub.example/f?X-Amz-Signature=***"),
        ("me:pw@hub.example/f", "***@hub.example/f"),
        ("https://hub.example/f", "https://hub.example/f"),
    ],
)
def test_a_field_that_is_a_url_loses_its_secrets_with_or_without_a_scheme(url: str, expected: str) -> None:
    assert redact({"origin": [url]}) == {"origin": [expected]}
    assert redact_url(url) == expected


@pytest.mark.parametrize(
    "text", ["USER: ", "a?b = c", "TheBloke/zephyr-7B-beta-GGUF", "me@example.com", "a: b@c"]
)
def test_other_fields_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api_key=abc123, ctx_len=5", "api_key=***, ctx_len=5"),
        ('{"API-KEY": "sk-1", "x": 1}', '{"API-KEY": "***", "x": 1}'),
        ("{'hf_token': 'a\\'b', 'x': 1}", "{'hf_token': '***', 'x': 1}"),
        ("api-key: 9f86d081884c", "api-key: ***"),
        ("Incorrect API key provided: sk-abcdefghijklmnop1234", "Incorrect API key provided: ***"),
        ("with hf_abcdefghijklmnopqrst", "with ***"),
        ("EOS token = 2 '</s>'", "EOS token = 2 '</s>'"),
        ("max_tokens=5 token_limit=7", "max_tokens=5 token_limit=7"),
        ("api_key: unknown, did you mean API-KEY?", "api_key: unknown, did you mean API-KEY?"),
    ],
)
def test_text_loses_what_stands_behind_a_telling_name(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_a_bottomless_object_is_hidden_where_nobody_looks_any_more() -> None:
    value: dict[str, Any] = {"API-KEY": "sk-1"}
    for _ in range(100_000):
        value = {"x": value}
    shown = redact(value)
    for _ in range(200):
        shown = shown["x"]
    assert shown == "***"


@pytest.mark.parametrize(
    "text", ["a" * 200_000 + "key", "secret" * 30_000, "a" * 200_000 + "://", "token:" * 30_000]
)
def test_a_hostile_log_line_takes_no_time(text: str) -> None:
    begin = time.thread_time()
    redact_text(text)
    assert time.thread_time() - begin < 1


def test_a_log_handler_with_the_filter_writes_no_secret() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("tests.redact")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.error("fetching %s", "https://me:pw@hub.example/f?sig=abc")
        try:
            raise ValueError("https://h.example/?key=hunter2")
        except ValueError:
            logger.exception("it broke")
    finally:
        logger.removeHandler(handler)
    text = stream.getvalue()
    assert "fetching https://***@hub.example/f?sig=***" in text
    assert "ValueError: https://h.example/?key=***" in text
    assert "hunter2" not in text
