"""A streaming response that is written from callbacks: one transport write a token, no task switch.

aiohttp's own `write` is a coroutine; waking a handler task for every token of every stream costs more than
the token's JSON. So the headers go out through aiohttp and the body's chunks straight to the transport,
framed here. Must not know what the bytes mean.
"""

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

_HIGH_BYTES = 64 << 10
_LOW_BYTES = 8 << 10
_POLL_S = 0.05


class ReaderStalled(Exception):
    """The client took no byte for too long."""


class EventStream:
    """One response of server-sent events."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._transport = request.transport
        self._writer: AbstractStreamWriter | None = None
        self._is_framed = request.version >= HttpVersion11
        self.response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        )

    @property
    def is_open(self) -> bool:
        """Whether the headers are out."""
        return self._writer is not None

    @property
    def is_congested(self) -> bool:
        """Whether the client is so far behind that producing must pause."""
        return self._transport is not None and self._transport.get_write_buffer_size() > _HIGH_BYTES

    async def open(self) -> None:
        """Send the headers."""
        self._writer = await self.response.prepare(self._request)
        if self._writer is not None:
            self._writer.send_headers()

    def write(self, data: bytes) -> None:
        """Send `data`; never blocks. Check `is_congested` afterwards."""
        transport = self._transport
        if transport is None or transport.is_closing() or not data:
            return
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_framed else data)

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
