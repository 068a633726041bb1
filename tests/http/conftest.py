"""The real API over a real runtime, with an engine program that misbehaves on request (`odd_engine`)."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from janagent import paths
from janagent.config import Settings
from janagent.http.app import build_app, make_runner
from janagent.http.context import API, Api, Limits
from janagent.runtime import Runtime
from tests.gguf_files import write_model

ENGINE = (sys.executable, str(Path(__file__).with_name("odd_engine.py")))


@dataclass(frozen=True)
class Served:
    """One running server and a client for it."""

    url: str
    port: int
    models: Path
    runtime: Runtime
    api: Api
    client: aiohttp.ClientSession

    async def chat(self, odd: str = "echo", **fields: Any) -> aiohttp.ClientResponse:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "odd": odd, **fields}
        return await self.client.post("/v1/chat/completions", json=body)

    async def json(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.client.request(method, path, **options) as response:
            return response.status, await response.json()

    async def error(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        status, body = await self.json(method, path, **options)
        assert set(body) == {"error"}, body
        assert set(body["error"]) == {"message", "type", "param", "code"}
        return status, body["error"]


async def eventually(is_true: Callable[[], bool], *, within_s: float = 60) -> None:
    """Wait until something in this very process has come about."""
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def broken_text(response: aiohttp.ClientResponse) -> bytes:
    """All that came of an answer that must not end cleanly."""
    text = b""
    try:
        async for chunk in response.content.iter_any():
            text += chunk
    except aiohttp.ClientPayloadError:
        return text
    raise AssertionError(f"a clean end after {text!r}")


Serve = Callable[..., Awaitable[Served]]


@asynccontextmanager
async def serving(root: Path, *, limits: Limits, **flags: Any) -> AsyncIterator[Served]:
    flags = {"hot_load": "never", "spare_worker": False, "drain_s": 1, "offline": True, **flags}
    flags |= {"root": root, "port": 0}
    settings = Settings.load(flags)
    with paths.socket_folder() as sockets:
        async with Runtime(settings, sockets=sockets, engine_argv=ENGINE) as runtime:
            limits = replace(limits, max_body_bytes=settings.max_body_bytes)
            app = build_app(runtime, settings, limits=limits)
            runner = make_runner(app, settings)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                port = site.port
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                    yield Served(
                        client._base_url.human_repr().rstrip("/"),
                        port,
                        settings.models_dir,
                        runtime,
                        app[API],
                        client,
                    )
            finally:
                await runner.cleanup()


def settled_model(path: Path) -> Path:
    """A small complete model that was written long ago, so that nobody waits for it to settle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_model(path)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def put(root: Path, name: str, manifest: object = None, *, gguf: bool = True) -> Path:
    """A folder of one model, with a manifest and a binary as wanted."""
    folder = root / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    if gguf:
        settled_model(folder / f"{folder.name}.gguf")
    if manifest is not None:
        (folder / f"{folder.name}.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose models folder holds one small complete model, `tiny`."""
    settled_model(tmp_path / "models" / "tiny" / "tiny.gguf")
    return tmp_path


@pytest.fixture
async def serve(root: Path) -> AsyncIterator[Serve]:
    """Start servers with settings and limits of a test's choice."""
    async with AsyncExitStack() as stack:

        async def start(*, limits: Limits | None = None, **flags: Any) -> Served:
            return await stack.enter_async_context(serving(root, limits=limits or Limits(), **flags))

        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    """A server with everything at its default."""
    return await serve()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One server for all tests of a module that change nothing of it. They run on the module's loop."""
    root = tmp_path_factory.mktemp("shared")
    settled_model(root / "models" / "tiny" / "tiny.gguf")
    async with serving(root, limits=Limits()) as served:
        yield served
