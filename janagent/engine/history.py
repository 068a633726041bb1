"""What a chat template can show, and messages made to fit it.

Templates differ in how they want earlier calls and their results, or know none. Rather than by name, a
template is known by what it makes of a small conversation. Pure. Neighbours: `prompt` renders, `tools` has
the functions.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from janagent.engine.faults import RequestError

Message = dict[str, Any]
Render = Callable[[Sequence[Message], Sequence[Mapping[str, Any]] | None], str | None]
"""The prompt for messages and tools; None where the template refuses them."""

_KEY, _VALUE, _RESULT, _SYSTEM = "probe_key", "probe_value", "probe_result", "probe_system"
_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "A probe.",
        "parameters": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "A probe."}},
            "required": [_KEY],
        },
    },
}
_SHORT_ID = "probe0001"
"""Mistral's templates want nine letters or digits."""
_LONG_ID = "call_0123456789abcdef01234567"
_ASK: Message = {"role": "user", "content": "Hi"}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a chat template can show."""

    system: bool = True
    tools: bool = False
    """The functions that may be called."""
    calls: bool = False
    """Earlier calls, and their results as messages of role tool."""
    wants_text: bool = False
    """A call's arguments as JSON text, not as an object."""
    wants_null: bool = False
    """The content of a message that calls as null, not as an empty text."""
    one_call: bool = False
    """One call a message, no more."""
    short_ids: bool = False

    @classmethod
    def of(cls, render: Render) -> "Abilities":
        """Found out by rendering."""
        system = render([{"role": "system", "content": _SYSTEM}, _ASK], None)
        tools = render([_ASK], [_TOOL])
        found = cls(system=_SYSTEM in (system or ""), tools="probe_tool" in (tools or ""))
        for text, null in ((False, False), (False, True), (True, False), (True, True)):
            able = cls(system=found.system, tools=found.tools, calls=True, wants_text=text, wants_null=null)
            if not _shows(render(_talk(able, _SHORT_ID), [_TOOL])):
                continue
            one = not _shows(render(_talk(able, _SHORT_ID, "probe0002"), [_TOOL]))
            short = not _shows(render(_talk(able, _LONG_ID), [_TOOL]))
            return cls(found.system, found.tools, True, text, null, one, short)
        return found


def _talk(able: Abilities, *ids: str) -> list[Message]:
    arguments: Any = {_KEY: _VALUE}
    function = {"name": "probe_tool", "arguments": json.dumps(arguments) if able.wants_text else arguments}
    calls = [{"id": id_, "type": "function", "function": function} for id_ in ids]
    results = [{"role": "tool", "tool_call_id": id_, "name": "probe_tool", "content": _RESULT} for id_ in ids]
    content = None if able.wants_null else ""
    return [_ASK, {"role": "assistant", "content": content, "tool_calls": calls}, *results]


def _shows(prompt: str | None) -> bool:
    """A call and its result, the arguments neither in Python's notation nor JSON in a JSON text."""
    if prompt is None or _RESULT not in prompt or _VALUE not in prompt:
        return False
    return f"'{_KEY}'" not in prompt and f'\\"{_KEY}' not in prompt


def tidied(messages: Sequence[Message]) -> list[Message]:
    """Messages in today's form: calls and results of OpenAI's first kind become those of its second, results
    know their function's name, and empty lists of calls are gone. Raises RequestError."""
    names: dict[str, str] = {}
    last = ""
    told: list[Message] = []
    for given in messages:
        message = {key: value for key, value in given.items() if not (key == "tool_calls" and not value)}
        old = message.pop("function_call", None)
        if old is not None and "tool_calls" not in message:
            message["tool_calls"] = [{"id": "call_of_function", "type": "function", "function": old}]
        for call in _called(message):
            last = names[str(call.get("id"))] = call["function"]["name"]
        if message["role"] == "function":
            message.setdefault("tool_call_id", "call_of_function")
            message["role"] = "tool"
        if message["role"] == "tool" and "name" not in message:
            message["name"] = names.get(str(message.get("tool_call_id")), last)
        if "reasoning" in message:
            message.setdefault("reasoning_content", message["reasoning"])
        told.append(message)
    return told


def _called(message: Message) -> Sequence[Mapping[str, Any]]:
    """A message's calls, which are some. Raises RequestError."""
    found = message.get("tool_calls", [])
    calls: list[Any] = found if isinstance(found, list) else [None]
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            words = "messages: each of tool_calls must have a function with name and arguments"
            raise RequestError(words, param="messages", code="invalid_value")
    return calls


def fitted(messages: Sequence[Message], able: Abilities) -> list[Message]:
    """Tidied messages as a template that shows calls wants them."""
    told: list[Message] = []
    for message in _one_by_one(messages) if able.one_call else messages:
        changed: Message = {}
        if "tool_calls" in message:
            changed["tool_calls"] = [_fitted_call(call, able) for call in message["tool_calls"]]
            if able.wants_null and not message["content"]:
                changed["content"] = None
        elif message["role"] == "tool" and able.short_ids:
            changed["tool_call_id"] = _short(message.get("tool_call_id"))
        told.append({**message, **changed})
    return told


def _fitted_call(call: Mapping[str, Any], able: Abilities) -> Mapping[str, Any]:
    function = call["function"]
    arguments = function.get("arguments")
    if able.wants_text:
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments or {}, ensure_ascii=False)
    elif not isinstance(arguments, Mapping):
        arguments = _object(arguments)
    fit = {**call, "type": "function", "function": {**function, "arguments": arguments}}
    return {**fit, "id": _short(call.get("id"))} if able.short_ids else fit


def _object(arguments: Any) -> Mapping[str, Any]:
    """A model may have written what is no JSON object; the conversation goes on all the same."""
    try:
        found = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        found = arguments
    return found if isinstance(found, Mapping) else {} if found is None else {"arguments": found}


def _short(id_: Any) -> str:
    text = str(id_)
    if len(text) == len(_SHORT_ID) and text.isascii() and text.isalnum():
        return text
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[: len(_SHORT_ID)]


def _one_by_one(messages: Sequence[Message]) -> list[Message]:
    """Each of several calls in a message of its own, its result after it."""
    told: list[Message] = []
    waiting: list[Message] = []
    for message in messages:
        if message["role"] == "tool" and waiting:
            ids = [caller["tool_calls"][0].get("id") for caller in waiting]
            result_of = message.get("tool_call_id")
            told += [waiting.pop(ids.index(result_of) if result_of in ids else 0), message]
            continue
        told += waiting
        waiting = [
            {**message, "content": "" if number else message["content"], "tool_calls": [call]}
            for number, call in enumerate(message.get("tool_calls", ()))
        ]
        if not waiting:
            told.append(message)
    return told + waiting


def in_plain_words(messages: Sequence[Message]) -> list[Message]:
    """Tidied messages for a template that knows only text: calls as JSON, results as the user's words.

    Results and what the user says after them are one message, as such templates want roles to take turns.
    """
    told: list[Message] = []
    after_result = False
    for given in messages:
        message = _in_words(given)
        if after_result and message["role"] == "user" and isinstance(message["content"], str):
            before = told.pop()
            message = {"role": "user", "content": f"{before['content']}\n\n{message['content']}"}
        told.append(message)
        after_result = given["role"] == "tool"
    return told


def _in_words(message: Message) -> Message:
    content = message["content"]
    if "tool_calls" in message:
        said = [_said(call["function"]) for call in message["tool_calls"]]
        return {"role": "assistant", "content": "\n".join([content, *said]).strip()}
    if message["role"] == "tool":
        return {"role": "user", "content": f"Result of {message['name'] or 'the call'}:\n{content}"}
    return message


def _said(function: Mapping[str, Any]) -> str:
    call = {"name": function["name"], "arguments": _object(function.get("arguments"))}
    return json.dumps(call, ensure_ascii=False)


def without_system(messages: Sequence[Message]) -> list[Message]:
    """For templates that know no system message: what it says stands before the user's first words."""
    first, *rest = messages
    if first["role"] != "system" or not first["content"]:
        return list(messages)
    at = next((at for at, message in enumerate(rest) if message["role"] == "user"), None)
    if at is None or not isinstance(rest[at]["content"], str):
        return [{"role": "user", "content": first["content"]}, *rest]
    rest[at] = {**rest[at], "content": f"{first['content']}\n\n{rest[at]['content']}"}
    return rest
