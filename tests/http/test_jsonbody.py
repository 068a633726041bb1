"""`janagent.http.jsonbody`: bodies within bounds."""

import asyncio
import json
import math
from collections.abc import Awaitable
from typing import Any

import pytest

from janagent.core.faults import Refusal
from janagent.http.jsonbody import (
    LARGE_BYTES,
    MAX_DEPTH,
    encode,
    encode_for_engine,
    encode_strictly,
    parse_body,
    parse_object,
)


def refused(body: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_object(body)
    assert caught.value.code == "invalid_json"
    return caught.value


def test_an_object_is_read_with_or_without_byte_order_mark() -> None:
    assert parse_object(b'{"a": [1, "\xc3\xa4"]}') == {"a": [1, "ä"]}
    assert parse_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_of_duplicate_keys_the_last_one_wins() -> None:
    assert parse_object(b'{"model": "a", "model": "b"}') == {"model": "b"}


def test_a_syntax_error_shows_line_and_column_and_never_the_text() -> None:
    error = refused(b'{"key": "sk-secret",\n  oops}')
    assert "line 2 column 3" in error.message
    assert "sk-secret" not in error.message
    assert "oops" not in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"model=x",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        '{"a": "ä"}'.encode("utf-16"),
        b"\x00",
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 10_000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    assert "nested deeper" in refused(b'{"a":' + b"[" * depth + b"]" * depth + b"}").message


def test_nesting_within_the_bound_is_read() -> None:
    depth = MAX_DEPTH - 1
    assert "a" in parse_object(b'{"a":' + b"[" * depth + b"]" * depth + b"}")


def test_many_small_objects_are_not_deep() -> None:
    body = b'{"messages":[' + b",".join([b'{"role":"user","content":[]}'] * 5000) + b"]}"
    assert len(parse_object(body)["messages"]) == 5000


def test_half_a_surrogate_pair_is_answered_but_never_sent_to_an_engine() -> None:
    value = parse_object(b'{"model": "\\ud800"}')
    assert encode(value) == b'{"model":"?"}'
    with pytest.raises(Refusal, match="surrogate"):
        encode_strictly(value)


def test_a_number_out_of_range_is_not_sent_to_an_engine() -> None:
    value = parse_object(b'{"temperature": 1e999}')
    assert math.isinf(value["temperature"])
    with pytest.raises(Refusal, match="out of range"):
        encode_strictly(value)


LARGE = {
    "tokens": [*range(300_000)],
    "lists": [[1, 2], [], "three", {"four": [0.5, -1e-3, True, None]}],
    "text": 'ä "quoted" \\ \n' * 1000,
    "messages": [{"role": "user", "content": "hi"}] * 1000,
    "nothing": [],
}


async def test_a_large_body_is_read_and_written_as_a_small_one_is() -> None:
    body = encode_strictly(LARGE)
    assert len(body) > LARGE_BYTES
    assert await parse_body(body) == LARGE
    assert await encode_for_engine(LARGE, is_large=True) == body


@pytest.mark.parametrize(
    "wrong", [b'{"a": NaN}', b'{"a": ' + b"9" * 5000 + b"}", b"[]", b"{", b"[" * 10_000, b'"\xff"']
)
async def test_a_large_body_is_refused_as_a_small_one_is(wrong: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        await parse_body(b" " * LARGE_BYTES + wrong)
    assert caught.value.code == "invalid_json"
    for value in ({"a": "\ud800"}, {"a": [[], math.inf]}):
        with pytest.raises(Refusal):
            await encode_for_engine(value, is_large=True)


async def turns_during(work: Awaitable[Any]) -> int:
    """How often the event loop came round while `work` was done."""
    task, turns = asyncio.ensure_future(work), 0  # noqa: TID251
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    await task
    return turns


async def test_other_requests_get_their_turn_while_a_large_body_is_read_or_written() -> None:
    value = {"input": [12345] * 1_000_000}
    body = json.dumps(value).encode()
    assert await turns_during(parse_body(body)) >= 10
    assert await turns_during(encode_for_engine(value, is_large=True)) >= 5
