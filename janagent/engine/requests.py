"""The bodies of the three OpenAI calls and of `rerank`: parsing, ranges, and errors that name the field.

Unknown fields are ignored and null means unset, as OpenAI's API has it. Fields this engine does not offer are
refused rather than silently dropped where dropping them would change the answer.
"""

import asyncio
import json
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, StringConstraints

from janagent.engine.faults import RequestError, unsupported
from janagent.engine.parts import Marks, Mixed, read_content

MAX_STOPS = 16
MAX_ANSWERS = 128
MAX_INPUTS = 2048
MAX_TOOLS = 512
LARGE_BYTES = 1 << 20
"""A larger body is parsed in a thread: that of a few megabytes of tokens takes as long as many steps."""

LARGEST_GRAMMAR = 1 << 20
"""Characters."""

StopString = Annotated[str, StringConstraints(max_length=1024)]
StopStrings = Annotated[list[StopString], Field(max_length=MAX_STOPS)]
Count = Annotated[int, Field(ge=0)]
TokenId = Annotated[int, Field(ge=0)]
Prompts = (
    str
    | Annotated[list[str], Field(fail_fast=True)]
    | Annotated[list[TokenId], Field(fail_fast=True)]
    | Annotated[list[list[TokenId]], Field(fail_fast=True)]
)
"""What fits one alternative fails the others with its first item; a million faults would take a second."""


def _stops(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _unlimited(value: Any) -> Any:
    return None if value == -1 and not isinstance(value, bool) else value


class Body(BaseModel):
    """Base of all bodies: strict types, unknown fields ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    model: str = ""


class StreamOptions(Body):
    """OpenAI's stream_options."""

    include_usage: bool | None = None


class SamplingBody(Body):
    """What chat and text completions share. Ranges are wide where OpenAI's are narrower than llama.cpp's."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_ANSWERS)
    stop: Annotated[StopStrings | None, BeforeValidator(_stops)] = None
    seed: int | None = Field(default=None, ge=-(1 << 63), le=(1 << 63) - 1)
    temperature: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=-1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repeat_penalty: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    ignore_eos: bool | None = None
    max_tokens: Annotated[Count | None, BeforeValidator(_unlimited)] = None
    response_format: dict[str, Any] | None = None
    json_schema: dict[str, Any] | None = None
    grammar: Annotated[str, StringConstraints(max_length=LARGEST_GRAMMAR)] | None = None


class ChatMessage(BaseModel):
    """One message. Fields beyond role and content go to the template as they are."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str | InstanceOf[Mixed] | None, BeforeValidator(read_content)] = None

    def for_template(self, marks: Marks) -> dict[str, Any]:
        """The message as templates expect it: content is a string, unset fields are absent.

        Where it has media, they get `marks`.
        """
        given = {name: value for name, value in (self.model_extra or {}).items() if value is not None}
        content = marks.text_of(self.content) if isinstance(self.content, Mixed) else self.content
        return {"role": self.role, "content": content or "", **given}


class ChatBody(SamplingBody):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Annotated[Count | None, BeforeValidator(_unlimited)] = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] | None = None
    tools: Annotated[list[dict[str, Any]] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None

    @property
    def template_values(self) -> dict[str, Any]:
        """What the request tells the chat template; each template knows a few of these names."""
        effort = self.reasoning_effort
        asked = {} if effort is None else {"reasoning_effort": effort, "enable_thinking": effort != "none"}
        return {**asked, **(self.chat_template_kwargs or {})}


class CompletionBody(SamplingBody):
    """POST /v1/completions."""

    prompt: Prompts = ""
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)


class EmbeddingBody(Body):
    """POST /v1/embeddings."""

    input: Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1)


class Document(BaseModel):
    """A text to rank, with whatever else its owner keeps beside it."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    text: str


def _document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class RerankBody(Body):
    """POST /v1/rerank, as Jina's and Cohere's APIs have it."""

    query: str
    documents: Annotated[list[Annotated[Document, BeforeValidator(_document)]], Field(fail_fast=True)]
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = Field(default=None, ge=1)
    raw_scores: bool | None = None


AnyBody = TypeVar("AnyBody", bound=Body)


async def read_body(data: bytes, kind: type[AnyBody]) -> AnyBody:
    """`parse_body`, out of the way of running answers."""
    if len(data) > LARGE_BYTES:
        return await asyncio.to_thread(parse_body, data, kind)
    return parse_body(data, kind)


def parse_body(data: bytes, kind: type[AnyBody]) -> AnyBody:
    """Read a request body. Raises RequestError naming the field that is wrong."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        where = (
            f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise RequestError(f"the request body is not valid JSON{where}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise RequestError("the request body must be a JSON object", code="invalid_json")
    _refuse_unsupported(value)
    try:
        return kind.model_validate(value)
    except pydantic.ValidationError as error:
        raise _named(error) from error


def _named(error: pydantic.ValidationError) -> RequestError:
    """The first fault, with the field written as clients know it: messages[0].content."""
    # Of the alternatives of a union, the one that got furthest into the value explains most.
    first = max(error.errors(include_url=False, include_context=False, include_input=False), key=_depth)
    param = ""
    for part in first["loc"]:
        if isinstance(part, int):
            param += f"[{part}]"
        elif part.isidentifier() and part != "str":  # names of union branches are not fields
            param += f".{part}" if param else part
    message = first["msg"].removeprefix("Value error, ")
    return RequestError(f"{param}: {message}", param=param or None, code="invalid_value")


def _depth(fault: Any) -> int:
    return sum(isinstance(part, int) for part in fault["loc"])


def _refuse_unsupported(body: dict[str, Any]) -> None:
    if body.get("functions"):
        raise unsupported("functions", "has become tools")
    for name in ("audio", "prediction"):
        if body.get(name):
            raise unsupported(name, "not supported by this engine")
    modalities = body.get("modalities")
    if modalities not in (None, [], ["text"]):
        raise unsupported("modalities", "this model answers in text only")
    best_of = body.get("best_of")
    if best_of is not None and best_of != (body.get("n") or 1):
        raise unsupported("best_of", "not supported by this engine")
