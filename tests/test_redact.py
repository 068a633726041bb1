"""`janagent.redact`: what must never leave the daemon."""

import io
import logging

import pytest

from janagent.redact import RedactingFilter, is_secret_name, redact, redact_text


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
