import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.remote.rewrite import Rewriter, spellings


def rewriter(model_id: str = "ours", secret: str = "") -> Rewriter:
    return Rewriter(model_id=model_id, secrets=spellings([secret]))


def test_only_the_outermost_model_changes() -> None:
    body = (
        b'{"a":{"model":"x"}, "t": "\\"model\\": \\"y\\"", "model" : "gpt-4" ,"n":1.50,"b":[{"model":"z"}]}'
    )
    assert rewriter().whole(body) == body.replace(b'"gpt-4"', b'"ours"')


def test_a_value_that_is_the_word_model_is_no_name() -> None:
    assert rewriter().whole(b'{"object":"model","model":"x"}') == b'{"object":"model","model":"ours"}'


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"model":null}', b'{"modell":"x"}', b"<html>", b'{"model":']
)
def test_what_has_no_model_stays_as_it_is(body: bytes) -> None:
    assert rewriter().whole(body) == body


def test_an_id_with_quotes_and_letters_of_all_kinds_is_json() -> None:
    answer = rewriter('a"b\\ü/é').whole(b'{"model":"x"}')
    assert json.loads(answer) == {"model": 'a"b\\ü/é'}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("model"),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.just("model"), children),
    max_leaves=20,
)


@given(st.dictionaries(st.text() | st.sampled_from(["model", "id"]), json_values))
def test_any_object_comes_back_with_only_its_model_changed(value: dict[str, object]) -> None:
    expected = {**value, "model": "ours"} if isinstance(value.get("model"), str) else value
    assert json.loads(rewriter().whole(json.dumps(value).encode())) == expected


EVENTS = (
    b': ping\r\n\r\ndata: {"id":"1","model":"up","choices":[{"content":"a \\"model\\":\\"b\\""}]}\r\n\r\n'
    b'event: x\ndata:{"choices":[],\ndata: "model":"up"}\n\ndata: {"model":"up"}\n\ndata: [DONE]\n\n'
)
EXPECTED = EVENTS.replace(b'"up"', b'"ours"')


@given(st.lists(st.integers(min_value=0, max_value=len(EVENTS))))
def test_a_stream_cut_anywhere_comes_out_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(EVENTS)]
    stream = rewriter()
    pieces = [stream.feed(EVENTS[a:b]) for a, b in itertools.pairwise(places)]
    assert b"".join(pieces) + stream.end() == EXPECTED
    assert stream.is_done


def test_each_event_goes_out_as_soon_as_it_is_whole() -> None:
    stream = rewriter()
    assert stream.feed(b'data: {"model":"up"}') == b""
    assert stream.feed(b'\n\ndata: {"mod') == b'data: {"model":"ours"}\n\n'
    assert stream.feed(b'el":"up"}\n\n') == b'data: {"model":"ours"}\n\n'


def test_a_key_that_comes_back_is_hidden() -> None:
    stream = rewriter(secret="sk-123456789")
    assert stream.scrubbed(b"Incorrect key sk-123456789") == b"Incorrect key ***"
    assert stream.feed(b'data: {"x":"sk-123') + stream.feed(b'456789"}\n') == b'data: {"x":"***"}\n'


@pytest.mark.parametrize(
    "told",
    ["sk-1/2+3456789", "sk-1\\/2+3456789", "sk-1%2F2%2B3456789"],
)
def test_the_key_becomes_stars_however_it_is_spelt(told: str) -> None:
    body = f'{{"model": "up", "seen": "{told}"}}'.encode()
    assert rewriter(secret="sk-1/2+3456789").whole(body) == b'{"model": "ours", "seen": "***"}'


@pytest.mark.parametrize("placeholder", ["", "none", "EMPTY", "1", "lm-studio", "not-needed"])
def test_a_placeholder_is_no_secret_and_leaves_answers_alone(placeholder: str) -> None:
    body = f'{{"created": 1111, "content": "none EMPTY {placeholder}"}}'.encode()
    assert rewriter(secret=placeholder).whole(body) == body


def test_a_string_without_an_end_does_not_hold_everybody_up() -> None:
    """Looked at once: with its length squared, this one would take hours."""
    stream = rewriter()
    hostile = b'data: {"a":"' + b'\\"' * 2_000_000
    assert stream.feed(hostile + b"\n") == hostile + b"\n"
    assert stream.feed(hostile + b"\\\n") == hostile + b"\\\n"
