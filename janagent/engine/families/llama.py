"""Calls as Llama 3 writes them: JSON, with or without a mark, or Python for its built-in tools.

    {"name": "weather", "parameters": {"city": "Bern"}}
    <|python_tag|>{"name": "weather", "parameters": {"city": "Bern"}}; {"name": "clock", "parameters": {}}
    <|python_tag|>brave_search.call(query="Bern")
    <|python_tag|>print(2 ** 10)
    <function=weather>{"city": "Bern"}</function>

The formats are those of Meta's prompt formats for Llama 3.1 to 3.3; the last is Functionary 3.1's too.
"""

import json

from janagent.engine.calls import Calls, Form, NoCall
from janagent.engine.callscan import json_calls, json_value
from janagent.engine.families.pythonic import python_or_json, tell_python
from janagent.engine.source import Source, Wait

_INTERPRETERS = ("python", "ipython", "code_interpreter")
"""Names of functions that run code."""


def python_tag(source: Source, calls: Calls) -> Wait[None]:
    """JSON, a call of a built-in tool, or code. Raises NoCall where nothing could run it."""
    if (yield from source.skip()) == "{":
        yield from json_calls(source, calls)
        return
    text, _ = yield from source.until()
    try:
        tell_python(text, calls)
    except NoCall:
        interpreter = next((name for name in _INTERPRETERS if calls.has(name)), "")
        parameter = next(iter(calls.parameters(interpreter)), "code")
        calls.whole(interpreter, json.dumps({parameter: text.strip()}, ensure_ascii=False))


def function_tag(source: Source, calls: Calls) -> Wait[None]:
    """A function's name, and its arguments in JSON. Raises NoCall."""
    name, mark = yield from source.until(">")
    if not mark or (yield from source.skip()) != "{":
        raise NoCall
    calls.begin(name)
    yield from json_value(source, calls.more)
    calls.end()
    yield from source.take_after_space("</function>")
    source.commit()


LLAMA = Form(
    openings={
        "<|python_tag|>": python_tag,
        "<function=": function_tag,
        '{"name":': json_calls,
        '{"type":': json_calls,
    },
    bare=python_or_json,
    kept=frozenset({'{"name":', '{"type":'}),
    marks=("<|python_tag|>",),
)
