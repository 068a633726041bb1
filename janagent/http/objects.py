"""Model objects: a `ModelStatus` as the JSON that the API shows (contract 3, "Model object").

Owns which fields there are and that no secret is in them. Knows nothing of requests. Neighbours:
`core.status` (what it renders), `redact` (what is hidden), `models` and `events` (who send it).
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from janagent.core.status import ModelStatus
from janagent.folder.entry import ModelEntry
from janagent.folder.gguf import RANK, Header
from janagent.folder.manifest import ManifestError, apply_start_parameters
from janagent.folder.parameters import InitParameters
from janagent.http.jsonbody import encode
from janagent.redact import redact

OWN_FIELDS = frozenset(
    {
        "id",
        "object",
        "created",
        "owned_by",
        "aliases",
        "state",
        "path",
        "binaries",
        "error",
        "progress",
        "last_error",
        "latency_ms",
        "warnings",
        "size_bytes",
        "architecture",
        "quantization",
        "context_length",
        "input_modalities",
        "capabilities",
    }
)
"""Fields that a manifest cannot set in the object by having an unknown field of that name."""
_IN_A_PIECE = 100


def model_object(status: ModelStatus) -> dict[str, Any]:
    """The model object of contract 3, redacted."""
    return {**_described(status.entry), **_parameters(status), **_momentary(status)}


async def render_ahead(renderer: "Renderer", statuses: Iterable[ModelStatus]) -> None:
    """Render a few models at a time, so that the first list is as quick as those after it."""
    for status in statuses:
        renderer.render(status)
        await asyncio.sleep(0)


def joined(objects: Sequence[bytes], *, before: bytes, after: bytes) -> Iterator[bytes]:
    """`before`, the objects with commas between them, `after`: in pieces, so that the text of ten thousand
    models never lies in memory a second time."""
    yield before
    for at in range(0, len(objects), _IN_A_PIECE):
        yield (b"," if at else b"") + b",".join(objects[at : at + _IN_A_PIECE])
    yield after


@dataclass(frozen=True, slots=True)
class _Rendered:
    """The JSON of one model, with what it was made from: if that is the same, so is the JSON."""

    status: ModelStatus
    body: bytes


class Renderer:
    """Rendered model objects, kept, because a list of ten thousand must not take longer than its joining."""

    def __init__(self) -> None:
        self._kept: dict[str, _Rendered] = {}

    def render(self, status: ModelStatus) -> bytes:
        """`model_object` as JSON."""
        key = status.entry.key
        kept = self._kept.get(key)
        if kept is None or (kept.status is not status and kept.status != status):
            kept = self._kept[key] = _Rendered(status, encode(model_object(status)))
        return kept.body

    def render_all(self, statuses: Iterable[ModelStatus], *, known: int) -> list[bytes]:
        """Each as JSON. `known` is how many models there are in all: what is far beyond it is forgotten."""
        if len(self._kept) > 2 * known + 100:
            self._kept.clear()
        return [self.render(status) for status in statuses]


def _described(entry: ModelEntry) -> dict[str, Any]:
    """What only the folder decides."""
    said = {name: value for name, value in entry.manifest.shown().items() if name not in OWN_FIELDS}
    own: dict[str, Any] = {
        "id": entry.id,
        "object": "model",
        "created": entry.created,
        "owned_by": entry.owned_by,
        "aliases": list(entry.aliases),
        "path": entry.path,
        "binaries": [
            {
                "path": binary.path,
                "size_bytes": binary.size_bytes,
                "role": binary.role.value,
                "shared": binary.shared,
            }
            for binary in entry.binaries
        ],
    }
    if entry.binaries:
        own["size_bytes"] = entry.size_bytes
    header = entry.header
    if header is not None:
        facts = {
            "architecture": header.architecture,
            "quantization": header.quantization,
            "context_length": header.context_length,
        }
        own |= {name: value for name, value in facts.items() if value}
        own["input_modalities"] = ["text", *_senses(entry.projector).values()]
        own["capabilities"] = _capabilities(header, entry.projector, entry.manifest.init)
    return {**_redacted(said), **own}


def _senses(projector: Header | None) -> dict[str, str]:
    """What a projector adds to what a model can do, and to what it takes."""
    if projector is None:
        return {}
    found = {"vision": "image"} if projector.has_vision else {}
    return found | ({"audio": "audio"} if projector.has_audio else {})


def _capabilities(header: Header, projector: Header | None, init: InitParameters) -> list[str]:
    """What a local model can be asked for. One that sees both ways along a text (BERT) writes none, and one
    that ranks does nothing else."""
    if header.pooling_type == RANK:
        return ["rerank"] if header.has_classifier else []
    embeddings = ["embeddings"] if init.embedding is not False else []
    if header.causal is False or header.is_encoder:
        return embeddings
    return ["chat", "json", "tools", *embeddings, *_senses(projector)]


def _parameters(status: ModelStatus) -> dict[str, Any]:
    """The parameters in force where a start changed the manifest's."""
    if not status.overrides:
        return {}
    manifest = status.entry.manifest
    try:
        init, runtime = apply_start_parameters(manifest.init, manifest.runtime, dict(status.overrides))
    except ManifestError:
        return {}
    return _redacted({"parameters": {"init": init.shown(), "runtime": runtime.shown()}})


def _momentary(status: ModelStatus) -> dict[str, Any]:
    """What may change while the files stay the same."""
    body: dict[str, Any] = {"state": status.state.value}
    if status.error is not None:
        body["error"] = {"code": status.error.code, "message": redact(status.error.message)}
    if status.progress is not None:
        body["progress"] = redact(status.progress)
    if status.last_error is not None:
        told = {"code": status.last_error.code, "message": redact(status.last_error.message)}
        body["last_error"] = told
    if status.latency_ms is not None:
        body["latency_ms"] = status.latency_ms
    if status.warnings:
        body["warnings"] = redact(status.warnings)
    return body


def _redacted(body: Mapping[str, Any]) -> dict[str, Any]:
    value = redact(body)
    assert isinstance(value, dict)
    return value
