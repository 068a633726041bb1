"""What the operating system says of files and folders, as errors for people.

Owns which of its refusals trying again cannot help. Knows nothing of servers or models. Neighbours: `place`,
`part` and everything else of the package that touches a disk.
"""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from janagent.fetch.faults import Code, FetchError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_OBSTACLES = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP})


@contextlib.contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turns OSError into a FetchError that names the file."""
    try:
        yield
    except OSError as error:
        raise disk_fault(error, path) from error


def disk_fault(error: OSError, path: Path) -> FetchError:
    """What `error`, met while `path` was used, means for the fetch."""
    number, said = error.errno, error.strerror or str(error)
    if number in _FULL:
        words = f"the disk of {path.parent} is full: make room, what is there already is kept"
        return FetchError(Code.DISK_FULL, words)
    if number == errno.EFBIG:
        words = f"{path.name} is larger than a file may be on the disk of {path.parent}"
        return FetchError(Code.DISK_FULL, words)
    if number in _FORBIDDEN:
        words = (
            f"{path} may not be used ({said}): give janagent the right to read and write it, and start again"
        )
        return FetchError(Code.NOT_WRITABLE, words, is_permanent=True)
    if number == errno.EROFS:
        words = f"{path} lies on a disk that is mounted read-only: make it writable, and start again"
        return FetchError(Code.NOT_WRITABLE, words, is_permanent=True)
    if number == errno.ENAMETOOLONG:
        words = f"{path.name} is a longer name than the disk of {path.parent} takes: use a shorter path"
        return FetchError(Code.NAME_TOO_LONG, words, is_permanent=True)
    if number in _OBSTACLES:
        words = (
            f"{path} cannot be made, something else is in its place ({said}): move it away, and start again"
        )
        return FetchError(Code.IN_THE_WAY, words, is_permanent=True)
    return FetchError(Code.DISK_ERROR, f"{path} cannot be used: {said}")
