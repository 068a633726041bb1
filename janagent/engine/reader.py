"""Reads an answer as it streams, and tells thoughts, words and calls apart.

What could be the beginning of a mark is held back until the next text decides, as for stop strings. What only
looked like a call comes out as words. Pure. Neighbours: `calls` (the pieces), `families` (how calls are
written), `delivery` (reads on).
"""

from collections.abc import Mapping
from typing import Any

from janagent.engine.calls import Calls, Form, NoCall, Parse, Piece, Thinking, Words
from janagent.engine.source import WHITESPACE, Source, Wait

_NO_FORM = Form(openings={})


class AnswerReader:
    """Reads one answer. `form` None: no calls are looked for; `thinking` None: no reasoning.

    `tools`: the functions that may be called, see `Calls`.
    """

    def __init__(
        self,
        *,
        form: Form | None = None,
        thinking: Thinking | None = None,
        tools: Mapping[str, Any] | None = None,
        may_call_several: bool = True,
    ) -> None:
        self._form = form or _NO_FORM
        self._thinking = thinking
        self._source = Source()
        self._calls = Calls(self._source, tools or {}, may_call_several=may_call_several)
        self._space = ""
        """White space that is shown only if more comes after it."""
        self._skips_space = False
        self._is_thought = False
        self._has_said = False
        self._run = self._answer()

    @property
    def has_called(self) -> bool:
        """Whether there was any call."""
        return self._calls.n_begun > 0

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain by now."""
        self._source.add(text)
        return self._go_on()

    def finish(self) -> list[Piece]:
        """What is left at the answer's end."""
        self._source.is_whole = True
        return self._go_on()

    def _go_on(self) -> list[Piece]:
        next(self._run, None)
        pieces, self._calls.pieces = self._calls.pieces, []
        return pieces

    # -- the answer, from its beginning to its end ----------------------------------------------------

    def _answer(self) -> Wait[None]:
        if self._thinking is not None:
            if self._thinking.is_open:  # some models open it once more
                yield from self._source.take_after_space(self._thinking.opening)
                yield from self._think()
            elif (yield from self._source.take_after_space(self._thinking.opening)):
                yield from self._think()
        if self._form.channels is not None:
            yield from self._form.channels(self._source, self._calls, self._say, self._say_thought)
        else:
            yield from self._begin()
        yield from self._speak()

    def _think(self) -> Wait[None]:
        assert self._thinking is not None
        self._skips_space = True
        yield from self._source.until(self._thinking.closing, say=self._say_thought)
        self._begin_anew(self._between)

    def _begin(self) -> Wait[None]:
        """An answer that is a call from its first character on, with no mark before it."""
        if self._form.bare is None:
            return
        self._source.commit()
        mark = ""
        if self._form.openings:
            mark = yield from self._source.take_after_space(*self._form.openings)
        char = yield from self._source.skip()
        if not mark and char and char in "{[":
            yield from self._call(self._form.bare)
        else:
            self._source.rewind()

    def _speak(self) -> Wait[None]:
        marks = list(self._form.openings)
        if self._thinking is not None and self._thinking.recurs:
            marks.append(self._thinking.opening)
        while True:
            _, mark = yield from self._source.until(*marks, say=self._say)
            if not mark:
                break
            if mark not in self._form.openings:
                yield from self._think()
                continue
            if mark in self._form.kept:
                self._source.at -= len(mark)
            yield from self._call(self._form.openings[mark])
        if self._space and not self._is_thought and not self._skips_space:
            self._calls.pieces.append(Words(self._space))

    def _call(self, parse: Parse) -> Wait[None]:
        has_called = True
        try:
            yield from parse(self._source, self._calls)
        except NoCall:
            if has_called := self._calls.is_open:
                self._calls.end()
            else:
                self._say(self._source.uncommitted)
        if has_called:
            self._begin_anew(self._between)
        self._source.commit()

    def _say_thought(self, text: str) -> None:
        self._say(text, is_thought=True)

    def _say(self, text: str, *, is_thought: bool = False) -> None:
        if is_thought is not self._is_thought:
            self._begin_anew("" if is_thought else self._between)
            self._is_thought = is_thought
        if self._skips_space:
            if not (text := text.lstrip(WHITESPACE)):
                return
            self._skips_space = False
        text = self._space + text
        shown = text.rstrip(WHITESPACE)
        self._space = text[len(shown) :]
        if shown:
            self._has_said |= not is_thought
            self._calls.pieces.append(Words(shown, is_thought))

    @property
    def _between(self) -> str:
        """What sets words apart from earlier words, where thoughts or calls stand between."""
        return "\n" if self._has_said else ""

    def _begin_anew(self, space: str = "") -> None:
        """`space` is put before what comes next, instead of the white space that comes."""
        self._space, self._skips_space = space, True
