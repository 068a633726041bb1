"""A rename that overwrites nothing, for file systems without hard links.

Linux has renameat2(2), macOS renamex_np(2); Python calls neither. Reserving the name with an empty file would
do it everywhere, but who is killed then leaves one that stands in the way of his own download for ever. So
where neither call is to be had, the name is looked at right before: what a person puts there in the
microseconds between the two is lost. Neighbour: `part` gives files their names.
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCL = 4
_UNKNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
"""What is said where kernel or file system cannot do it."""


def rename_to_free(old: Path, new: Path) -> None:
    """Give `old` the name `new`. Raises FileExistsError if that is taken, or another OSError."""
    error = _rename(os.fsencode(old), os.fsencode(new))
    if error in _UNKNOWN:
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
        os.rename(old, new)
    elif error:
        raise OSError(error, os.strerror(error), str(new))


def _rename(old: bytes, new: bytes) -> int:
    """By the kernel's own call; returns its error, 0 if there was none."""
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        result = library.renamex_np(old, new, _RENAME_EXCL)
    elif sys.platform == "linux" and hasattr(library, "renameat2"):  # musl has it since 1.2.6
        result = library.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE)
    else:
        return errno.ENOSYS
    return ctypes.get_errno() if result else 0
