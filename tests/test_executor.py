"""Actions become processes and end in exactly one event; with a real child that speaks the wire."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from janagent import paths
from janagent.children.logs import LogRing
from janagent.children.pool import EnginePool
from janagent.children.wire import MediaRules
from janagent.core import events as ev
from janagent.core.actions import RemoveFiles, StartEngine, StopEngine
from janagent.core.memory import Budget, fit
from janagent.executor import Executor
from janagent.fetchers import Fetchers
from janagent.folder.entry import ModelEntry
from janagent.remote.remotes import Remotes
from tests.core.driver import GB, entry
from tests.daemons import assert_all_gone

ODD_ENGINE = (sys.executable, str(Path(__file__).parent / "http" / "odd_engine.py"))


class Bench:
    """An executor, the events it posted, and the logs it wrote."""

    def __init__(self) -> None:
        self.free_bytes: asyncio.Queue[tuple[int, ...]] = asyncio.Queue()
        self.events: asyncio.Queue[ev.Event] = asyncio.Queue()
        self.logs = LogRing()
        self.executor: Executor

    async def next(self, kind: type[ev.Event]) -> ev.Event:
        """The next event that is no status line of a running engine."""
        async with asyncio.timeout(60):
            while True:
                event = await self.events.get()
                if not isinstance(event, ev.StepsSeen | ev.EngineLoading):
                    assert isinstance(event, kind), event
                    return event


async def _no_look(_folder: str, _closed: set[str]) -> None:
    raise AssertionError("nothing is fetched here")


@asynccontextmanager
async def bench(models: Path, *, argv: tuple[str, ...] = ODD_ENGINE) -> AsyncIterator[Bench]:
    made = Bench()
    with paths.socket_folder() as sockets:
        made.executor = Executor(
            pool=EnginePool(argv=argv, spare=False),
            sockets=sockets,
            models=models,
            post=made.events.put_nowait,
            logs_of=lambda _key: made.logs,
            queue_limit=8,
            media=MediaRules(),
            prompt_cache_bytes=0,
            fetchers=Fetchers(
                models=models,
                hub_endpoint=None,
                budget=lambda: Budget(0),
                post=made.events.put_nowait,
                logs_of=lambda _key: made.logs,
                look=_no_look,
            ),
            remotes=Remotes(post=made.events.put_nowait, logs_of=lambda _key: made.logs, stall_s=5.0),
            gpus_seen=lambda _engine, free_bytes: made.free_bytes.put_nowait(tuple(free_bytes)),
        )
        async with made.executor:
            yield made


def start(about: ModelEntry | None = None) -> StartEngine:
    about = about or entry()
    plan = fit(about, about.manifest.init, key="k", budget=Budget(10 * GB))
    return StartEngine(1, 7, about, plan, deadline_s=60)


async def test_a_start_ends_in_ready_with_its_ticket_and_the_engine_answers(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.executor.start(start())
        ready = await b.next(ev.EngineReady)
        assert isinstance(ready, ev.EngineReady)
        assert (ready.engine, ready.ticket) == (1, 7)
        running = b.executor.running(1)
        assert running is not None
        assert running.client is not None
        answer = await running.client.post("/v1/chat/completions", b'{"odd": "echo"}', headers={})
        assert (answer.status, b'"odd"' in await answer.read()) == (200, True)
        assert sum(b.executor.memory_bytes()) > 0


async def test_a_stop_ends_in_exactly_one_exit(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.executor.start(start())
        await b.next(ev.EngineReady)
        b.executor.start(StopEngine(1, 8, 5.0))
        exited = await b.next(ev.EngineExited)
        assert isinstance(exited, ev.EngineExited)
        assert exited.kind is ev.ExitKind.REQUESTED
        assert b.executor.running(1) is None
        b.executor.start(StopEngine(1, 9, 5.0))
        await asyncio.sleep(0.1)
        assert b.events.empty()


async def test_a_stop_while_it_starts_ends_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.executor.start(start())
        b.executor.start(StopEngine(1, 8, 0.0))
        exited = await b.next(ev.EngineExited)
        assert isinstance(exited, ev.EngineExited)
        assert exited.kind is ev.ExitKind.REQUESTED


async def test_a_death_of_its_own_is_a_crash_in_words(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.executor.start(start())
        await b.next(ev.EngineReady)
        running = b.executor.running(1)
        assert running is not None
        assert running.child is not None
        psutil.Process(running.child.pid).kill()
        exited = await b.next(ev.EngineExited)
        assert isinstance(exited, ev.EngineExited)
        assert exited.kind is ev.ExitKind.CRASHED
        assert "out of memory" in exited.message
        assert "out of memory" in b.logs.text()


async def test_a_program_that_cannot_be_started_is_an_exit_too(tmp_path: Path) -> None:
    async with bench(tmp_path, argv=("/does/not/exist",)) as b:
        b.executor.start(start())
        exited = await b.next(ev.EngineExited)
        assert isinstance(exited, ev.EngineExited)
        assert "could not be started" in exited.message


async def test_what_an_engine_tells_of_gpus_is_told_on_and_counts_as_its_memory(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.executor.start(start(entry("gpu")))
        await b.next(ev.EngineReady)
        async with asyncio.timeout(60):
            assert await b.free_bytes.get() == (6 * 10**9, 10**9)
        used_bytes, held_bytes = b.executor.memory_bytes()
        assert used_bytes > 4 * 10**12 > held_bytes


async def test_an_engine_that_finds_too_little_gpu_memory_says_so_before_it_is_gone(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.executor.start(start(entry("short_of_gpu")))
        exited = await b.next(ev.EngineExited)
        assert isinstance(exited, ev.EngineExited)
        assert exited.kind is ev.ExitKind.SHORT_OF_GPU
        assert "1.0 GB are free" in exited.message
        assert b.free_bytes.get_nowait() == (10**9,)


async def test_leaving_ends_every_process(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.executor.start(start())
        await b.next(ev.EngineReady)
        running = b.executor.running(1)
        assert running is not None
        assert running.child is not None
        process = psutil.Process(running.child.pid)
    assert_all_gone([process])


async def test_files_are_removed_and_a_refusal_is_told(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "a.json").write_text("{}")
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    (models / "b.json").symlink_to(outside)
    async with bench(models) as b:
        b.executor.start(RemoveFiles("a.json", 3, replace(entry("a"), binaries=())))
        assert await b.next(ev.FilesRemoved) == ev.FilesRemoved("a.json", 3)
        b.executor.start(RemoveFiles("b.json", 4, replace(entry("b"), binaries=())))
        removed = await b.next(ev.FilesRemoved)
        assert isinstance(removed, ev.FilesRemoved)
        assert removed.error is not None
        assert "link" in removed.error
        nonsense: Any = None
        b.executor.start(RemoveFiles("c.json", 5, replace(entry("c"), binaries=(nonsense,))))
        removed = await b.next(ev.FilesRemoved)
        assert isinstance(removed, ev.FilesRemoved)
        assert removed.error is not None
    assert not (models / "a.json").exists()
    assert outside.exists()
