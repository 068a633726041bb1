"""Waits for a short calm before it says "look again", with a ceiling so that a trickle cannot starve a scan.

Owns time only: knows nothing of files or of what a scan does. Neighbour: `watch`, which feeds it.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

CALM_S: Final = 0.015
CEILING_S: Final = 0.150
MANY_FOLDERS: Final = 200
"""A burst over more folders than this is cheaper read as a whole."""

Wake = Callable[[set[str] | None, set[str]], None]


class Quiet:
    """Collects folders and closed files; calls `wake` once nothing came for `calm_s`.

    The call comes at most `ceiling_s` after the first addition, however steadily more come. More than `many`
    folders, or None among them, mean all. Everything runs on the thread of `loop`.
    """

    def __init__(
        self,
        wake: Wake,
        loop: asyncio.AbstractEventLoop,
        *,
        calm_s: float = CALM_S,
        ceiling_s: float = CEILING_S,
        many: int = MANY_FOLDERS,
    ) -> None:
        self._wake = wake
        self._loop = loop
        self._calm_s = calm_s
        self._ceiling_s = ceiling_s
        self._many = many
        self._folders: set[str] | None = set()
        self._closed: set[str] = set()
        self._first = 0.0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, folders: Iterable[str] | None, closed: Iterable[str] = ()) -> None:
        """Something happened in `folders` (None: anywhere); the writers of `closed` are done with them."""
        if folders is None or self._folders is None:
            self._folders = None
        else:
            self._folders.update(folders)
            if len(self._folders) > self._many:
                self._folders = None
        self._closed.update(closed)
        self._last = self._loop.time()
        if self._timer is None:
            self._first = self._last
            self._timer = self._loop.call_at(self._due(), self._look)

    def cancel(self) -> None:
        """Forget what was collected and call no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._folders, self._closed = None, set(), set()

    def _due(self) -> float:
        return min(self._last + self._calm_s, self._first + self._ceiling_s)

    def _look(self) -> None:
        # One timer for a burst: it is moved on when it fires, not with every event.
        due = self._due()
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look)
            return
        folders, closed = self._folders, self._closed
        self._timer, self._folders, self._closed = None, set(), set()
        self._wake(folders, closed)
