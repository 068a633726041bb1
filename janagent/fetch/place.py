"""The folder that a fetch writes into: which names lie in it, its subfolders, and whether its disk is there.

Everything here blocks and runs in threads. Neighbours: `part` is one file in it, `inventory` opens it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from janagent.fetch.disk import disk_faults
from janagent.fetch.faults import Code, FetchError


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of the manifest, on the disk on which it was when the fetch began."""

    folder: Path
    device: int

    @classmethod
    def at(cls, folder: Path) -> "Place":
        """That folder, which must exist. Raises FetchError."""
        with disk_faults(folder):
            return cls(folder, folder.stat().st_dev)

    def locate(self, name: str) -> Path:
        """The target of `name`, which must not leave the folder by any link. Raises FetchError."""
        target = self.folder / name
        parts = name.split("/")
        inside = os.path.join(os.path.realpath(self.folder), *parts[:-1])
        if any(part in ("", ".", "..") for part in parts) or os.path.realpath(target.parent) != inside:
            words = f"{name} would be written outside {self.folder}: nothing was fetched"
            raise FetchError(Code.UNSAFE_NAME, words, is_permanent=True)
        return target

    def make_way(self, target: Path) -> None:
        """Make the folders between this one and `target`, never this one itself. Raises FetchError.

        Where it is gone its disk is, and what was made in its place would lie below the mount point.
        """
        with disk_faults(self.folder):
            if self.folder.stat().st_dev != self.device:
                words = f"the disk of {self.folder} is not there any more; the fetch goes on once it is back"
                raise FetchError(Code.DISK_ERROR, words)
        below = target.parent.relative_to(self.folder)
        for depth in range(1, len(below.parts) + 1):
            folder = self.folder.joinpath(*below.parts[:depth])
            with disk_faults(folder):
                folder.mkdir(exist_ok=True)
