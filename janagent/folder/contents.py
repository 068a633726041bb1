"""What is inside the files of a `Tree`, read once per identity: manifests, headers, completeness.

Owns the rules of time for content: a JSON younger than 1 s that is empty or cannot be parsed is not judged; a
binary is complete when it is as long as its header says and closed by its writer or unchanged for 1 s
(contract, section 1). Knows nothing of which file belongs to which. Neighbours: `tree` gives the files,
`entries` asks.

`now` is time.monotonic. The wall clock is used in one place only, the age of a file by its mtime: at the
first sight of a file nothing else says that it has been lying there for long.
"""

import errno
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass

from janagent.folder.fault import Fault
from janagent.folder.gguf import Inspection, Kind, inspect, tail_is_hole
from janagent.folder.listing import Identity, Stamp
from janagent.folder.manifest import MAX_MANIFEST_BYTES, Reading, read_manifest
from janagent.folder.tree import SETTLE_S, File, Folder

_COARSE_NS = 10_000_000
"""An mtime that is a multiple of this may come from a file system (FAT, HFS+, old NFS) on which two saves in
a row can look alike."""


@dataclass(slots=True)
class Known:
    """What is remembered of one file."""

    reading: Reading | None = None
    """The last one that was judged."""
    read: Stamp | None = None
    read_mtime_ns: int = 0
    inspection: Inspection | None = None
    inspected: Identity | None = None
    whole: Identity | None = None
    """The identity at which it was found complete."""
    hole: Identity | None = None
    """The identity at which its tail was found to be a hole."""
    is_open: bool = False
    """Whether others than its owner may read it."""


@dataclass(frozen=True, slots=True)
class Look:
    """A reading; `again_in_s` later another look may tell more (None: not by itself)."""

    reading: Reading | None
    mtime_ns: int = 0
    """Of the version that was judged."""
    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wholeness:
    """Whether a binary is complete: then `lack` is empty, else it says how much there is."""

    lack: str = ""
    again_in_s: float | None = None
    is_settling: bool = False
    """All of it is there, and only has to stand still for a moment yet."""


def read_json(folder: Folder, file: File, *, now: float) -> Look:
    """The manifest in a `*.json` file, as last judged; no reading at all when nothing could be judged yet."""
    known = _known(file)
    again_in_s = None
    if file.vanished_at is None and not file.broken:
        again_in_s = _judge(known, folder, file, now)
    return Look(known.reading, known.read_mtime_ns, again_in_s)


def _judge(known: Known, folder: Folder, file: File, now: float) -> float | None:
    """Read the file where that can tell something new; returns when to look again."""
    young_for_s = _settles_in(file, now)
    is_coarse = file.mtime_ns % _COARSE_NS == 0
    stamp = (file.identity, file.changed_ns)
    if known.read == stamp and not (young_for_s and is_coarse):
        return None
    reading, is_final = _read(folder.real_path(file), file.size_bytes)
    if young_for_s and (reading is None or (reading.manifest is None and reading.fault is not None)):
        return young_for_s
    if reading is not None:
        known.reading, known.read_mtime_ns = reading, file.mtime_ns
        known.read = stamp if is_final else None
    return young_for_s if young_for_s and is_coarse else None


def _read(path: str, size_bytes: int) -> tuple[Reading | None, bool]:
    """The reading (None: the file went away), and whether the same bytes would give it again."""
    if size_bytes > MAX_MANIFEST_BYTES:
        message = f"the file has {human_bytes(size_bytes)}; a manifest may have at most 1 MiB"
        return Reading(None, Fault("invalid", message), is_manifest_like=False), True
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            data = os.read(descriptor, size_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None, False
        message = f"the file cannot be read ({error.strerror}); make it readable for janagent"
        return Reading(None, Fault("invalid", message), is_manifest_like=False), False
    # Other than the expected length means that it is being written: the next look sees another identity.
    return read_manifest(data), len(data) == size_bytes


def is_open_to_others(folder: Folder, file: File) -> bool:
    """Whether others than its owner may read it; of a vanished file, whether they might."""
    known = _known(file)
    if file.vanished_at is None:
        with suppress(OSError):  # gone since the listing; the next look will say so
            known.is_open = bool(os.stat(folder.real_path(file)).st_mode & (stat.S_IRGRP | stat.S_IROTH))
    return known.is_open


def inspection(folder: Folder, file: File, *, now: float) -> Inspection:
    """What kind of file it is. A growing file keeps the header it showed first until it rests."""
    known = _known(file)
    if file.broken:
        return Inspection(Kind.UNREADABLE, message=f"is a link to {file.broken}, which is not there")
    if known.inspection is not None:
        same_file = known.inspected is not None and known.inspected[:2] == file.identity[:2]
        has_header = known.inspection.header is not None
        if (
            file.vanished_at is not None
            or known.inspected == file.identity
            or (same_file and has_header and not _is_closed(file) and _settles_in(file, now))
        ):
            return known.inspection
    elif file.vanished_at is not None:
        return Inspection(Kind.OTHER)
    path = folder.real_path(file)
    found = inspect(path)
    if found.kind is Kind.UNREADABLE and not os.path.exists(path):
        return Inspection(Kind.EMPTY, message="is gone")  # since the listing; the next look will say so
    # What the system refuses to read may be readable the next time without a new mtime (chmod).
    known.inspection, known.inspected = found, None if found.kind is Kind.UNREADABLE else file.identity
    return found


def wholeness(folder: Folder, file: File, found: Inspection, *, now: float) -> Wholeness:
    """Whether `file`, of which `found` is the inspection, is all there."""
    known = _known(file)
    is_unfinished = folder.is_unfinished(file)
    if file.vanished_at is not None or (known.whole == file.identity and not is_unfinished):
        return Wholeness()
    rests_in_s = 0.0 if _is_closed(file) else _settles_in(file, now)
    lack = _lack(file, found)
    if lack:
        return Wholeness(lack, rests_in_s or None)
    total = human_bytes(file.size_bytes)
    if is_unfinished:
        return Wholeness(f"{total} set aside, and {file.name}.aria2 says that a download goes on")
    if rests_in_s:
        return Wholeness(f"100 % of {total}, still being written", rests_in_s, is_settling=True)
    if known.hole == file.identity or tail_is_hole(folder.real_path(file), file.size_bytes):
        known.hole = file.identity
        return Wholeness(f"{total} set aside, but the end is not written yet")
    known.whole = file.identity
    return Wholeness()


def _lack(file: File, found: Inspection) -> str:
    size_bytes = file.size_bytes
    if found.header is None:
        what = "nothing" if size_bytes == 0 else human_bytes(size_bytes)
        return f"{what} so far, not even the header is all there"
    required_bytes = found.header.required_bytes
    if size_bytes < required_bytes:
        return f"{size_bytes * 100 // required_bytes} % of {human_bytes(required_bytes)}"
    return ""


def _settles_in(file: File, now: float) -> float:
    """Seconds until size and mtime have stood still for SETTLE_S; 0 when they have."""
    age_s = now - file.since
    age_by_mtime_s = time.time() - file.mtime_ns / 1e9
    if age_by_mtime_s > age_s:
        age_s = age_by_mtime_s
    return max(0.0, SETTLE_S - age_s)


def _is_closed(file: File) -> bool:
    return file.closed == file.identity


def _known(file: File) -> Known:
    if not isinstance(file.known, Known):
        file.known = Known()
    return file.known


def human_bytes(size_bytes: int) -> str:
    """`4.1 GB`: decimal units, as file managers and download pages show them."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            break
    return f"{size:.0f} {unit}" if size >= 99.5 else f"{size:.1f} {unit}"
