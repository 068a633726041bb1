"""Where file events can be trusted: network file systems, and the limits of inotify.

Owns what is known of platforms and file system types. Knows nothing of models. Neighbour: `watch`.
"""

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

_REMOTE: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "afpfs", "webdav", "davfs"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "coda"),
        *("9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs", "osxfs", "grpcfuse", "fakeowner"),
    }
)
"""On these a change made by another machine, or by the host of a virtual one, raises no event here."""
_LOCAL_FUSE: Final = frozenset({"fuseblk", "fuse.fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.bindfs"})
_INOTIFY: Final = Path("/proc/sys/fs/inotify")
_WATCHES: Final = "max_user_watches"
_INSTANCES: Final = "max_user_instances"
_ENOUGH: Final = {_WATCHES: 524_288, _INSTANCES: 1024}


def tells_of_changes(filesystem: str) -> bool:
    """Whether a file system of this type raises events for every change, whoever makes it."""
    kind = filesystem.lower()
    return kind not in _REMOTE and (not kind.startswith("fuse.") or kind in _LOCAL_FUSE)


def filesystem_of(path: str) -> str:
    """The type of the file system that holds `path` (`ext4`, `nfs4`); empty when that cannot be told."""
    mounts = ((mount.mountpoint, mount.fstype) for mount in psutil.disk_partitions(all=True))
    return type_at(os.path.realpath(path), mounts)


def type_at(path: str, mounts: Iterable[tuple[str, str]]) -> str:
    """The type of the mount that `path` lies on. Of several at one place the last one covers the others."""
    best, found = -1, ""
    for place, kind in mounts:
        prefix = place.rstrip("/")
        if (path == prefix or path.startswith(prefix + "/")) and len(prefix) >= best and kind != "autofs":
            best, found = len(prefix), kind
    return found


def limit_sentence(error: OSError, poll_s: float) -> str:
    """What a person should do about an error of the watcher: which limit to raise, and to what."""
    name = {errno.ENOSPC: _WATCHES, errno.EMFILE: _INSTANCES}.get(error.errno or 0)
    polling = f"changes in the models folder are noticed by looking every {poll_s:g} s"
    if name is None or not sys.platform.startswith("linux"):
        return f"the models folder cannot be watched ({error.strerror or error}); {polling}"
    try:
        current = int((_INOTIFY / name).read_text())
    except (OSError, ValueError):
        current = 0
    better = max(_ENOUGH[name], 2 * current)
    return (
        f"the system's limit fs.inotify.{name} ({current}) is reached, so {polling}; "
        f"raise it: sudo sysctl fs.inotify.{name}={better} (and keep it in /etc/sysctl.d/)"
    )


def unwatchable_sentence(path: str, filesystem: str, poll_s: float) -> str:
    """Why a folder is polled that could be watched in principle."""
    return (
        f"{path} is on a {filesystem} file system, which does not report the changes of others; "
        f"it is looked at every {poll_s:g} s"
    )
