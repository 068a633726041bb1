"""One request to one engine: lease, forward, stream the answer back byte for byte.

Owns the way between a client's connection and an engine's socket, and what either end's loss means for the
other. Knows nothing of what is said. Neighbours: `inference` (before), `streams` (the client's transport),
`runtime.lease` (who may talk to which engine).

    client gone     -> the handler is cancelled, the engine's connection closed at once: its slot is free
    client stalled  -> cut after `stall_s` (StallGuard), then as above
    engine lost     -> before the first byte: 502; after it: an SSE error event and an aborted connection
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from janagent.body import BodyStream
from janagent.core.faults import Refusal
from janagent.feed import Closed
from janagent.http.context import API, REQUEST_ID
from janagent.http.errors import error_event
from janagent.http.fill import fill_in
from janagent.http.jsonbody import encode_for_engine
from janagent.http.routing import Endpoint
from janagent.http.streams import StallGuard, break_off
from janagent.runtime import Lease, Runtime
from janagent.upstream import Answer, EngineLost, Trail

WHOLE_BYTES = 8 * 2**20
"""An answer of known length up to this is read whole first: an engine lost within it is a clean 502."""
LAST_WORDS_S = 1.0
"""How long to wait for the reason of an engine's end, which the daemon learns from the process exit."""
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110, section 7.6.1. In lower case, as names are looked up: a plain set tells `Te` from `te`."""
NOT_OURS_TO_REPEAT = HOP_BY_HOP | {"date", "server", "x-request-id", "content-length"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A checked request for one model."""

    key: str
    endpoint: Endpoint
    body: Mapping[str, Any]
    is_large: bool = False


async def forward(request: web.Request, exchange: Exchange) -> web.StreamResponse:
    """Answer `request` from the model's engine. Raises Refusal as long as nothing has been sent."""
    api = request.app[API]
    started = asyncio.get_running_loop().time()
    async with api.runtime.lease(exchange.key) as lease:
        relay = _Relay(request, exchange, started)
        upstream = await relay.ask(lease)
        try:
            return await relay.answer(upstream)
        finally:
            upstream.close()  # before its end: the engine sees it and frees the slot


class _Relay:
    """One exchange while it lasts."""

    def __init__(self, request: web.Request, exchange: Exchange, started: float) -> None:
        self._request = request
        self._exchange = exchange
        self._started = started
        self._model_id = ""
        self._api = request.app[API]

    async def ask(self, lease: Lease) -> Answer:
        """Send the request; returns once the engine's head is there. Raises Refusal `engine_failed`."""
        endpoint, self._model_id = self._exchange.endpoint, lease.model_id
        body = fill_in(
            self._exchange.body, model_id=lease.model_id, defaults=lease.defaults, endpoint=endpoint
        )
        encode = partial(encode_for_engine, is_large=self._exchange.is_large)
        passed = [*self._request.headers.getall("Via", ()), self._api.via]
        trail = Trail(self._request[REQUEST_ID], via=", ".join(passed))
        try:
            return await lease.engine.ask(endpoint, body, encode=encode, trail=trail)
        except EngineLost as error:
            raise await self._lost(error) from error

    async def answer(self, upstream: Answer) -> web.StreamResponse:
        """Pass the engine's answer on."""
        length = upstream.content_length
        try:
            if length is not None and length <= WHOLE_BYTES:
                return self._whole(upstream, await upstream.read())
            await upstream.first()
        except EngineLost as error:
            raise await self._lost(error) from error
        self._saw_first_byte()
        response = web.StreamResponse(status=upstream.status, headers=passed_on(upstream.headers))
        if length is not None:
            response.content_length = length
        stream = BodyStream(self._request, response)
        with StallGuard(self._request, stream, limit_s=self._api.limits.stall_s):
            try:
                await upstream.push(stream)
            except EngineLost as error:
                await self._break_off(stream, error)
            else:
                await stream.close()
        return response

    def _whole(self, upstream: Answer, body: bytes) -> web.Response:
        self._saw_first_byte()
        return web.Response(status=upstream.status, headers=passed_on(upstream.headers), body=body)

    async def _break_off(self, stream: BodyStream, error: EngineLost) -> None:
        words = b""
        if stream.response.content_type == "text/event-stream":
            # The blank line ends an event that came in part; where none did, it means nothing.
            words = b"\n\n" + error_event(await self._lost(error))
        await break_off(self._request, stream, last_words=words)

    def _saw_first_byte(self) -> None:
        self._api.metrics.first_byte.observe(asyncio.get_running_loop().time() - self._started)

    async def _lost(self, error: EngineLost) -> Refusal:
        """What to say of an engine that is gone: its own last words, if they come soon enough."""
        if error.code:
            return Refusal(error.code, f"{self._model_id}: {error}", retry_after_s=error.retry_after_s)
        key = self._exchange.key
        words = await last_words(self._api.runtime, key, within_s=LAST_WORDS_S)
        return Refusal("engine_failed", f"The engine ended before the answer was complete: {words or error}")


async def last_words(runtime: Runtime, key: str, *, within_s: float) -> str | None:
    """Why the model's engine ended, None if that does not become known in time."""
    try:
        with runtime.subscribe() as changes:
            async with asyncio.timeout(within_s):
                while True:
                    fault = runtime.status(key).error
                    if fault is not None and fault.code == "engine_failed":
                        return fault.message
                    if isinstance(await changes.get(), Closed):
                        return None
    except (TimeoutError, Refusal):
        return None


def passed_on(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """The headers of an engine's answer that are meant for the client."""
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    unwanted = NOT_OURS_TO_REPEAT | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in unwanted)
