"""The body of a streaming response, written from callbacks: one transport write a piece, no task switch.

aiohttp's own `write` is a coroutine; waking a handler task for every token of every stream costs more than
the token's JSON. So the head goes out through aiohttp and the body's chunks straight to the transport,
framed here. Leaf helper of both ends of an answer's way, the engine's server and the daemon's; must not know
what the bytes mean.
"""

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

_HIGH_BYTES = 64 << 10
_LOW_BYTES = 8 << 10
_POLL_S = 0.05


class ReaderStalled(Exception):
    """The client took no byte for too long."""


class BodyStream:
    """One streaming answer to `request`; `response` holds its status and headers."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._transport = request.transport
        self._writer: AbstractStreamWriter | None = None
        self._is_framed = False
        self._early: list[bytes] = []
        self.response = response
        self.output_size = 0
        """Bytes handed to the transport, the head included."""

    @property
    def is_open(self) -> bool:
        """Whether the head is out."""
        return self._writer is not None

    @property
    def is_congested(self) -> bool:
        """Whether the client is so far behind that producing must pause."""
        return self._transport is not None and self._transport.get_write_buffer_size() > _HIGH_BYTES

    async def open(self) -> None:
        """Send the head and what was written before; from now on `write` sends at once."""
        has_length = self.response.content_length is not None
        self._is_framed = self._request.version >= HttpVersion11 and not has_length
        self._writer = await self.response.prepare(self._request)
        if self._writer is None:
            return
        early = b"".join(self._early)
        self._early.clear()
        if early:  # in one write with the head: the reader wakes up once for both
            await self._writer.write(early)
        else:
            self._writer.send_headers()
        self.output_size = self._writer.output_size

    def write(self, data: bytes) -> None:
        """Send `data`, after `open`; never blocks. Check `is_congested` afterwards."""
        if self._writer is None:
            self._early.append(data)
            return
        transport = self._transport
        if transport is None or transport.is_closing() or not data:
            return
        if self._is_framed:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.output_size += len(data)
        transport.write(data)

    async def drain(self) -> None:
        """Wait until the transport wants more, or raise ConnectionError when the client is gone."""
        if self._writer is not None:
            await self._writer.drain()

    async def drained(self, *, stall_s: float) -> None:
        """Wait until the client has caught up. Raises ReaderStalled when it takes nothing for `stall_s`."""
        loop = asyncio.get_running_loop()
        transport = self._transport
        if transport is None:
            return
        left = transport.get_write_buffer_size()
        moved_at_s = loop.time()
        while left > _LOW_BYTES and not transport.is_closing():
            await asyncio.sleep(_POLL_S)
            now_left = transport.get_write_buffer_size()
            if now_left < left:
                left, moved_at_s = now_left, loop.time()
            elif loop.time() - moved_at_s > stall_s:
                raise ReaderStalled

    async def close(self) -> None:
        """End the response properly."""
        await self.response.write_eof()

    def cut(self) -> None:
        """End the connection without the end of the response, after what is already buffered."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once, dropping what is buffered."""
        if self._transport is not None:
            self._transport.abort()
