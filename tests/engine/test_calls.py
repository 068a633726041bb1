"""The calls of an answer, as parsers tell them."""

import pytest

from janagent.engine.calls import Arguments, Call, Calls, NoCall
from janagent.engine.source import Source

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}


def calls_of(*, may_call_several: bool = True) -> Calls:
    return Calls(
        Source(), {"x": SCHEMA, "y": {}, "z": {"properties": "odd"}}, may_call_several=may_call_several
    )


def test_a_call_is_its_name_and_then_its_arguments():
    calls = calls_of()
    calls.begin("x")
    assert calls.is_open
    calls.more('{"a":')
    calls.more("")
    calls.more(" 1}")
    calls.end()
    calls.whole("y", "{}")
    first, one, two, second, three = calls.pieces
    assert isinstance(first, Call)
    assert (first.index, first.name) == (0, "x")
    assert (one, two) == (Arguments(0, '{"a":'), Arguments(0, " 1}"))
    assert isinstance(second, Call)
    assert (second.index, three) == (1, Arguments(1, "{}"))
    assert second.id != first.id
    assert not calls.is_open


def test_only_functions_that_there_are_can_be_called():
    calls = calls_of()
    with pytest.raises(NoCall):
        calls.begin("other")
    assert not calls.is_open
    assert calls.pieces == []


def test_a_second_call_is_dropped_where_one_is_wanted():
    calls = calls_of(may_call_several=False)
    calls.whole("x", "{}")
    calls.whole("y", '{"a": 1}')
    assert calls.n_begun == 1
    assert len(calls.pieces) == 2


def test_parameters_come_in_their_order():
    calls = calls_of()
    assert list(calls.parameters("x")) == ["a", "b"]
    assert [calls.parameters(name) for name in ("y", "z", "other")] == [{}, {}, {}]
