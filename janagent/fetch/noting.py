"""When the record hears what is there of a file: at once, or not before it is surely on the disk.

A hash tells in the end if a power failure took away what the record calls there. Without one nothing would,
so the record must not reach the disk before the bytes: it hears of them in batches, each synced. Blocks, and
is used from several threads. Neighbours: `download` writes, `record` remembers.
"""

import threading

from janagent.fetch.part import Part, expected
from janagent.fetch.plan import RemoteFile
from janagent.fetch.ranges import Interval
from janagent.fetch.record import Record

SYNC_BYTES = 2 << 20


class Noting:
    """What came of one file, on its way into the record."""

    def __init__(self, file: RemoteFile, *, part: Part, record: Record) -> None:
        self._name = file.name
        self._part = part
        self._record = record
        self._batch_bytes = SYNC_BYTES if expected(file) is None else 0
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        """While one batch is synced, whoever has filled the next one waits: few bytes are ever at stake."""
        self._batch: list[Interval] = []
        self._held_bytes = 0
        self._is_ended = False

    def add(self, start: int, end: int, *, grown_bytes: int) -> None:
        """The bytes from `start` to `end` are written, `grown_bytes` of them just now. Raises OSError,
        FetchError."""
        if not self._batch_bytes:
            self._record.mark(self._name, start, end)
            return
        with self._lock:
            self._batch.append((start, end))
            self._held_bytes += grown_bytes
            is_full = self._held_bytes >= self._batch_bytes
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Have on the disk and in the record whatever came. Raises OSError, FetchError."""
        with self._sync_lock:
            with self._lock:
                batch, self._batch, self._held_bytes = self._batch, [], 0
            if self._is_ended:
                return
            if batch:
                self._part.sync()
            for start, end in batch:
                self._record.mark(self._name, start, end)

    def end(self) -> None:
        """All came, and goes onto the disk at once: whoever still waits here for a sync may find the file
        closed. Returns once nobody syncs it."""
        with self._sync_lock, self._lock:
            self._is_ended = True

    def forget(self) -> None:
        """Nothing of it is there any more."""
        with self._lock:
            self._batch, self._held_bytes = [], 0
