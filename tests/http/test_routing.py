"""`janagent.http.routing`: ids in paths."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from janagent.http.routing import ModelPath, parse_deployment_path, parse_model_path

PREFIX = "/v1/models/"


def parsed(raw_tail: str) -> ModelPath:
    """As aiohttp hands it over: the raw request target, decoded but for `%2F` and `%25`."""
    return parse_model_path(URL.build(path=PREFIX + raw_tail, encoded=True).path_safe[len(PREFIX) :])


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("zephyr", ModelPath("zephyr")),
        ("a/b/c", ModelPath("a/b/c")),
        ("a%2Fb%2fc", ModelPath("a/b/c")),
        ("a/start", ModelPath("a", "start")),
        ("a/b/stop", ModelPath("a/b", "stop")),
        ("a/logs", ModelPath("a", "logs")),
        ("a%2Fstart", ModelPath("a/start")),
        ("a%2Fstart/start", ModelPath("a/start", "start")),
        ("a%252Fstart", ModelPath("a%2Fstart")),
        ("start", ModelPath("start")),
        ("/openai.azure.com/docs/gpt4", ModelPath("/openai.azure.com/docs/gpt4")),
        ("../../etc/passwd", ModelPath("../../etc/passwd")),
        ("%00", ModelPath("\x00")),
        ("%F0%9F%98%80", ModelPath("😀")),
        ("restart", ModelPath("restart")),
    ],
)
def test_a_path_is_an_id_and_perhaps_a_reserved_ending(tail: str, expected: ModelPath) -> None:
    assert parsed(tail) == expected


@given(st.text(min_size=1).filter(lambda text: max(text) < "\ud800" or min(text) > "\udfff"))
def test_any_id_survives_being_encoded_whole(text: str) -> None:
    try:
        tail = quote(text, safe="")
    except UnicodeEncodeError:
        return
    assert parsed(tail) == ModelPath(text)
    assert parsed(tail + "/stop") == ModelPath(text, "stop")


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("gpt/chat/completions", ("gpt", "chat/completions")),
        ("gpt/completions", ("gpt", "completions")),
        ("a/b/embeddings", ("a/b", "embeddings")),
        ("a%2Fb/embeddings", ("a/b", "embeddings")),
        ("chat/completions", ("chat", "completions")),
        ("embeddings", None),
        ("gpt/rerank", None),
        ("gpt/images/generations", None),
    ],
)
def test_an_azure_path_names_a_deployment_and_an_endpoint(
    tail: str, expected: tuple[str, str] | None
) -> None:
    assert parse_deployment_path(tail) == expected
