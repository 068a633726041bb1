"""Records of running fetches, below `models`: which model waits for which files (contract, section 1).

A fetcher writes its record before the first byte and removes it when all is in place, so that a repo that was
interrupted half-way is not taken for whole. Owns where records are and what may be read from them; what else
is in one is the fetcher's own (`fetch.record`). Neighbours: `catalog` asks, `removal` takes away.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janagent.folder.listing import is_away, join, parent
from janagent.folder.origin import is_file_name

FOLDER = ".janagent/fetch"
PART = ".part"
_LARGEST_BYTES = 16 << 20
_OWN = re.compile(r"\.[0-9a-f]{8}\.part$")
_one_at_a_time = threading.Lock()
"""Of two fetches that want the same and are given up together, the second must see that the first is gone."""


@dataclass(frozen=True, slots=True)
class OpenFetch:
    """A fetch that began and has not ended. `names` are paths below the folder of the manifest."""

    key: str
    artifact_key: str
    """What the manifest asked for when it began; another manifest does not wait for these files."""
    names: tuple[str, ...]
    inodes: tuple[int | None, ...]
    """Of the `.part` files that the fetch made, in the same order."""
    parts: tuple[str, ...]
    """Where these are, below the folder of the manifest."""
    sizes_bytes: tuple[int | None, ...]
    """Of the wanted files, as far as they are known."""
    path: Path

    def paths(self) -> frozenset[str]:
        """The wanted files as paths below `models`."""
        return frozenset(join(parent(self.key), name) for name in self.names)


@dataclass(frozen=True, slots=True)
class Want:
    """That a fetch for the model `key` wants a file, and by which name below its folder."""

    key: str
    name: str
    size_bytes: int | None = None
    """None: of any length."""

    def takes(self, size_bytes: int) -> bool:
        """Whether a file of this length may be the wanted one, and is not just in its way."""
        return self.size_bytes in (None, size_bytes)


def record_path(models: Path, key: str) -> Path:
    """Where the record of the model `key` is, if there is one."""
    return models / FOLDER / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:24]}.json"


def open_fetches(models: Path, *, but: str | None = None) -> Mapping[str, OpenFetch]:
    """Every record by its model's key, without that of `but`. One that cannot be read says nothing."""
    try:
        names = os.listdir(models / FOLDER)
    except OSError:
        return {}
    left_out = (
        None if but is None else record_path(models, but).name
    )  # it may be long, and be asked for often
    found = (_read(models / FOLDER / name) for name in names if name.endswith(".json") and name != left_out)
    return {fetch.key: fetch for fetch in found if fetch is not None}


def wants_of_others(models: Path, key: str) -> Mapping[str, Collection[Want]]:
    """What fetches that have not ended want for other models than `key`, by the place below `models`."""
    found: dict[str, list[Want]] = {}
    for other, fetch in open_fetches(models, but=key).items():
        for name, size_bytes in zip(fetch.names, fetch.sizes_bytes, strict=True):
            found.setdefault(join(parent(other), name), []).append(Want(other, name, size_bytes))
    return found


def parts_of_others(models: Path, key: str) -> frozenset[str]:
    """Where the unfinished files are, below `models`, of fetches of other models than `key`. One that waits
    for another to end has not opened them yet, and goes on with them all the same."""
    others = open_fetches(models, but=key)
    return frozenset(join(parent(other), part) for other, fetch in others.items() for part in fetch.parts)


def open_fetch(models: Path, key: str) -> OpenFetch | None:
    """The record of one model."""
    return _read(record_path(models, key))


def _read(path: Path) -> OpenFetch | None:
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(_LARGEST_BYTES))
        key, artifact_key, files = record["key"], str(record.get("artifact_key", "")), record["files"]
        names = tuple(str(file["name"]) for file in files)
        inodes = tuple(inode_of(file) for file in files)
        parts = tuple(part_name(file["name"], _content_of(file)) for file in files)
        sizes_bytes = tuple(file.get("size_bytes") for file in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_ours = isinstance(key, str) and path.name == record_path(path.parent, key).name
    if not is_ours or not all(map(is_file_name, names)):  # it came with somebody's folder
        return None
    return OpenFetch(key, artifact_key, names, inodes, parts, sizes_bytes, path)


def inode_of(file: Mapping[str, Any]) -> int | None:
    """The inode that a record has of a file's `.part`, in digits of which there are always as many."""
    return int(file.get("inode") or 0) or None


def part_name(name: str, content: str | None) -> str:
    """The name of the unfinished file `name`. `content` is its hash, or that of its address: nobody else's
    file has such a name, and one of ours is known even without its record."""
    return f"{name}.{content[:8]}{PART}" if content else f"{name}{PART}"


def _content_of(file: Mapping[str, object]) -> str | None:
    said = file.get("sha256") or file.get("git_sha1") or file.get("source")
    return said if isinstance(said, str) and said.isalnum() else None


def discard(models: Path, key: str) -> None:
    """Remove the record of `key` and the unfinished files that its fetch made, with the folders below the
    model's own that are empty then. Files that have their name stay (`brought` knows them), and so does a
    `.part` that is somebody else's, or that another fetch may go on with. With one of ours that cannot be
    removed, or whose disk is away, the record stays too."""
    with _one_at_a_time:
        if not is_away(models, key) and not _are_parts_left(models, key):
            _remove_record(models, key)


def _are_parts_left(models: Path, key: str) -> bool:
    """Whether an unfinished file of the fetch for `key` could not be removed."""
    fetch = open_fetch(models, key)
    are_left = False
    if fetch is not None:
        others = parts_of_others(models, key)
        folder = models / parent(key)
        for name, inode in zip(fetch.parts, fetch.inodes, strict=True):
            if join(parent(key), name) in others:
                continue
            part = folder / name
            if _is_inside(part, models):
                remove_part(part, inode)
                _remove_folders_between(folder, part)
            are_left = are_left or _is_there(part, inode)
    return are_left


def _remove_record(models: Path, key: str) -> None:
    record = record_path(models, key)
    for path in (record, record.with_suffix(".new")):  # the second: a rewrite that was cut off
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        (models / FOLDER).rmdir()
        (models / FOLDER).parent.rmdir()


def _remove_folders_between(folder: Path, path: Path) -> None:
    for between in path.parents:
        if folder not in between.parents:
            return
        with contextlib.suppress(OSError):
            between.rmdir()


def remove_part(part: Path, inode: int | None) -> None:
    """Remove an unfinished file, unless a fetcher has it open, or it is not ours: neither its name says that,
    nor has it this inode. (Two fetches may want the same; the last one need not have made it.)"""
    with contextlib.suppress(OSError):
        fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if _is_ours(part, found, inode):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: somebody writes it
                if part.lstat().st_ino == found.st_ino:
                    part.unlink()
        finally:
            os.close(fd)


def _is_there(path: Path, inode: int | None) -> bool:
    with contextlib.suppress(OSError):
        return _is_ours(path, path.lstat(), inode)
    return False


def _is_ours(part: Path, found: os.stat_result, inode: int | None) -> bool:
    return found.st_ino == inode or (stat.S_ISREG(found.st_mode) and _OWN.search(part.name) is not None)


def _is_inside(path: Path, models: Path) -> bool:
    return Path(os.path.realpath(models)) in Path(os.path.realpath(path.parent), "x").parents
