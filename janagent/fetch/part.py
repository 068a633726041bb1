"""One file on disk while it is fetched: a `.part` beside its target, and the way to its name.

Everything here blocks and runs in threads. Knows nothing of servers. Neighbours: `download`, `place`, `disk`.
"""

import contextlib
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from janagent import flock
from janagent.fetch.disk import disk_faults
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.renaming import rename_to_free
from janagent.folder.gguf import Kind, inspect
from janagent.folder.modelsets import has_binary_suffix

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
_STAND_INS = frozenset({Kind.LFS_POINTER, Kind.HTML, Kind.EMPTY})
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_PROBE_GRACE_S = 0.1
"""Who only looks whether a file is locked (`turns`) holds it for an instant; for longer, who writes it."""


class Digest(Protocol):
    """A hash that is being computed."""

    def update(self, data: memoryview, /) -> None:
        """Go on with these bytes."""

    def hexdigest(self) -> str:
        """The hash of all so far."""


def expected(file: RemoteFile) -> str | None:
    """The hash that the plan names, if any."""
    return file.sha256 or file.git_sha1


def new_digest(file: RemoteFile, size_bytes: int) -> Digest:
    """The kind of hash that the plan names; git puts the size before the content."""
    if file.sha256 is None and file.git_sha1 is not None:
        return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    return hashlib.sha256()


def feed(digest: Digest, fd: int, start: int, end: int) -> None:
    """Hash these bytes of an open file. Raises OSError."""
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    while start < end:
        read = os.preadv(fd, [view[: min(READ_BYTES, end - start)]], start)
        if not read:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        digest.update(view[:read])
        start += read


class Found(StrEnum):
    """What lies where a file is to go."""

    NOTHING = "nothing"
    IT = "it"
    """The file itself, whole and right."""
    OTHER = "other"
    """Something else that the model can do with: a person's own README.md, or another repo's."""


def is_needed(file: RemoteFile) -> bool:
    """Whether a model may be made of it: large files and binaries are never left out."""
    return file.sha256 is not None or has_binary_suffix(file.name)


def refuse_stand_in(file: RemoteFile, path: Path) -> None:
    """Raises FetchError for what people get in place of a model: a Git LFS pointer, a web page, nothing.

    A hash proves that a file is what its repo holds; then only one that calls itself a model can be wrong.
    """
    if expected(file) is not None and not file.name.lower().endswith(".gguf"):
        return
    found = inspect(path)
    if found.kind in _STAND_INS:
        words = f"{file.name}, as {urlsplit(file.url).hostname} sends it, {found.message}"
        raise FetchError(Code.NOT_A_MODEL, words, is_permanent=True)


def look_at(file: RemoteFile, target: Path, *, is_trusted: bool) -> Found:
    """Whether the file is there and right. Raises FetchError if something else has a needed one's name.

    `is_trusted`: it was verified before, so its size is enough.
    """
    with disk_faults(target):
        try:
            what = _difference(file, target, is_trusted=is_trusted)
        except FileNotFoundError:
            if not target.is_symlink():
                return Found.NOTHING
            what = "a link that leads nowhere"
        except NotADirectoryError:
            what = "out of reach: a file is where its folder would be"
        except PermissionError as error:
            if is_needed(file):
                raise
            what = f"not to be read ({error.strerror})"
    if not what:
        return Found.IT
    if is_needed(file):
        raise in_the_way(target, what)
    log.warning("%s is there already and is %s; it stays as it is", target, what)
    return Found.OTHER


def _difference(file: RemoteFile, target: Path, *, is_trusted: bool) -> str:
    """What the file at `target` is instead of `file`; empty when it is the same. Raises OSError."""
    fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return "not a file"
        if file.size_bytes is not None and info.st_size != file.size_bytes:
            return f"{info.st_size:,} bytes long, not {file.size_bytes:,}"
        if (wanted := expected(file)) is not None and not is_trusted:
            digest = new_digest(file, info.st_size)
            feed(digest, fd, 0, info.st_size)
            if digest.hexdigest() != wanted:
                return "another version: its hash differs"
        return ""
    finally:
        os.close(fd)


def in_the_way(path: Path, what: str) -> FetchError:
    """Nothing of anybody else's is overwritten."""
    words = f"{path} exists already and is {what}; nothing is overwritten: move it away and start again"
    return FetchError(Code.IN_THE_WAY, words, is_permanent=True)


def taken_away(path: Path) -> FetchError:
    """What was written so far is nowhere any more."""
    words = f"{path} was removed or replaced while it was written: it is fetched again"
    return FetchError(Code.DISK_ERROR, words)


def is_own(path: Path, inode: int | None) -> bool:
    """Whether the file at `path` is the one that a record calls its own."""
    try:
        return inode is not None and path.lstat().st_ino == inode
    except OSError:
        return False


class Part:
    """An open `.part`, locked against other fetchers until it is closed."""

    def __init__(self, file: RemoteFile, place: Place) -> None:
        """Raises FetchError."""
        self.target = place.locate(file.name)
        self.path = place.folder / file.part
        self.is_new = False
        """It was made by `open`, and nobody has written to it."""
        self._place = place
        self._fd = -1

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self._fd

    @property
    def inode(self) -> int:
        """Tells it from any other file. Raises OSError."""
        return os.fstat(self._fd).st_ino

    @property
    def size_bytes(self) -> int:
        """How long it is; 0 if nothing was ever written to it. Raises OSError."""
        return os.fstat(self._fd).st_size

    def open(self) -> bool:
        """Make it, or open the one that is there. False: another fetcher is writing it, or was a moment ago.

        Raises FetchError.
        """
        self._place.make_way(self.target)
        with disk_faults(self.path), contextlib.ExitStack() as opened:
            is_made = True
            try:
                fd = os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                is_made = False
                try:
                    fd = os.open(self.path, _FLAGS | os.O_NONBLOCK)
                except FileNotFoundError:
                    return False
            opened.callback(os.close, fd)
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise in_the_way(self.path, "not a file")
            if not flock.take(fd, within_s=_PROBE_GRACE_S):
                return False
            self._fd = fd
            if not self._is_there():  # it got its name, or was removed, before we had the lock
                self._fd = -1
                return False
            self.is_new = is_made and not self.size_bytes
            opened.pop_all()
        return True

    def _is_there(self) -> bool:
        """Whether the path still leads to the open file, and not to one of somebody else."""
        return is_own(self.path, self.inode)

    def is_gone(self) -> bool:
        """Somebody removed or replaced it; or its disk is gone."""
        with contextlib.suppress(OSError):  # closed meanwhile
            return not self._is_there()
        return False

    def write(self, chunks: Sequence[bytes], offset: int) -> None:
        """Write these bytes there. Raises FetchError."""
        data = memoryview(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        with disk_faults(self.path):
            while data:
                written = os.pwrite(self._fd, data, offset)
                data, offset = data[written:], offset + written

    def sync(self) -> None:
        """Have all that was written on the disk. Raises FetchError."""
        with disk_faults(self.path):
            os.fdatasync(self._fd)

    def empty(self) -> None:
        """Start anew. Raises FetchError."""
        with disk_faults(self.path):
            os.ftruncate(self._fd, 0)

    def complete(self, size_bytes: int) -> None:
        """All is there, and on the disk: nothing of it changes any more. Raises FetchError."""
        with disk_faults(self.path):
            if os.fstat(self._fd).st_size != size_bytes:
                os.ftruncate(self._fd, size_bytes)
            os.fdatasync(self._fd)

    def place(self, size_bytes: int) -> None:
        """Give the complete file its name, which must be free. Raises FetchError."""
        self.complete(size_bytes)
        with disk_faults(self.path):
            if not self._is_there():
                raise taken_away(self.path)
            try:
                self._give_name()
            except FileExistsError:
                raise in_the_way(self.target, "new") from None
        self.close()

    def _give_name(self) -> None:
        try:
            os.link(self.path, self.target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            rename_to_free(self.path, self.target)
        else:
            self.path.unlink()

    def remove(self) -> None:
        """Take it away."""
        with contextlib.suppress(OSError):
            if self._is_there():
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Leave it as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
