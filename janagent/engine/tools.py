"""Functions that a model may call: what the prompt says of them, and which shape forces a call.

The model's own template shows them to it, in the form it was trained on. A template that knows nothing of
tools gets them as words in the system message. Pure. Neighbours: `requests` (the fields), `families` (read
what the model writes), `prompt` (templates), `history` (earlier calls), `shapes` (what a shape is).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from janagent.engine.faults import RequestError

Message = dict[str, Any]
_MOST_FORCED_CALLS = 8


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions of one request."""

    tools: Sequence[Mapping[str, Any]] = ()
    """As the request has them: {"type": "function", "function": {"name", "description", "parameters"}}."""
    forced: Sequence[str] = ()
    """Names of which one must be called; empty: the model is free."""
    may_call_several: bool = True

    @property
    def parameters(self) -> dict[str, Any]:
        """The functions' parameters, JSON schemas, by name."""
        return {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in self.tools}

    def forcing_schema(self) -> dict[str, Any] | None:
        """The JSON schema of an answer that is a call, or several; None where the model is free."""
        if not self.forced:
            return None
        calls = self.call_schemas("arguments", self.forced)
        return {
            "type": "array",
            "items": {"anyOf": calls},
            "minItems": 1,
            "maxItems": _MOST_FORCED_CALLS if self.may_call_several else 1,
        }

    def call_schemas(self, arguments: str, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The JSON schema of a call of each function; `arguments` is what that key is called."""
        return [
            {
                "type": "object",
                "properties": {"name": {"const": name}, arguments: _parameters(schema, name)},
                "required": ["name", arguments],
                "additionalProperties": False,
            }
            for name, schema in self.parameters.items()
            if name in (names or self.parameters)
        ]


def toolbox_of(
    tools: Sequence[Mapping[str, Any]], choice: Any, *, may_call_several: bool = True
) -> Toolbox | None:
    """What a request's `tools` and `tool_choice` amount to; None: no calls. Raises RequestError."""
    checked = [_checked(tool, f"tools[{at}]") for at, tool in enumerate(tools)]
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        checked, choice = _allowed(checked, choice.get("allowed_tools"))
    names = [tool["function"]["name"] for tool in checked]
    if choice in (None, "auto", "required", "none"):
        if choice == "required" and not names:
            raise _wrong("tool_choice", "there are no tools that could be called")
        if choice == "none" or not names:
            return None
        return Toolbox(checked, names if choice == "required" else (), may_call_several)
    return Toolbox(checked, (_named(choice, names),), may_call_several=False)


def _allowed(tools: Sequence[Mapping[str, Any]], allowed: Any) -> tuple[list[Mapping[str, Any]], str]:
    """(the tools that may be called, how): OpenAI's choice of some of them."""
    if not isinstance(allowed, Mapping) or not isinstance(allowed.get("tools"), list):
        raise _wrong("tool_choice.allowed_tools", "must be an object with mode and tools")
    mode = allowed.get("mode", "auto")
    if mode not in ("auto", "required"):
        raise _wrong("tool_choice.allowed_tools.mode", "must be auto or required")
    names = [tool["function"]["name"] for tool in tools]
    chosen = {_named(choice, names) for choice in allowed["tools"]}
    return [tool for tool in tools if tool["function"]["name"] in chosen], mode


def _named(choice: Any, names: Sequence[str]) -> str:
    """The function that a choice names."""
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise _wrong("tool_choice", "must be none, auto, required, allowed_tools or a function by its name")
    if name not in names:
        raise _wrong("tool_choice", f"there is no function {name!r} among the tools")
    return name


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
    if first["role"] == "system":
        return [{**first, "content": f"{first['content']}\n\n{words}".strip()}, *rest]
    return [{"role": "system", "content": words}, *messages]


def _checked(tool: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        raise _wrong(where, "must be an object of type function")
    function = tool.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise _wrong(f"{where}.function", "must be an object with a name")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise _wrong(f"{where}.function.parameters", "must be a JSON schema: an object")
    return {**tool, "type": "function"}


def _parameters(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A function without parameters takes none."""
    found = schema or {"properties": {}, "additionalProperties": False}
    return embedded({"type": "object", **found}, name=name)


def embedded(schema: Mapping[str, Any], *, name: str) -> Mapping[str, Any]:
    """A schema as a part of a larger one: with an id of its own its references stay within it.

    In JSON schema's older drafts an id beside a reference counts for nothing.
    """
    kept = {key: value for key, value in schema.items() if key != "$schema" or "$ref" not in schema}
    return {"$id": f"urn:part:{quote(name, safe='')}", **kept}


def _wrong(param: str, words: str) -> RequestError:
    return RequestError(f"{param}: {words}", param=param, code="invalid_value")
