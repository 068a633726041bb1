"""Text that comes in pieces."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.source import Source, Wait


def run(parse: Callable[[Source], Wait[Any]], *pieces: str) -> tuple[Any, str]:
    """(what a parser returns, what it left); None where it still waits before the text is whole."""
    source = Source()
    parser = parse(source)
    for piece in pieces:
        source.add(piece)
        try:
            next(parser)
        except StopIteration as end:
            return end.value, source.text[source.at :]
    source.is_whole = True
    with pytest.raises(StopIteration) as ended:
        next(parser)
    return ended.value.value, source.text[source.at :]


def test_a_mark_is_awaited_as_long_as_it_can_still_come():
    assert run(lambda s: s.take("<call>", "<calls>"), "<ca", "ll", "s>x") == ("<calls>", "x")
    assert run(lambda s: s.take("<call>", "<calls>"), "<call>", "x") == ("<call>", "")
    assert run(lambda s: s.take("<call>"), "<c", "b>") == ("", "<cb>")
    assert run(lambda s: s.take("<call>"), "<ca") == ("", "<ca")


def test_white_space_before_a_mark_goes_with_it_or_stays():
    assert run(lambda s: s.take_after_space("<a>"), " ", "\n<", "a>b") == ("<a>", "b")
    assert run(lambda s: s.take_after_space("<a>"), " ", "\n<", "b>b") == ("", " \n<b>b")
    assert run(lambda s: s.take_after_space("<a>"), " ") == ("", " ")


def test_text_up_to_a_mark():
    assert run(lambda s: s.until("</a>", "</b>"), "x</", "b", "></a>") == (("x", "</b>"), "</a>")
    assert run(lambda s: s.until("</a>"), "x</a") == (("x</a", ""), "")
    assert run(lambda s: s.until(), "x") == (("x", ""), "")


def test_text_up_to_a_mark_is_told_as_soon_as_it_is_certain():
    told: list[str] = []
    source = Source()
    parser = source.until("</a>", say=told.append)
    for piece in ("abc<", "/", "b", "</a>"):
        source.add(piece)
        next(parser, None)
    assert told[:2] == ["abc", "</b"]
    assert "".join(told) == "abc</b"


def test_characters_are_skipped_and_seen():
    assert run(lambda s: s.skip(), " ", "\n", "x") == ("x", "x")
    assert run(lambda s: s.skip("[ "), "[ [", "]") == ("]", "]")
    assert run(lambda s: s.skip(), "  ") == ("", "")


@given(st.lists(st.text(max_size=5), max_size=6), st.integers(0, 30))
def test_what_was_not_committed_can_be_read_again(pieces: list[str], n: int):
    source = Source()
    for piece in pieces:
        source.add(piece)
        source.at = min(len(source.text), n)
    read = source.uncommitted
    rest = source.text[source.at :]
    assert read + rest == "".join(pieces)
    source.rewind()
    assert source.uncommitted == ""
    assert source.text[source.at :] == "".join(pieces)
    source.at = len(source.text) // 2
    source.commit()
    assert source.uncommitted == ""
