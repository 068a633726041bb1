"""The parameter sections of a manifest as typed values: `init`, `runtime`, `metadata`.

Owns: which fields exist, their types and limits, and how people may write a value ("0.7", "true", "" and
".." for not set). Knows nothing of files or of JSON syntax; `manifest` puts the sections together.
The fields are those of the specification's model object; limits are ours.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}(?:\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_DOTS = re.compile(r"\s*(?:\.{2,}|…+)\s*")
_LONGEST_NUMBER = 40
MAX_STOP_STRINGS = 16

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
EngineName = Literal["llamacpp", "api"]


def is_unset(value: Any) -> bool:
    """Whether a value means "not set": null, `""`, or `".."` (any run of two or more dots)."""
    return value is None or (isinstance(value, str) and (not value or _DOTS.fullmatch(value) is not None))


def _integer(value: Any) -> Any:
    """Unquote a whole number; what is none stays as it is, for pydantic's strict check to refuse."""
    if isinstance(value, str) and _INTEGER.fullmatch(text := value.strip()):
        return int(text.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text := value.strip()):
        return float(text)
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    return value


def _text(value: Any) -> Any:
    """A name that looks like a number (a deployment called 4) is still a name."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _word(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _texts(value: Any) -> Any:
    """One text or a list of them; empty ones say nothing."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if item != "") if isinstance(value, list) else value


def _scales(value: Any) -> Any:
    return {name: _number(one) for name, one in value.items()} if isinstance(value, dict) else _number(value)


WHOLE = BeforeValidator(_integer)
NUMBER = BeforeValidator(_number)
WORD = BeforeValidator(_word)
TEXTS = BeforeValidator(_texts)
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text)]
_Strength = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
_STRENGTH: dict[str, Any] = {"type": "number", "minimum": -100, "maximum": 100}
Scales = Annotated[
    _Strength | dict[str, _Strength],
    BeforeValidator(_scales),
    WithJsonSchema({**_STRENGTH, "type": ["number", "string", "object"], "additionalProperties": _STRENGTH}),
]


class Section(BaseModel):
    """A part of a manifest: frozen, compared by value. None means not set.

    `unknown` holds fields that the manifest has and we do not know, as they were written.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)

    unknown: Mapping[str, Any] = Field(default_factory=dict, repr=False)

    def shown(self) -> dict[str, Any]:
        """The set fields under the names that files use, coerced, with the unknown ones. Not redacted."""
        known = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"unknown"})
        return {**known, **self.unknown}


class InitParameters(Section):
    """`parameters.init`: fixed while the model is loaded; a request cannot change them."""

    ctx_len: Annotated[int, Field(ge=1, le=1 << 24), WHOLE] | None = Field(
        default=None, description="Tokens that one conversation may use, prompt and answer together."
    )
    ngl: Annotated[int, Field(ge=-1, le=1_000_000), WHOLE] | None = Field(
        default=None, description="Layers to put on the GPU; -1 means all. Absent: as many as fit."
    )
    embedding: Boolean | None = Field(
        default=None, description="false switches /v1/embeddings off for this model."
    )
    n_parallel: Annotated[int, Field(ge=1, le=256), WHOLE] | None = Field(
        default=None, description="Conversations that advance at the same time."
    )
    pre_prompt: Text | None = Field(
        default=None, description="What comes first, unless a system message is given."
    )
    user_prompt: Text | None = Field(
        default=None, description="What precedes a user's text; also a stop sequence."
    )
    ai_prompt: Text | None = Field(default=None, description="What precedes the model's text.")
    n_threads: Annotated[int, Field(ge=1, le=1024), WHOLE] | None = Field(
        default=None, description="CPU threads."
    )
    n_batch: Annotated[int, Field(ge=1, le=1 << 16), WHOLE] | None = Field(
        default=None, description="Most tokens in one decode step."
    )
    context_shift: Boolean | None = Field(
        default=None,
        description="true: a chat beyond ctx_len loses its oldest turns instead of being refused.",
    )
    flash_attn: Boolean | None = Field(
        default=None, description="Flash attention on or off. Absent: llama.cpp decides."
    )
    kv_type: Annotated[KvType, WORD] | None = Field(
        default=None, description="Number format of the KV cache."
    )
    chat_template: Text | None = Field(
        default=None, description="A Jinja chat template in place of the model's own."
    )
    lora_scale: Scales | None = Field(
        default=None,
        description="How strong the LoRA adapters named in files are applied. Absent: 1.",
        json_schema_extra={
            "allowed": 'a number from -100 to 100, or one for each adapter: {"adapter.gguf": 0.5}'
        },
    )
    api_key: Text | None = Field(
        default=None,
        validation_alias="API-KEY",
        serialization_alias="API-KEY",
        repr=False,
        description="Key for the remote API.",
    )
    deployment_name: Text | None = Field(
        default=None,
        validation_alias="DEPLOYMENT-NAME",
        serialization_alias="DEPLOYMENT-NAME",
        description="Azure's deployment name, or the remote model's name.",
    )
    api_version: Text | None = Field(
        default=None,
        validation_alias="api-version",
        serialization_alias="api-version",
        description="Azure's api-version.",
    )
    model_name: Text | None = Field(
        default=None,
        validation_alias="MODEL-NAME",
        serialization_alias="MODEL-NAME",
        description="The remote model's name.",
    )


class RuntimeParameters(Section):
    """`parameters.runtime`: defaults that a request may override; an edit applies to the next request."""

    temperature: Annotated[float, Field(ge=0, le=5), NUMBER] | None = None
    top_p: Annotated[float, Field(ge=0, le=1), NUMBER] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000), WHOLE] | None = Field(
        default=None, description="0 or -1: no limit."
    )
    min_p: Annotated[float, Field(ge=0, le=1), NUMBER] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1 << 24), WHOLE] | None = None
    token_limit: Annotated[int, Field(ge=1, le=1 << 24), WHOLE] | None = Field(
        default=None, description="Another name of max_tokens, which wins where both are set."
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2), NUMBER] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2), NUMBER] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=5), NUMBER] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), le=(1 << 63) - 1), WHOLE] | None = Field(
        default=None, description="-1: random."
    )
    stop: Annotated[tuple[str, ...], Field(max_length=MAX_STOP_STRINGS), TEXTS] | None = None
    stream: Boolean | None = Field(
        default=None, description="Read and shown; only the request decides whether an answer streams."
    )

    def request_defaults(self) -> dict[str, Any]:
        """What fills the gaps of a request, under OpenAI's field names (`token_limit` as `max_tokens`)."""
        fields = self.model_dump(mode="json", exclude_none=True, exclude={"unknown", "token_limit", "stream"})
        if self.token_limit is not None:
            fields.setdefault("max_tokens", self.token_limit)
        return fields


class Metadata(Section):
    """`metadata`: which engine, and how it is kept in memory."""

    engine: Annotated[EngineName, WORD] | None = None
    hot_load: Boolean | None = Field(
        default=None, description="true: load as soon as complete; false: never by itself."
    )
    pin: Boolean | None = Field(default=None, description="Never evict or unload.")
    idle_unload_s: Annotated[float, Field(ge=0, le=31_536_000), NUMBER] | None = Field(
        default=None, description="Seconds without a request until it is unloaded; 0: never by idleness."
    )


@cache
def field_names(section: type[Section]) -> dict[str, str]:
    """Name in a file -> attribute, of every field of `section`."""
    return {
        info.serialization_alias or name: name
        for name, info in section.model_fields.items()
        if name != "unknown"
    }
