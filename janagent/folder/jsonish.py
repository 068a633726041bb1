"""JSON as people write it: comments, trailing commas, unquoted keys, one-word values.

Owns syntax only; what the values mean is `manifest`'s business. Plain JSON takes the standard library's fast
path; everything else, and every error, goes through the parser here, which knows line and column. No message
ever quotes the text, for the text may hold a secret.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_DEPTH = 64

_GAP = r"(?:[ \t\r\n\f\v\u00a0\ufeff]++|//[^\n]*+|#[^\n]*+|/\*(?s:.*?)\*/)*+"
_PLAIN = r'"([^"\\\x00-\x08\x0a-\x1f]*+)"'
_BARE_KEY = r"""([^\s,\[\]{}"'#/:]++)"""
_SKIP = re.compile(_GAP)
_PLAIN_STRING = re.compile(_PLAIN)
_STRING = re.compile(r'"(?:[^"\\\x00-\x08\x0a-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
_KEY = re.compile(_BARE_KEY)
_MEMBER = re.compile(f"(?:{_PLAIN}|{_BARE_KEY}){_GAP}:{_GAP}(?:{_PLAIN})?+")
_COMMA = re.compile(f"{_GAP}(,?+){_GAP}")
_WORD = re.compile(r"""(?:[^\s,\[\]{}"'#/:]|(?<=:)//|/(?![/*])|:(?=\S))++""")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,307})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_LONE = re.compile("[\ud800-\udfff]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_LITERALS = {"true": True, "false": False, "null": None}
_NOT_JSON = {"NaN", "Infinity", "-Infinity", "+Infinity"}


class JsonishError(ValueError):
    """What is wrong, and where (both count from 1, in characters). The message never quotes the text."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed text."""

    value: Any
    """JSON's types: dict, list, str, int, float, bool, None."""
    duplicates: tuple[str, ...] = ()
    """Keys that an object holds more than once; the last one counts."""


def parse(text: str, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `text` holds. Raises JsonishError."""
    return parse_document(text, max_depth=max_depth).value


def parse_document(text: str, *, max_depth: int = MAX_DEPTH) -> Document:
    """Like `parse`, with the keys that occur twice."""
    text = text.removeprefix("\ufeff")
    if text.count("{") + text.count("[") <= max_depth and _SURROGATE.search(text) is None:
        duplicates: list[str] = []

        def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
            members = dict(items)
            if len(members) < len(items):
                duplicates.extend(_repeated([key for key, _ in items]))
            return members

        try:
            value = json.loads(text, object_pairs_hook=pairs, parse_float=_finite, parse_constant=_refuse)
        except ValueError:
            pass  # not plain JSON: the parser below reads it, or says where it is wrong
        else:
            return Document(value, tuple(duplicates))
    return _Parser(text, max_depth).document()


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _repeated(keys: list[str]) -> list[str]:
    seen: set[str] = set()
    return [key for key in keys if key in seen or seen.add(key)]  # type: ignore[func-returns-value]


class _Parser:
    """Recursive descent, no deeper than `max_depth`."""

    def __init__(self, text: str, max_depth: int) -> None:
        self._text = text
        self._max_depth = max_depth
        self._is_clean = _LONE.search(text) is None
        self._duplicates: list[str] = []

    def document(self) -> Document:
        at = self._skip(0)
        if at == len(self._text):
            self._fail("there is no value here", at)
        value, at = self._value(at, self._max_depth)
        if (at := self._skip(at)) != len(self._text):
            self._fail("nothing may follow the end of the value", at)
        return Document(value, tuple(self._duplicates))

    def _fail(self, message: str, at: int) -> NoReturn:
        if self._text.startswith("/*", at):
            message = "this comment has no end"
        line = self._text.count("\n", 0, at) + 1
        raise JsonishError(message, line, at - self._text.rfind("\n", 0, at))

    def _skip(self, at: int) -> int:
        match = _SKIP.match(self._text, at)
        return match.end() if match is not None else at

    def _value(self, at: int, depth: int) -> tuple[Any, int]:
        character = self._text[at : at + 1]
        if character == '"':
            return self._string(at)
        if character == "{" or character == "[":
            if depth == 0:
                self._fail(f"nested more than {self._max_depth} deep", at)
            return self._object(at, depth - 1) if character == "{" else self._array(at, depth - 1)
        return self._word(at)

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        opened, at = at, self._skip(at + 1)
        while (character := self._text[at : at + 1]) != "}":
            if not character:
                self._fail("this { is never closed", opened)
            key, value, at = self._member(at, depth)
            if key in members:
                self._duplicates.append(key)
            members[key] = value
            at = self._comma(at, "}", opened)
        return members, at + 1

    def _member(self, at: int, depth: int) -> tuple[str, Any, int]:
        """One key and its value. One pattern takes most of them at one go; the rest is for the others."""
        if self._is_clean and (match := _MEMBER.match(self._text, at)) is not None:
            quoted, bare, value = match.groups()
            at = match.end()
            if value is None:
                value, at = self._value(at, depth)
            return quoted if bare is None else bare, value, at
        key, at = self._string(at) if self._text.startswith('"', at) else self._key(at)
        at = self._skip(at)
        if not self._text.startswith(":", at):
            self._fail("expected a : after the key", at)
        value, at = self._value(self._skip(at + 1), depth)
        return key, value, at

    def _array(self, at: int, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        opened, at = at, self._skip(at + 1)
        while (character := self._text[at : at + 1]) != "]":
            if not character:
                self._fail("this [ is never closed", opened)
            item, at = self._value(at, depth)
            items.append(item)
            at = self._comma(at, "]", opened)
        return items, at + 1

    def _comma(self, at: int, closing: str, opened: int) -> int:
        """Where the next member begins, or the closing bracket stands; a trailing comma is fine."""
        match = _COMMA.match(self._text, at)
        assert match is not None  # it matches the empty text too
        at = match.end()
        if not match[1] and not self._text.startswith(closing, at):
            if at == len(self._text):
                self._fail(f"this {'{' if closing == '}' else '['} is never closed", opened)
            self._fail(f"expected a comma or {closing}", at)
        return at

    def _string(self, at: int) -> tuple[str, int]:
        if (plain := _PLAIN_STRING.match(self._text, at)) is not None:
            value, end = plain[1], plain.end()
        elif (escaped := _STRING.match(self._text, at)) is not None:
            value, end = json.loads(escaped[0], strict=False), escaped.end()
        else:
            self._fail("this text in quotes has no end on its line, or a \\ escape that does not exist", at)
        if _has_surrogate(value):
            self._fail("this text holds half of a surrogate pair", at)
        return value, end

    def _key(self, at: int) -> tuple[str, int]:
        if (match := _KEY.match(self._text, at)) is None:
            self._fail(self._unexpected(at, "a key"), at)
        if _has_surrogate(match[0]):
            self._fail("this text holds half of a surrogate pair", at)
        return match[0], match.end()

    def _word(self, at: int) -> tuple[Any, int]:
        if (match := _WORD.match(self._text, at)) is None:
            self._fail(self._unexpected(at, "a value"), at)
        word, end = match[0], match.end()
        if word in _LITERALS:
            return _LITERALS[word], end
        if word in _NOT_JSON:
            self._fail("NaN and Infinity are no numbers here", at)
        if _has_surrogate(word):
            self._fail("this text holds half of a surrogate pair", at)
        if _NUMBER.fullmatch(word) is None:
            if _INTEGER.fullmatch(word) is not None and len(word) > 300:
                self._fail("this number is too long", at)
            return word, end
        if _INTEGER.fullmatch(word) is not None:
            return int(word), end
        number = float(word)
        if not math.isfinite(number):
            self._fail("this number is too large", at)
        return number, end

    def _unexpected(self, at: int, wanted: str) -> str:
        if at == len(self._text):
            return f"expected {wanted}, but the file ends here"
        if self._text.startswith("'", at):
            return f"expected {wanted}; texts stand in double quotes"
        return f"expected {wanted}"


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
