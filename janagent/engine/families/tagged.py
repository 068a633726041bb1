"""Calls between <tool_call> tags: Hermes and Qwen write JSON there, Qwen3-Coder and GLM elements of XML.

    <tool_call>{"name": "weather", "arguments": {"city": "Bern"}}</tool_call>
    <tool_call><function=weather><parameter=city>Bern</parameter></function></tool_call>
    <tool_call>weather<arg_key>city</arg_key><arg_value>Bern</arg_value></tool_call>

What follows the tag tells them apart. Elements have no types: the function's schema says what a value is.
The formats are those of the chat templates of Hermes 2 and 3, Qwen 2.5 to 3.5, Qwen3-Coder, Seed-OSS, GLM 4.5
and MiniMax M2.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from janagent.engine.calls import Calls, Form, NoCall, Parse
from janagent.engine.callscan import json_calls
from janagent.engine.source import Source, Wait


class Elements(NamedTuple):
    """The marks of one dialect, in the order in which they come."""

    function: str
    name_end: str
    parameter: str
    key_end: str
    value: str
    value_end: str
    end: str


_QWEN = Elements("<function=", ">", "<parameter=", ">", "", "</parameter>", "</function>")
_GLM = Elements("", "\n", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>")
_MINIMAX = Elements('<invoke name="', '">', '<parameter name="', '">', "", "</parameter>", "</invoke>")


def tagged(closing: str) -> Parse:
    """Calls up to `closing`, in whichever dialect."""
    return functools.partial(_tagged, closing=closing)


def _tagged(source: Source, calls: Calls, *, closing: str) -> Wait[None]:
    char = yield from source.skip()
    if char and char in "{[":
        yield from json_calls(source, calls, closing=closing)
        return
    mark = yield from source.take(_QWEN.function, _MINIMAX.function)
    if not mark:
        yield from _elements(source, calls, _GLM)
        return
    dialect = _QWEN if mark == _QWEN.function else _MINIMAX
    while mark:
        yield from _elements(source, calls, dialect)
        mark = yield from source.take_after_space(dialect.function)
    yield from source.take_after_space(closing)
    source.commit()


def _function(source: Source, calls: Calls) -> Wait[None]:
    """A call whose tag was forgotten, as Qwen3-Coder does."""
    yield from _elements(source, calls, _QWEN)
    yield from source.take_after_space("</tool_call>")
    source.commit()


def _elements(source: Source, calls: Calls, dialect: Elements) -> Wait[None]:
    """One call from its function's name on."""
    name, mark = yield from source.until(dialect.name_end, dialect.parameter, dialect.end)
    name = name.strip()
    if not mark:
        raise NoCall
    if mark != dialect.name_end:
        source.at -= len(mark)
    calls.begin(name)
    before = "{"
    while (mark := (yield from source.take_after_space(dialect.parameter, dialect.end))) == dialect.parameter:
        key, _ = yield from source.until(dialect.key_end)
        if dialect.value:
            yield from source.take_after_space(dialect.value)
        calls.more(f"{before}{json.dumps(key.strip(), ensure_ascii=False)}: ")
        yield from _value(source, calls, _types(calls.parameters(name).get(key.strip())), dialect)
        before = ", "
    if mark or not source.is_whole:  # a call that is cut off must not look like a whole one
        calls.more("{}" if before == "{" else "}")
    calls.end()


def _value(source: Source, calls: Calls, types: set[str], dialect: Elements) -> Wait[None]:
    if types == {"string"}:
        text = _Text(calls)
        yield from source.take("\n")
        calls.more('"')
        _, mark = yield from source.until(dialect.value_end, say=text.say)
        calls.more('"' if mark else "")
        return
    value, mark = yield from source.until(dialect.value_end)
    if mark:
        calls.more(_as_json(value.removeprefix("\n").removesuffix("\n"), may_be_text="string" in types))


class _Text:
    """A text on its way into JSON; the line's end before the closing mark does not belong to it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._held = ""

    def say(self, text: str) -> None:
        text = self._held + text
        self._held = "\n" if text.endswith("\n") else ""
        self._calls.more(_quoted(text[: len(text) - len(self._held)])[1:-1])


def _as_json(text: str, *, may_be_text: bool) -> str:
    """JSON where it is some, else a text. `may_be_text`: of JSON only null is not meant as a text."""
    said = text.strip()
    if said.lower() in ("true", "false", "null", "none"):  # Python's spelling, too
        said = said.lower().replace("none", "null")
    if may_be_text and said != "null":
        return _quoted(text)
    try:
        json.loads(said)
    except (ValueError, RecursionError):
        return _quoted(text)
    return said


def _types(schema: Any) -> set[str]:
    """The names of a schema's types; empty where it says nothing of them."""
    found = schema.get("type") if isinstance(schema, Mapping) else None
    return {found} if isinstance(found, str) else {str(name) for name in found or ()}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


HERMES = Form(
    openings={
        "<tool_call>": tagged("</tool_call>"),
        "<function=": _function,
        "```json": functools.partial(json_calls, closing="```"),
    },
    bare=json_calls,
    marks=("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
)
SEED = Form(
    openings={"<seed:tool_call>": tagged("</seed:tool_call>")},
    bare=json_calls,
    marks=("<seed:tool_call>", "</seed:tool_call>"),
)
MINIMAX = Form(
    openings={"<minimax:tool_call>": tagged("</minimax:tool_call>")},
    bare=json_calls,
    marks=("<minimax:tool_call>", "</minimax:tool_call>"),
)
