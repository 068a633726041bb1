"""Our own folders below `models`: `.janagent`, and those in it.

Whoever takes the last file out of one takes the folder along, so one may go at any moment between its making
and the first file in it. Neighbours: `brought`, `defaults`, `removal` and `fetch.record` keep things there.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_TRIES = 50


def made_in(place: Path, name: str, make: Callable[[], T]) -> T:
    """What `make` returns, which creates something in the folder `name` (`.janagent/x`) of `place`.

    The folder is made before; never `place` itself: where that is gone, its disk is. Raises OSError.
    """
    parts = name.split("/")
    folders = [place.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]

    def make_all() -> T:
        for folder in folders:
            folder.mkdir(exist_ok=True)
        return make()

    for _ in range(_TRIES):
        # Both are what is said of a folder that goes in the middle of its making.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            return make_all()
    return make_all()
