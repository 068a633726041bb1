"""Reads answers as tests need it: whole, in one piece or in many."""

from collections.abc import Sequence
from typing import Any

from janagent.engine.calls import Arguments, Call, Form, Piece, Thinking, Words
from janagent.engine.reader import AnswerReader

TOOLS: dict[str, Any] = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "exact": {"type": "boolean"},
            "options": {"type": "object"},
            "note": {},
        },
    },
    "clock": {},
}
"""Parameters of the functions that may be called, by name."""


def read(
    text: str,
    form: Form | None = None,
    *,
    thinking: Thinking | None = None,
    cuts: Sequence[int] = (),
    tools: dict[str, Any] = TOOLS,
    may_call_several: bool = True,
) -> tuple[str, str, list[tuple[str, str]]]:
    """(thoughts, words, calls as (name, arguments)) of an answer that comes in pieces."""
    reader = AnswerReader(form=form, thinking=thinking, tools=tools, may_call_several=may_call_several)
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces: list[Piece] = []
    for number, start in enumerate(places[:-1]):
        pieces += reader.feed(text[start : places[number + 1]])
    pieces += reader.finish()
    thoughts = "".join(p.text for p in pieces if isinstance(p, Words) and p.is_thought)
    words = "".join(p.text for p in pieces if isinstance(p, Words) and not p.is_thought)
    calls = [p for p in pieces if isinstance(p, Call)]
    assert [call.index for call in calls] == list(range(len(calls)))
    assert len({call.id for call in calls}) == len(calls)
    assert reader.has_called is bool(calls)
    arguments = [
        "".join(p.text for p in pieces if isinstance(p, Arguments) and p.index == c.index) for c in calls
    ]
    return thoughts, words, [(call.name, text) for call, text in zip(calls, arguments, strict=True)]


def read_both_ways(
    text: str, form: Form | None = None, **more: Any
) -> tuple[str, str, list[tuple[str, str]]]:
    """The same in one piece and character by character, which makes no difference."""
    at_once = read(text, form, **more)
    assert read(text, form, cuts=range(len(text)), **more) == at_once
    return at_once
