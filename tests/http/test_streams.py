"""`janagent.http.streams`: answers that go on for long."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from janagent.body import BodyStream
from janagent.http.streams import OpenStreams, StallGuard, break_off, send

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def connected(handler: Handler) -> AsyncIterator[socket.socket]:
    """A client's socket with a small buffer, its request to `handler` sent."""
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    loop = asyncio.get_running_loop()
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", site.port))
            await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            yield sock
    finally:
        await runner.cleanup()


async def test_a_whole_answer_that_nobody_takes_is_cut() -> None:
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 50_000_000
        try:
            await send(request, response, [bytes(1_000_000)] * 50, limit_s=0.3)
        finally:
            ended.set()
        return response

    async with asyncio.timeout(60), connected(handler):
        await ended.wait()


async def test_a_whole_answer_that_is_taken_arrives() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Connection": "close"})
        response.content_length = 3_000_000
        await send(request, response, [bytes(1_000_000)] * 3, limit_s=30)
        return response

    async with asyncio.timeout(60), connected(handler) as sock:
        size = 0
        while size < 3_000_000:
            size += len(await asyncio.get_running_loop().sock_recv(sock, 1 << 16))


async def test_an_answer_that_waits_for_its_next_piece_is_not_cut() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        writer = await response.prepare(request)
        assert writer is not None
        with StallGuard(request, writer, limit_s=0.5):
            await response.write(b"one")
            await asyncio.sleep(1.5)
            await response.write(b"two")
        return response

    async with asyncio.timeout(60), connected(handler) as sock:
        text = b""
        while b"two" not in text:
            text += await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
            assert text


async def test_last_words_are_delivered_before_the_connection_breaks() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = BodyStream(request, web.StreamResponse())
        await stream.open()
        stream.write(bytes(1_000_000))
        await break_off(request, stream, last_words=b"sorry")
        return stream.response

    async with asyncio.timeout(60), connected(handler) as sock:
        text = b""
        while part := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
            text += part
    assert text.endswith(b"sorry\r\n")


async def test_streams_without_an_end_leave_their_body_when_the_server_stops() -> None:
    streams = OpenStreams()
    entered, left = asyncio.Event(), asyncio.Event()

    async def stream() -> None:
        async with streams.until_stop():
            entered.set()
            await asyncio.Event().wait()
        left.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(stream())
        await entered.wait()
        await streams.stop(web.Application())
    assert left.is_set()


async def test_a_stream_that_begins_after_the_stop_leaves_at_once() -> None:
    streams = OpenStreams()
    await streams.stop(web.Application())
    async with asyncio.timeout(60), streams.until_stop():
        await asyncio.Event().wait()


async def test_a_time_out_of_the_body_itself_is_not_swallowed() -> None:
    streams = OpenStreams()
    with pytest.raises(TimeoutError):
        async with streams.until_stop():
            raise TimeoutError
