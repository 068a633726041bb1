"""One function call in JSON, read as it comes: the name once it is whole, the arguments piece by piece.

    {"name": "weather", "arguments": {"city": "Bern"}}

Key names differ between model families, order does not matter, and arguments may be an object or a text that
holds one. Pure; `calls` finds where such an object begins.
"""

import json
from dataclasses import dataclass, field
from enum import Enum, auto

NAME_KEYS = frozenset({"name", "function", "tool", "tool_name"})
ARGUMENT_KEYS = frozenset({"arguments", "parameters", "args", "input"})
_WHITESPACE = " \t\r\n"


class NoCall(Exception):
    """This JSON is no call; what was fed is text."""


class _At(Enum):
    START = auto()
    KEY = auto()
    IN_KEY = auto()
    COLON = auto()
    VALUE = auto()
    IN_VALUE = auto()
    COMMA = auto()
    END = auto()


@dataclass(slots=True)
class CallScanner:
    """Feed it text from the call's `{` on. `name` is set once known; `take_arguments` gives what is new."""

    name: str | None = None
    fed: str = ""
    """All text so far, up to the end of the object."""
    is_done: bool = False
    _at: _At = _At.START
    _key: str = ""
    _value: list[str] = field(default_factory=list)
    _depth: int = 0
    _in_string: bool = False
    _escaped: bool = False
    _arguments: str = ""
    _given: int = 0

    def feed(self, text: str) -> str:
        """Returns what follows the object's end. Raises NoCall; `fed` then holds all of it."""
        for at, char in enumerate(text):
            if self.is_done:
                return text[at:]
            self.fed += char
            try:
                self._step(char)
            except NoCall:
                self.fed += text[at + 1 :]
                raise
        return ""

    def take_arguments(self) -> str:
        """The arguments' JSON that came since the last time; only once the name is known."""
        if self.name is None:
            return ""
        new = self._arguments[self._given :]
        self._given = len(self._arguments)
        return new

    def _step(self, char: str) -> None:
        if self._at is _At.IN_KEY:
            self._in_key(char)
        elif self._at is _At.IN_VALUE:
            self._in_value(char)
        elif char not in _WHITESPACE:
            self._between(char)

    def _between(self, char: str) -> None:
        match self._at, char:
            case _At.START, "{":
                self._at = _At.KEY
            case _At.KEY, '"':
                self._at, self._value = _At.IN_KEY, [char]
            case ((_At.KEY | _At.COMMA), "}"):
                self._end()
            case _At.COLON, ":":
                self._at = _At.VALUE
            case _At.VALUE, _:
                self._at, self._value, self._depth = _At.IN_VALUE, [], 0
                self._in_value(char)
            case _At.COMMA, ",":
                self._at = _At.KEY
            case _:
                raise NoCall

    def _in_key(self, char: str) -> None:
        self._value.append(char)
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._key = _decoded("".join(self._value))
            self._at = _At.COLON

    def _in_value(self, char: str) -> None:
        if not self._in_string and not self._depth and char in ",}" and self._value:
            self._value_ended()
            self._at = _At.COMMA
            self._between(char)
            return
        self._value.append(char)
        is_streamed = self._key in ARGUMENT_KEYS and self._value[0] == "{"
        if is_streamed and (self._depth or len(self._value) == 1):
            self._arguments += char
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1

    def _value_ended(self) -> None:
        text = "".join(self._value).strip()
        if self._key in NAME_KEYS and self.name is None:
            found = _loaded(text)
            if isinstance(found, dict):  # {"function": {"name": ..., "arguments": ...}}
                inner = CallScanner()
                inner.feed(text)
                self.name, self._arguments = inner.name, inner._arguments
            elif isinstance(found, str):
                self.name = found
            else:
                raise NoCall
        elif self._key in ARGUMENT_KEYS and not text.startswith("{"):
            found = _loaded(text)
            self._arguments = found if isinstance(found, str) else "{}" if found is None else text

    def _end(self) -> None:
        if self.name is None:
            raise NoCall
        self._arguments = self._arguments or "{}"
        self.is_done, self._at = True, _At.END


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise NoCall from None


def _decoded(text: str) -> str:
    found = _loaded(text)
    return found if isinstance(found, str) else ""
