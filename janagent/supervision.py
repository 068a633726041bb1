"""What the service manager hears of the daemon: that it is ready, how it is, that its loop turns, its end.

Owns when and what; `sdnotify` knows how. `daemon` calls it at each turn of its sequence. Without a manager
nothing here costs anything.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping

from janagent import sdnotify
from janagent.aio import cancel_and_wait, create_task
from janagent.core.status import State
from janagent.runtime import Runtime
from janagent.sdnotify import Notifier

STATUS_INTERVAL_S = 1.0
"""States are counted this often: ten thousand take a millisecond."""
PINGS_PER_LIMIT = 2
EXIT_SPARE_S = 30.0
"""Beyond the longest orderly stop, so that the daemon itself is the one that gives up."""


@contextlib.asynccontextmanager
async def watchdog(notifier: Notifier) -> AsyncIterator[None]:
    """Ping while the context is open, from the event loop itself: one that hangs is silent, and restarted."""
    if notifier.watchdog_s is None:
        yield
        return
    task = create_task(_ping(notifier, notifier.watchdog_s / PINGS_PER_LIMIT), name="watchdog")
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def _ping(notifier: Notifier, interval_s: float) -> None:
    while True:
        notifier.send("WATCHDOG=1")
        await asyncio.sleep(interval_s)


class Supervision:
    """An async context manager around the time in which requests are served."""

    def __init__(self, notifier: Notifier, runtime: Runtime, *, url: str) -> None:
        self._notifier = notifier
        self._runtime = runtime
        self._url = url
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Supervision":
        """Tell that the daemon is ready, and from now on how many models are in which state."""
        if self._notifier.is_heard:
            self._told = self._status()
            self._notifier.send("READY=1", self._told)
            self._task = create_task(self._follow(), name="status for the service manager")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await cancel_and_wait(self._task)

    def stopping(self) -> None:
        """Tell that the daemon ends, and within which time at the latest."""
        if self._task is not None:
            self._task.cancel()
        settings = self._runtime.settings
        words = f"stopping; answers may finish for {settings.drain_s:.0f} s"
        patience = sdnotify.extend_timeout(settings.longest_stop_s + EXIT_SPARE_S)
        self._notifier.send("STOPPING=1", patience, sdnotify.status(words))

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the settings are read again, and at the end that this is over."""
        self._notifier.send("RELOADING=1", sdnotify.monotonic_usec(), sdnotify.status("reading the settings"))
        try:
            yield
        finally:
            self._told = self._status()
            self._notifier.send("READY=1", self._told)

    def _status(self) -> str:
        return sdnotify.status(f"{self._url}, {in_words(self._runtime.counts())}")

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(STATUS_INTERVAL_S)
            if (now := self._status()) != self._told:
                self._told = now
                self._notifier.send(now)


def in_words(counts: Mapping[str, int]) -> str:
    """`3 models: 1 running, 2 downloaded`, states in the order in which they are defined."""
    total = sum(counts.values())
    parts = [f"{counts[state]} {state}" for state in State if counts.get(state)]
    head = f"{total} model{'' if total == 1 else 's'}"
    return f"{head}: {', '.join(parts)}" if parts else head
