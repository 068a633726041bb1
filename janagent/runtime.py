"""The only owner of the Machine: every event passes through `dispatch`, every reply leaves through it.

Callers ask (`lease`, `start`, `stop`, `delete`) and are answered; they never branch on a state they read.
Above: `http` and `daemon`. Below: `executor` does what the machine decides, `folder` says what is there.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from janagent import __version__, aio, paths
from janagent.children.logs import LogRing
from janagent.children.pool import ENGINE_ARGV, EnginePool
from janagent.config import Settings
from janagent.core import events as ev
from janagent.core.actions import Answer, GrantLease, RefuseLease
from janagent.core.faults import Refusal
from janagent.core.limits import Limits
from janagent.core.machine import Machine
from janagent.core.memory import Budget
from janagent.core.status import ModelStatus, State
from janagent.executor import Executor, Running, Totals, media_rules
from janagent.feed import Feed, MachineChanged, Subscription
from janagent.fetchers import FETCH_ARGV, Fetchers
from janagent.folder.catalog import Catalog
from janagent.folder.entry import CatalogChange
from janagent.folder.manifest import ManifestError, apply_start_parameters
from janagent.folder.removal import concerned_folders, obstacle, sweep
from janagent.memory_watch import MemoryWatch
from janagent.redact import redact_text
from janagent.remote.remotes import Remotes
from janagent.scanning import Scanning
from janagent.upstream import Engine

log = logging.getLogger(__name__)

STOP_MARGIN_S = 10.0
REMOTE_KNOWN_S = 2.0  # the daemon is ready so much later at most: a keyring may wait for its owner
SHOWN_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to send one request to an engine; the engine lives at least as long as the lease."""

    model_id: str
    engine: Engine
    defaults: Mapping[str, Any]
    """Request fields to fill in where the request is silent."""


class Runtime:
    """The running system: an async context manager that scans, decides, starts and stops."""

    def __init__(
        self,
        settings: Settings,
        *,
        sockets: Path,
        engine_argv: Sequence[str] = ENGINE_ARGV,
        fetch_argv: Sequence[str] = FETCH_ARGV,
    ) -> None:
        """`engine_argv` starts one engine, `fetch_argv` one fetcher; other programs that speak
        `children.wire` will do for tests."""
        self.settings = settings
        self._models = paths.models_dir(settings.root)
        self._pause_file = paths.pause_file(settings.root)
        self.memory = self._memory = MemoryWatch(settings)
        self._machine = Machine(limits=Limits.of(settings), budget=Budget(0))
        is_default = settings.root == paths.default_root()
        self._catalog = Catalog(settings.root, default_root=is_default, budget=self._memory.capacity)
        self._scanning = Scanning(self._catalog, rescan_s=settings.rescan_s, changed=self._catalog_changed)
        self._fetchers = Fetchers(
            models=self._models,
            budget=self._memory.capacity,
            # Not the default: the fetcher knows HF_ENDPOINT too.
            hub_endpoint=settings.hub_endpoint if "hub_endpoint" in settings.model_fields_set else None,
            post=self.dispatch,
            logs_of=self.logs,
            look=self._scanning.look,
            argv=fetch_argv,
        )
        self._executor = Executor(
            pool=EnginePool(argv=engine_argv, spare=settings.spare_worker),
            sockets=sockets,
            models=self._models,
            post=self.dispatch,
            logs_of=self.logs,
            queue_limit=settings.queue_limit,
            media=media_rules(settings),
            prompt_cache_bytes=settings.prompt_cache,
            fetchers=self._fetchers,
            remotes=Remotes(post=self.dispatch, logs_of=self.logs, stall_s=settings.remote_stall_s),
            gpus_seen=self._gpus_seen,
        )
        self._feed = Feed()
        self._logs: dict[str, LogRing] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._defaults: dict[int, Mapping[str, Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stack = AsyncExitStack()
        self._no_engines = asyncio.Event()
        self._is_first_scan = True
        self._is_measured = self._is_drained = False
        self._held_back: list[CatalogChange] = []
        self.shutdown_wanted = asyncio.Event()
        """Set when somebody asked the daemon to end."""

    async def __aenter__(self) -> Self:
        """Measure the memory, read the folder once, then watch it. The folder is known when this returns."""
        try:
            await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _begin(self) -> None:
        self.dispatch(ev.FetchesPaused(self._pause_file.exists()))
        probe = aio.create_task(self._memory.probe(), name="GPU probe")
        self._stack.push_async_callback(aio.cancel_and_wait, probe)
        await asyncio.to_thread(sweep, self._models)
        await self._stack.enter_async_context(self._scanning)
        if not self._held_back or not self._held_back[0].offline:
            await asyncio.to_thread(self._fetchers.sweep, self._catalog.entries())
        # After the first scan, which would share the cores with the spare worker's start.
        await self._stack.enter_async_context(self._executor)
        await probe
        self._see_memory()
        self._is_measured = True
        held_back, self._held_back = self._held_back, []
        for change in held_back:
            self._catalog_changed(change)
        remote = [entry.key for change in held_back for entry in change.changed if entry.is_remote]
        await self._until_known(remote)
        sampler = aio.create_task(self._sample_memory(), name="memory sampler")
        self._stack.push_async_callback(aio.cancel_and_wait, sampler)

    async def _until_known(self, keys: Sequence[str]) -> None:
        """Whether these remote models have their keys is told from the first moment on, if that is quick."""
        for _ in range(round(REMOTE_KNOWN_S / 0.01)):
            found = [self._machine.status(key) for key in keys]
            if not any(status is not None and status.state is State.STARTING for status in found):
                return
            await asyncio.sleep(0.01)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain, then end every process."""
        await self.drain()
        if self._timer is not None:
            self._timer.cancel()
        await self._stack.aclose()

    async def drain(self) -> None:
        """Start nothing more, let running answers finish within `drain_s`, stop all engines; once."""
        if self._is_drained:
            return
        self._is_drained = True
        self.dispatch(ev.ShutdownWanted())
        self._feed.close()
        for ring in self._logs.values():
            ring.close()
        limit_s = self.settings.drain_s + self._machine.limits.stop_grace_s + STOP_MARGIN_S
        if self._machine.has_engines:
            try:
                await asyncio.wait_for(self._no_engines.wait(), timeout=limit_s)
            except TimeoutError:
                log.warning("engines are still there after %.0f s; killing them", limit_s)

    def hurry(self) -> None:
        """Wait for no answer any more: a drain that has begun, or will, ends the engines at once."""
        log.warning("asked to stop again: answers that are not finished are cut")
        self.dispatch(ev.ShutdownWanted(is_hasty=True))

    # -- asking ------------------------------------------------------------------------------------

    def resolve(self, name: str) -> str:
        """Key of the model that answers to `name`. Raises Refusal `model_not_found` naming the nearest."""
        key = self._catalog.resolve(name)
        if key is None or self._machine.status(key) is None:
            raise self._unknown(name)
        return key

    def _unknown(self, name: str) -> Refusal:
        shown = name if len(name) <= SHOWN_NAME_CHARACTERS else name[:SHOWN_NAME_CHARACTERS] + "..."
        near = self._catalog.nearest(name)
        hint = f"did you mean {', '.join(near)}?" if near else "GET /v1/models lists the models there are"
        return Refusal("model_not_found", f"there is no model {shown!r}; {hint}", param="model")

    def statuses(self) -> list[ModelStatus]:
        """Every model, sorted by id."""
        return self._feed.statuses()

    def status(self, key: str) -> ModelStatus:
        """One model. Raises Refusal `model_not_found`."""
        status = self._machine.status(key)
        if status is None:
            raise self._unknown(key)
        return status

    def counts(self) -> dict[str, int]:
        """How many models are in each state that occurs."""
        return self._feed.counts()

    def machine(self) -> dict[str, Any]:
        """Memory in bytes and the version, as the API shows them."""
        told = {"downloads_paused": self._pause_file.exists(), "version": __version__}
        return self._memory.figures(self._machine.budget) | told

    def logs(self, key: str) -> LogRing:
        """The last lines of a model's engines."""
        ring = self._logs.get(key)
        if ring is None:
            ring = self._logs[key] = LogRing(redact=redact_text)
        return ring

    def subscribe(self) -> Subscription:
        """Everything that changes from now on; use it as a context manager."""
        return self._feed.subscribe()

    def engines(self) -> list[Running]:
        """The engine processes there are, for metrics."""
        return self._executor.all_running()

    def totals(self) -> Totals:
        """Counts over all engines since the start, for metrics."""
        return self._executor.totals()

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about the folder and the watcher that belong to no single model."""
        return self._scanning.notices

    # -- wanting -----------------------------------------------------------------------------------

    async def start(self, key: str, *, parameters: Mapping[str, Any], wait: bool) -> ModelStatus:
        """Load a model; with `wait`, until it runs. Raises Refusal: it cannot, or wrong `parameters`."""
        manifest = self.status(key).entry.manifest
        try:
            apply_start_parameters(manifest.init, manifest.runtime, parameters)
        except ManifestError as error:
            raise Refusal("invalid_parameter", str(error), param=error.param) from error
        self._see_memory()
        if not wait:
            self.dispatch(ev.StartWanted(key, None, parameters))
        else:
            await self._ask(lambda waiter: ev.StartWanted(key, waiter, parameters))
        return self.status(key)

    async def stop(self, key: str) -> ModelStatus:
        """Unload a model; running answers finish within `drain_s`. Raises Refusal."""
        await self._ask(lambda waiter: ev.StopWanted(key, waiter))
        return self.status(key)

    def pause_downloads(self, is_paused: bool) -> None:
        """Stop all downloads, or let them go on; this outlives the daemon. Raises OSError."""
        if is_paused:
            paths.make_private(self._pause_file.parent)
            self._pause_file.touch()
        else:
            self._pause_file.unlink(missing_ok=True)
        self.dispatch(ev.FetchesPaused(is_paused))
        self._feed.tell(MachineChanged(self.machine()))

    async def delete(self, key: str) -> str:
        """Drain, stop, remove the files; returns the id it had. Raises Refusal (`delete_refused`: a link)."""
        for folder in concerned_folders(self.status(key).entry):
            await self._scanning.look(folder, set())  # who else uses its files must be as new as this call
        status = self.status(key)
        reason = await asyncio.to_thread(obstacle, status.entry, models=self._models)
        if reason is not None:
            raise Refusal("delete_refused", reason)
        await self._ask(lambda waiter: ev.DeleteWanted(key, waiter))
        self._scanning.forget(key)
        return status.id

    @asynccontextmanager
    async def lease(self, key: str) -> AsyncIterator[Lease]:
        """Leave to use the model's engine, which is loaded first if need be. Raises Refusal."""
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        status = self._machine.status(key)
        if status is not None and status.state is not State.RUNNING:
            self._see_memory()
        self.dispatch(ev.LeaseAsked(key, number))
        try:
            engine = await future
            running = self._executor.running(engine)
            if running is None or running.client is None:
                raise Refusal("engine_failed", "the engine ended before the request reached it")
            yield Lease(
                running.action.entry.id if status is None else status.id,
                running.client,
                running.client.usable_defaults(self._defaults.pop(number, {})),
            )
        finally:
            self._waiting.pop(number, None)
            self._defaults.pop(number, None)
            self.dispatch(ev.LeaseEnded(number))

    async def _ask(self, make: "Any") -> None:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.dispatch(make(number))
        try:
            await future
        finally:
            self._waiting.pop(number, None)

    # -- the one door ------------------------------------------------------------------------------

    def dispatch(self, event: ev.Event) -> None:
        """Hand `event` to the machine and carry its answer out. No `await` in here, on purpose."""
        now = time.monotonic()
        outcome = self._machine.handle(event, now)
        for trace in outcome.errors:
            log.error("a bug in the machine was contained; it met %s:\n%s", type(event).__name__, trace)
        for action in outcome.actions:
            match action:
                case GrantLease(lease=number, engine=engine, defaults=defaults):
                    self._defaults[number] = defaults
                    self._settle(number, engine)
                case RefuseLease(lease=number, refusal=refusal):
                    self._settle(number, refusal)
                case Answer(waiter=number, refusal=refusal):
                    self._settle(number, refusal or 0)
                case _:  # all others are work, says the type checker
                    self._executor.start(action)
        for key in outcome.touched:
            status = self._machine.status(key)
            if self._feed.publish(key, status) and status is None:
                self._forget(key)
        if self._machine.has_engines:
            self._no_engines.clear()
        else:
            self._no_engines.set()
        self._set_timer(outcome.next_deadline)

    def _settle(self, number: int, result: int | Refusal) -> None:
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if isinstance(result, Refusal):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _forget(self, key: str) -> None:
        if (ring := self._logs.pop(key, None)) is not None:
            ring.close()

    def _set_timer(self, deadline: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            loop = asyncio.get_running_loop()
            delay_s = max(deadline - time.monotonic(), 0.0) + 0.001
            self._timer = loop.call_later(delay_s, self.dispatch, ev.Tick())

    # -- what comes in -----------------------------------------------------------------------------

    def _catalog_changed(self, change: CatalogChange) -> None:
        if self._is_measured:
            self.dispatch(ev.CatalogChanged(change, initial=self._is_first_scan))
            self._is_first_scan = False
        else:  # nothing may be planned before it is known what memory there is
            self._held_back.append(change)

    def _see_memory(self) -> None:
        if (budget := self._memory.budget(*self._executor.memory_bytes())) != self._machine.budget:
            self.dispatch(ev.MemorySeen(budget))

    def _gpus_seen(self, engine: int, free_bytes: Sequence[int]) -> None:
        if (ours_bytes := self._machine.loaded_gpu_bytes(teller=engine)) is not None:
            self._memory.see_gpus(free_bytes, ours_bytes=ours_bytes)
            self._see_memory()

    async def _sample_memory(self) -> None:
        told = self.machine()
        while True:
            try:
                self._see_memory()
                now = self.machine()
                if self._memory.is_worth_telling(told, now):
                    self._feed.tell(MachineChanged(now))
                    told = now
            except Exception:
                log.exception("the memory could not be looked at; trying again")
            await asyncio.sleep(self._memory.interval_s)
