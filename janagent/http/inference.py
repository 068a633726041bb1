"""Requests to models: parse the body, find the model, fill in its defaults, hand over to the proxy.

Owns what the daemon itself checks of an OpenAI request: only what would be grossly wrong for every engine.
Field by field checks are the engine's, which answers in the same shape. Neighbours: `proxy`, `routing`.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from janagent.core.faults import Refusal
from janagent.http.context import API
from janagent.http.errors import ApiError, invalid
from janagent.http.jsonbody import LARGE_BYTES, encode_for_engine, parse_body, read_body
from janagent.http.proxy import Exchange, forward
from janagent.http.routing import ENDPOINTS, Endpoint, parse_deployment_path

DEPLOYMENTS = "/openai/deployments/"


async def openai_route(request: web.Request) -> web.StreamResponse:
    """`POST /v1/<endpoint>`; the body names the model."""
    endpoint = request.path.removeprefix("/v1/")
    assert endpoint in ENDPOINTS
    return await _answer(request, endpoint, deployment=None)


async def azure_route(request: web.Request) -> web.StreamResponse:
    """`POST /openai/deployments/{id}/<endpoint>`; the path names the model and wins over the body."""
    parsed = parse_deployment_path(request.rel_url.path_safe.removeprefix(DEPLOYMENTS))
    if parsed is None:
        raise ApiError("not_found", f"There is nothing at {request.path}.")
    deployment, endpoint = parsed
    return await _answer(request, endpoint, deployment=deployment)


async def _answer(request: web.Request, endpoint: Endpoint, *, deployment: str | None) -> web.StreamResponse:
    api = request.app[API]
    limits = api.limits
    raw = await read_body(request, limit_bytes=limits.max_body_bytes, idle_s=limits.body_idle_s)
    is_large = len(raw) > LARGE_BYTES
    body = await parse_body(raw)
    if deployment is not None:
        body["model"] = deployment
    check(endpoint, body)
    if any(api.via in passed for passed in request.headers.getall("Via", ())):
        words = f"{body['model']} leads back to this janagent: one of the origins on the way must be another"
        raise Refusal("loop_detected", words, param="model")
    key = api.runtime.resolve(body["model"])
    await encode_for_engine(body, is_large=is_large)  # what no engine could be sent must not wake one
    return await forward(request, Exchange(key=key, endpoint=endpoint, body=body, is_large=is_large))


def check(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Raise a Refusal (400, `param` names the field) for a request that no engine could serve."""
    model = body.get("model")
    if model is None:
        raise invalid("'model' is required: the id of a model, as GET /v1/models lists them.", "model")
    if not isinstance(model, str) or not model:
        raise invalid(f"'model' must be a non-empty string, not {_kind(model)}.", "model")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise invalid(f"'stream' must be true or false, not {_kind(stream)}.", "stream")
    match endpoint:
        case "chat/completions":
            _check_messages(body.get("messages"))
        case "completions":
            _check_text("prompt", body.get("prompt"))
        case "embeddings":
            _check_text("input", body.get("input"))
        case "rerank":
            _check_documents(body)


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise invalid(f"'messages' must be an array of messages, not {_kind(messages)}.", "messages")
    if not messages:
        raise invalid("'messages' must hold at least one message.", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            place = f"messages[{index}]"
            raise invalid(f"'{place}' must be an object, not {_kind(message)}.", place)


def _check_text(name: str, value: Any) -> None:
    """A text, several texts, tokens, or several lists of tokens."""
    if value is None:
        raise invalid(f"'{name}' is required.", name)
    if not isinstance(value, str | list):
        raise invalid(f"'{name}' must be a string or an array, not {_kind(value)}.", name)
    if value == []:
        raise invalid(f"'{name}' must not be empty.", name)


def _check_documents(body: Mapping[str, Any]) -> None:
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not query:
        raise invalid(f"'query' must be a non-empty string, not {_kind(query)}.", "query")
    if not isinstance(documents, list):
        raise invalid(f"'documents' must be an array of texts, not {_kind(documents)}.", "documents")
    if not documents:
        raise invalid("'documents' must hold at least one text.", "documents")


def _kind(value: Any) -> str:
    """A JSON value's type in JSON's words."""
    if value is None:
        return "missing or null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    return "an array" if isinstance(value, list) else "an object"
