"""Upstreams and proxies that take connections and then nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from yarl import URL

from janagent.remote import sending
from janagent.remote.sending import Sender, tracing
from janagent.upstream import EngineLost


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """The port of a server that accepts, and neither reads nor writes."""
    over = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()


@asynccontextmanager
async def sender(*, stall_s: float = 60.0) -> AsyncIterator[Sender]:
    async with aiohttp.ClientSession(trace_configs=[tracing()]) as session:
        yield Sender(session, host="far", stall_s=stall_s)


async def test_an_upstream_that_does_not_read_a_large_body_is_given_up() -> None:
    async with silent() as port, sender(stall_s=0.5) as made:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await made.send(URL(f"http://127.0.0.1:{port}/v1"), bytes(40 << 20), {}, scrubbed=str)
        assert time.monotonic() - begun < 20


async def test_a_proxy_that_never_opens_its_tunnel_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "CONNECT_LIMIT_S", 0.3)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with silent() as port, sender() as made:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await made.send(URL("https://api.example/v1"), b"{}", {}, scrubbed=str)
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize("value", ["http://u:p4ss@host:x1", "socks5://u:p4ss@host:1080", "http://host:99999"])
async def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    async with sender() as made:
        with pytest.raises(EngineLost, match="HTTP_PROXY") as caught:
            await made.send(URL("http://api.example/v1"), b"{}", {}, scrubbed=str)
    assert "p4ss" not in str(caught.value)
