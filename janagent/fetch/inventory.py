"""What of a plan is there already, and whether there is room for the rest.

Blocks on the disk, runs in a thread. Neighbours: `transfer` brings what is missing, `record` remembers.
"""

import contextlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from janagent.fetch.disk import disk_faults
from janagent.fetch.download import Download
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.part import Found, look_at
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Entry, Record
from janagent.folder.brought import is_own
from janagent.folder.listing import join, parent
from janagent.folder.records import parts_of_others, remove_part

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is missing, and how many bytes are not."""

    downloads: tuple[Download, ...]
    placed_bytes: int


def take_stock(files: Sequence[RemoteFile], *, folder: Path, record: Record) -> Inventory:
    """See what is there; the record says from here on what is wanted. Raises FetchError."""
    place = Place.at(folder)
    earlier, others = record.read(), parts_of_others(record.models, record.key)

    def drop(name: str, *, is_in_place: bool) -> None:
        entry, target = earlier.get(name), place.locate(name)
        if entry is not None and (is_in_place or join(parent(record.key), entry.part) not in others):
            # Never anybody else's, and not one that another fetch may go on with.
            remove_part(target.with_name(entry.part.rpartition("/")[2]), entry.inode)

    entries: list[Entry] = []
    downloads: list[Download] = []
    placed_bytes = 0
    for file in files:
        target, old = place.locate(file.name), _same(file, earlier)
        entry = Entry(file.name, file.size_bytes, file.sha256, file.git_sha1, file.source)
        found = _look(file, target, old=old, earlier=earlier.get(file.name), record=record)
        if found is not Found.NOTHING or old is None:  # brought since, or of another version
            drop(file.name, is_in_place=found is not Found.NOTHING)
        if found is Found.OTHER:
            continue
        entries.append(entry)
        if found is Found.IT:
            entry.is_placed = True
            with disk_faults(target):
                placed_bytes += target.stat().st_size
        else:
            downloads.append(Download(file, place=place, record=record, earlier=old))
        if old is not None:
            entry.size_bytes, entry.etag, entry.inode = old.size_bytes, old.etag, old.inode
    for name in earlier.keys() - {file.name for file in files}:
        with contextlib.suppress(FetchError):
            drop(name, is_in_place=False)
    check_space(downloads, folder, is_begin=True)
    kept = {d.file.name: d.kept for d in downloads}
    with disk_faults(folder):
        record.begin(entries, kept)
    return Inventory(tuple(downloads), placed_bytes)


def _look(
    file: RemoteFile, target: Path, *, old: Entry | None, earlier: Entry | None, record: Record
) -> Found:
    """What is there. Another version of it that this very fetch had brought goes: the repo has changed
    since. Raises FetchError."""
    try:
        found = look_at(file, target, is_trusted=old is not None and old.is_placed)
    except FetchError:
        if not _is_outdated(earlier, record):
            raise
        found = Found.OTHER
    if found is Found.OTHER and _is_outdated(earlier, record):
        log.info("%s is of an earlier version of the repo: it is fetched anew", target)
        with disk_faults(target):
            target.unlink()
        return Found.NOTHING
    return found


def _is_outdated(earlier: Entry | None, record: Record) -> bool:
    return earlier is not None and earlier.is_placed and is_own(record.models, record.key, earlier.name)


def check_space(downloads: Sequence[Download], folder: Path, *, is_begin: bool = False) -> None:
    """Raises FetchError when the disk has no room for what is missing. What this machine has elsewhere is
    linked; from another disk it is copied, which counts at the beginning."""
    missing = 0
    with disk_faults(folder):
        for download in downloads:
            if download.file.cached is None or (
                is_begin and not _is_on_disk_of(folder, download.file.cached)
            ):
                missing += max(0, download.size_bytes - download.done_bytes)  # the size may not be known
        free = shutil.disk_usage(folder).free
    if missing > free:
        words = f"{missing:,} bytes are still to come, but the disk of {folder} has only {free:,} left"
        raise FetchError(Code.DISK_FULL, words)


def _is_on_disk_of(folder: Path, cached: Path) -> bool:
    try:
        return cached.stat().st_dev == folder.stat().st_dev
    except FileNotFoundError:
        return False


def _same(file: RemoteFile, earlier: Mapping[str, Entry]) -> Entry | None:
    """What an earlier fetch left of this very file: the same content by hash, or the same URL."""
    entry = earlier.get(file.name)
    if entry is None or (entry.sha256, entry.git_sha1) != (file.sha256, file.git_sha1):
        return None
    if file.size_bytes is not None and entry.size_bytes != file.size_bytes:
        return None
    has_hash = file.sha256 is not None or file.git_sha1 is not None
    return entry if has_hash or (entry.source == file.source and entry.etag is not None) else None
