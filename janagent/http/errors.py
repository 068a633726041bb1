"""Errors in OpenAI's shape: the one table from a code to its HTTP status and OpenAI type.

Owns how a `Refusal` looks on the wire. Knows nothing of models or requests; whoever refuses picks the code,
nobody else picks a status. Neighbours: `core.faults` (where refusals come from), `app` (catches them).
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from janagent.children.wire import sse
from janagent.core.faults import Refusal
from janagent.http.jsonbody import encode
from janagent.redact import redact

log = logging.getLogger(__name__)

_INVALID = "invalid_request_error"
_SERVER = "server_error"

TABLE: Mapping[str, tuple[int, str]] = {
    "invalid_request": (400, _INVALID),
    "invalid_json": (400, _INVALID),
    "invalid_parameter": (400, _INVALID),
    "context_length_exceeded": (400, _INVALID),
    "invalid_api_key": (401, "authentication_error"),
    "forbidden_host": (403, "permission_error"),
    "forbidden_origin": (403, "permission_error"),
    "not_found": (404, _INVALID),
    "model_not_found": (404, _INVALID),
    "method_not_allowed": (405, _INVALID),
    "request_timeout": (408, _INVALID),
    "model_invalid": (409, _INVALID),
    "model_missing": (409, _INVALID),
    "model_stopped": (409, _INVALID),
    "key_missing": (409, _INVALID),
    "delete_refused": (409, _INVALID),
    "body_too_large": (413, _INVALID),
    "queue_full": (429, "rate_limit_error"),
    "internal_error": (500, _SERVER),
    "delete_failed": (500, _SERVER),
    "engine_failed": (502, _SERVER),
    "upstream_failed": (502, _SERVER),
    "upstream_unreachable": (502, _SERVER),
    "model_downloading": (503, _SERVER),
    "memory_busy": (503, _SERVER),
    "engine_backoff": (503, _SERVER),
    "shutting_down": (503, _SERVER),
    "upstream_timeout": (504, _SERVER),
    "insufficient_memory": (507, _SERVER),
    "loop_detected": (508, _INVALID),
}
DEFAULT_RETRY_AFTER_S: Mapping[str, float] = {
    "queue_full": 1,
    "model_downloading": 10,
    "memory_busy": 10,
    "engine_backoff": 1,
    "shutting_down": 5,
}
"""For refusals that name no time of their own; contract 3 promises the header for these codes."""


class ApiError(Refusal):
    """A refusal that HTTP itself makes, with headers it needs (`Allow`, `WWW-Authenticate`)."""

    def __init__(
        self, code: str, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code, message, param=param)
        self.headers = dict(headers or {})


def invalid(message: str, param: str | None = None) -> Refusal:
    """400: the request itself is wrong; `param` names the field."""
    return Refusal("invalid_request", message, param=param)


def status_and_type(code: str) -> tuple[int, str]:
    """HTTP status and OpenAI type of a code. One that is not in the table is our mistake: logged, 500."""
    known = TABLE.get(code)
    if known is None:
        log.error("the error code %r has no HTTP status", code)
        return 500, _SERVER
    return known


def error_object(refusal: Refusal) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    _, kind = status_and_type(refusal.code)
    return {
        "error": {
            "message": redact(refusal.message),
            "type": kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def error_response(refusal: Refusal) -> web.Response:
    """The answer that a refusal becomes, `Retry-After` (whole seconds, at least 1) included."""
    status, _ = status_and_type(refusal.code)
    headers = dict(refusal.headers) if isinstance(refusal, ApiError) else {}
    retry_after_s = refusal.retry_after_s
    if retry_after_s is None:
        retry_after_s = DEFAULT_RETRY_AFTER_S.get(refusal.code)
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return web.Response(
        status=status, body=encode(error_object(refusal)), content_type="application/json", headers=headers
    )


def error_event(refusal: Refusal) -> bytes:
    """The same as a server-sent event, for an answer that has already begun to stream."""
    return sse(error_object(refusal))
