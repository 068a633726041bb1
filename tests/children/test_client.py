"""`janagent.children.client`: one engine's socket, with an engine end that says exactly what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from janagent import paths
from janagent.body import BodyStream
from janagent.children.client import EngineAnswer, EngineClient
from janagent.upstream import EngineLost

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd: a\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def engine(talk: Talk, *, backlog: int = 100) -> AsyncIterator[EngineClient]:
    """A client of a socket whose every connection is served by `talk`."""
    served: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    with paths.socket_folder() as folder:
        path = Path(folder) / "e.sock"
        server = await asyncio.start_unix_server(serve, path, backlog=backlog)
        client = EngineClient(path)
        try:
            async with asyncio.timeout(60):
                yield client
                client.close()
                await asyncio.gather(*filter(None, served))
        finally:
            server.close()


async def request(reader: asyncio.StreamReader) -> bytes:
    """The next request, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def says(*parts: bytes, ends: bool = False) -> Talk:
    """Answers each request with `parts`, a moment between them; then waits, or ends the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            if ends:
                break

    return talk


async def until_the_end(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read()


async def read_one(client: EngineClient) -> bytes:
    return await (await ask(client)).read()


async def ask(client: EngineClient) -> EngineAnswer:
    return await client.post("/v1/x", b"{}", headers={})


async def test_the_request_is_written_as_http_says():
    got: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await request(reader))
        writer.write(WHOLE)
        await until_the_end(reader)

    async with engine(talk) as client:
        answer = await client.post("/v1/x", b"body", headers={"X-Request-Id": "7"})
        assert (answer.status, answer.headers["x-odd"], await answer.read()) == (200, "a", b"ok")
    assert got == [b"POST /v1/x HTTP/1.1\r\nHost: engine\r\nContent-Length: 4\r\nX-Request-Id: 7\r\n\r\nbody"]


async def test_a_connection_is_used_again_after_a_whole_answer():
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await says(WHOLE)(reader, writer)

    async with engine(talk) as client:
        for _ in range(3):
            answer = await ask(client)
            assert await answer.read() == b"ok"
            answer.close()
    assert connections == 1


async def test_a_kept_connection_that_the_engine_closed_is_replaced():
    async with engine(says(WHOLE, ends=True)) as client:
        for _ in range(3):
            assert await (await ask(client)).read() == b"ok"


async def test_an_answer_left_early_ends_its_connection():
    is_gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + b"3\r\nabc\r\n")
        await until_the_end(reader)
        is_gone.set()

    async with engine(talk) as client:
        answer = await ask(client)
        await answer.first()
        answer.close()
        await is_gone.wait()


async def test_a_request_cancelled_before_the_head_ends_its_connection():
    is_asked, is_gone = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        is_asked.set()
        await until_the_end(reader)
        is_gone.set()

    async with engine(talk) as client:
        task = asyncio.ensure_future(ask(client))  # noqa: TID251
        await is_asked.wait()
        task.cancel()
        await is_gone.wait()


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Le"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"ab"],
        [CHUNKED, b"3\r\nabc\r\n"],
        [CHUNKED, b"3\r\nabc\r\n0\r\n"],
        [CHUNKED, b"5\r\nab"],
    ],
)
async def test_an_answer_that_lost_its_end_is_never_whole(parts: list[bytes]):
    async with engine(says(*parts, ends=True)) as client:
        with pytest.raises(EngineLost, match="broke"):
            await (await ask(client)).read()


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"x" * 100_000,
    ],
)
async def test_what_is_no_http_is_an_engine_lost(head: bytes):
    async with engine(says(head)) as client:
        with pytest.raises(EngineLost, match="does not speak HTTP"):
            await ask(client)


async def test_an_answer_longer_than_it_says_is_lost():
    async with engine(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay")) as client:
        with pytest.raises(EngineLost, match="longer"):
            await (await ask(client)).read()


async def test_bytes_that_nobody_asked_for_end_the_connection_and_not_the_next_request():
    is_read, is_gone = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(WHOLE)
        await is_read.acquire()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nodd")
        await until_the_end(reader)
        is_gone.release()

    async with engine(talk) as client:
        for _ in range(2):
            assert await read_one(client) == b"ok"
            is_read.release()
            await is_gone.acquire()


async def test_of_a_burst_of_connections_few_are_kept():
    n_open, all_there, few_left = 0, asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_open
        n_open += 1
        await request(reader)
        if n_open == 60:  # each request has a connection of its own
            all_there.set()
        await all_there.wait()
        writer.write(WHOLE)
        await until_the_end(reader)
        n_open -= 1
        if n_open == 16:
            few_left.set()

    async with engine(talk) as client:
        await asyncio.gather(*(read_one(client) for _ in range(60)))
        await few_left.wait()


async def test_an_engine_that_is_not_there_is_lost():
    with paths.socket_folder() as folder, pytest.raises(EngineLost, match="cannot be reached"):
        await ask(EngineClient(Path(folder) / "none.sock"))


async def test_more_connections_than_the_queue_holds_wait_their_turn():
    async with engine(says(WHOLE), backlog=1) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(200)))
        assert {await answer.read() for answer in answers} == {b"ok"}


async def test_a_reader_that_falls_behind_holds_the_engine_back():
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request(reader)
        writer.write(CHUNKED)
        for _ in range(1000):
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def handle(got: web.Request) -> web.StreamResponse:
        answer = await ask(client)
        stream = BodyStream(got, web.StreamResponse())
        await answer.push(stream)
        await stream.close()
        return stream.response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    async with engine(talk) as client:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with (
                aiohttp.ClientSession(read_bufsize=1024) as session,
                session.get(f"http://127.0.0.1:{site.port}/") as response,
            ):
                await response.content.readexactly(1000)
                before = -1
                while sent != before:  # until the engine can write no more
                    before = sent
                    await asyncio.sleep(0.2)
                assert sent < 1000 * 65536
                size = 1000 + sum([len(part) async for part in response.content.iter_any()])
        finally:
            await runner.cleanup()
    assert size == 1000 * 65536
