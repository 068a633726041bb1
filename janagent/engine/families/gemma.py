"""Calls as Gemma 4 and FunctionGemma write them, in a notation of their own.

    <|tool_call>call:weather{city:<|"|>Bern<|"|>,days:2}<tool_call|>
    <start_function_call>call:weather{city:<escape>Bern<escape>,days:2}<end_function_call>

Texts stand between quoting marks, keys do not. The formats are those of the models' chat templates. (Gemma 3
knows no calls; `marked` reads what it writes when it is told of them.)
"""

import functools
import json
import re

from janagent.engine.calls import Calls, Form, NoCall, Parse, Say
from janagent.engine.callscan import json_calls
from janagent.engine.source import WHITESPACE, Source, Wait

_LITERAL = re.compile(r"true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_DEEPEST = 64


def gemma_call(*, quote: str, closing: str) -> Parse:
    """One call, and `closing` where it is there."""
    return functools.partial(_call, quote=quote, closing=closing)


def _call(source: Source, calls: Calls, *, quote: str, closing: str) -> Wait[None]:
    if not (yield from source.take_after_space("call:")):
        raise NoCall
    name, mark = yield from source.until("{", closing)
    if mark != "{":
        raise NoCall
    calls.begin(name.strip())
    yield from _members(source, calls.more, "}", quote, 0)
    calls.end()
    yield from source.take_after_space(closing)
    source.commit()


def _members(source: Source, say: Say, end: str, quote: str, depth: int) -> Wait[None]:
    """What an object or an array holds, up to its end; a cut-off one is left open."""
    if depth > _DEEPEST:
        raise NoCall
    say("{" if end == "}" else "[")
    separator = ""
    while (char := (yield from source.skip(WHITESPACE + ","))) and char != end:
        say(separator)
        if end == "}":
            yield from source.take(quote)
            key, _ = yield from source.until(":")
            say(f"{_quoted(key.removesuffix(quote).strip())}: ")
        yield from _value(source, say, quote, depth)
        separator = ", "
    if char:
        source.at += 1
        say(end)


def _value(source: Source, say: Say, quote: str, depth: int) -> Wait[None]:
    char = yield from source.skip()
    if (yield from source.take(quote)):
        say('"')
        _, mark = yield from source.until(quote, say=lambda text: say(_quoted(text)[1:-1]))
        say('"' if mark else "")
    elif char and char in "{[":
        source.at += 1
        yield from _members(source, say, "}" if char == "{" else "]", quote, depth + 1)
    else:
        text, mark = yield from source.until(",", "}", "]")
        source.at -= len(mark)
        text = text.strip()
        if mark:
            say(text if _LITERAL.fullmatch(text) else _quoted(text))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


GEMMA = Form(
    openings={"<|tool_call>": gemma_call(quote='<|"|>', closing="<tool_call|>")},
    bare=json_calls,
    marks=("<|tool_call>", "<tool_call|>", '<|"|>'),
)
FUNCTION_GEMMA = Form(
    openings={"<start_function_call>": gemma_call(quote="<escape>", closing="<end_function_call>")},
    bare=json_calls,
    marks=("<start_function_call>", "<end_function_call>", "<escape>"),
)
