"""Assembles the HTTP server: routes, middlewares, limits. `daemon` runs what `make_runner` returns.

Owns the order in which a request is looked at: who calls (guard), then what for (router), and that whatever
goes wrong is answered in OpenAI's shape. Knows nothing of models.
"""

import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import HttpVersion10, web
from aiohttp.http_exceptions import HttpProcessingError

from janagent.aio import cancel_and_wait, create_task
from janagent.config import Settings
from janagent.core.faults import Refusal
from janagent.http import events, health, inference, models
from janagent.http.context import API, CORS_ORIGIN, HAS_KEY, REQUEST_ID, STARTED, Api, Limits
from janagent.http.errors import ApiError, error_response
from janagent.http.guard import Guard, cors_headers, missing_key, preflight_headers
from janagent.http.objects import render_ahead
from janagent.http.routing import ENDPOINTS
from janagent.runtime import Runtime

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEALTH = "/v1/health"
SERVER = "janagent"
_SANE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


def build_app(runtime: Runtime, settings: Settings, *, limits: Limits | None = None) -> web.Application:
    """The API over `runtime`. `limits` are for tests that cannot wait a minute."""
    limits = limits or Limits(max_body_bytes=settings.max_body_bytes, stall_s=settings.client_stall_s)
    app = web.Application(middlewares=[answer_errors, admit], client_max_size=limits.max_body_bytes)
    api = app[API] = Api(runtime=runtime, guard=_guard(settings), limits=limits)
    app.cleanup_ctx.append(_render_ahead)
    app.on_response_prepare.append(_finish_head)
    app.on_shutdown.append(api.streams.stop)
    app.router.add_get("/v1/models", models.list_models)
    app.router.add_get("/v1/models/", models.list_models)
    app.router.add_route("*", "/v1/models/{tail:(?s:.+)}", models.one_model)
    for endpoint in ENDPOINTS:
        app.router.add_post(f"/v1/{endpoint}", inference.openai_route)
    app.router.add_post("/openai/deployments/{tail:(?s:.+)}", inference.azure_route)
    app.router.add_get(HEALTH, health.health)
    app.router.add_get("/v1/events", events.events, allow_head=False)
    app.router.add_put("/v1/downloads/pause", health.pause_downloads)
    app.router.add_put("/v1/downloads/resume", health.resume_downloads)
    app.router.add_post("/v1/shutdown", health.shutdown)
    app.router.add_get("/metrics", health.metrics)
    return app


def admit_by(app: web.Application, settings: Settings) -> None:
    """Who may call is what `settings` say, from the next request on."""
    app[API].guard = _guard(settings)


def _guard(settings: Settings) -> Guard:
    return Guard.of(
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        allowed_hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
    )


class _Noise(logging.Filter):
    """What strangers send and how connections end is no error of ours: no tracebacks for it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is worth a line."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | ConnectionError)


_connections_log = logging.getLogger(f"{__name__}.connections")
_connections_log.addFilter(_Noise())


def make_runner(app: web.Application, settings: Settings) -> web.AppRunner:
    """A runner with every limit set: heads and idle connections, line lengths, time for the last answers.

    A handler is cancelled when its client leaves, so that an engine's slot is freed at once.
    """
    limits = app[API].limits
    return web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        logger=_connections_log,
        handler_cancellation=True,
        keepalive_timeout=limits.head_s,
        shutdown_timeout=limits.shutdown_s,
        lingering_time=2.0,
        max_line_size=limits.max_line_bytes,
        max_field_size=limits.max_line_bytes,
    )


async def _render_ahead(app: web.Application) -> AsyncIterator[None]:
    api = app[API]
    task = create_task(render_ahead(api.renderer, api.runtime.statuses()), name="render ahead")
    yield
    await cancel_and_wait(task)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: names the request, counts it, turns whatever is raised into an answer."""
    api = request.app[API]
    # The second name is what a janagent before this one sends.
    headers = request.headers
    given = headers.get("X-Request-Id") or headers.get("X-Client-Request-Id") or ""
    request[REQUEST_ID] = given if _SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
    api.metrics.in_flight += 1
    status = 499  # the client left before there was an answer
    try:
        response = await _answer(request, handler)
        status = response.status
        return response
    finally:
        api.metrics.in_flight -= 1
        api.metrics.requests[_route(request), _method(request), status] += 1


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        answer = error_response(refusal)
    except web.HTTPException as error:
        answer = error_response(_from_aiohttp(request, error))
    except Exception as error:
        if STARTED not in request or not isinstance(error, ConnectionError):  # else only the client is gone
            log.exception("request %s failed: %s %s", request[REQUEST_ID], request.method, _route(request))
        words = f"Internal error; the log says more under {request[REQUEST_ID]}."
        answer = error_response(Refusal("internal_error", words))
    started: web.StreamResponse | None = request.get(STARTED)
    if started is None:
        return answer
    if request.transport is not None:
        request.transport.abort()
    return started


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Who calls? Host, origin, key, in this order; browsers' preflights are answered here."""
    api = request.app[API]
    passed = api.guard.admit(request.headers, is_http_10=request.version <= HttpVersion10)
    if passed.cors_origin is not None:
        request[CORS_ORIGIN] = passed.cors_origin
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(status=204, headers=preflight_headers(request.headers))
    request[HAS_KEY] = passed.has_key
    if not passed.has_key and request.path != HEALTH:
        raise missing_key()
    return await handler(request)


async def _finish_head(request: web.Request, response: web.StreamResponse) -> None:
    """Headers that every answer carries; runs when its head is about to be sent."""
    request[STARTED] = response
    response.headers["Server"] = SERVER
    response.headers["X-Request-Id"] = request[REQUEST_ID]
    if (origin := request.get(CORS_ORIGIN)) is not None:
        response.headers.update(cors_headers(origin))


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> Refusal:
    """aiohttp's own exceptions: the router's 404 and 405, and a few it raises while it reads."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        words = f"{request.method} is not possible here; allowed: {allowed}."
        return ApiError("method_not_allowed", words, headers={"Allow": allowed})
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Refusal("body_too_large", "The body is too large.")
    if error.status == 404:
        return Refusal("not_found", f"There is no {request.method} {request.path[:200]} here.")
    return Refusal("invalid_request", f"The request cannot be read: {error.reason}.")


def _route(request: web.Request) -> str:
    """A label with few values: the route's pattern, never the path."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "other"


def _method(request: web.Request) -> str:
    return (
        request.method if request.method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"
    )
