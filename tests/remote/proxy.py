"""An HTTP proxy for tests: plain requests, CONNECT, a password, refusals, and what passed through it."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.threaded import Threaded

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Proxy(Threaded):
    """A context manager.

    `login` is `user:password`, "" for everybody; `refuses` is a status for all; `routes` leads names that
    are not to be looked up, such as `api.openai.com:443`, to a port of this machine.
    """

    def __init__(self, *, login: str = "", refuses: int = 0, routes: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.asked: list[str] = []
        """`CONNECT host:port` or `POST http://...` of each request that was let through."""
        self.passed = bytearray()
        """What clients sent through it, heads included."""
        self.port = 0
        self._login = login
        self._refuses = refuses
        self._routes = routes or {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either end left, as they may
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.passed += head
        first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split()
        if refused := self._refusal(lines):
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno!\n" % refused)
            await writer.drain()
            return
        self.asked.append(f"{method} {target}")
        place = target if method == "CONNECT" else urlsplit(target).netloc
        host, _, port = place.rpartition(":")
        if place in self._routes:
            host, port = "127.0.0.1", str(self._routes[place])
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            if method == "CONNECT":
                writer.write(_ESTABLISHED)
            else:
                kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection:"))]
                path = target.partition(place)[2]
                said = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
                far_writer.write("\r\n".join(said).encode())
            there = asyncio.ensure_future(self._pass(reader, far_writer))  # noqa: TID251
            self._tasks.add(there)
            await self._pass(far_reader, writer, keep=False)
            there.cancel()
        finally:
            far_writer.close()

    def _refusal(self, lines: list[str]) -> int:
        shown = f"Proxy-Authorization: Basic {base64.b64encode(self._login.encode()).decode()}"
        if self._login and shown not in lines:
            return 407
        return self._refuses

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool = True
    ) -> None:
        while data := await reader.read(1 << 16):
            if keep:
                self.passed += data
            writer.write(data)
            await writer.drain()
