"""Asks one remote model: the key, the request in the dialect spoken there, the answer with our id in it.

Owns what is passed on (an answer's bytes but for the model's name, few headers) and what is kept to ourselves
(the key, which is looked up for each request and shown to the origin's host alone). Neighbours: `remotes`
(makes these), `http.proxy` (asks), `sending` (gets it there), `faults` (words).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict

from janagent.body import BodyStream
from janagent.folder.fault import Fault
from janagent.remote import faults
from janagent.remote.address import Address
from janagent.remote.fields import (
    TOKEN_FIELDS,
    TokenField,
    adapt,
    first_token_field,
    other_token_field,
    usable_defaults,
)
from janagent.remote.keys import KeyProblem, resolve
from janagent.remote.rewrite import Rewriter, StreamTooWide, spellings
from janagent.remote.sending import Sender
from janagent.upstream import Encode, EngineLost, Trail

LARGEST_BODY_BYTES: Final = 256 << 20
_LARGE_BYTES: Final = 1 << 20
_EVENT_STREAM: Final = "text/event-stream"
_PASSED_ON: Final = ("retry-after", "x-ratelimit-", "openai-processing-ms", "x-ms-region", "apim-request-id")


Seen = Callable[[float | None, Fault | None], None]
"""Told after each answer: milliseconds to its first byte, or why there was none that counts."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One remote model, as its manifest has it."""

    model_id: str
    address: Address
    key: str | None = field(repr=False)
    """A reference for `keys.resolve`."""
    stall_s: float = 300.0
    """The upstream may be silent for so long."""


class RemoteClient:
    """Requests to one remote model. `close` ends those that are under way."""

    def __init__(self, remote: Remote, *, session: aiohttp.ClientSession, seen: Seen) -> None:
        self._remote = remote
        self._sender = Sender(session, host=remote.address.host, stall_s=remote.stall_s)
        self._seen = seen
        self._token_fields: dict[str, TokenField] = {}
        self._scopes: set[asyncio.Timeout] = set()
        self._is_closed = False

    def usable_defaults(self, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """The manifest's runtime parameters that this API can be told."""
        return usable_defaults(defaults, address=self._remote.address)

    async def ask(
        self, endpoint: str, body: Mapping[str, Any], *, encode: Encode, trail: Trail
    ) -> "RemoteAnswer":
        """Send a request; returns when the answer's head is there, and of an answer that is no event stream
        the whole body. Raises EngineLost with a code, and what `encode` raises."""
        async with self.guarded(has_begun=False):
            return await self._ask(endpoint, body, encode=encode, trail=trail)

    def close(self) -> None:
        """End what is under way: the model was stopped, or its settings are others now."""
        self._is_closed = True
        for scope in self._scopes:
            scope.reschedule(0)

    @asynccontextmanager
    async def guarded(self, *, has_begun: bool) -> AsyncIterator[None]:
        """What happens to the network within becomes EngineLost; `close` ends the block."""
        scope = asyncio.timeout(0 if self._is_closed else None)
        self._scopes.add(scope)
        try:
            async with scope:
                yield
        except (aiohttp.ClientError, ConnectionError, TimeoutError, StreamTooWide) as error:
            lost = self._as_lost(error, is_stopped=scope.expired(), has_begun=has_begun)
            if not scope.expired():
                self._seen(None, Fault(lost.code, str(lost)))
            raise lost from (None if lost is error else error)
        finally:
            self._scopes.discard(scope)

    def saw(self, answer: "RemoteAnswer") -> None:
        """The first byte of an answer is there."""
        fault = faults.health_fault(answer.status, answer.body, host=self._remote.address.host)
        latency_ms = (time.monotonic() - answer.asked_at) * 1000
        self._seen(None if answer.status >= 400 else latency_ms, fault)

    def _as_lost(self, error: Exception, *, is_stopped: bool, has_begun: bool) -> EngineLost:
        host = self._remote.address.host
        if isinstance(error, EngineLost):
            return error
        if is_stopped:
            return EngineLost("the model was stopped", code="model_stopped")
        if isinstance(error, StreamTooWide):
            return EngineLost(f"{host} sent {error}", code=faults.FAILED)
        return faults.lost(error, host=host, stall_s=self._remote.stall_s, has_begun=has_begun)

    # -- one request -------------------------------------------------------------------------------

    async def _ask(
        self, endpoint: str, body: Mapping[str, Any], *, encode: Encode, trail: Trail
    ) -> "RemoteAnswer":
        address, key = self._remote.address, await self._key()
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            # OpenAI's own name for it; under X-Request-Id llama_cpp.server wants a UUID.
            "X-Client-Request-Id": trail.request_id,
            **({"Via": trail.via} if trail.via else {}),
            **address.headers(key),
        }
        secrets = spellings(address.secrets(key))
        asked_at = time.monotonic()
        token_field = self._token_fields.get(endpoint) or first_token_field(address, endpoint)
        for _ in TOKEN_FIELDS:
            adapted = adapt(body, model=address.model, token_field=token_field)
            rewriter = Rewriter(model_id=self._remote.model_id, secrets=secrets)
            data = await encode(adapted)
            response = await self._sender.send(
                address.url(endpoint), data, headers, scrubbed=rewriter.scrubbed_text
            )
            answer = await self._answer(response, rewriter)
            other = other_token_field(adapted, faults.error_of(answer.body)) if answer.status == 400 else None
            if other is None:
                break
            token_field = self._token_fields[endpoint] = other
        answer.asked_at = asked_at
        if answer.content_length is not None:
            self.saw(answer)
        return answer

    async def _key(self) -> str:
        if not self._remote.key:
            return ""
        try:
            return await resolve(self._remote.key)
        except KeyProblem as problem:
            raise EngineLost(str(problem), code=faults.KEY_MISSING) from problem

    async def _answer(self, response: aiohttp.ClientResponse, rewriter: Rewriter) -> "RemoteAnswer":
        host = self._remote.address.host
        answer = RemoteAnswer(self, response, rewriter)
        if response.status == 200 and response.content_type == _EVENT_STREAM:
            return answer
        try:
            body = await _whole(response, host)
        finally:
            answer.close()
        if response.status >= 400:
            answer.complete(faults.in_shape(response.status, rewriter.scrubbed(body), host=host))
        elif not _is_json(response):
            raise faults.no_json(host, response.status, response.content_type)
        elif len(body) > _LARGE_BYTES:
            answer.complete(await asyncio.to_thread(rewriter.whole, body))
        else:
            answer.complete(rewriter.whole(body))
        return answer


def _is_json(response: aiohttp.ClientResponse) -> bool:
    kind = response.content_type
    return kind == "application/json" or kind.endswith("+json")


async def _whole(response: aiohttp.ClientResponse, host: str) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LARGEST_BODY_BYTES:
            raise EngineLost(
                f"{host} answered with more than {LARGEST_BODY_BYTES >> 20} MiB", code=faults.FAILED
            )
        parts.append(part)
    return b"".join(parts)


def _passed_on(response: aiohttp.ClientResponse, rewriter: Rewriter) -> CIMultiDict[str]:
    """What a client may learn: its limits, and by which name the upstream knows the request."""
    passed = CIMultiDict(
        (name, rewriter.scrubbed_text(value))
        for name, value in response.headers.items()
        if name.lower().startswith(_PASSED_ON)
    )
    for name in ("Content-Type", "X-Request-Id"):
        if (value := response.headers.get(name)) is not None:
            passed[name.replace("X-", "X-Upstream-")] = rewriter.scrubbed_text(value)
    return passed


class RemoteAnswer:
    """An answer from elsewhere: `janagent.upstream.Answer`."""

    def __init__(self, client: RemoteClient, response: aiohttp.ClientResponse, rewriter: Rewriter) -> None:
        self.status = response.status
        self.headers = _passed_on(response, rewriter)
        self.content_length: int | None = None
        self.asked_at = 0.0
        self.body = b""
        """All of it, if `content_length` is set; else what has been read of the stream."""
        self._client = client
        self._response = response
        self._rewriter = rewriter
        self._is_whole = False

    def complete(self, body: bytes) -> None:
        """All is there, as the client is to get it."""
        self.body, self.content_length, self._is_whole = body, len(body), True
        self.headers["Content-Type"] = "application/json"

    async def first(self) -> None:
        """Wait for the first event, or the end. Raises EngineLost."""
        async with self._client.guarded(has_begun=False):
            while not (self.body or self._is_whole):
                self.body = await self._next()
            if not self.body:
                raise EngineLost("the stream ended before it had begun", code=faults.FAILED)
        if self.content_length is None:
            self._client.saw(self)

    async def read(self) -> bytes:
        """The whole body. Raises EngineLost."""
        async with self._client.guarded(has_begun=True):
            while not self._is_whole:
                self.body += await self._next()
        return self.body

    async def push(self, out: BodyStream) -> None:
        """Open `out` and write to it what comes; returns at the end. Raises EngineLost, ConnectionError."""
        out.write(self.body)
        self.body = b""
        await out.open()
        while not self._is_whole:
            async with self._client.guarded(has_begun=True):
                while not (self._is_whole or out.is_congested):
                    out.write(await self._next())
            if out.is_congested:  # outside, because there it is the reader who may be lost
                await out.drain()

    def close(self) -> None:
        """Give the connection back; one whose answer is not whole is closed, and the upstream stops."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def _next(self) -> bytes:
        data = await self._response.content.readany()
        if data:
            return self._rewriter.feed(data)
        self._is_whole = True
        rest = self._rewriter.end()
        is_open_ended = not {"Transfer-Encoding", "Content-Length"} & self._response.headers.keys()
        if is_open_ended and not self._rewriter.is_done:  # then the end looks as a break does
            raise aiohttp.ClientPayloadError("the stream ended without [DONE]")
        return rest
