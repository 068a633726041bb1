"""Model ids inside paths: they may hold slashes, encoded or not, and some endings are reserved. Pure.

Input is the part of the path behind a fixed prefix in aiohttp's `path_safe` form: percent-decoded, but with
`%2F` and `%25` left as they were, so that a slash which somebody encoded is told from one that separates.
Ids are only ever looked up; nothing here, or behind it, joins one to a file path.
"""

from dataclasses import dataclass
from typing import Literal, cast

Verb = Literal["start", "stop", "logs"]
_VERBS = ("start", "stop", "logs")
Endpoint = Literal["chat/completions", "completions", "embeddings", "rerank"]
AZURE_ENDPOINTS: tuple[Endpoint, ...] = ("chat/completions", "completions", "embeddings")
"""Longest first: `chat/completions` ends in `completions`."""
ENDPOINTS: tuple[Endpoint, ...] = (*AZURE_ENDPOINTS, "rerank")


@dataclass(frozen=True, slots=True)
class ModelPath:
    """What `/v1/models/...` asks for."""

    id: str
    verb: Verb | None = None


def unquote_rest(text: str) -> str:
    """Decode what `path_safe` leaves encoded; `%25` last, so that `%252F` stays the text `%2F`."""
    return text.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")


def parse_model_path(tail: str) -> ModelPath:
    """`a/b/start` is model `a/b`, verb start; `a/b%2Fstart` is model `a/b/start`.

    A reserved ending needs an id before it: `start` alone is an id.
    """
    head, slash, last = tail.rpartition("/")
    if slash and head and last in _VERBS:
        return ModelPath(unquote_rest(head), cast(Verb, last))
    return ModelPath(unquote_rest(tail))


def parse_deployment_path(tail: str) -> tuple[str, Endpoint] | None:
    """`my/model/chat/completions` is model `my/model` and that endpoint; None for any other ending."""
    for endpoint in AZURE_ENDPOINTS:
        head = tail.removesuffix("/" + endpoint)
        if head and head != tail:
            return unquote_rest(head), endpoint
    return None
