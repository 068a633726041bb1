"""Files that this machine has already: linked or copied, never moved or changed.

They are in the cache of the hub's own library, or belong to another model of the same root.

The cache (huggingface_hub's guide "Understand caching") keeps a file's content under the name that the hub
gives it as ETag: the sha256 of a large file, the git blob id of a small one. What it holds is not trusted:
it is hashed like everything that comes. Everything here blocks. Neighbours: `hub` looks up, `download` takes.
"""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from janagent.fetch.part import expected, feed, new_digest
from janagent.fetch.plan import RemoteFile
from janagent.folder.listing import is_ignored

log = logging.getLogger(__name__)

COPY_BYTES = 64 << 20
LEAST_BYTES = 10_000_000
"""From this length on a file is looked for in the folders of other models."""
_NO_LINKS = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
)
_NO_COPY_CALL = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM}
)


def blob(cache: Path, repo: str, etag: str | None) -> Path | None:
    """The content with this ETag of a model repo, where the cache at `cache` has it."""
    if not etag or not etag.isalnum():
        return None
    path = cache / f"models--{repo.replace('/', '--')}" / "blobs" / etag
    return path if path.is_file() and not path.is_symlink() else None


def with_twins(files: Iterable[RemoteFile], *, folder: Path, models: Path) -> tuple[RemoteFile, ...]:
    """`files`, those that go into `folder` and that another model below `models` has already `cached` there.

    Who wants the same content is told by its length first, then by its hash, as nobody keeps those: reading
    a disk is faster than any network. Small files are not worth it.
    """
    wanted = {
        file.name: file
        for file in files
        if file.sha256 and file.cached is None and (file.size_bytes or 0) >= LEAST_BYTES
        if not os.path.lexists(folder / file.name)
    }
    sizes = {file.size_bytes for file in wanted.values()}
    found = list(_of_sizes(models, sizes)) if wanted else []
    result = []
    for file in files:
        twins = (path for path, size in found if file.name in wanted and size == file.size_bytes)
        twin = next((path for path in twins if _has_content(file, path)), None)
        result.append(file if twin is None else replace(file, cached=twin))
    return tuple(result)


def _of_sizes(models: Path, sizes: Container[int | None]) -> Iterator[tuple[Path, int]]:
    """Files below `models` of one of these lengths; not what links lead to, which may be anywhere."""
    for place, folders, names in os.walk(models):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not is_ignored(name)):
            with contextlib.suppress(OSError):
                info = path.lstat()
                if stat.S_ISREG(info.st_mode) and info.st_size in sizes:
                    yield path, info.st_size


def _has_content(file: RemoteFile, path: Path) -> bool:
    try:
        fd = _open(replace(file, cached=path))
        if fd < 0:
            return False
        try:
            return _is_right(file, fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
    except OSError:  # it goes, or its disk cannot be read: then it is no help
        return False


def link(file: RemoteFile, target: Path) -> bool:
    """Let `target`, which must be free, be one more name of what the cache has, if that is right.

    False where the cache has nothing, or something else, or links are not possible. Raises OSError.
    """
    fd = _open(file)
    if fd < 0 or file.cached is None:
        return False
    try:
        before = os.fstat(fd)
        if before.st_dev != target.parent.stat().st_dev:
            return False
        if not _is_right(file, fd, before.st_size):
            log.warning("%s is damaged: it is fetched instead", file.cached)
            return False
        try:
            os.link(file.cached, target, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS or isinstance(error, FileExistsError):
                return False
            raise
        if not _is_same(before, target.lstat()):  # it became another file while it was read
            target.unlink()
            return False
    finally:
        os.close(fd)
    log.info("%s is linked from %s", file.name, file.cached)
    return True


def copy(file: RemoteFile, into: int) -> bool:
    """Fill the empty open file `into` with what the cache has; it still has to be verified.

    Shares the blocks where the file system can (copy_file_range). False where the cache has nothing. Raises
    OSError.
    """
    fd = _open(file)
    if fd < 0:
        return False
    try:
        at, size = 0, os.fstat(fd).st_size
        while at < size and (count := _copy_some(fd, into, at, size - at)):
            at += count
    finally:
        os.close(fd)
    log.info("%s is copied from %s", file.name, file.cached)
    return at == size


def _copy_some(fd: int, into: int, at: int, wanted_bytes: int) -> int:
    count = min(wanted_bytes, COPY_BYTES)
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(fd, into, count, at, at)
        except OSError as error:
            if error.errno not in _NO_COPY_CALL:
                raise
    data = memoryview(os.pread(fd, min(count, 1 << 20), at))
    return os.pwrite(into, data, at)


def _open(file: RemoteFile) -> int:
    """A descriptor of what the cache has under the right name and of the right size; -1 without."""
    if file.cached is None or expected(file) is None:
        return -1
    try:
        fd = os.open(file.cached, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return -1
    info = os.fstat(fd)
    if stat.S_ISREG(info.st_mode) and info.st_size == file.size_bytes:
        return fd
    os.close(fd)
    return -1


def _is_right(file: RemoteFile, fd: int, size_bytes: int) -> bool:
    digest = new_digest(file, size_bytes)
    feed(digest, fd, 0, size_bytes)
    return digest.hexdigest() == expected(file)


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) == (
        other.st_dev,
        other.st_ino,
        other.st_size,
        other.st_mtime_ns,
    )
