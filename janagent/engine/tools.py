"""Functions that a model may call: what the prompt says of them, and which shape forces a call.

The model's own template shows them to it, in the form it was trained on. A template that knows nothing of
tools gets them as words in the system message. Pure. Neighbours: `requests` (the fields), `calls` (reads
what the model writes), `prompt` (templates), `shapes` (what a shape is).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from janagent.engine.calls import Style, Thinking
from janagent.engine.faults import RequestError

Message = dict[str, Any]
_MOST_FORCED_CALLS = 8
_MARKS: tuple[tuple[str, Style], ...] = (
    ("<tool_call>", Style.HERMES),
    ("[TOOL_CALLS]", Style.MISTRAL),
    ("<|python_tag|>", Style.LLAMA),
    ("ipython", Style.LLAMA),
)
"""What a template holds that shows its family's tools, the surest first."""
_THINK = ("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class Family:
    """How one model's template speaks of tools and of thinking."""

    style: Style = Style.FENCED
    has_tools: bool = False
    """The template shows tools by itself."""
    thinks: bool = False

    @classmethod
    def of(cls, template: str) -> "Family":
        """Told by the marks in the template's source."""
        has_tools = "tools" in template
        style = next((style for mark, style in _MARKS if has_tools and mark in template), Style.FENCED)
        return cls(style=style, has_tools=has_tools, thinks=_THINK[1] in template)

    def thinking_after(self, prompt: str) -> Thinking | None:
        """How reasoning is marked in the answer to `prompt`."""
        if not self.thinks:
            return None
        return Thinking(*_THINK, is_open=prompt.rstrip().endswith(_THINK[0]))

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that are tokens of their own in some vocabularies, and must be seen all the same."""
        told = {
            Style.HERMES: ("<tool_call>", "</tool_call>"),
            Style.MISTRAL: ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
            Style.LLAMA: ("<|python_tag|>",),
        }
        return (*told.get(self.style, ()), *(_THINK if self.thinks else ()))


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions of one request."""

    tools: Sequence[Mapping[str, Any]] = ()
    """As the request has them: {"type": "function", "function": {"name", "description", "parameters"}}."""
    forced: Sequence[str] = ()
    """Names of which one must be called; empty: the model is free."""
    may_call_several: bool = True

    def forcing_schema(self) -> dict[str, Any] | None:
        """The JSON schema of an answer that is a call, or several; None where the model is free."""
        if not self.forced:
            return None
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": function["name"]}, "arguments": _parameters(function)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for function in (tool["function"] for tool in self.tools)
            if function["name"] in self.forced
        ]
        schema: dict[str, Any] = {
            "type": "array",
            "items": {"anyOf": calls},
            "minItems": 1,
            "maxItems": _MOST_FORCED_CALLS if self.may_call_several else 1,
        }
        return _with_definitions(schema, self.tools)


def toolbox_of(
    tools: Sequence[Mapping[str, Any]], choice: Any, *, may_call_several: bool = True
) -> Toolbox | None:
    """What a request's `tools` and `tool_choice` amount to; None: no calls. Raises RequestError."""
    checked = [_checked(tool, f"tools[{at}]") for at, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in checked]
    if choice in (None, "auto", "required", "none"):
        if choice == "required" and not names:
            raise _wrong("tool_choice", "there are no tools that could be called")
        if choice == "none" or not names:
            return None
        return Toolbox(checked, names if choice == "required" else (), may_call_several)
    named = choice.get("function", {}).get("name") if isinstance(choice, Mapping) else None
    if not isinstance(named, str):
        raise _wrong("tool_choice", "must be none, auto, required or a function by its name")
    if named not in names:
        raise _wrong("tool_choice", f"there is no function {named!r} among the tools")
    return Toolbox(checked, (named,), may_call_several=False)


def in_words(toolbox: Toolbox) -> str:
    """What a model is told whose template does not know tools."""
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in toolbox.tools)
    return (
        "You can call these functions. Each line describes one, its parameters as a JSON schema:\n"
        f"{listed}\n"
        "To call one, answer with nothing but JSON of this form:\n"
        '{"name": "the function\'s name", "arguments": {"a parameter": "its value"}}\n'
        "Results come back as messages. If no function helps, answer in plain words."
    )


def with_words(messages: Sequence[Message], words: str) -> list[Message]:
    """`messages` whose system message says `words` too."""
    first, *rest = messages
    if first["role"] in ("system", "developer"):
        return [{**first, "content": f"{first['content']}\n\n{words}".strip()}, *rest]
    return [{"role": "system", "content": words}, *messages]


def plain_history(messages: Sequence[Message]) -> list[Message]:
    """For templates that know no calls: those of earlier turns, and their results, as words."""
    told: list[Message] = []
    for message in messages:
        calls = message.get("tool_calls") or []
        if message["role"] == "assistant" and calls:
            said = [
                json.dumps({"name": call["function"]["name"], "arguments": call["function"]["arguments"]})
                for call in calls
            ]
            told.append({"role": "assistant", "content": "\n".join([message["content"], *said]).strip()})
        elif message["role"] in ("tool", "function"):
            name = message.get("name") or message.get("tool_call_id") or "the function"
            told.append({"role": "user", "content": f"Result of {name}:\n{message['content']}"})
        else:
            told.append(message)
    return told


def parsed_history(messages: Sequence[Message]) -> list[Message]:
    """For templates, which write arguments as JSON themselves: earlier calls with objects, not texts."""
    return [
        {**message, "tool_calls": [_parsed_call(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def _parsed_call(call: Any) -> Any:
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        raise _wrong("messages", "a tool call must have a function with name and arguments")
    function = call["function"]
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return call  # as a model wrote it; the template may be content with a text
    return {**call, "function": {**function, "arguments": arguments}}


def _checked(tool: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        raise _wrong(where, "must be an object of type function")
    function = tool.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _wrong(f"{where}.function", "must be an object with a name")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise _wrong(f"{where}.function.parameters", "must be a JSON schema: an object")
    return {**tool, "type": "function"}


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function without parameters takes none."""
    schema = function.get("parameters") or {"properties": {}, "additionalProperties": False}
    kept = {name: value for name, value in schema.items() if name not in ("$defs", "definitions", "$schema")}
    return {"type": "object", **kept}


def _with_definitions(schema: dict[str, Any], tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Definitions that functions' schemas refer to belong at the top of the whole."""
    for tool in tools:
        for name in ("$defs", "definitions"):
            found = (tool["function"].get("parameters") or {}).get(name)
            if found:
                schema[name] = {**schema.get(name, {}), **found}
    return schema


def _wrong(param: str, words: str) -> RequestError:
    return RequestError(f"{param}: {words}", param=param, code="invalid_value")
