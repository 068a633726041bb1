"""What a manifest's runtime parameters do to a request: they speak where it is silent. Pure."""

from collections.abc import Mapping
from typing import Any

from janagent.folder.parameters import InitParameters
from janagent.http.routing import Endpoint

_SILENCED_BY: Mapping[str, tuple[str, ...]] = {"max_tokens": ("max_completion_tokens",)}
"""A default is not filled in when the request speaks under one of these other names."""
_LIMIT = "token_limit"
"""The manifest's name for max_tokens: who knows it from there may say it here."""
_LIMITS = ("max_tokens", *_SILENCED_BY["max_tokens"])
INIT_FIELDS = frozenset(
    str(field.validation_alias or name)
    for name, field in InitParameters.model_fields.items()
    if name != "unknown"
)
"""Fixed while a model is loaded; a request that names one is served as if it had not (contract 2)."""


def fill_in(
    body: Mapping[str, Any], *, model_id: str, defaults: Mapping[str, Any], endpoint: Endpoint
) -> dict[str, Any]:
    """`body` for the engine: the model by its id, no init fields, runtime defaults where it is silent.

    `null` is silence, as in OpenAI's API. Embeddings and ranks have no runtime parameters.
    """
    filled = {name: value for name, value in body.items() if name not in INIT_FIELDS}
    filled["model"] = model_id
    if endpoint in ("embeddings", "rerank"):
        return filled
    limit = filled.pop(_LIMIT, None)
    if limit is not None and all(body.get(name) is None for name in _LIMITS):
        filled["max_tokens"] = limit
    for name, value in defaults.items():
        if all(filled.get(other) is None for other in (name, *_SILENCED_BY.get(name, ()))):
            filled[name] = value
    return filled
