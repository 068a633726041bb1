"""Asks one engine over its Unix socket, in HTTP/1.1, and pushes the answer on as it comes.

Ours instead of a client library because of what happens for each token: the bytes that arrive are handed to
whoever streams them on within the callback that read them, without a queue, a future or a task in between.
It talks to our own worker only, so there is no TLS, no redirect and no cookie; the framing is read strictly,
because an answer that lost its end must never look whole. Neighbours: `engine.server` (the other end),
`http.proxy`. Must not know what is asked.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from multidict import CIMultiDict

from janagent.body import BodyStream
from janagent.children.chunked import ChunkedError, ChunkedReader
from janagent.upstream import Encode, EngineLost, Trail

_CONNECT_LIMIT_S = 10.0
_CONNECT_AGAIN_S = 0.01
_LONGEST_HEAD = 64 << 10
_MOST_IDLE = 16


class EngineClient:
    """Connections to one engine, kept for further requests. `close` ends those that nobody uses."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._idle: list[_Connection] = []
        self._is_closed = False

    async def post(self, path: str, body: bytes, *, headers: Mapping[str, str]) -> "EngineAnswer":
        """Send a request; returns when the answer's head is there. Raises EngineLost.

        `headers` come after Host and Content-Length, and must be clean of line ends. Cancelling closes the
        connection, which the engine takes for a client that left.
        """
        lines = [f"POST {path} HTTP/1.1", "Host: engine", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if self._idle:
            connection = self._idle.pop()
            try:
                return await connection.ask(head, body)
            except EngineLost:
                if connection.has_answered:
                    raise
                # The engine closed a kept connection in the moment of asking, as HTTP allows.
        return await (await self._connect()).ask(head, body)

    async def ask(
        self, endpoint: str, body: Mapping[str, Any], *, encode: Encode, trail: Trail
    ) -> "EngineAnswer":
        """`post` for the proxy: see `janagent.upstream.Engine`."""
        headers = {"Content-Type": "application/json", "X-Request-Id": trail.request_id}
        return await self.post(f"/v1/{endpoint}", await encode(body), headers=headers)

    def usable_defaults(self, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """All of them: our own engine knows each."""
        return defaults

    def close(self) -> None:
        """Drop the idle connections and keep no more; those in use end with their answers."""
        self._is_closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + _CONNECT_LIMIT_S
        while True:
            try:
                _, connection = await loop.create_unix_connection(
                    lambda: _Connection(on_free=self._keep, on_lost=self._forget), str(self._path)
                )
                return connection
            except BlockingIOError:  # the queue of new connections is full: the engine is there, and busy
                if time.monotonic() > deadline:
                    raise EngineLost("it takes no connections") from None
                await asyncio.sleep(_CONNECT_AGAIN_S)
            except OSError as error:
                raise EngineLost(f"it cannot be reached ({error.strerror or error})") from error

    def _keep(self, connection: "_Connection") -> None:
        if self._is_closed or len(self._idle) >= _MOST_IDLE:
            connection.abort()
        else:
            self._idle.append(connection)

    def _forget(self, connection: "_Connection") -> None:
        if connection in self._idle:
            self._idle.remove(connection)


class EngineAnswer:
    """An answer whose head is there. Its body is taken once: `first` if wanted, then `read` or `push`.

    Leave by `close` in any case: before the end it closes the connection, and the engine frees the slot.
    """

    def __init__(self, connection: "_Connection", status: int, headers: CIMultiDict[str]) -> None:
        self.status = status
        self.headers = headers
        length = headers.get("Content-Length")
        self.content_length = int(length) if length is not None else None
        self._connection = connection
        self._kept: list[bytes] = []
        self._out: BodyStream | None = None
        self._changed = asyncio.Event()
        self._is_whole = False
        self._lost: EngineLost | None = None

    async def first(self) -> None:
        """Wait for the first bytes of the body, or its end. Raises EngineLost."""
        while not (self._kept or self._is_whole):
            await self._change()

    async def read(self) -> bytes:
        """The whole body. Raises EngineLost."""
        while not self._is_whole:
            await self._change()
        return b"".join(self._kept)

    async def push(self, out: BodyStream) -> None:
        """Open `out` and write each piece to it the moment it comes; returns at the body's end.

        Raises EngineLost, and ConnectionError when the reader of `out` is gone.
        """
        out.write(b"".join(self._kept))
        self._out = out
        await out.open()
        while not self._is_whole:
            if out.is_congested:
                self._connection.pause()
                await out.drain()
                self._connection.resume()
            await self._change()

    def close(self) -> None:
        """Give the connection back, or end it if the answer is not whole."""
        if not self._is_whole:
            self._connection.abort()

    # -- called by the connection ------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """More of the body."""
        if self._out is None:
            self._kept.append(data)
            self._changed.set()
            return
        self._out.write(data)
        if self._out.is_congested:
            self._changed.set()

    def end(self, lost: EngineLost | None = None) -> None:
        """The body is whole, or lost."""
        self._is_whole, self._lost = lost is None, lost
        self._changed.set()

    async def _change(self) -> None:
        if self._lost is not None:
            raise self._lost
        await self._changed.wait()
        self._changed.clear()


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(
        self, *, on_free: Callable[["_Connection"], None], on_lost: Callable[["_Connection"], None]
    ) -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._asked: asyncio.Future[EngineAnswer] | None = None
        self._answer: EngineAnswer | None = None
        self._chunks: ChunkedReader | None = None
        self._left = 0
        self.has_answered = False
        """Whether a byte came since the last request."""

    async def ask(self, head: bytes, body: bytes) -> EngineAnswer:
        """Send one request; returns when the answer's head is there. Raises EngineLost."""
        self.has_answered = False
        transport = self._transport
        if transport is None or transport.is_closing():
            raise EngineLost("the connection to it broke")
        asked: asyncio.Future[EngineAnswer] = asyncio.get_running_loop().create_future()
        self._asked = asked
        transport.writelines((head, body))
        try:
            return await asked
        except asyncio.CancelledError:
            if self._asked is asked:  # else the answer is whole, and the connection another request's
                self.abort()
            raise

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read nothing for a while."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- called by the event loop ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost(self)
        self._fail(f"the connection to it broke ({error})" if error else "the connection to it broke")

    def data_received(self, data: bytes) -> None:
        self.has_answered = True
        try:
            if self._answer is None:
                data = self._read_head(data)
            if not data:
                return
            if self._answer is None:
                raise ValueError("bytes beyond the end of an answer")
            self._read_body(self._answer, data)
        except (ChunkedError, ValueError) as error:
            self._fail(f"it does not speak HTTP ({error})")
            self.abort()

    def _read_head(self, data: bytes) -> bytes:
        """Returns what follows the head, once that is whole. Raises ValueError."""
        if self._asked is None:
            raise ValueError("an answer that nobody asked for")
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > _LONGEST_HEAD:
                raise ValueError("a head without an end")
            return b""
        self._head = b""
        answer = _parse_head(self, head)
        is_chunked = answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if not is_chunked and answer.content_length is None:
            raise ValueError("an answer without a length")
        self._chunks = ChunkedReader() if is_chunked else None
        self._left = answer.content_length or 0
        self._answer = answer
        if not self._asked.done():
            self._asked.set_result(answer)
        if not is_chunked and self._left == 0:
            self._complete(answer)
        return rest

    def _read_body(self, answer: EngineAnswer, data: bytes) -> None:
        if self._chunks is not None:
            payload = self._chunks.feed(data)
            is_whole = self._chunks.is_done
        else:
            payload = data
            self._left -= len(data)
            is_whole = self._left == 0
            if self._left < 0:
                raise ValueError("a body longer than it says")
        if payload:
            answer.take(payload)
        if is_whole:
            self._complete(answer)

    def _complete(self, answer: EngineAnswer) -> None:
        self._asked = self._answer = None
        answer.end()
        if answer.headers.get("Connection", "").lower() == "close":
            self.abort()
        else:
            self._on_free(self)

    def _fail(self, why: str) -> None:
        lost = EngineLost(why)
        if self._answer is not None:
            self._answer.end(lost)
        elif self._asked is not None and not self._asked.done():
            self._asked.set_exception(lost)
        self._asked = self._answer = None


def _parse_head(connection: _Connection, head: bytes) -> EngineAnswer:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = status_line.partition(" ")
    if version != "HTTP/1.1":
        raise ValueError("not HTTP/1.1")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header without a colon")
        headers.add(name, value.strip())
    return EngineAnswer(connection, int(rest[:3]), headers)
