"""HTTP answers that are not streams: JSON, and every error in OpenAI's shape.

Neighbours: all handlers. Must not know models.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from janagent.body import ReaderStalled
from janagent.engine.answers import compact
from janagent.engine.faults import INVALID_REQUEST, RATE_LIMIT, RequestError, engine_lost
from janagent.engine.work import QueueFull

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def clean(text: str) -> str:
    """`text` without lone surrogates, which JSON allows in a request but UTF-8 cannot carry back."""
    return text.encode("utf-8", errors="replace").decode()


def json_reply(
    body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A JSON response."""
    data = compact(body).encode("utf-8", errors="replace")
    return web.Response(body=data, status=status, headers=headers, content_type="application/json")


def queue_full(error: QueueFull) -> RequestError:
    """The 429 of a full waiting line."""
    return RequestError(
        "all slots are busy and the queue is full; try again later",
        status=429,
        kind=RATE_LIMIT,
        code="queue_full",
        retry_after_s=error.retry_after_s,
    )


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into an answer."""
    try:
        return await handler(request)
    except RequestError as error:
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return json_reply(error.body(), status=error.status, headers=headers)
    except web.HTTPException as error:
        fault = RequestError(error.reason, status=error.status, kind=INVALID_REQUEST)
        return json_reply(fault.body(), status=error.status)
    except (ReaderStalled, ConnectionError):
        # The connection is gone; aiohttp wants an answer object but has nobody to send it to.
        return web.Response(status=499)
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return json_reply(engine_lost(f"internal error: {type(error).__name__}").body(), status=500)
