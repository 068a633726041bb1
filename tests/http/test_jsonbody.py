"""`janagent.http.jsonbody`: bodies within bounds."""

import math

import pytest

from janagent.core.faults import Refusal
from janagent.http.jsonbody import MAX_DEPTH, encode, encode_strictly, parse_object


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
