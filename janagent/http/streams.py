"""Answers that go on for long: cut clients that take nothing, break off honestly, end at shutdown.

Owns the transport side of streaming for `proxy`, `events` and `logs`. Knows nothing of what is streamed.
"""

import asyncio
import socket
import struct
import sys
from asyncio.trsock import TransportSocket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Protocol, Self

from aiohttp import HttpVersion11, web

from janagent.body import BodyStream

if sys.platform != "win32":
    import fcntl
    import termios

_SO_NWRITE = 0x1024


class Counted(Protocol):
    """Whatever counts the bytes that it hands to the transport."""

    @property
    def output_size(self) -> int:
        """So many since its beginning."""
        ...


class StallGuard:
    """Aborts the connection of a client that takes no byte for `limit_s` although some wait for it.

    Looks at the transport now and then instead of timing each write, so a chunk costs nothing extra and a
    slow client that does read is never cut. The abort cancels the handler, as any lost client does.
    """

    def __init__(self, request: web.BaseRequest, writer: Counted, *, limit_s: float) -> None:
        self._request = request
        self._writer = writer
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._taken = -sys.maxsize
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._since = self._loop.time()
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._limit_s / 8, self._look)

    def _look(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        waiting = transport.get_write_buffer_size() + kernel_queue_bytes(transport.get_extra_info("socket"))
        taken = self._writer.output_size - waiting
        now = self._loop.time()
        if waiting == 0 or taken > self._taken:
            self._taken, self._since = taken, now
        elif now - self._since >= self._limit_s:
            transport.abort()
            return
        self._wait()


def kernel_queue_bytes(sock: TransportSocket | None) -> int:
    """Bytes that the kernel holds for a client and that it has not acknowledged; 0 where nobody can tell.

    Without them a slow client looks like a stalled one: the kernel asks for more only after it got rid of
    about a third of its buffer, megabytes maybe. SIOCOUTQ of tcp(7), SO_NWRITE of Darwin's sys/socket.h.
    """
    if sock is None:
        return 0
    try:
        if sys.platform == "linux":
            answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
            return int(struct.unpack("i", answer)[0])
        if sys.platform == "darwin":
            return sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
    except OSError:
        pass
    return 0


async def send(
    request: web.BaseRequest, response: web.StreamResponse, pieces: Iterable[bytes], *, limit_s: float
) -> None:
    """Send a whole response that may be too large for the socket's buffers, under a StallGuard."""
    writer = await response.prepare(request)
    if writer is not None:
        with StallGuard(request, writer, limit_s=limit_s):
            if request.method != "HEAD":
                for piece in pieces:
                    await response.write(piece)
            await response.write_eof()


async def break_off(request: web.BaseRequest, stream: BodyStream, *, last_words: bytes = b"") -> None:
    """End an answer that has begun and cannot be finished: `last_words`, then an aborted connection.

    Chunked encoding without its last chunk is an unmistakable break. HTTP/1.0 has no such sign, so its
    clients get a reset.
    """
    transport = request.transport
    if transport is None:
        return
    if last_words:
        stream.write(last_words)
        transport.set_write_buffer_limits(high=0)
        await stream.drain()
    if request.version < HttpVersion11 and (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class OpenStreams:
    """Streams without an end of their own: when the server stops, they end well instead of being cut."""

    def __init__(self) -> None:
        self._scopes: set[asyncio.Timeout] = set()
        self._is_stopping = False

    @asynccontextmanager
    async def until_stop(self) -> AsyncIterator[None]:
        """Leave the body early, and quietly, once the server is taken down."""
        scope = asyncio.timeout(0 if self._is_stopping else None)
        try:
            async with scope:
                self._scopes.add(scope)
                yield
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scopes.discard(scope)

    async def stop(self, _app: web.Application) -> None:
        """For `Application.on_shutdown`."""
        self._is_stopping = True
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            scope.reschedule(now)
