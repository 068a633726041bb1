"""When the folder is looked at: on a wake from the watcher, when something settles, and slowly in any case.

Owned by `runtime`. One scan at a time, in a thread, so that the event loop never waits for a disk. The scan's
result is handed on as it is; what it means is the machine's business.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from janagent import aio
from janagent.folder.catalog import Catalog
from janagent.folder.defaults import sweep
from janagent.folder.entry import CatalogChange, Condition
from janagent.folder.watch import Watcher

log = logging.getLogger(__name__)

RETRY_S = 5.0


class Scanning:
    """The loop around `Catalog.scan`; an async context manager whose entry includes the first full scan."""

    def __init__(
        self, catalog: Catalog, *, rescan_s: float, changed: Callable[[CatalogChange], None]
    ) -> None:
        self._catalog = catalog
        self._rescan_s = rescan_s
        self._changed = changed
        self._watcher = Watcher(catalog.models, wake=self.wake)
        self._stack = AsyncExitStack()
        self._woken = asyncio.Event()
        self._folders: set[str] | None = set()
        self._closed: set[str] = set()
        self._recheck_at: float | None = None
        self._recheck_folders: frozenset[str] = frozenset()
        self._problems: tuple[str, ...] = ()
        self._lookers: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Self:
        """Watch first, then scan: what changes in between is seen twice rather than never."""
        await asyncio.to_thread(self._catalog.prepare)
        await self._stack.enter_async_context(self._watcher)
        await self._scan(None, set())
        task = aio.create_task(self._loop(), name="scanning")
        self._stack.push_async_callback(aio.cancel_and_wait, task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about folders and about how the folder is watched."""
        watch = (self._watcher.notice,) if self._watcher.notice else ()
        return watch + self._problems

    def wake(self, folders: set[str] | None, closed: set[str]) -> None:
        """Look at `folders` (below `models`; None: all) soon. `closed`: files whose writer closed them."""
        if folders is None or self._folders is None:
            self._folders = None
        else:
            self._folders |= folders
        self._closed |= closed
        self._woken.set()

    async def look(self, folder: str, closed: set[str]) -> None:
        """Look at `folder` now; returns once what is there has been told, or the look failed. `closed` as in
        `wake`."""
        looked = asyncio.get_running_loop().create_future()
        self._lookers.append(looked)
        self.wake({folder}, closed)
        await looked

    async def _loop(self) -> None:
        next_full = time.monotonic() + self._rescan_s
        while True:
            until = next_full if self._recheck_at is None else min(next_full, self._recheck_at)
            try:
                async with asyncio.timeout(max(until - time.monotonic(), 0.0)):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            folders, closed = self._take(is_full=time.monotonic() >= next_full)
            lookers, self._lookers = self._lookers, []
            if folders is None:
                next_full = time.monotonic() + self._rescan_s
            try:
                await self._scan(folders, closed)
            except Exception:
                log.exception("a scan of the models folder failed; trying again in %.0f s", RETRY_S)
                self._recheck_at, self._recheck_folders = time.monotonic() + RETRY_S, frozenset()
            for looked in lookers:
                if not looked.done():
                    looked.set_result(None)

    def _take(self, *, is_full: bool) -> tuple[set[str] | None, set[str]]:
        folders, closed = self._folders, self._closed
        self._folders, self._closed = set(), set()
        if self._recheck_at is not None and time.monotonic() >= self._recheck_at:
            if folders is not None:
                folders = folders | self._recheck_folders if self._recheck_folders else None
            self._recheck_at = None
        return (None if is_full else folders), closed

    async def _scan(self, folders: set[str] | None, closed: set[str]) -> None:
        now = time.monotonic()
        change = await asyncio.to_thread(self._catalog.scan, folders, now=now, closed=closed)
        if (change.changed or change.removed or folders is None) and not change.offline:
            await asyncio.to_thread(sweep, self._catalog.models, self._artifact_keys)
        if change.recheck_in_s is not None:
            self._recheck_at = time.monotonic() + change.recheck_in_s
            self._recheck_folders = change.recheck_folders
        self._note_problems(change)
        self._watcher.set_linked(self._catalog.real_folders())
        self._changed(change)

    def _artifact_keys(self) -> set[str] | None:
        """Of all models; None while a manifest cannot be read, or may lie behind a link whose disk is away:
        nobody knows what it will say again."""
        entries = self._catalog.entries().values()
        if self._catalog.has_broken_links() or any(one.condition is Condition.INVALID for one in entries):
            return None
        return {entry.artifact_key for entry in entries}

    def _note_problems(self, change: CatalogChange) -> None:
        for problem in change.problems:
            if problem not in self._problems:
                log.warning("%s", problem)
        self._problems = change.problems
