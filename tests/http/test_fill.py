"""`janagent.http.fill`: runtime defaults speak where a request is silent."""

from typing import Any

import pytest

from janagent.http.fill import INIT_FIELDS, fill_in
from janagent.http.routing import Endpoint

DEFAULTS = {"temperature": 0.7, "max_tokens": 100, "stop": ["USER:"]}


def filled(body: dict[str, Any], endpoint: Endpoint = "chat/completions") -> dict[str, Any]:
    return fill_in(body, model_id="zephyr", defaults=DEFAULTS, endpoint=endpoint)


def test_a_silent_request_gets_every_default() -> None:
    assert filled({"messages": []}) == {"messages": [], "model": "zephyr", **DEFAULTS}


def test_null_is_silence() -> None:
    assert filled({"temperature": None})["temperature"] == 0.7


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0), ("stop", []), ("stop", ""), ("max_tokens", 1)]
)
def test_what_a_request_says_counts_even_when_it_is_nothing(name: str, value: Any) -> None:
    assert filled({name: value})[name] == value


def test_max_completion_tokens_speaks_for_max_tokens() -> None:
    body = filled({"max_completion_tokens": 5})
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


def test_token_limit_is_max_tokens_as_in_the_manifest() -> None:
    body = filled({"token_limit": 5})
    assert body["max_tokens"] == 5
    assert "token_limit" not in body
    assert filled({"token_limit": 5, "max_tokens": 7})["max_tokens"] == 7
    assert "max_tokens" not in filled({"token_limit": 5, "max_completion_tokens": 7})
    assert filled({"token_limit": None})["max_tokens"] == 100


def test_an_alias_becomes_the_id() -> None:
    assert filled({"model": "/hub/zephyr"})["model"] == "zephyr"


def test_embeddings_and_ranks_have_no_runtime_parameters() -> None:
    assert filled({"query": "a"}, "rerank") == {"query": "a", "model": "zephyr"}
    assert filled({"input": "a"}, "embeddings") == {"input": "a", "model": "zephyr"}


def test_init_fields_of_a_request_are_dropped() -> None:
    assert {"ctx_len", "ngl", "pre_prompt", "API-KEY", "chat_template"} <= INIT_FIELDS
    assert "ctx_len" not in filled({"ctx_len": 8, "ngl": 1})


def test_the_request_itself_stays_as_it_was() -> None:
    body = {"model": "x"}
    filled(body)
    assert body == {"model": "x"}
