"""Streams over a real Unix socket: framing, and what happens when the reader falls behind."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from janagent.body import BodyStream, ReaderStalled

EVENTS = {"Content-Type": "text/event-stream; charset=utf-8"}
Use = Callable[[BodyStream], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(use: Use) -> AsyncIterator[str]:
    """The path of a socket on which every GET is answered by `use`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        stream = BodyStream(
            request, web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        )
        await stream.open()
        await use(stream)
        return stream.response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="js-", dir="/tmp") as folder:
        path = str(Path(folder) / "s")
        await web.UnixSite(runner, path).start()
        try:
            yield path
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def raw(path: str, version: str) -> AsyncIterator[asyncio.StreamReader]:
    """A client that reads only when asked to."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1024)
    writer.write(f"GET / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_what_is_written_arrives_and_ends_properly():
    async def use(stream: BodyStream) -> None:
        stream.write(b"data: 1\n\n")
        stream.write(b"")
        stream.write(b"data: 2\n\n")
        await stream.close()

    async with serving(use) as path, aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
        async with session.get("http://x/") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert await answer.read() == b"data: 1\n\ndata: 2\n\n"
        async with session.get("http://x/") as answer:
            assert await answer.read() == b"data: 1\n\ndata: 2\n\n"


async def test_a_client_of_http_1_0_gets_the_body_unframed():
    async def use(stream: BodyStream) -> None:
        stream.write(b"data: 1\n\n")
        await stream.close()

    async with serving(use) as path, raw(path, "1.0") as reader:
        data = await asyncio.wait_for(reader.read(), 60)
        assert data.partition(b"\r\n\r\n")[2] == b"data: 1\n\n"


async def test_a_cut_stream_does_not_look_whole():
    async def use(stream: BodyStream) -> None:
        stream.write(b"data: 1\n\n")
        stream.cut()

    async with (
        serving(use) as path,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        session.get("http://x/") as answer,
    ):
        assert await answer.content.readline() == b"data: 1\n"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_reader_that_catches_up_is_waited_for():
    done = asyncio.Event()

    async def use(stream: BodyStream) -> None:
        while not stream.is_congested:
            stream.write(b"x" * 10_000)
        await stream.drained(stall_s=10)
        assert not stream.is_congested
        await stream.close()
        done.set()

    async with serving(use) as path, raw(path, "1.1") as reader:
        while not done.is_set():
            await asyncio.wait_for(reader.read(50_000), 60)


async def test_a_reader_that_takes_nothing_is_given_up():
    stalled = asyncio.Event()

    async def use(stream: BodyStream) -> None:
        stream.write(b"x" * 2_000_000)  # more than the socket and the client's own buffer take
        assert stream.is_congested
        try:
            await stream.drained(stall_s=0.2)
        except ReaderStalled:
            stream.abort()
            stalled.set()

    async with serving(use) as path, raw(path, "1.1"):
        await asyncio.wait_for(stalled.wait(), 60)
