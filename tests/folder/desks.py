"""A real models folder with a clock of its own, for tests of the catalog."""

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from janagent.folder.catalog import Catalog
from janagent.folder.entry import CatalogChange, Condition, ModelEntry
from janagent.folder.estimate import Budget

Content = bytes | str | dict[str, Any] | None
LONG_AGO_NS = 1_000_000_000_123_456_789


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything, so a test of refusal gives that right away for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class Desk:
    """A root with its catalog; `now` moves only when a test says so.

    A file is old (by its mtime) unless it is put as fresh: then its mtime lies in the future, so that only
    the clock of the desk tells its age.
    """

    def __init__(self, root: Path, *, budget_bytes: int = 1 << 40) -> None:
        self.root = root
        self.models = root / "models"
        self.models.mkdir(parents=True)
        self.catalog = Catalog(root, default_root=False, budget=lambda: Budget(budget_bytes))
        self.now = 1000.0

    def put(
        self, path: str, content: bytes | str | dict[str, Any] | None = None, *, fresh: bool = False
    ) -> Path:
        """Write a file below `models`; None: only set the age of one that is there."""
        file = self.models / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            content = json.dumps(content)
        if content is not None:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        mtime_ns = time.time_ns() + 3_600_000_000_000 if fresh else LONG_AGO_NS
        os.utime(file, ns=(mtime_ns | 1, mtime_ns | 1))
        return file

    def link(self, path: str, target: Path | str) -> Path:
        """A symbolic link below `models`."""
        link = self.models / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        return link

    def remove(self, path: str) -> None:
        """Delete a file or a whole folder below `models`."""
        place = self.models / path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()

    def scan(self, *folders: str, after_s: float = 0.0, closed: Iterable[str] = ()) -> CatalogChange:
        """Move the clock and look at `folders`; without any at all of them."""
        self.now += after_s
        return self.catalog.scan(set(folders) or None, now=self.now, closed=set(closed))

    def recheck(self, change: CatalogChange) -> CatalogChange:
        """What the caller does when a scan asks for another one."""
        assert change.recheck_in_s is not None, "nothing is settling"
        self.now += change.recheck_in_s
        folders = set(change.recheck_folders) or None
        return self.catalog.scan(folders, now=self.now)

    def entry(self, key: str) -> ModelEntry:
        """The entry of that key; the assertion names those that are there."""
        entries = self.catalog.entries()
        assert key in entries, f"{key} is not among {sorted(entries)}"
        return entries[key]

    def condition(self, key: str) -> Condition:
        """What the files of a model amount to."""
        return self.entry(key).condition

    def fault(self, key: str) -> str:
        """The message of a model's fault."""
        fault = self.entry(key).fault
        assert fault is not None, f"{key} has no fault"
        return fault.message

    def binaries(self, key: str) -> list[str]:
        """Paths of a model's binaries, without `models/`."""
        return [binary.path.removeprefix("models/") for binary in self.entry(key).binaries]

    @property
    def keys(self) -> list[str]:
        """All keys, sorted."""
        return sorted(self.catalog.entries())
