"""The event loop that all of our processes run, and guarded tasks: one that ends in an exception says so in
the log, with its name.

Leaf helper; knows nothing of the rest. `asyncio.create_task` is banned by the linter in favour of
`create_task` here, because a forgotten task swallows its exception until the garbage collector finds it.
"""

import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

_alive: set[asyncio.Task[Any]] = set()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, on libuv where that exists: a quarter less CPU for each token that passes by, and
    the engine's compute threads get it."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def create_task(coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start `coro` as a named task that is kept alive and whose failure is logged."""
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _alive.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s ended unexpectedly", task.get_name(), exc_info=error)


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until each has ended; their outcome is not looked at."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
