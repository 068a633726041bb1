"""Function calls in JSON, read as they come: the name once it is whole, the arguments piece by piece.

    {"name": "weather", "arguments": {"city": "Bern"}}

Key names differ between model families, order does not matter, and arguments may be an object or a text that
holds one. Pure; `families` finds where such an object begins.
"""

import json
import re
from collections.abc import Callable

from janagent.engine.calls import Calls, NoCall
from janagent.engine.source import WHITESPACE, Source, Wait

NAME_KEYS = frozenset({"name", "function", "tool", "tool_name"})
ARGUMENT_KEYS = frozenset({"arguments", "parameters", "args", "input"})
_KEYS = NAME_KEYS | ARGUMENT_KEYS | {"type", "id", "tool_call_id", "call_id", "index"}
_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')
_OBJECT_BEGINS = re.compile(r'\{\s*["}]')


def json_value(source: Source, say: Callable[[str], None] | None = None) -> Wait[str]:
    """The JSON value that begins here, as it is written.

    With `say` it goes there as it comes, cut off where the text is; else a value that is cut off raises
    NoCall.
    """
    parts: list[str] = []
    tell = say or parts.append
    first = yield from source.peek()
    if not first or first not in '{["':
        yield from _plain(source, tell)
        return "".join(parts)
    depth, in_string, escaped, is_done = 0, False, False, False
    while True:
        text, start = source.text, source.at
        at = start
        while at < len(text) and not is_done:
            if escaped:
                at, escaped = at + 1, False
                continue
            found = (_IN_STRING if in_string else _OUTSIDE).search(text, at)
            if found is None:
                at = len(text)
                break
            at = found.end()
            match found[0]:
                case "\\":
                    escaped = True
                case '"':
                    in_string = not in_string
                case "{" | "[":
                    depth += 1
                case _:
                    depth -= 1
            is_done = not in_string and depth <= 0
        source.at = at
        if at > start:
            tell(text[start:at])
        if is_done:
            return "".join(parts)
        if source.is_whole:
            if say is None:
                raise NoCall
            return ""
        yield


def _plain(source: Source, tell: Callable[[str], None]) -> Wait[None]:
    """A number, true, false or null."""
    while (char := (yield from source.peek())) and char not in ",]}" + WHITESPACE:
        tell(char)
        source.at += 1


def json_calls(source: Source, calls: Calls, *, closing: str = "") -> Wait[None]:
    """Calls in JSON, one after another or in an array, and `closing` where it is there. Raises NoCall."""
    yield from source.skip(WHITESPACE + "[")
    yield from json_call(source, calls)
    while True:
        char = yield from source.skip(WHITESPACE + "[],;")
        if (closing and (yield from source.take(closing))) or char != "{":
            break
        yield from json_call(source, calls)
    source.commit()


def json_call(source: Source, calls: Calls) -> Wait[None]:
    """One call. Raises NoCall as soon as it cannot be one."""
    yield from _members(source, calls)
    calls.end()


def _members(source: Source, calls: Calls) -> Wait[None]:
    if not (yield from source.take("{")):
        raise NoCall
    name: object = ""
    arguments = ""
    while (yield from source.skip()) == '"':
        key = _loaded((yield from json_value(source)))
        if key not in _KEYS and not calls.is_open:
            raise NoCall
        yield from source.skip()
        if not (yield from source.take(":")):
            raise NoCall
        char = yield from source.skip()
        if key in NAME_KEYS and char == "{" and not name:  # {"function": {"name": ..., "arguments": ...}}
            yield from _members(source, calls)
            name = "told"
        elif key in NAME_KEYS and not name:
            name = _loaded((yield from json_value(source)))
            if not isinstance(name, str) or not calls.has(name):
                raise NoCall
        elif key in ARGUMENT_KEYS and char == "{" and isinstance(name, str) and name and not calls.is_open:
            yield from _begins_object(source)
            calls.begin(name)
            yield from json_value(source, calls.more)
        elif key in ARGUMENT_KEYS:
            arguments = _as_object((yield from json_value(source)))
        else:
            yield from json_value(source)
        yield from source.skip()
        if not (yield from source.take(",")):
            break
    is_closed = yield from source.take("}")
    if not calls.is_open:
        if not isinstance(name, str) or not is_closed:
            raise NoCall
        calls.begin(name)
        calls.more(arguments or "{}")


def _begins_object(source: Source) -> Wait[None]:
    """Raises NoCall where what begins here is no JSON object."""
    while _OBJECT_BEGINS.match(source.text, source.at) is None:
        if source.is_whole or source.text[source.at + 1 :].strip():
            raise NoCall
        yield


def _as_object(text: str) -> str:
    """Arguments that are no object as one, where they hold one in a text."""
    found = _loaded(text)
    return found if isinstance(found, str) else "{}" if found is None else text


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NoCall from None
