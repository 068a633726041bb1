"""Text that comes in pieces, for parsers that are written as if all of it were there.

A parser is a generator: it yields when it needs more text than has come, and goes on when there is more or
the text is whole. Pure. Neighbours: `calls` (what parsers find), `families` (the parsers), `reader` (runs
them).
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from janagent.engine.text import overlap

T = TypeVar("T")
Wait = Generator[None, None, T]
"""A parser, or a part of one, that returns a T."""

WHITESPACE = " \t\r\n"


class Source:
    """What has come of a text, and how far it has been read."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.is_whole = False
        self._read: list[str] = []

    def add(self, text: str) -> None:
        """More of it."""
        self._read.append(self.text[: self.at])
        self.text, self.at = self.text[self.at :] + text, 0

    def commit(self) -> None:
        """What has been read so far has become of something."""
        self._read.clear()
        self.text, self.at = self.text[self.at :], 0

    @property
    def uncommitted(self) -> str:
        """What was read since."""
        return "".join(self._read) + self.text[: self.at]

    def rewind(self) -> None:
        """Read what was not committed once more."""
        self._unread(len(self.uncommitted))

    def peek(self) -> Wait[str]:
        """The next character, which stays; empty at the end."""
        while self.at >= len(self.text):
            if self.is_whole:
                return ""
            yield
        return self.text[self.at]

    def skip(self, chars: str = WHITESPACE) -> Wait[str]:
        """Read over any of `chars`; returns the character after them, which stays."""
        while (char := (yield from self.peek())) and char in chars:
            self.at += 1
        return char

    def take(self, *marks: str) -> Wait[str]:
        """Read the longest of `marks` that stands here; empty where none does."""
        longest = max(map(len, marks))
        while True:
            here = self.text[self.at : self.at + longest]
            if self.is_whole or not any(len(here) < len(mark) and mark.startswith(here) for mark in marks):
                break
            yield
        found = max((mark for mark in marks if here.startswith(mark)), key=len, default="")
        self.at += len(found)
        return found

    def take_after_space(self, *marks: str) -> Wait[str]:
        """The same, white space before the mark read with it; where there is no mark, nothing is read."""
        space = 0
        while True:
            while self.at + space < len(self.text) and self.text[self.at + space] in WHITESPACE:
                space += 1
            if self.is_whole or self.at + space < len(self.text):
                break
            yield
        self.at += space
        mark = yield from self.take(*marks)
        if not mark:
            self._unread(space)
        return mark

    def until(self, *marks: str, say: Callable[[str], None] | None = None) -> Wait[tuple[str, str]]:
        """Read to the nearest of `marks`: (the text before it, the mark), the mark empty at the text's end.

        With `say` the text goes there as soon as it is certain, instead, and is committed.
        """
        parts: list[str] = []
        firsts = {mark[0] for mark in marks}
        while True:
            end, mark = len(self.text), ""
            if not firsts.isdisjoint(self.text[self.at :]):
                end, mark = self._nearest(marks)
            if end > self.at and say is None:
                parts.append(self.text[self.at : end])
            elif end > self.at and say is not None:
                say(self.text[self.at : end])
                self.at = end
                self.commit()
                end = 0
            self.at = end + len(mark)
            if mark or self.is_whole:
                return "".join(parts), mark
            yield

    def _nearest(self, marks: Sequence[str]) -> tuple[int, str]:
        """(where the first of `marks` begins, or could begin, that mark if it is there)."""
        found = [(at, -len(mark), mark) for mark in marks if (at := self.text.find(mark, self.at)) >= 0]
        if found:
            at, _, mark = min(found)
            return at, mark
        tail = self.text[max(self.at, len(self.text) - max(map(len, marks))) :]
        keep = 0 if self.is_whole else max(overlap(tail, mark) for mark in marks)
        return len(self.text) - keep, ""

    def _unread(self, n: int) -> None:
        """The last `n` characters, which may have been read before the last `add`, come again."""
        while n > self.at:
            last = self._read.pop()
            self.text, self.at = last + self.text, self.at + len(last)
        self.at -= n
