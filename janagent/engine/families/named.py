"""Calls whose name stands before their arguments, with marks between them.

    [TOOL_CALLS]weather[ARGS]{"city": "Bern"}
    [TOOL_CALLS][{"name": "weather", "arguments": {"city": "Bern"}}]
    <｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Bern"}<｜tool▁call▁end｜>
    <｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{...}\n```<｜tool▁call▁end｜>
    <|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{...}<|tool_call_end|>

Mistral since its v11 format and before it, DeepSeek V3.1 and R1, Kimi K2. The formats are those of the
models' chat templates, and of mistral-common.
"""

import re

from janagent.engine.calls import Calls, Form, NoCall
from janagent.engine.callscan import json_calls, json_value
from janagent.engine.source import Source, Wait

_MISTRAL = "[TOOL_CALLS]"
_CALL_ID, _ARGS = "[CALL_ID]", "[ARGS]"
_DEEPSEEK = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
_DEEPSEEK_END = "<｜tool▁calls▁end｜>"
_KIMI = (
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
)
_KIMI_END = "<|tool_calls_section_end|>"
_KIMI_NAME = re.compile(r"(?:functions\.)?(?P<name>.*?)(?::\d+)?", re.DOTALL)


def _arguments(source: Source, calls: Calls, name: str) -> Wait[None]:
    """A call's arguments, an object. Raises NoCall."""
    if (yield from source.skip()) != "{":
        raise NoCall
    calls.begin(name.strip())
    yield from json_value(source, calls.more)
    calls.end()


def mistral(source: Source, calls: Calls) -> Wait[None]:
    """Calls from `[TOOL_CALLS]` on, which stands before each of them or before all. Raises NoCall."""
    char = yield from source.skip()
    if char and char in "{[":
        yield from json_calls(source, calls)
        return
    mark = _MISTRAL
    while mark:
        name, mark = yield from source.until(_CALL_ID, _ARGS, "{")
        if mark == _CALL_ID:
            _, mark = yield from source.until(_ARGS, "{")
        source.at -= mark == "{"
        yield from _arguments(source, calls, name)
        mark = yield from source.take_after_space(_MISTRAL)
    source.commit()


def deepseek(source: Source, calls: Calls) -> Wait[None]:
    """Calls from the mark that begins all of them on, or from that of the first. Raises NoCall."""
    _, one, separator, end = _DEEPSEEK
    yield from source.take_after_space(one)
    while True:
        name, _ = yield from source.until(separator)
        fence = ""
        if name.strip() == "function":
            name, fence = yield from source.until("```json", "{")
            source.at -= fence == "{"
        yield from _arguments(source, calls, name)
        if fence == "```json":
            yield from source.take_after_space("```")
        yield from source.take_after_space(end)
        if not (yield from source.take_after_space(one)):
            break
    yield from source.take_after_space(_DEEPSEEK_END)
    source.commit()


def kimi(source: Source, calls: Calls) -> Wait[None]:
    """Calls from the mark that begins their section on. Raises NoCall."""
    _, one, separator, end = _KIMI
    yield from source.take_after_space(one)
    while True:
        name, _ = yield from source.until(separator)
        found = _KIMI_NAME.fullmatch(name.strip())
        yield from _arguments(source, calls, found["name"] if found else name)
        yield from source.take_after_space(end)
        if not (yield from source.take_after_space(one)):
            break
    yield from source.take_after_space(_KIMI_END)
    source.commit()


MISTRAL = Form(openings={_MISTRAL: mistral}, bare=json_calls, marks=(_MISTRAL, _CALL_ID, _ARGS))
DEEPSEEK = Form(
    openings={_DEEPSEEK[0]: deepseek, _DEEPSEEK[1]: deepseek},
    bare=json_calls,
    marks=(*_DEEPSEEK, _DEEPSEEK_END),
)
KIMI = Form(openings={_KIMI[0]: kimi, _KIMI[1]: kimi}, bare=json_calls, marks=(*_KIMI, _KIMI_END))
