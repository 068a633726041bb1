"""Watches the models folder and says "look again": never what happened, only where.

Owns the task that keeps the watches in place, and polling where events cannot be had or trusted. Knows
nothing of manifests or models. Neighbours: `watches` has the watches themselves, `quiet` collects a burst,
`filesystems` knows the platforms; `scanning` starts it and scans when woken.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from janagent import aio
from janagent.folder.filesystems import limit_sentence, unwatchable_sentence
from janagent.folder.quiet import Quiet, Wake
from janagent.folder.watches import Linked, OverflowListener, Watches

log = logging.getLogger(__name__)

CHECK_S: Final = 1.0
"""How often the models folder is checked for having been moved, replaced, mounted or unmounted."""
POLL_S: Final = 3.0
RETRY_S: Final = 60.0
"""How often a watch that failed, for a limit or for a bug of ours, is tried again."""


class Watcher:
    """Calls `wake(folders, closed)` on the event loop's thread after changes below `models`.

    `folders` are paths below `models` (`""` is itself), None means all; `closed` are files whose writer
    closed them. An async context manager; it never raises for what the system refuses, but polls and says so
    in `notice`. With `force_polling` events are not trusted at all (a folder shared from another system).
    """

    def __init__(
        self, models: Path, *, wake: Wake, poll_s: float = POLL_S, force_polling: bool = False
    ) -> None:
        self._models = models
        self._wake = wake
        self._poll_s = poll_s
        self._force_polling = force_polling
        self._linked: Linked = {}
        self._quiet: Quiet | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._attention = asyncio.Event()
        self._is_stopping = False
        self._next_poll = self._next_retry = 0.0
        self._watches = Watches(self._report)
        self._lock = threading.Lock()
        self._folders: set[str] | None = set()
        self._closed: set[str] = set()
        self._has_pending = False
        self._overflows = OverflowListener(lambda: self._report(None))

    async def __aenter__(self) -> Self:
        """Returns once the watches are in place: what changes from now on is told."""
        self._loop = asyncio.get_running_loop()
        self._quiet = Quiet(self._wake, self._loop)
        self._overflows.attach()
        await asyncio.to_thread(self._watches.arm, self._models, self._linked)
        self._task = aio.create_task(self._maintain(), name="watching the models folder")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._attention.set()
        if self._task is not None:
            await asyncio.wait([self._task])  # not cancelled: it may be in a thread that touches the watches
        await asyncio.to_thread(self._watches.disarm)
        self._overflows.detach()
        if self._quiet is not None:
            self._quiet.cancel()

    @property
    def notice(self) -> str | None:
        """What keeps events from being enough, and what to do about it; None when all is well."""
        if self._watches.error is not None:
            return limit_sentence(self._watches.error, self._poll_s)
        if self._watches.silent is not None:
            return unwatchable_sentence(*self._watches.silent, self._poll_s)
        return None

    @property
    def is_polling(self) -> bool:
        """Whether everything is looked at every few seconds."""
        return self._force_polling or self.notice is not None

    def set_linked(self, folders: Linked) -> None:
        """Watch these real folders and files too, and no others than these. Returns at once."""
        if folders != self._linked:
            self._linked = folders
            self._attention.set()

    # The slow side: a task that checks, repairs and polls

    async def _maintain(self) -> None:
        wait_s = min(CHECK_S, self._poll_s)
        self._next_retry = time.monotonic() + RETRY_S
        while not self._is_stopping:
            try:
                async with asyncio.timeout(wait_s):
                    await self._attention.wait()
            except TimeoutError:
                pass
            self._attention.clear()
            if self._is_stopping:
                return
            try:
                await self._check()
                wait_s = min(CHECK_S, self._poll_s)
            except Exception:
                wait_s = RETRY_S
                log.exception("the watches could not be checked; trying again in %.0f s", wait_s)

    async def _check(self) -> None:
        now = time.monotonic()
        is_retry = self._watches.error is not None and now >= self._next_retry
        if is_retry or await asyncio.to_thread(self._watches.is_stale, self._models):
            await asyncio.to_thread(self._watches.arm, self._models, self._linked)
            self._next_retry = now + RETRY_S
            self._add(None)
        else:
            newly_watched = await asyncio.to_thread(self._watches.link, self._linked)
            if newly_watched:  # what changed before the watch was there
                self._add(newly_watched)
        if self.is_polling and now >= self._next_poll:
            self._next_poll = now + self._poll_s
            self._add(None)

    def _add(self, folders: Iterable[str] | None, closed: Iterable[str] = ()) -> None:
        if self._quiet is not None and not self._is_stopping:
            self._quiet.add(folders, closed)

    # The quick side: watchdog's threads

    def _report(self, folders: set[str] | None, closed: set[str] | None = None) -> None:
        """Hand events over to the loop, one hand-over for however many come before it runs."""
        with self._lock:
            if folders is None or self._folders is None:
                self._folders = None
            else:
                self._folders |= folders
            self._closed |= closed or set()
            if self._has_pending or self._loop is None:
                return
            self._has_pending = True
        try:
            self._loop.call_soon_threadsafe(self._take_over)
        except RuntimeError:
            pass  # the loop is closed: nobody wants to know any more

    def _take_over(self) -> None:
        with self._lock:
            folders, closed = self._folders, self._closed
            self._folders, self._closed, self._has_pending = set(), set(), False
        if folders is None:
            self._attention.set()  # the models folder itself may have gone
        self._add(folders, closed)
