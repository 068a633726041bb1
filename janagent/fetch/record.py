"""The record of a fetch: a JSON file that exists exactly while files are missing, and says what is there.

Written atomically when the files are decided or a server has said what they are. Between those moments only
characters of it change, in place: the digits of `inode`, `placed`, and in `blocks` one for each `BLOCK_BYTES`
of a file, "1" once the block is written. So it is never torn, no block that was recorded is fetched again
after `kill -9`, and a repo of a thousand files costs no more for each of them. What a power failure may lose
is caught by the hash. Neighbour: `janagent.folder.records` reads key and names.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janagent.fetch.ranges import Interval
from janagent.folder import brought
from janagent.folder.brought import Brought
from janagent.folder.hidden import made_in
from janagent.folder.listing import join, parent
from janagent.folder.records import FOLDER, inode_of, open_fetches, part_name, record_path

log = logging.getLogger(__name__)
BLOCK_BYTES = 1 << 20


@dataclass(slots=True)
class Entry:
    """One wanted file. `etag` is what its server calls this version of it; `source` tells URLs apart."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    source: str | None = None
    etag: str | None = None
    inode: int | None = None
    """Of the `.part` that this fetch made; one with another inode is somebody else's."""
    is_placed: bool = False
    """It was verified and has its name."""
    blocks: str = ""
    """As it was when the record was read; empty in one that is being written."""

    @property
    def part(self) -> str:
        """The path of its `.part`, below the same folder."""
        return part_name(self.name, self.sha256 or self.git_sha1 or self.source)

    @property
    def identity(self) -> tuple[object, ...] | None:
        """Of its content; None where no hash says which that is."""
        has_hash = self.sha256 is not None or self.git_sha1 is not None
        return (self.sha256, self.git_sha1, self.size_bytes) if has_hash else None

    def done(self) -> Iterator[Interval]:
        """The ranges that the blocks say are there."""
        size = self.size_bytes or 0
        start = self.blocks.find("1")
        while start >= 0:
            end = self.blocks.find("0", start)
            end = len(self.blocks) if end < 0 else end
            if start * BLOCK_BYTES < size:
                yield start * BLOCK_BYTES, min(end * BLOCK_BYTES, size)
            start = self.blocks.find("1", end)


class Record:
    """The record at `path` of the fetch for the model `key`. Used from threads."""

    def __init__(self, path: Path, *, key: str, artifact_key: str = "") -> None:
        """`artifact_key`: hash of what the manifest asks for."""
        self._path = path
        self.models = path.parents[2]
        self.key = key
        self._artifact_key = artifact_key
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._entries: dict[str, Entry] = {}
        self._blocks: dict[str, bytearray] = {}
        self._offsets: dict[str, int] = {}

    def read(self) -> Mapping[str, Entry]:
        """What an earlier fetch left, by name. Nothing if there is none, or it cannot be read."""
        return self._read()[1]

    def wanted(self) -> tuple[Entry, ...]:
        """All files that an earlier fetch for the same manifest decided on; none if there was none, or the
        manifest asked for something else then."""
        artifact_key, entries = self._read()
        return tuple(entries.values()) if artifact_key == self._artifact_key else ()

    def _read(self) -> tuple[str, dict[str, Entry]]:
        try:
            said = json.loads(self._path.read_bytes())
            if said["key"] != self.key:
                return "", {}
            return str(said["artifact_key"]), {entry.name: entry for entry in map(_entry, said["files"])}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "", {}

    def of_others(self, name: str) -> list[Entry]:
        """What other fetches note of this file, where they want the very same content at the same place.

        Only a hash can say that; and should two write the file in turns, only the hash can tell in the end
        that nothing of one was lost to the other.
        """
        place = join(parent(self.key), name)
        return [entry for key, entry in self._same(name) if join(parent(key), entry.name) == place]

    def elsewhere(self, name: str) -> list[tuple[str, Entry]]:
        """Who else wants the very same content at another place, and what is noted of it there."""
        place = join(parent(self.key), name)
        return [(key, entry) for key, entry in self._same(name) if join(parent(key), entry.name) != place]

    def _same(self, name: str) -> Iterator[tuple[str, Entry]]:
        """What other models' fetches note of this content."""
        mine = self._entries[name].identity
        paths = set(self._path.parent.glob("*.json")) - {self._path} if mine is not None else ()
        for path in sorted(paths):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                said = json.loads(path.read_bytes())
                key, entries = str(said["key"]), [_entry(file) for file in said["files"]]
                if path == record_path(self.models, key):
                    yield from ((key, entry) for entry in entries if entry.identity == mine)

    def is_anothers(self, inode: int) -> bool:
        """Whether another model's fetch counts on this `.part`."""
        return any(inode in fetch.inodes for fetch in open_fetches(self.models, but=self.key).values())

    def begin(self, entries: Iterable[Entry], done: Mapping[str, Iterable[Interval]]) -> None:
        """Write it: these files are wanted, and `done` of them is there. Raises OSError."""
        with self._lock:
            self._entries = {entry.name: entry for entry in entries}
            self._blocks = {name: _blank(entry) for name, entry in self._entries.items()}
            for name, intervals in done.items():
                for start, end in intervals:
                    self._set(name, start, end)
            self._write(is_first=True)

    def restart(self, name: str, *, size_bytes: int | None, etag: str | None) -> None:
        """The file was found to be this, and nothing of it is there. Raises OSError."""
        with self._lock:
            entry = self._entries[name]
            entry.size_bytes, entry.etag, entry.is_placed = size_bytes, etag, False
            self._blocks[name] = _blank(entry)
            self._write()

    def owns(self, name: str, inode: int, done: Iterable[Interval]) -> None:
        """The `.part` with this inode is ours, and `done` of it is there. Raises OSError."""
        with self._lock:
            entry, before = self._entries[name], bytes(self._blocks[name])
            self._blocks[name] = _blank(entry)
            for start, end in done:
                self._set(name, start, end)
            if entry.inode != inode or self._blocks[name] != before:
                entry.inode = inode
                if self._fd is not None:  # the blocks first: with another inode they are nobody's
                    os.pwrite(self._fd, bytes(self._blocks[name]), self._offsets[name])
                    os.pwrite(self._fd, _digits(entry), self._offsets[name] - _INODE_BEFORE)

    def placed(self, name: str) -> None:
        """The file has its name. Raises OSError."""
        with self._lock:
            self._entries[name].is_placed = True
            if self._fd is not None:
                os.pwrite(self._fd, b"1", self._offsets[name] - len(_PLACED))

    def mark(self, name: str, start: int, end: int) -> None:
        """The bytes from `start` to `end` are written. Raises OSError."""
        with self._lock:
            first, last = self._set(name, start, end)
            if first < last and self._fd is not None:
                os.pwrite(self._fd, bytes(self._blocks[name][first:last]), self._offsets[name] + first)

    def remember(self, name: str, path: Path) -> None:
        """Note the wanted file, which is at `path`, for a removal of the model (`folder.brought`).

        One that this fetch wrote has the inode of its `.part`; it is noted before it has its name, so that a
        removal misses none, whatever becomes of the fetch.
        """
        self._remember({name: path}, brought.note)

    def conclude(self) -> None:
        """All is in place: remember what that is, and nothing is unfinished any more. Raises OSError."""
        folder = self.models / parent(self.key)
        self._remember({name: folder / name for name in self._entries}, brought.remember)
        self.remove()

    def _remember(self, places: Mapping[str, Path], by: Callable[[Path, str, list[Brought]], None]) -> None:
        if len(self._entries) == 1 and next(iter(self._entries)).lower().endswith(".gguf"):
            return  # of a single model file the folder itself tells whose it is
        found = []
        for name, path in places.items():
            with contextlib.suppress(OSError):  # somebody took it away again
                found.append(Brought.of(name, path, inode=self._entries[name].inode))
        try:
            by(self.models, self.key, found)
        except OSError as error:  # no reason to call the fetch a failure
            log.warning("what was fetched is not remembered for a later removal: %s", error)

    def close(self) -> None:
        """Leave it for a later fetch."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def remove(self) -> None:
        """All is in place. Raises OSError."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._draft.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others still have theirs there
            self._path.parent.rmdir()
            self._path.parent.parent.rmdir()

    @property
    def _draft(self) -> Path:
        return self._path.with_suffix(".new")

    def _set(self, name: str, start: int, end: int) -> tuple[int, int]:
        """Note the blocks that lie wholly within the range; returns the first, and the one after the last."""
        blocks, size = self._blocks[name], self._entries[name].size_bytes
        first = -(-start // BLOCK_BYTES)
        last = len(blocks) if end == size else min(end // BLOCK_BYTES, len(blocks))
        if first < last:
            blocks[first:last] = b"1" * (last - first)
        return first, last

    def _write(self, *, is_first: bool = False) -> None:
        head = json.dumps({"key": self.key, "artifact_key": self._artifact_key})
        text = bytearray(head[:-1].encode() + b', "files": [')
        for number, (name, entry) in enumerate(self._entries.items()):
            head = json.dumps({field: getattr(entry, field) for field in _FIELDS})
            text += b",\n" if number else b"\n"
            text += head[:-1].encode() + b', "inode": "' + _digits(entry) + _THEN
            text += _PLACED if entry.is_placed else _NOT_PLACED
            self._offsets[name] = len(text)
            text += self._blocks[name] + b'"}'
        text += b"\n]}\n"
        # Later on the folder holds our record; if it is gone then, so is its disk, and nothing is made there.
        fd = made_in(self.models, FOLDER, self._open_draft) if is_first else self._open_draft()
        try:
            view = memoryview(text)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)  # before any of the files: they must never be there without it
            os.replace(self._draft, self._path)
        except BaseException:
            os.close(fd)
            raise
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fd

    def _open_draft(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._draft, flags, 0o600)


_FIELDS = ("name", "size_bytes", "sha256", "git_sha1", "source", "etag")
_DIGITS = 20
_THEN = b'", "placed": '
_PLACED = b'1, "blocks": "'
_NOT_PLACED = b'0, "blocks": "'
_INODE_BEFORE = _DIGITS + len(_THEN) + len(_PLACED)
"""Where its first digit is, before the blocks."""


def _digits(entry: Entry) -> bytes:
    return b"%0*d" % (_DIGITS, entry.inode or 0)


def _blank(entry: Entry) -> bytearray:
    return bytearray(b"0" * -(-(entry.size_bytes or 0) // BLOCK_BYTES))


def _entry(said: Mapping[str, Any]) -> Entry:
    fields: dict[str, Any] = {field: said.get(field) for field in _FIELDS}
    entry = Entry(**fields)
    entry.inode = inode_of(said)
    entry.is_placed, entry.blocks = bool(said.get("placed")), str(said.get("blocks") or "")
    if not isinstance(entry.name, str) or not isinstance(entry.size_bytes, int | None):
        raise TypeError("not a record")
    return entry
