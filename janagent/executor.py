"""Actions become processes and file operations; each ends in exactly one event. The I/O half of the machine.

`Executor.start` is called by `runtime` with a `Work` action and returns at once. It knows how to do things,
never whether to: every decision is the machine's. It logs one line per action, so that the machine need not.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, assert_never

from janagent import aio
from janagent.children import wire
from janagent.children.client import EngineClient
from janagent.children.exits import Exit
from janagent.children.exits import ExitKind as ChildExit
from janagent.children.logs import LogRing
from janagent.children.pool import EnginePool
from janagent.children.spawn import Child
from janagent.config import Settings
from janagent.core import events as ev
from janagent.core.actions import (
    DiscardFetch,
    RemoveFiles,
    StartEngine,
    StartFetch,
    StopEngine,
    StopFetch,
    Work,
)
from janagent.fetchers import Fetchers
from janagent.folder import brought
from janagent.folder.adapters import scale_of
from janagent.folder.entry import ModelEntry, Role
from janagent.folder.listing import parent
from janagent.folder.records import discard
from janagent.folder.removal import remove_empty_folders, remove_files, spared
from janagent.network import BadEnvironment
from janagent.remote.faults import KEY_MISSING
from janagent.remote.keys import KeyProblem
from janagent.remote.remotes import Remotes
from janagent.upstream import Engine

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Running:
    """One engine's process, from the action that started it until its exit was told."""

    action: StartEngine
    socket_path: Path
    spawned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once `child` is there or never will be."""
    child: Child | None = None
    client: Engine | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Of a remote engine, which has no process to wait for."""
    failed_words: str = ""
    is_short_of_gpu: bool = False
    gpu_bytes: int = 0
    """What it holds of GPUs' memory, by its own measure."""
    stats: wire.Stats | None = None
    is_stop_asked: bool = False


@dataclass(slots=True)
class Totals:
    """Counts since the daemon's start that only grow, engines that are gone included."""

    loads: int = 0
    crashes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, stats: wire.Stats | None) -> None:
        """Count in what one engine did."""
        if stats is not None:
            self.prompt_tokens += stats.prompt_tokens
            self.completion_tokens += stats.completion_tokens


class Executor:
    """Owns the child processes of all engines."""

    def __init__(
        self,
        *,
        pool: EnginePool,
        sockets: Path,
        models: Path,
        post: Callable[[ev.Event], None],
        logs_of: Callable[[str], LogRing],
        queue_limit: int,
        media: wire.MediaRules,
        prompt_cache_bytes: int,
        fetchers: Fetchers,
        remotes: Remotes,
        gpus_seen: Callable[[int, Sequence[int]], None] = lambda _engine, _free_bytes: None,
    ) -> None:
        """`gpus_seen` is told which engine found how much free on each GPU."""
        self._pool = pool
        self._gpus_seen = gpus_seen
        self._fetchers = fetchers
        self._remotes = remotes
        self._sockets = sockets
        self._models = models
        self._post = post
        self._logs_of = logs_of
        self._queue_limit = queue_limit
        self._media = media
        self._prompt_cache_bytes = prompt_cache_bytes
        self._running: dict[int, Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._totals = Totals()

    async def __aenter__(self) -> Self:
        await self._remotes.__aenter__()
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what is left; a daemon that ends leaves no process."""
        for running in self._running.values():
            running.ended.set()
            if running.child is not None:
                running.child.kill()
        self._fetchers.kill_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        await aio.cancel_and_wait(*self._tasks)
        await self._pool.__aexit__(kind, error, trace)
        await self._remotes.__aexit__(kind, error, trace)

    def running(self, engine: int) -> Running | None:
        """The process of an engine, None once it is gone."""
        return self._running.get(engine)

    def all_running(self) -> list[Running]:
        """Every engine process that there is."""
        return list(self._running.values())

    def totals(self) -> Totals:
        """The counts at this moment, running engines included."""
        totals = replace(self._totals)
        for running in self._running.values():
            totals.add(running.stats)
        return totals

    def memory_bytes(self) -> tuple[int, int]:
        """(memory of all engines, that of GPUs too; the part of main memory that only their end frees)."""
        running = [r for r in self._running.values() if r.child is not None]
        children = [r.child for r in running if r.child is not None]
        used_bytes = sum(c.memory_bytes() for c in children) + sum(r.gpu_bytes for r in running)
        return used_bytes, sum(c.held_bytes() for c in children)

    def start(self, action: Work) -> None:
        """Begin `action`; its event arrives through `post`."""
        match action:
            case StartEngine():
                running = Running(action, self._sockets / f"e{action.engine}.sock")
                self._running[action.engine] = running
                self._spawn(self._run_engine(running), name=f"engine {action.engine} {action.entry.id}")
            case StopEngine():
                self._spawn(self._stop_engine(action), name=f"stop engine {action.engine}")
            case StartFetch():
                self._spawn(self._fetchers.run(action), name=f"fetch {action.entry.id}")
            case StopFetch():
                self._spawn(self._fetchers.stop(action), name=f"stop fetch {action.fetch}")
            case DiscardFetch():
                self._spawn(self._fetchers.discard(action), name=f"discard fetch of {action.key}")
            case RemoveFiles():
                self._spawn(self._remove_files(action), name=f"remove {action.key}")
            case _:
                assert_never(action)

    def _spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> None:
        task = aio.create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- one engine --------------------------------------------------------------------------------

    async def _run_engine(self, running: Running) -> None:
        action = running.action
        exited = ev.EngineExited(action.engine, ev.ExitKind.CRASHED, "it could not be started")
        try:
            is_remote = action.entry.is_remote
            exited = await (self._live_afar(running) if is_remote else self._live(running))
        except Exception as error:
            log.exception("engine %d of %s failed", action.engine, action.entry.id)
            exited = ev.EngineExited(action.engine, ev.ExitKind.CRASHED, f"it could not be started: {error}")
        finally:
            running.spawned.set()
            self._running.pop(action.engine, None)
            self._totals.add(running.stats)
            self._totals.crashes += exited.kind is ev.ExitKind.CRASHED
            # A remote one whose key is gone goes on with the answers that it has begun.
            if running.client is not None and (running.child is not None or running.is_stop_asked):
                running.client.close()
            with suppress(OSError):
                running.socket_path.unlink()
            self._post(exited)

    async def _live(self, running: Running) -> ev.EngineExited:
        """Spawn, follow the status pipe, wait for the end: the whole life of one engine process."""
        action = running.action
        spec = engine_spec(
            action,
            running.socket_path,
            media=self._media,
            queue_limit=self._queue_limit,
            prompt_cache_bytes=self._prompt_cache_bytes,
        )
        log.info("starting engine %d for %s", action.engine, action.entry.id)
        logs = self._logs_of(action.entry.key)
        logs.add(f"janagent: starting engine {action.engine} for {spec.model_path}")
        child = running.child = await self._pool.start(spec, logs=logs)
        running.spawned.set()
        follower = aio.create_task(self._follow(running, child), name=f"status of engine {action.engine}")
        try:
            exit_ = await child.wait()
            await asyncio.wait([follower], timeout=1)  # its last words may still be in the pipe
        finally:
            await aio.cancel_and_wait(follower)
        words = running.failed_words or exit_.message
        logs.add(f"janagent: engine {action.engine} ended: {words}")
        log.info("engine %d of %s ended: %s", action.engine, action.entry.id, words)
        return ev.EngineExited(action.engine, _exit_kind(running, exit_), words)

    async def _live_afar(self, running: Running) -> ev.EngineExited:
        """The whole life of a remote engine: from the key's being there to a stop, or to the key's loss."""
        action = running.action

        def key_lost(words: str) -> None:
            running.failed_words = words
            running.ended.set()

        try:
            running.client = await self._remotes.open(action, key_lost=key_lost)
        except KeyProblem as problem:
            return ev.EngineExited(action.engine, ev.ExitKind.LOAD_FAILED, str(problem), code=KEY_MISSING)
        except BadEnvironment as problem:
            log.warning("%s cannot be used: %s", action.entry.id, problem)
            return ev.EngineExited(action.engine, ev.ExitKind.LOAD_FAILED, str(problem))
        running.spawned.set()
        self._post(ev.EngineReady(action.engine, action.ticket, ctx_len=0, n_parallel=0))
        await running.ended.wait()
        if running.is_stop_asked:
            return ev.EngineExited(action.engine, ev.ExitKind.REQUESTED, "it was stopped")
        return ev.EngineExited(action.engine, ev.ExitKind.LOAD_FAILED, running.failed_words, code=KEY_MISSING)

    async def _follow(self, running: Running, child: Child) -> None:
        action = running.action
        async for line in child.status():
            match line:
                case wire.Loading(progress=progress):
                    self._post(ev.EngineLoading(action.engine, progress))
                case wire.Ready():
                    running.client = EngineClient(running.socket_path)
                    self._totals.loads += 1
                    self._post(
                        ev.EngineReady(
                            action.engine, action.ticket, line.ctx_len, line.n_parallel, line.warnings
                        )
                    )
                case wire.GpuMemory():
                    running.gpu_bytes = line.held_bytes
                    self._gpus_seen(action.engine, line.free_bytes)
                case wire.Failed():
                    running.failed_words = line.message
                    running.is_short_of_gpu = line.is_short_of_gpu
                case wire.Stats():
                    running.stats = line
                    self._post(ev.StepsSeen(action.engine, line.live, line.steps))
                case wire.Spare() | wire.Planned() | wire.Fetching() | wire.Fetched() | wire.FetchFailed():
                    pass  # a fetcher's words, or one from before this engine was one
                case _:
                    assert_never(line)

    async def _stop_engine(self, action: StopEngine) -> None:
        running = self._running.get(action.engine)
        if running is None:
            return  # it ended by itself meanwhile, and said so
        running.is_stop_asked = True
        await running.spawned.wait()
        running.ended.set()
        if running.child is not None:
            log.info("stopping engine %d of %s", action.engine, running.action.entry.id)
            await running.child.stop(grace_s=action.grace_s)

    async def _remove_files(self, action: RemoveFiles) -> None:
        error: str | None = None
        try:
            await asyncio.to_thread(self._remove_all, action)
        except OSError as problem:
            error = f"{problem.filename or action.entry.path}: {problem.strerror or problem}"
        except Exception as problem:  # whoever waits must hear of it
            log.exception("removing the files of %s failed", action.entry.id)
            error = f"{action.entry.path}: {problem}"
        log.info("removed the files of %s%s", action.entry.id, f" in part: {error}" if error else "")
        self._post(ev.FilesRemoved(action.key, action.ticket, error))

    def _remove_all(self, action: RemoveFiles) -> None:
        also = brought.written_for(self._models, action.key, used=action.used)
        remove_files(spared(action.entry, models=self._models), models=self._models, also=also)
        brought.forget(self._models, action.key)
        discard(self._models, action.key)
        remove_empty_folders(self._models / parent(action.key), models=self._models)  # its parts kept it


def engine_spec(
    action: StartEngine,
    socket_path: Path,
    *,
    media: wire.MediaRules,
    queue_limit: int,
    prompt_cache_bytes: int,
) -> wire.EngineSpec:
    """What a worker is told, from a plan and the files it is about."""
    plan, init = action.plan, action.plan.init
    return wire.EngineSpec(
        socket_path=str(socket_path),
        model_path=str(_file(action.entry, Role.MODEL)),
        projector_path=_optional(_file(action.entry, Role.PROJECTOR)),
        adapters=tuple(
            wire.Adapter(path=str(b.real_path), scale=scale_of(init.lora_scale, b.path))
            for b in action.entry.binaries
            if b.role is Role.ADAPTER
        ),
        model_id=action.entry.id,
        ctx_len=plan.ctx_len,
        n_parallel=plan.n_parallel,
        ngl=plan.ngl,
        gpu_bytes=plan.gpu_bytes,
        n_threads=init.n_threads,
        n_batch=init.n_batch,
        flash_attn=init.flash_attn,
        kv_type=init.kv_type,
        chat_template=init.chat_template,
        pre_prompt=init.pre_prompt,
        user_prompt=init.user_prompt,
        ai_prompt=init.ai_prompt,
        embedding=init.embedding is not False,
        context_shift=init.context_shift is True,
        media=media,
        has_classifier=action.entry.header is None or action.entry.header.has_classifier,
        queue_limit=queue_limit,
        prompt_cache_bytes=prompt_cache_bytes,
    )


def media_rules(settings: Settings) -> wire.MediaRules:
    """What the settings say of pictures and sounds."""
    return wire.MediaRules(
        urls=settings.picture_urls,
        private_urls=settings.picture_urls_private,
        max_bytes=settings.max_picture_bytes,
    )


def _file(entry: ModelEntry, role: Role) -> Path | None:
    return next((b.real_path for b in entry.binaries if b.role is role), None)


def _optional(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _exit_kind(running: Running, exit_: Exit) -> ev.ExitKind:
    if running.is_stop_asked:
        return ev.ExitKind.REQUESTED
    if running.is_short_of_gpu:
        return ev.ExitKind.SHORT_OF_GPU
    if exit_.kind in (ChildExit.LOAD_FAILED, ChildExit.BAD_SPEC):
        return ev.ExitKind.LOAD_FAILED
    return ev.ExitKind.CRASHED
