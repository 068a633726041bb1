"""The watches that are in place: on the models folder, and on what its links lead to.

The only module that imports watchdog. Owns which events count and which folders they mean. Knows nothing of
when a scan is made. Neighbour: `watch`, whose task calls it and whose `Report` takes what happens.

Links are never followed by watchdog itself: it would recurse into loops and report wrong paths. The models
folder has one recursive watch, and each folder behind a link one on its real path.
"""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import watchdog.events as wd
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from janagent.folder.filesystems import filesystem_of, tells_of_changes
from janagent.folder.listing import CONTROL_SUFFIX, is_ignored, join, parent

log = logging.getLogger(__name__)
# Of a folder that is made while it is being read, which watchdog meets twice: the second watch is the first.
warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)

Linked = Mapping[Path, frozenset[str]]
"""Real path of a folder or file behind a link -> the paths below `models` that show it."""

_KINDS: Final[list[type[wd.FileSystemEvent]]] = [
    wd.FileCreatedEvent,
    wd.FileDeletedEvent,
    wd.FileModifiedEvent,
    wd.FileMovedEvent,
    wd.FileClosedEvent,
    wd.DirCreatedEvent,
    wd.DirDeletedEvent,
    wd.DirMovedEvent,
    # Permissions; since watchdog 7 they are events of their own.
    *(getattr(wd, name) for name in ("FileAttribEvent", "DirAttribEvent") if hasattr(wd, name)),
]
"""Not `opened` and `closed_no_write`: our own reading causes them, and a scan must not wake the next one. Not
`DirModifiedEvent`: what it stands for is among the others."""


class Report(Protocol):
    """Takes folders (None: all) and closed files, as paths below `models`; called from any thread."""

    def __call__(self, folders: set[str] | None, closed: set[str] | None = None) -> None:
        """Something happened."""


class EventReport(Protocol):
    """As `Report`, from a handler."""

    def __call__(self, folders: set[str] | None, closed: set[str], *, is_new_folder: bool) -> None:
        """Something happened."""


class Watches:
    """The watches that are in place. Every method blocks; they are called from one thread at a time."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._observer: BaseObserver | None = None
        self._identity: tuple[int, int] | None = None
        self._links: dict[str, tuple[frozenset[tuple[str, str]], ObservedWatch]] = {}
        self._linked: Linked | None = None
        self.error: OSError | None = None
        """A limit that was hit."""
        self.silent: tuple[str, str] | None = None
        """A folder, and the type of its file system that does not tell of all changes."""
        self.has_new_folders = False
        self._is_lost = False

    def arm(self, models: Path, linked: Linked) -> None:
        """Start afresh. A models folder that is not there is not watched, and not an error."""
        self.disarm()
        self.error = self.silent = self._linked = None
        self._identity, self._is_lost = _identity(models), False
        if self._identity is None:
            return
        real = os.path.realpath(models)
        try:
            self._observer = Observer()
            self._observer.start()
            self._schedule(real, _Below(real, frozenset({""}), self._report_event), recursive=True)
            self._probe()
        except OSError as error:
            self._fail(error)
        self._note_filesystem(real)
        self.link(linked)

    def disarm(self) -> None:
        """End all watches and their threads."""
        observer, self._observer = self._observer, None
        self._links = {}
        if observer is not None:
            observer.stop()
            observer.join()

    def is_stale(self, models: Path) -> bool:
        """Whether `models` is another folder than the watched one, has come or has gone."""
        return self._is_lost or _identity(models) != self._identity

    def link(self, linked: Linked) -> set[str]:
        """Bring the watches behind links up to date; then see whether new folders found room for a watch.

        Returns the folders below `models` that are watched from now on.
        """
        news: set[str] = set()
        if self._observer is None:
            return news
        try:
            if linked != self._linked:
                self._linked = linked
                self._relink(_by_folder(linked), news)
            if self.has_new_folders:
                self._probe()
        except OSError as error:
            self._fail(error)
        return news

    def _relink(self, wanted: dict[str, frozenset[tuple[str, str]]], news: set[str]) -> None:
        assert self._observer is not None
        for folder, (names, watch) in list(self._links.items()):
            if wanted.get(folder) != names:
                del self._links[folder]
                self._observer.unschedule(watch)
        for folder, names in wanted.items():
            if folder in self._links:
                continue
            whole = frozenset(below for name, below in names if not name)
            handler: wd.FileSystemEventHandler = (
                _Below(folder, whole, self._report_event)
                if whole
                else _Files(folder, names, self._report_event)
            )
            try:
                watch = self._schedule(folder, handler, recursive=bool(whole))
            except FileNotFoundError:
                continue  # gone since the scan: the next one reports a broken link
            self._links[folder] = (names, watch)
            news.update(below if not name else parent(below) for name, below in names)
            self._note_filesystem(folder)

    def _schedule(self, path: str, handler: wd.FileSystemEventHandler, *, recursive: bool) -> ObservedWatch:
        assert self._observer is not None
        return self._observer.schedule(handler, path, recursive=recursive, event_filter=_KINDS)

    def _probe(self) -> None:
        """See whether there is room for one more watch. Raises OSError (ENOSPC) when there is none.

        watchdog passes over a subfolder that it gets no watch for, so the limit would go unnoticed.
        """
        self.has_new_folders = False
        if self._observer is not None and sys.platform.startswith("linux"):
            watch = self._schedule(os.sep, wd.FileSystemEventHandler(), recursive=False)
            self._observer.unschedule(watch)

    def _fail(self, error: OSError) -> None:
        if error.errno not in (errno.ENOSPC, errno.EMFILE):
            log.warning("the models folder cannot be watched: %s", error)
        self.error = error

    def _note_filesystem(self, path: str) -> None:
        filesystem = filesystem_of(path)
        if self.silent is None and not tells_of_changes(filesystem):
            self.silent = (path, filesystem)

    def _report_event(self, folders: set[str] | None, closed: set[str], *, is_new_folder: bool) -> None:
        if is_new_folder:
            self.has_new_folders = True
        if folders is None:
            self._is_lost = True  # its inode may be used again at once, so that it looks like the old one
        self._report(folders, closed)


class _Below(wd.FileSystemEventHandler):
    """Events below one real folder, told as paths below `models` under each of its names there."""

    def __init__(self, real: str, names: frozenset[str], report: EventReport) -> None:
        self._real = real
        self._names = names
        self._report = report

    def dispatch(self, event: wd.FileSystemEvent) -> None:
        """One event, on watchdog's thread."""
        folders: set[str] = set()
        closed: set[str] = set()
        for path in _paths(event):
            if path == self._real:
                if "" in self._names and not isinstance(event, wd.DirModifiedEvent):
                    return self._report(None, set(), is_new_folder=False)
                folders.update(*((name, parent(name)) for name in self._names))
            elif path.startswith(self._real + os.sep):
                below = path[len(self._real) + 1 :]
                if _is_silent(below):
                    continue
                folders.update(_under(name, parent(below)) for name in self._names)
                if event.is_directory:
                    folders.update(_under(name, below) for name in self._names)
                elif isinstance(event, wd.FileClosedEvent):
                    closed.update(_under(name, below) for name in self._names)
        if folders:
            is_new_folder = isinstance(event, wd.DirCreatedEvent | wd.DirMovedEvent)
            self._report(folders, closed, is_new_folder=is_new_folder)
        return None


class _Files(wd.FileSystemEventHandler):
    """Events of a few files of one real folder, each of which links below `models` lead to."""

    def __init__(self, real: str, names: frozenset[tuple[str, str]], report: EventReport) -> None:
        self._real = real
        self._names = names
        self._report = report

    def dispatch(self, event: wd.FileSystemEvent) -> None:
        """One event, on watchdog's thread."""
        paths = set(_paths(event))
        links = {below for name, below in self._names if f"{self._real}/{name}" in paths}
        if self._real in paths:
            links = {below for _, below in self._names}
        if links:
            closed = links if isinstance(event, wd.FileClosedEvent) else set()
            self._report({parent(below) for below in links}, closed, is_new_folder=False)


class OverflowListener(logging.Handler):
    """Hears that the kernel dropped events: watchdog says so in its log and nowhere else."""

    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._lost = lost
        self._logger = logging.getLogger("watchdog.observers.inotify_c")

    def emit(self, record: logging.LogRecord) -> None:
        """Anything that module warns about means that events were lost."""
        self._lost()

    def attach(self) -> None:
        """Start listening."""
        self._logger.addHandler(self)

    def detach(self) -> None:
        """Stop listening."""
        self._logger.removeHandler(self)


def _paths(event: wd.FileSystemEvent) -> list[str]:
    return [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]


def _under(name: str, below: str) -> str:
    return join(name, below) if below else name


def _is_silent(below: str) -> bool:
    """Whether a path is ignored, so that nothing about it is worth a look."""
    if below.endswith(CONTROL_SUFFIX):
        below = below.removesuffix(CONTROL_SUFFIX)  # its going means that a download is done
    return any(is_ignored(part) for part in below.split("/"))


def _by_folder(linked: Linked) -> dict[str, frozenset[tuple[str, str]]]:
    """Real folder to watch -> (file name or "" for the whole folder, path below `models`)."""
    wanted: dict[str, set[tuple[str, str]]] = {}
    for real, names in linked.items():
        is_folder = real.is_dir()
        folder, file_name = (str(real), "") if is_folder else (str(real.parent), real.name)
        wanted.setdefault(folder, set()).update((file_name, below) for below in names)
    return {folder: frozenset(names) for folder, names in wanted.items()}


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino
