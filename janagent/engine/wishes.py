"""Which shape a request wants its answer to have: `response_format`, `json_schema`, `grammar`.

Reads the fields as OpenAI and llama-server have them; what a schema may hold is llguidance's business.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from janagent.engine.faults import RequestError
from janagent.engine.model import Model
from janagent.engine.requests import SamplingBody
from janagent.engine.tools import embedded

if TYPE_CHECKING:
    from janagent.engine.shapes import Shapes, Walk


@dataclass(frozen=True, kw_only=True)
class Detours:
    """What may come before the shape of an answer, or instead of it.

    `thinking`: (the token that begins thoughts, None where the prompt has; how they end); `calls`: tokens
    that begin a call; `shown`: control tokens that have a text.
    """

    thinking: tuple[int | None, re.Pattern[str]] | None = None
    calls: Sequence[int] = ()
    shown: Mapping[int, bytes] = field(default_factory=dict)


class ShapeMaker:
    """Makes the walks that requests ask for. What it needs is loaded by the first that asks."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._shapes: Shapes | None = None

    async def prepare(
        self,
        body: SamplingBody,
        *,
        forced: Mapping[str, Any] | None = None,
        instead: Sequence[Mapping[str, Any]] = (),
    ) -> str | None:
        """The grammar that `body` wants, compiled; None for free text. Raises RequestError.

        `forced`: the schema that a choice of tools demands; `instead`: schemas that an answer in JSON may fit
        as well.
        """
        wishes = (body.response_format, body.grammar, body.json_schema)
        if forced is None and all(wish is None for wish in wishes):
            return None
        return await asyncio.to_thread(self._compile, body, forced, instead) or None

    def walk(self, grammar: str, detours: Detours) -> "Walk":
        """The beginning of one answer in a shape that was prepared."""
        from janagent.engine.shapes import Detour

        assert self._shapes is not None
        ways = [Detour(opening=token) for token in detours.calls]
        if detours.thinking is not None:
            opening, closing = detours.thinking
            ways.append(Detour(opening=opening, closing=closing))
        return self._shapes.walk(grammar, detours=ways, shown=detours.shown)

    def _compile(
        self, body: SamplingBody, forced: Mapping[str, Any] | None, instead: Sequence[Mapping[str, Any]]
    ) -> str:
        """Empty for free text."""
        from janagent.engine import shapes

        param = ""
        try:
            schema, grammar, param = _wished(body)
            if forced is not None:
                if param:
                    words = f"tool_choice: a call cannot be forced beside {param}"
                    raise RequestError(words, param="tool_choice", code="invalid_value")
                schema, param = forced, "tools"
            if self._shapes is None:
                self._shapes = shapes.Shapes(self._model)
            if schema is not None and forced is None and instead:
                return self._either(schema, instead)
            if schema is not None:
                grammar = shapes.json_shape(schema)
            elif grammar:
                grammar = shapes.gbnf_shape(grammar)
            if grammar:
                self._shapes.compile(grammar)
        except shapes.ShapeError as error:
            where = param if forced is None else f"{param}: {self._faulty(forced)}"
            raise RequestError(f"{where}: {error}", param=param, code="invalid_value") from error
        return grammar

    def _either(self, schema: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> str:
        """The grammar of an answer that is what it should be or a call; what a call holds matters less."""
        from janagent.engine import shapes

        assert self._shapes is not None
        whole = embedded(schema, name="answer")
        grammar = shapes.json_shape({"anyOf": [whole, *calls]})
        try:
            self._shapes.compile(grammar)
        except shapes.ShapeError:
            grammar = shapes.json_shape({"anyOf": [whole, *map(_loosened, calls)]})
            self._shapes.compile(grammar)
        return grammar

    def _faulty(self, forced: Mapping[str, Any]) -> str:
        """The name of the function whose schema makes that of all calls fail."""
        from janagent.engine import shapes

        assert self._shapes is not None
        for call in forced["items"]["anyOf"]:
            try:
                self._shapes.compile(shapes.json_shape(call))
            except shapes.ShapeError:
                return str(call["properties"]["name"]["const"])
        return "the functions together"


def _loosened(call: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = {
        name: part if "const" in part else {"type": "object"} for name, part in call["properties"].items()
    }
    return {**call, "properties": properties}


def _wished(body: SamplingBody) -> tuple[Mapping[str, Any] | None, str, str]:
    """(JSON schema, grammar, the field that it comes from); nothing of them for free text."""
    wanted = body.response_format or {}
    kind = wanted.get("type", "text")
    shaped = [name for name in ("grammar", "json_schema") if getattr(body, name) is not None]
    if kind != "text":
        shaped.append("response_format")
    if len(shaped) > 1:
        words = f"{shaped[0]}: cannot be combined with {shaped[1]}"
        raise RequestError(words, param=shaped[0], code="invalid_value")
    if body.grammar is not None:
        return None, body.grammar, "grammar"
    if body.json_schema is not None:
        return body.json_schema, "", "json_schema"
    match kind:
        case "text":
            return None, "", ""
        case "json_object":  # llama-server's clients put a schema there
            schema = _object(wanted.get("schema"), "response_format.schema")
            return schema or {"type": "object"}, "", "response_format"
        case "json_schema":
            return _schema_of(wanted), "", "response_format.json_schema.schema"
    raise _wrong("response_format.type", "must be text, json_object or json_schema")


def _schema_of(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    described = wanted.get("json_schema")
    if not isinstance(described, Mapping):
        raise _wrong("response_format.json_schema", "is required: an object with name and schema")
    schema = described.get("schema")
    if schema is None and "schema" not in described and described.keys() & {"type", "properties", "$ref"}:
        return described  # the schema itself, as some clients send it
    return _object(schema, "response_format.json_schema.schema") or {"type": "object"}


def _object(schema: Any, param: str) -> Mapping[str, Any] | None:
    if schema is not None and not isinstance(schema, Mapping):
        raise _wrong(param, "must be an object: a JSON schema")
    return schema


def _wrong(param: str, words: str) -> RequestError:
    return RequestError(f"{param}: {words}", param=param, code="invalid_value")
