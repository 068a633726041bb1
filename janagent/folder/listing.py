"""One folder as the file system shows it: names that are not ignored, identities, where links lead.

Owns which names are ignored and how a link is read. Keeps nothing. Neighbour: `tree` compares listings.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

IGNORED_SUFFIXES: Final = (".part", ".crdownload", ".download", ".partial", ".tmp", ".aria2", ".swp", "~")
BARE_NAMES: Final = frozenset({".gguf", ".bin", ".proj"})
CONTROL_SUFFIX: Final = ".aria2"
"""aria2 keeps `x.aria2` beside an `x` that it has not finished; it may have set the whole size aside."""

Identity = tuple[int, int, int, int]
"""Device, inode, size in bytes, mtime in ns."""

Stamp = tuple[Identity, int]
"""Identity, and ctime in ns: that moves even when an edit keeps size and mtime, and with permissions."""

_NOTHING: Final[Stamp] = ((0, 0, 0, 0), 0)


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is none of our business."""
    if name.startswith("."):
        return name not in BARE_NAMES
    return name.lower().endswith(IGNORED_SUFFIXES)


def join(folder: str, name: str) -> str:
    """Path below `models` of `name` in `folder`; `""` is `models` itself."""
    return f"{folder}/{name}" if folder else name


def parent(name: str) -> str:
    """The folder that holds the file or folder `name`."""
    return name.rpartition("/")[0]


def is_away(models: Path, name: str) -> bool:
    """Whether the way from `models` to the file `name` has a link that leads nowhere: its disk is away, and
    nobody knows what is there. Of a folder that was deleted that is not said."""
    steps = name.split("/")
    ways = (models.joinpath(*steps[: depth + 1]) for depth in range(len(steps)))
    return any(way.is_symlink() and not os.path.exists(way) for way in ways)


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link as a listing found it."""

    target: str
    """Real path; of a broken link what it says."""
    stamp: Stamp
    is_folder: bool = False
    is_broken: bool = False


@dataclass(slots=True)
class Listing:
    """What a folder held at one moment. Compared by value: equal means nothing happened."""

    files: dict[str, Stamp] = field(default_factory=dict)
    subfolders: dict[str, int] = field(default_factory=dict)
    """Name -> inode."""
    links: dict[str, Link] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    """Names that a download tool's control file says are not done."""
    unusable: list[str] = field(default_factory=list)
    """Sentences about names that cannot be shown."""


def read_listing(real: str) -> Listing:
    """List one folder, ignored names left out. Raises OSError when it cannot be read."""
    listing = Listing()
    with os.scandir(real) as entries:
        for entry in entries:
            name = entry.name
            if is_ignored(name):
                if name.endswith(CONTROL_SUFFIX):
                    listing.unfinished.add(name.removesuffix(CONTROL_SUFFIX))
            elif not name.isascii() and not _is_unicode(name):
                shown = os.fsencode(name).decode("utf-8", "replace")
                listing.unusable.append(f"{shown}: the name is not valid UTF-8; rename it")
            else:
                _add(listing, entry)
    return listing


def _add(listing: Listing, entry: os.DirEntry[str]) -> None:
    try:
        if entry.is_file(follow_symlinks=False):
            listing.files[entry.name] = _stamp(entry.stat(follow_symlinks=False))
        elif entry.is_dir(follow_symlinks=False):
            listing.subfolders[entry.name] = entry.inode()
        elif entry.is_symlink():
            link = _follow(entry.path)
            if link is not None:
                listing.links[entry.name] = link
    except FileNotFoundError:
        pass  # vanished between the listing and the look at it: the event for that is on its way


def _follow(path: str) -> Link | None:
    """What a link leads to; None for a device, socket or pipe."""
    try:
        found = os.stat(path)
    except OSError:
        return Link(os.readlink(path), _NOTHING, is_broken=True)
    if stat.S_ISDIR(found.st_mode):
        # Only which folder it is, not its times: those change with every file in it.
        return Link(os.path.realpath(path), ((found.st_dev, found.st_ino, 0, 0), 0), is_folder=True)
    return Link(os.path.realpath(path), _stamp(found)) if stat.S_ISREG(found.st_mode) else None


def _stamp(found: os.stat_result) -> Stamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns), found.st_ctime_ns


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
