"""The files below `models` as one incremental picture: folders, files, links, and what vanished just now.

Owns: how symbolic links are followed (each real folder once, loops and broken links reported), and the
identities by which a change is noticed. Knows nothing of what is inside a file. Neighbours: `listing` reads
one folder, `catalog` asks for more, `contents` keeps what it learnt of a file in `File.known`.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Final

from janagent.folder.listing import Identity, Link, Listing, Stamp, join, parent, read_listing

SETTLE_S: Final = 1.0
"""A vanished file counts as deleted, and a growing one as complete, after this long (contract, section 1)."""

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class File:
    """One file, as last seen. Mutable: the same object while the name stays."""

    __slots__ = (
        "broken",
        "changed_ns",
        "claimed",
        "closed",
        "identity",
        "known",
        "link",
        "name",
        "since",
        "unclaimed_since",
        "vanished_at",
    )

    def __init__(self, name: str, stamp: Stamp, now: float) -> None:
        self.name = name
        self.identity: Identity = stamp[0]
        self.changed_ns = stamp[1]
        """ctime: content, name or permissions changed then."""
        self.since = now
        """When this identity was first seen (time.monotonic)."""
        self.vanished_at: float | None = None
        self.closed: Identity | None = None
        """The identity it had when its writer was seen to close it."""
        self.link = ""
        """Real path, of a symbolic link."""
        self.broken = ""
        """Where a link points that leads nowhere."""
        self.known: object | None = None
        self.claimed: tuple[int, int] | None = None
        """Device and inode it had when a manifest last claimed it (`entries`)."""
        self.unclaimed_since: float | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes, as last seen."""
        return self.identity[2]

    @property
    def mtime_ns(self) -> int:
        """Last modification, ns since 1970, as last seen."""
        return self.identity[3]


class Folder:
    """One folder with its files, vanished ones too until they count as deleted."""

    __slots__ = ("files", "identity", "is_gone", "listing", "name", "problems", "real")

    def __init__(self, name: str, real: str) -> None:
        self.name = name
        self.real = real
        self.identity = (0, 0)
        """Device and inode."""
        self.files: dict[str, File] = {}
        self.listing = Listing()
        self.is_gone = False
        self.problems: tuple[str, ...] = ()

    def real_path(self, file: File) -> str:
        """Where the bytes are."""
        return file.link or f"{self.real}/{file.name}"

    def is_unfinished(self, file: File) -> bool:
        """Whether a control file beside it says that it is still being downloaded."""
        return file.name in self.listing.unfinished


class Tree:
    """Every folder below `models`, by its path there. `read` brings it up to date.

    A link into `models` or to a folder that is already shown adds nothing. Where one real folder could be
    shown under several names, the direct path wins, then the first link in path order.
    """

    def __init__(self, models: str) -> None:
        self.models = models
        self.folders: dict[str, Folder] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._ghosts: set[str] = set()
        self._dirty: set[str] = set()
        self._now = 0.0

    def read(self, folders: Iterable[str] | None, *, now: float) -> set[str]:
        """Look at `folders` (paths below `models`; None: all). Returns the names of those that differ.

        Unknown and vanished ones among `folders` stand for the nearest folder above that is there.
        """
        self._now, self._dirty = now, set()
        if folders is None or "" not in self.folders:
            self._read_all()
        else:
            before = len(self.folders)
            some_links = self._has_folder_links()
            changed_folders = self._read_some(folders)
            if some_links != self._has_folder_links() or (
                some_links and (changed_folders or before != len(self.folders))
            ):
                self._read_all()  # what a link shows can depend on any folder elsewhere
        self._expire()
        return self._dirty

    def links(self) -> dict[str, set[str]]:
        """Real path of everything shown through a link -> its paths below `models`."""
        found: dict[str, set[str]] = {}
        for folder in self.folders.values():
            for name, link in folder.listing.links.items():
                below = join(folder.name, name)
                if not link.is_broken and (not link.is_folder or self.is_shown(below)):
                    found.setdefault(link.target, set()).add(below)
        return found

    def is_shown(self, name: str) -> bool:
        """Whether a folder of this name is there now (not only its vanished files)."""
        folder = self.folders.get(name)
        return folder is not None and not folder.is_gone

    # Reading everything

    def _read_all(self) -> None:
        seen: dict[tuple[int, int], str] = {}
        linked: list[tuple[str, str]] = []
        self._walk("", os.path.realpath(self.models), seen, linked)
        visited_links: set[str] = set()
        while linked := sorted(entry for entry in linked if entry[0] not in visited_links):
            more: list[tuple[str, str]] = []
            for name, real in linked:
                visited_links.add(name)
                self._walk(name, real, seen, more)
            linked = more
        shown = set(seen.values())
        for name in [name for name, folder in self.folders.items() if name not in shown]:
            self._vanish_one(name)
        self._names = seen

    def _walk(
        self, top: str, real: str, seen: dict[tuple[int, int], str], linked: list[tuple[str, str]]
    ) -> None:
        """Read `top` and the real folders below it; folder links found go to `linked`."""
        stack = [(top, real)]
        while stack:
            name, real = stack.pop()
            identity = _identity(real)
            if identity is None:
                continue
            if seen.setdefault(identity, name) != name:
                continue
            folder = self._look(name, real, identity)
            if folder is None:
                del seen[identity]
                continue
            stack.extend((join(name, sub), f"{real}/{sub}") for sub in folder.listing.subfolders)
            linked.extend(self._followed(folder))

    def _followed(self, folder: Folder) -> Iterator[tuple[str, str]]:
        for name, link in folder.listing.links.items():
            if link.is_folder and not _leads_back(folder, link):
                yield join(folder.name, name), link.target

    # Reading a few

    def _read_some(self, names: Iterable[str]) -> bool:
        """Read `names`, and below them what is new. True when folders or folder links came or went."""
        changed = False
        for name in sorted({self._nearest(name) for name in names}):
            changed |= self._reread(name)
        return changed

    def _nearest(self, name: str) -> str:
        while name and not self.is_shown(name):
            name = parent(name)
        return name

    def _reread(self, name: str) -> bool:
        folder = self.folders.get(name)
        if folder is None or folder.is_gone:
            return False
        old = folder.listing
        if self._look(name, folder.real, folder.identity) is None:
            self._forget(name)
            return self._reread(self._nearest(parent(name))) or True
        new = folder.listing
        if old.subfolders == new.subfolders and _folder_links(old) == _folder_links(new):
            return False
        for sub, inode in old.subfolders.items():
            if new.subfolders.get(sub) != inode:
                self._vanish(join(name, sub))
        for sub, inode in list(new.subfolders.items()):
            if old.subfolders.get(sub) != inode:
                self._read_new(join(name, sub), f"{folder.real}/{sub}")
        return True

    def _read_new(self, top: str, real: str) -> None:
        """Read `top` and all real folders below it, none of which was known under these names."""
        stack = [(top, real)]
        while stack:
            name, real = stack.pop()
            identity = _identity(real)
            if identity is None:
                continue
            holder = self._names.get(identity, name)
            if holder != name:
                if self._is_still(holder, identity):
                    continue  # a bind mount shows one folder twice
                self._forget(holder)
            folder = self._look(name, real, identity)
            if folder is not None:
                self._names[identity] = name
                stack.extend((join(name, sub), f"{real}/{sub}") for sub in folder.listing.subfolders)

    def _is_still(self, name: str, identity: tuple[int, int]) -> bool:
        folder = self.folders.get(name)
        return folder is not None and _identity(folder.real) == identity

    def _has_folder_links(self) -> bool:
        return any(_folder_links(folder.listing) for folder in self.folders.values() if folder.listing.links)

    # One folder

    def _look(self, name: str, real: str, identity: tuple[int, int]) -> Folder | None:
        """Bring one folder up to date; None when it is not there. An unreadable one keeps what it had."""
        folder = self.folders.get(name)
        problem: tuple[str, ...] = ()
        try:
            listing = read_listing(real)
        except OSError as error:
            if error.errno in _GONE:
                return None
            listing = folder.listing if folder is not None else Listing()
            problem = (f"{name or 'models'}: the folder cannot be read ({error.strerror})",)
        if folder is None:
            folder = self.folders[name] = Folder(name, real)
            self._dirty.add(name)
        folder.real, folder.identity, folder.is_gone = real, identity, False
        if listing != folder.listing or folder.name in self._ghosts:
            self._merge(folder, listing)
        problems = (*problem, *_problems(folder))
        if problems != folder.problems:
            folder.problems = problems
            self._dirty.add(name)
        return folder

    def _merge(self, folder: Folder, listing: Listing) -> None:
        """Take over `listing`: new identities into the files, vanished files marked."""
        if listing.unfinished != folder.listing.unfinished:
            self._dirty.add(folder.name)
        folder.listing = listing
        for name, stamp in listing.files.items():
            self._present(folder, name, stamp, None)
        for name, link in listing.links.items():
            if not link.is_folder:
                self._present(folder, name, link.stamp, link)
        for name, file in folder.files.items():
            if file.vanished_at is None and name not in listing.files and not _is_file(listing, name):
                file.vanished_at = self._now
                self._ghosts.add(folder.name)
                self._dirty.add(folder.name)

    def _present(self, folder: Folder, name: str, stamp: Stamp, link: Link | None) -> None:
        target, broken = "", ""
        if link is not None:
            target, broken = ("", link.target) if link.is_broken else (link.target, "")
        file = folder.files.get(name)
        if file is None:
            file = folder.files[name] = File(name, stamp, self._now)
        elif (file.identity, file.link, file.broken) != (stamp[0], target, broken):
            file.identity, file.since = stamp[0], self._now
        elif file.changed_ns == stamp[1] and file.vanished_at is None:
            return
        file.changed_ns = stamp[1]
        file.link, file.broken, file.vanished_at = target, broken, None
        self._dirty.add(folder.name)

    # Vanishing

    def _vanish(self, top: str) -> None:
        """The folder and all below it are gone; their files count as deleted only after SETTLE_S."""
        stack = [top]
        while stack:
            name = stack.pop()
            if self.is_shown(name):
                listing = self.folders[name].listing
                stack.extend(join(name, sub) for sub in (*listing.subfolders, *listing.links))
                self._vanish_one(name)

    def _forget(self, name: str) -> None:
        """As `_vanish`, of a folder that the one above was seen to hold. Should it be there again when that
        is read the next time, perhaps even with its inode, it is a new one."""
        self._vanish(name)
        above = self.folders.get(parent(name))
        if name and above is not None:
            above.listing.subfolders.pop(name.rpartition("/")[2], None)

    def _vanish_one(self, name: str) -> None:
        folder = self.folders[name]
        if not folder.is_gone:
            folder.is_gone, folder.problems = True, ()
            self._merge(folder, Listing())
            if self._names.get(folder.identity) == name:
                del self._names[folder.identity]
            self._dirty.add(name)
            self._ghosts.add(name)

    def _expire(self) -> None:
        for name in list(self._ghosts):
            folder = self.folders[name]
            vanished = [file for file in folder.files.values() if file.vanished_at is not None]
            over = [file for file in vanished if self._now - (file.vanished_at or 0.0) >= SETTLE_S]
            for file in over:
                del folder.files[file.name]
            if over:
                self._dirty.add(name)
            if len(over) == len(vanished):
                self._ghosts.discard(name)
                if folder.is_gone:
                    del self.folders[name]


def _identity(real: str) -> tuple[int, int] | None:
    """Device and inode; None when nothing is there."""
    try:
        found = os.stat(real)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_file(listing: Listing, name: str) -> bool:
    link = listing.links.get(name)
    return link is not None and not link.is_folder


def _folder_links(listing: Listing) -> dict[str, Link]:
    return {name: link for name, link in listing.links.items() if link.is_folder}


def _leads_back(folder: Folder, link: Link) -> bool:
    return folder.real == link.target or folder.real.startswith(link.target.rstrip("/") + "/")


def _problems(folder: Folder) -> Iterator[str]:
    for name, link in folder.listing.links.items():
        below = join(folder.name, name)
        if link.is_broken:
            yield f"{below}: the link leads to {link.target}, which is not there"
        elif link.is_folder and _leads_back(folder, link):
            yield f"{below}: the link leads back to {link.target}, a folder above it; it is not followed"
    yield from folder.listing.unusable
