"""What the text of an answer says: thoughts, words for the person, and calls of functions.

Pure. Neighbours: `families` (finds calls, each family of models in its own way), `reader` (reads a whole
answer), `answers` (shows what was found).
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from janagent.engine.source import Source, Wait


@dataclass(frozen=True, slots=True)
class Words:
    """Text for the person; `is_thought`: reasoning that comes before it."""

    text: str
    is_thought: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call begins."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of a call's arguments, which are JSON."""

    index: int
    text: str


Piece = Words | Call | Arguments


class NoCall(Exception):
    """What looked like a call is none; what was read of it is words."""


class Calls:
    """The calls of one answer. Parsers say `begin`, `more` and `end`.

    `tools`: the functions' parameters by name. A call of anything else is none.
    """

    def __init__(self, source: Source, tools: Mapping[str, Any], *, may_call_several: bool = True) -> None:
        self.pieces: list[Piece] = []
        self.n_begun = 0
        self._source = source
        self._tools = tools
        self._may_call_several = may_call_several
        self._open: Call | None = None

    @property
    def is_open(self) -> bool:
        """Within a call."""
        return self._open is not None

    def has(self, name: str) -> bool:
        """Whether there is such a function."""
        return name in self._tools

    def begin(self, name: str) -> None:
        """A call of `name`. Raises NoCall."""
        if name not in self._tools:
            raise NoCall
        self._open = Call(self.n_begun, f"call_{secrets.token_hex(12)}", name)
        if self._is_wanted:
            self.pieces.append(self._open)
            self.n_begun += 1

    def more(self, text: str) -> None:
        """More of its arguments."""
        assert self._open is not None
        if text and self._open.index < self.n_begun:
            self.pieces.append(Arguments(self._open.index, text))

    def end(self) -> None:
        """It is complete."""
        self._open = None
        self._source.commit()

    def whole(self, name: str, arguments: str) -> None:
        """A call that is complete at once. Raises NoCall."""
        self.begin(name)
        self.more(arguments)
        self.end()

    def parameters(self, name: str) -> Mapping[str, Any]:
        """The schemas of a function's parameters by name, in their order."""
        properties = (self._tools.get(name) or {}).get("properties")
        return properties if isinstance(properties, Mapping) else {}

    @property
    def _is_wanted(self) -> bool:
        return self._may_call_several or self.n_begun == 0


Say = Callable[[str], None]
Parse = Callable[[Source, Calls], Wait[None]]
"""Reads calls from where a family's mark ended. Raises NoCall."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a family of models writes calls."""

    openings: Mapping[str, Parse]
    """By the mark that they follow."""
    bare: Parse | None = None
    """Reads an answer that begins with a brace or bracket."""
    kept: frozenset[str] = frozenset()
    """Openings that are part of the call."""
    marks: tuple[str, ...] = ()
    """Texts that are control tokens in some vocabularies, and must be seen all the same."""
    channels: Callable[[Source, Calls, Say, Say], Wait[None]] | None = None
    """Reads a whole answer: (source, calls, where words go, where thoughts go)."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """The marks around reasoning. `is_open`: the prompt ends within it already."""

    opening: str = "<think>"
    closing: str = "</think>"
    is_open: bool = False
    recurs: bool = False
    """It may come anywhere in an answer, not only at the beginning."""
