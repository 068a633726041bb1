"""Request bodies: what is accepted, and errors that name the field."""

import json
from typing import Any

import pydantic
import pytest

from janagent.engine.faults import RequestError
from janagent.engine.parts import Marks
from janagent.engine.requests import (
    LARGE_BYTES,
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    parse_body,
    read_body,
)

HI = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> ChatBody:
    return parse_body(json.dumps({"messages": HI, **fields}).encode(), ChatBody)


def fault(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert caught.value.status == 400
    assert str(caught.value.param) in caught.value.message
    return caught.value


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a": NaN'])
def test_a_body_that_is_no_json_object_is_refused(data: bytes):
    with pytest.raises(RequestError) as caught:
        parse_body(data, ChatBody)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 100000}, "n"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "9"}, "max_completion_tokens"),
        ({"stop": 5}, "stop"),
        ({"stop": ["x"] * 10_000}, "stop"),
        ({"stop": ["x", 3]}, "stop[1]"),
        ({"stop": "x" * 5000}, "stop[0]"),
        ({"seed": "lucky"}, "seed"),
        ({"seed": 1 << 63}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"logit_bias": {"5": 1000}}, "logit_bias"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [*HI, {"role": "king", "content": "hi"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], param: str):
    error = fault(**fields)
    assert error.param is not None
    assert error.param.startswith(param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [{}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"best_of": 3}, "best_of"),
    ],
)
def test_what_this_engine_does_not_offer_is_refused_not_dropped(fields: dict[str, Any], param: str):
    error = fault(**fields)
    assert (error.param, error.code) == (param, "unsupported_parameter")


def test_a_part_of_a_strange_kind_is_refused_in_words():
    content = [{"type": "text", "text": "what is it?"}, {"type": "smell"}]
    found = fault(messages=[{"role": "user", "content": content}])
    assert found.param == "messages[0].content"
    assert "not smell" in found.message


def test_null_means_unset_and_unknown_fields_are_ignored():
    fields = dict.fromkeys(
        ["temperature", "n", "stop", "seed", "max_tokens", "logit_bias", "stream", "tools", "response_format"]
    )
    body = chat(**fields, user="me", metadata={"a": "b"}, whatever=[1])
    assert (body.temperature, body.n, body.stop, body.max_tokens) == (None, None, None, None)


def test_harmless_forms_of_unsupported_fields_are_accepted():
    chat(tools=[], response_format={"type": "text"}, modalities=["text"], tool_choice="none", best_of=1)


def test_whole_numbers_are_numbers_and_minus_one_is_no_limit():
    body = chat(temperature=1, max_tokens=-1)
    assert (body.temperature, body.max_tokens) == (1.0, None)


def test_text_parts_become_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat(messages=[{"role": "user", "content": parts}]).messages[0].content == "a\nb"


def test_further_fields_of_a_message_reach_the_template():
    message = chat(messages=[{"role": "assistant", "content": None, "name": "Bo", "refusal": None}]).messages[
        0
    ]
    assert message.for_template(Marks()) == {"role": "assistant", "content": "", "name": "Bo"}


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_a_prompt_may_be_text_texts_tokens_or_lists_of_tokens(prompt: Any):
    assert parse_body(json.dumps({"prompt": prompt}).encode(), CompletionBody).prompt == prompt


async def test_a_large_body_is_read_as_a_small_one_is():
    data = json.dumps({"input": [12345] * 200_000}).encode()
    assert len(data) > LARGE_BYTES
    assert await read_body(data, EmbeddingBody) == parse_body(data, EmbeddingBody)
    with pytest.raises(RequestError, match="not valid JSON"):
        await read_body(data[:-1], EmbeddingBody)


def test_a_wrong_token_among_many_is_one_fault_and_not_as_many_as_there_are_tokens():
    with pytest.raises(RequestError) as caught:
        parse_body(json.dumps({"prompt": [*range(10_000), 1.5]}).encode(), CompletionBody)
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)
    assert caught.value.__cause__.error_count() < 10


@pytest.mark.parametrize("prompt", [5, [1, "a"], [-1], [[1], "a"], {"a": 1}, [1.5]])
def test_another_prompt_is_refused(prompt: Any):
    with pytest.raises(RequestError) as caught:
        parse_body(json.dumps({"prompt": prompt}).encode(), CompletionBody)
    assert str(caught.value.param).startswith("prompt")


@pytest.mark.parametrize("fields", [{}, {"input": 5}, {"input": "a", "encoding_format": "hex"}])
def test_an_embedding_body_is_checked_too(fields: dict[str, Any]):
    with pytest.raises(RequestError):
        parse_body(json.dumps(fields).encode(), EmbeddingBody)


def test_how_much_to_think_is_told_to_the_template():
    assert chat().template_values == {}
    assert chat(reasoning_effort="low").template_values == {
        "reasoning_effort": "low",
        "enable_thinking": True,
    }
    assert chat(reasoning_effort="none").template_values["enable_thinking"] is False
    own = chat(reasoning_effort="high", chat_template_kwargs={"enable_thinking": False, "x": 1})
    assert own.template_values == {"reasoning_effort": "high", "enable_thinking": False, "x": 1}
    assert chat(reasoning_format="none").reasoning_format == "none"
    assert fault(reasoning_format="frob").param == "reasoning_format"
    assert fault(reasoning_effort=5).param == "reasoning_effort"
