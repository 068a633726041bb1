"""One daemon per root: who holds a root, and where its API is.

The lock is `flock(2)` on a file in the user's state folder (`paths.lock_file`); its content, one JSON object
`{"pid", "url", "root", "version"}`, is only a note for others and counts only while the lock is held. The
kernel drops the lock when the daemon dies, however it dies. Knows nothing of what the daemon does.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from janagent import __version__, flock, paths

_PROBE_GRACE_S = 0.5
"""A reader holds a shared lock for an instant; a start that meets it tries again for so long."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The daemon that holds a root. `url` is empty until it listens."""

    pid: int
    url: str
    root: str
    version: str


class RootHeld(Exception):
    """Another daemon holds the root; the message says which one."""

    def __init__(self, holder: Holder | None, root: Path) -> None:
        who = "another janagent"
        if holder is not None:
            at = f" on {holder.url}" if holder.url else ""
            who = f"janagent {holder.version} (process {holder.pid}{at})"
        super().__init__(f"{who} already serves {root}; stop it first, or use another --root")
        self.holder = holder


class DaemonLock:
    """`with DaemonLock(root) as lock: ... lock.publish(url)`; entering raises RootHeld or OSError."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file: int | None = None

    def __enter__(self) -> Self:
        path = paths.lock_file(self._root)
        paths.make_private(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not flock.take(descriptor, within_s=_PROBE_GRACE_S):
                raise RootHeld(_read(descriptor), self._root)
            self._file = descriptor
            self.publish("")
        except BaseException:
            os.close(descriptor)
            raise
        return self

    def publish(self, url: str) -> None:
        """Tell others where the API is."""
        assert self._file is not None, "publish outside the lock"
        note = Holder(pid=os.getpid(), url=url, root=str(self._root), version=__version__)
        data = json.dumps(asdict(note)).encode() + b"\n"
        os.pwrite(self._file, data, 0)
        os.ftruncate(self._file, len(data))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            # The file stays: removing it would let two starts lock two different files of one name.
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def find_holder(root: Path) -> Holder | None:
    """The daemon that holds `root` now, None when nobody does. Never raises for an absent or broken file."""
    try:
        descriptor = os.open(paths.lock_file(root), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _read(descriptor) if flock.is_taken(descriptor) else None
    finally:
        os.close(descriptor)


def find_daemon(root: Path) -> str | None:
    """Base URL of the daemon that serves `root` now, None when there is none or it does not listen yet."""
    holder = find_holder(root)
    return (holder.url or None) if holder else None


def _read(descriptor: int) -> Holder | None:
    """The note, None while it is being written (`publish` is two calls)."""
    try:
        note = json.loads(os.pread(descriptor, 65536, 0))
        return Holder(
            pid=int(note["pid"]), url=str(note["url"]), root=str(note["root"]), version=str(note["version"])
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
