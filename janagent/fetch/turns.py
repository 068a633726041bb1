"""Whose turn it is when several models, in folders of their own, want the same large content at one time.

One of them fetches it and the others link it from there. Whoever writes its `.part` holds the lock of that
file, and has it in its record once it has decided to go on. Nobody waits here while it holds such a lock, so
nobody waits for ever: the one ahead ends, fails, is stopped or dies, and each of these takes its lock away.
Everything here blocks. Neighbours: `download` asks, `record` reads what others note, `cache` links.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from janagent import flock
from janagent.fetch.cache import LEAST_BYTES
from janagent.fetch.part import Part
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Record
from janagent.folder.listing import parent


def take_turn(
    file: RemoteFile, part: Part, record: Record, decide: Callable[[], None]
) -> tuple[bool, Path | None]:
    """Lock `part`, then `decide`, which notes in `record` that we go on. Returns whether we do, and where
    `file` is, or will be, at another place, if anywhere. Raises FetchError, and what `decide` raises.

    Two may lock theirs in the same moment. The smaller key goes on; the larger looks again once it has
    decided, and gives way. Who locks only after that look finds the decision in the record, and gives way
    itself. Should each give way to the other, both come again.
    """
    others = _elsewhere(file, record)
    if (other := _one_ahead(others, None)) is not None or not part.open():
        return False, other
    others = _elsewhere(file, record)
    if (other := _one_ahead(others, record.key)) is None:
        decide()
        now = _elsewhere(file, record)
        other = next((one.target for one in now if one.is_locked and one.key < record.key), None)
    if other is not None:
        (part.close if part.size_bytes else part.remove)()
        return False, other
    return True, next((one.target for one in others if one.is_placed), None)


@dataclass(frozen=True, slots=True)
class _Other:
    """The same content for another model."""

    key: str
    target: Path
    is_placed: bool
    is_locked: bool
    """Somebody writes its `.part` in this moment."""
    has_decided: bool
    """Who does, has it in the record."""


def _elsewhere(file: RemoteFile, record: Record) -> list[_Other]:
    if file.sha256 is None or file.cached is not None or (file.size_bytes or 0) < LEAST_BYTES:
        return []
    found = []
    for key, entry in record.elsewhere(file.name):
        folder = record.models / parent(key)
        inode = _locked_inode(folder / entry.part)
        is_locked = inode is not None
        has_decided = is_locked and inode == entry.inode
        found.append(_Other(key, folder / entry.name, entry.is_placed, is_locked, has_decided))
    return found


def _one_ahead(others: Iterable[_Other], key: str | None) -> Path | None:
    """Where somebody brings it who goes first. `key` is ours once our `.part` is locked too."""
    for one in others:
        if one.has_decided or (one.is_locked and key is not None and one.key < key):
            return one.target
    return None


def _locked_inode(path: Path) -> int | None:
    """Of the file at `path`, if somebody has it locked."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.fstat(fd).st_ino if flock.is_taken(fd) else None
    finally:
        os.close(fd)
