"""One file on disk while it is fetched: `<name>.part` beside its target, and the way to its name.

Everything here blocks and runs in threads. Knows nothing of servers. Neighbours: `download`, `record`.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from janagent.fetch.faults import Code, FetchError
from janagent.fetch.plan import RemoteFile

SUFFIX = ".part"
READ_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


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


@contextlib.contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turns OSError into a FetchError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            words = f"{path.name} is larger than a file may be on the disk of {path.parent}"
            raise FetchError(Code.DISK_FULL, words) from error
        if error.errno in _FULL:
            words = f"the disk of {path.parent} is full: make room, what is there already is kept"
            raise FetchError(Code.DISK_FULL, words) from error
        words = f"{path} cannot be written: {error.strerror}"
        raise FetchError(Code.DISK_ERROR, words) from error


def locate(folder: Path, name: str) -> Path:
    """The target of `name`, which must not leave `folder` by any link. Raises FetchError."""
    target = folder / name
    parts = name.split("/")
    real_folder = os.path.realpath(folder)
    inside = os.path.join(real_folder, *parts[:-1])
    if any(part in ("", ".", "..") for part in parts) or os.path.realpath(target.parent) != inside:
        words = f"{name} would be written outside {folder}: nothing was fetched"
        raise FetchError(Code.UNSAFE_NAME, words, is_permanent=True)
    return target


def is_in_place(file: RemoteFile, target: Path, *, is_trusted: bool) -> bool:
    """Whether the file is there and right. Raises FetchError if something else has its name.

    `is_trusted`: it was verified before, so its size is enough.
    """
    with disk_faults(target):
        try:
            fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            if not target.is_symlink():
                return False
            raise _in_the_way(target, "a link that leads nowhere") from None
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise _in_the_way(target, "not a file")
            if file.size_bytes is not None and info.st_size != file.size_bytes:
                raise _in_the_way(target, f"{info.st_size:,} bytes long, not {file.size_bytes:,}")
            if (wanted := expected(file)) is not None and not is_trusted:
                digest = new_digest(file, info.st_size)
                feed(digest, fd, 0, info.st_size)
                if digest.hexdigest() != wanted:
                    raise _in_the_way(target, "another version: its hash differs")
        finally:
            os.close(fd)
    return True


def _in_the_way(path: Path, what: str) -> FetchError:
    words = f"{path} exists already and is {what}; nothing is overwritten: move it away and start again"
    return FetchError(Code.IN_THE_WAY, words, is_permanent=True)


def is_own(path: Path, inode: int | None) -> bool:
    """Whether the file at `path` is the one that a record calls its own."""
    try:
        return inode is not None and path.lstat().st_ino == inode
    except OSError:
        return False


class Part:
    """An open `.part`, locked against other fetchers until it is closed."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + SUFFIX)
        self._fd = -1

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self._fd

    def open(self, *, is_ours: bool) -> bool:
        """Make it, or go on with one that `is_ours`. False: another fetcher is writing it at this moment.

        Raises FetchError.
        """
        with disk_faults(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                fd = os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
                is_ours = True
            except FileExistsError:
                fd = os.open(self.path, _FLAGS)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            if not is_ours and os.fstat(fd).st_size:
                os.close(fd)
                words = f"{self.path} belongs to another download: finish it or remove that file"
                raise FetchError(Code.IN_THE_WAY, words)
            self._fd = fd
        return True

    def write(self, chunks: Sequence[bytes], offset: int) -> None:
        """Write these bytes there. Raises FetchError."""
        data = memoryview(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        with disk_faults(self.path):
            while data:
                written = os.pwrite(self._fd, data, offset)
                data, offset = data[written:], offset + written

    def empty(self) -> None:
        """Start anew. Raises FetchError."""
        with disk_faults(self.path):
            os.ftruncate(self._fd, 0)

    def place(self, size_bytes: int) -> None:
        """Give the file its name, which must be free. Raises FetchError."""
        with disk_faults(self.path):
            if os.fstat(self._fd).st_size != size_bytes:
                os.ftruncate(self._fd, size_bytes)
            os.fdatasync(self._fd)
            try:
                os.link(self.path, self.target)
            except FileExistsError:
                raise _in_the_way(self.target, "new") from None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if os.path.lexists(self.target):
                    raise _in_the_way(self.target, "new") from None
                os.rename(self.path, self.target)  # a file system without hard links
            else:
                self.path.unlink()
        self.close()

    def remove(self) -> None:
        """Take it away."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Leave it as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
