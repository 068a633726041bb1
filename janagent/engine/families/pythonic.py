"""Calls written as Python calls functions.

    [weather(city="Bern", days=2), clock()]

Llama 4, LFM2 and Olmo 3 in an array, Gemma 3 in a fence. The formats are those of the models' chat templates
and of Gemma's documentation. Nothing is run: the text is parsed, and its values must be literal.
"""

import ast
import functools
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from janagent.engine.calls import Calls, Form, NoCall, Parse
from janagent.engine.callscan import json_calls
from janagent.engine.source import Source, Wait

_LARGEST = 1 << 18
"""Characters: Python's parser takes some hundred times as much memory."""
_NAME_BEGINS = re.compile(r"\[?\s*([\w.]*)")
_JSON_NAMES = {"true": True, "false": False, "null": None}
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def python_calls(closing: str) -> Parse:
    """Calls up to `closing`, in an array or one in a line; or JSON, which some write there."""
    return functools.partial(_to_closing, closing=closing)


def python_or_json(source: Source, calls: Calls) -> Wait[None]:
    """An answer that begins with a bracket: an array of calls in Python, or else in JSON."""
    name, after = yield from _head(source)
    if after != "(" or not calls.has(_last(name, calls)):
        yield from json_calls(source, calls)
        return
    text, _ = yield from source.until()
    tell_python(text, calls)


def _head(source: Source) -> Wait[tuple[str, str]]:
    """(the name at the beginning, perhaps in an array; the character after it); nothing is read."""
    while True:
        found = _NAME_BEGINS.match(source.text, source.at)
        assert found is not None
        if source.is_whole or found.end() < len(source.text):
            return found[1], source.text[found.end() :][:1]
        yield


def _to_closing(source: Source, calls: Calls, *, closing: str) -> Wait[None]:
    yield from source.skip()
    name, after = yield from _head(source)
    if not name and after == "{":
        yield from json_calls(source, calls, closing=closing)
        return
    text, _ = yield from source.until(closing)
    tell_python(text, calls)


def tell_python(text: str, calls: Calls) -> None:
    """Raises NoCall, before any call, where one of them is none."""
    for name, arguments in [_read(node, calls) for node in _nodes(text)]:
        calls.whole(name, arguments)


def _nodes(text: str) -> Iterator[ast.expr]:
    """What is called, line by line or in an array."""
    if len(text) > _LARGEST:
        raise NoCall
    try:
        with warnings.catch_warnings():  # of escapes that Python will forbid one day
            warnings.simplefilter("ignore")
            body = ast.parse(text.strip()).body
    except _UNREADABLE:
        raise NoCall from None
    if not body:
        raise NoCall
    for statement in body:
        if not isinstance(statement, ast.Expr | ast.Assign):
            raise NoCall
        if isinstance(statement.value, ast.List):
            yield from statement.value.elts
        else:
            yield statement.value


def _read(node: ast.expr, calls: Calls) -> tuple[str, str]:
    """(name, arguments) of one call."""
    if not isinstance(node, ast.Call):
        raise NoCall
    name = _last(ast.unparse(node.func), calls)
    if name == "print" and len(node.args) == 1 and not calls.has(name):
        return _read(node.args[0], calls)
    if not calls.has(name):
        raise NoCall
    names = calls.parameters(name)
    if len(node.args) > len(names):
        raise NoCall
    arguments = {key: _value(argument) for key, argument in zip(names, node.args, strict=False)}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise NoCall
        arguments[keyword.arg] = _value(keyword.value)
    try:
        return name, json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except _UNREADABLE:
        raise NoCall from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return node.value
        case ast.Name(id=name) if name in _JSON_NAMES:
            return _JSON_NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
            found = {}
            for key, value in zip(keys, values, strict=True):
                assert isinstance(key, ast.Constant)
                found[str(key.value)] = _value(value)
            return found
    raise NoCall


def _last(name: str, calls: Calls) -> str:
    """`default_api.weather` is `weather`, and so is `weather.call`."""
    short = name.removesuffix(".call")
    return next((known for known in (name, short) if calls.has(known)), short.rpartition(".")[2])


LLAMA_4 = Form(
    openings={"<|python_start|>": python_calls("<|python_end|>")},
    bare=python_or_json,
    marks=("<|python_start|>", "<|python_end|>"),
)
LIQUID = Form(
    openings={"<|tool_call_start|>": python_calls("<|tool_call_end|>")},
    bare=python_or_json,
    marks=("<|tool_call_start|>", "<|tool_call_end|>"),
)
OLMO = Form(openings={"<function_calls>": python_calls("</function_calls>")}, bare=python_or_json)
