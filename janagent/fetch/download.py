"""One file of a fetch: what its server says it is, what is there of it, and when it may have its name.

Guards against mixing two versions: whoever sees another ETag or size asks for a restart, which happens once
no connection works on the file any more. Neighbours: `transfer` runs connections, `part` is the file on disk.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from janagent.fetch import cache
from janagent.fetch.client import Answer, Source
from janagent.fetch.disk import disk_faults
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.noting import Noting
from janagent.fetch.part import (
    Digest,
    Found,
    Part,
    expected,
    feed,
    is_needed,
    is_own,
    look_at,
    new_digest,
    refuse_stand_in,
    taken_away,
)
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.ranges import Interval, Ranges, Span
from janagent.fetch.record import BLOCK_BYTES, Entry, Record
from janagent.fetch.turns import take_turn
from janagent.folder.records import remove_part

log = logging.getLogger(__name__)
T = TypeVar("T")
SEGMENT_BYTES = 2 << 20
"""What one request asks for; times the connections, the most that a kill can cost."""
HASH_STEP_BYTES = 4 << 20
LARGEST_BYTES = 1 << 44
MAX_RESTARTS = 3
MAX_CUTS = 5
OTHERS_POLL_S = 0.5
_NO_END = 1 << 62


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """`work` beside the event loop. A cancelled caller waits for its end: files stay open until then."""
    future = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


class Download:
    """A file that is not in place yet."""

    def __init__(self, file: RemoteFile, *, place: Place, record: Record, earlier: Entry | None) -> None:
        """`earlier` is what a record says of an earlier fetch of this very file. Raises FetchError."""
        self.file = file
        self.source = Source(file)
        self.part = Part(file, place)
        self.target = self.part.target
        self.etag = earlier.etag if earlier is not None else None
        self.is_opened = self.is_open = self.is_placed = False
        self._record = record
        self._earlier = earlier
        self.is_given_up = False
        """It changed too often."""
        self.restarted: Callable[[], None] = lambda: None
        is_ours = earlier is not None and is_own(self.part.path, earlier.inode)
        self.kept = list(earlier.done()) if earlier is not None and is_ours else []
        self.ranges = self._ranges(self.kept)
        self._is_resumed = bool(self.kept)
        self._is_known = False
        """Its server has answered once."""
        self._is_noted = self._is_sequential = False
        self._is_settled = False
        """Its `.part` may go: it gets its name, or was wrong."""
        self._active = self._restarts = self._cuts = 0
        self._must_restart = False
        self._grown = asyncio.Event()
        self._noting = Noting(file, part=self.part, record=record)

    @property
    def done_bytes(self) -> int:
        """How much of it is there."""
        return self.ranges.done_bytes if self.ranges is not None else 0

    @property
    def size_bytes(self) -> int:
        """How long it is; 0 until that is known."""
        return self.ranges.size_bytes if self.ranges is not None and self.ranges.size_bytes < _NO_END else 0

    def _ranges(self, done: Sequence[Interval]) -> Ranges | None:
        earlier = self._earlier
        size = self.file.size_bytes
        if size is None and earlier is not None:
            size = earlier.size_bytes
        return None if size is None else Ranges(size, done)

    async def open(self) -> None:
        """Make or take up the `.part`, once no other fetcher works on it. It may turn out that there is
        nothing to bring: then it is placed already. Raises FetchError."""
        try:
            self.is_open = await self._open()
        except FetchError as error:
            if error.code is not Code.IN_THE_WAY or is_needed(self.file):
                raise
            log.warning("%s is left out: %s", self.file.name, error.message)
        self.is_placed = not self.is_open
        if self.is_placed and (size := self.size_bytes):
            self.ranges = Ranges(size, [(0, size)])

    async def _open(self) -> bool:
        theirs: Sequence[Entry] = ()
        elsewhere: Path | None = None
        while True:
            if (
                await in_thread(lambda: look_at(self.file, self.target, is_trusted=False))
                is not Found.NOTHING
            ):
                await in_thread(self._drop_part)
                return False
            # Before the lock: who gives up removes the record last, and leaves a part that is locked by then,
            # or that others wait for. While it was writing, we heard what is there.
            theirs = await in_thread(self._record.of_others, self.file.name) or theirs
            decide = partial(self._take_up, theirs)
            with disk_faults(self.part.path):
                is_ours, other = await in_thread(take_turn, self.file, self.part, self._record, decide)
            elsewhere = other or elsewhere
            if is_ours:
                break
            await asyncio.sleep(OTHERS_POLL_S * random.uniform(0.8, 1.2))  # two must not meet again and again
        if elsewhere is not None:
            self.file = replace(self.file, cached=elsewhere)
        if await in_thread(lambda: look_at(self.file, self.target, is_trusted=False)) is not Found.NOTHING:
            await in_thread(self.part.remove)  # who had it before us has just given it its name
            return False
        return not (self.file.cached is not None and await in_thread(self._take_from_cache))

    def _take_from_cache(self) -> bool:
        """What the hub's library has on this machine need not be fetched. True: it is linked and verified; a
        copy goes the way of all that came, and if it is wrong, the file is fetched. Raises FetchError."""
        name, size = self.file.name, self.size_bytes
        with disk_faults(self.target):
            if cache.link(self.file, self.target):
                self.part.remove()
                self._record.owns(name, self.target.lstat().st_ino, [(0, size)])
                self._record.placed(name)
                self._record.remember(name, self.target)
                return True
            if not self._is_resumed and cache.copy(self.file, self.part.fd):
                self.ranges, self._is_resumed = Ranges(size, [(0, size)]), True
                self._record.mark(name, 0, size)
        return False

    def _drop_part(self) -> None:
        if self._earlier is not None:
            remove_part(self.part.path, self._earlier.inode)

    def _take_up(self, theirs: Sequence[Entry]) -> None:
        """Go on with what is there if that is ours, or of another fetch that wants the same. What nobody
        counts on is emptied: the name says that it is of a fetch whose record was lost. Raises OSError,
        FetchError."""
        inode = self.part.inode
        # A new file may have the number of one that went a moment ago, and is still noted somewhere.
        is_new = self.part.is_new
        noted = () if is_new else (self._earlier, *theirs)
        known = [entry for entry in noted if entry is not None and entry.inode == inode]
        if not (known or is_new) and self._record.is_anothers(inode):
            self.part.close()
            words = f"{self.part.path} belongs to another download: finish it or remove that file"
            raise FetchError(Code.IN_THE_WAY, words)
        kept = max((list(entry.done()) for entry in known), key=_count, default=[])
        if kept and kept[-1][1] > self.part.size_bytes:  # lost with the power, or by another fetch's restart
            kept = []
        if kept != self.kept:
            self.ranges = self._ranges(kept)
        self.kept, self._is_resumed = kept, bool(kept)
        self._record.owns(self.file.name, inode, kept)
        if not kept:
            self.part.empty()

    async def check(self) -> None:
        """Raises FetchError if somebody took the `.part` away: all that comes would be for nothing."""
        if self.is_open and not self._is_settled and await in_thread(self.part.is_gone):
            if self._is_settled:  # it got its name in this very moment
                return
            raise taken_away(self.part.path)

    def close(self) -> None:
        """Leave the `.part` for a later fetch, if there is anything in it."""
        if self.part.fd >= 0:
            with contextlib.suppress(OSError, FetchError):  # its disk is gone: it is fetched again
                self._noting.flush()
        if self.done_bytes:
            self.part.close()
        else:
            self.part.remove()

    def take(self) -> Span | None:
        """A range for one more connection, None if there is nothing for one now."""
        if not self.is_open or self._must_restart:
            return None
        if self._active and (self._is_sequential or not self._is_known):
            return None
        if self.ranges is None:
            self._active += 1
            return Span(0, SEGMENT_BYTES)
        span = self.ranges.take(_NO_END if self._is_sequential else SEGMENT_BYTES)
        if span is not None:
            self._active += 1
        return span

    def accept(self, answer: Answer, span: Span) -> None:
        """Check that the answer belongs to this version of the file; may widen `span`. Raises FetchError."""
        is_other = None not in (self.etag, answer.etag) and self.etag != answer.etag
        size, total = self.size_bytes, answer.total_bytes
        if total is not None and self.file.size_bytes not in (None, total):
            words = f"{self.file.name} should have {self.file.size_bytes:,} bytes, its server has {total:,}"
            raise FetchError(Code.WRONG_LENGTH, words)
        if total is not None and total > LARGEST_BYTES:
            words = f"the server of {self.file.name} announces {total:,} bytes, which nobody can keep"
            raise FetchError(Code.WRONG_LENGTH, words)
        if is_other or (self._is_known and total is not None and size not in (0, total)):
            raise self._changed()
        if answer.is_partial and answer.start != span.position:
            raise FetchError(Code.SERVER_ERROR, f"the server of {self.file.name} sends another part of it")
        if not answer.is_partial and (self._active > 1 or span.position or self.done_bytes):
            self._is_sequential = True  # it ignores Range: one connection, from the beginning
            raise self._changed()
        if self.ranges is None or (self.ranges.size_bytes == _NO_END and total is not None):
            self.ranges = Ranges(total if total is not None else _NO_END)
            taken = self.ranges.take(SEGMENT_BYTES)
            span.end = taken.end if taken is not None else 0
        if not answer.is_partial:
            self._is_sequential = True
            if (rest := self.ranges.take(_NO_END)) is not None:
                span.end = rest.end
        if not self._is_known and answer.etag is not None:
            self.etag = answer.etag
        self._is_known = True

    def note_change(self) -> None:
        """Its server said that it is another file now."""
        self._must_restart = True

    def _changed(self) -> FetchError:
        self._must_restart = True
        return FetchError(Code.CHANGED, f"{self.file.name} changed on its server while it was fetched")

    async def note_version(self) -> None:
        """Let the record know what the server said, so that a later process can go on with it."""
        if self.size_bytes > BLOCK_BYTES and not (self.done_bytes or self._is_noted):
            self._is_noted = True  # by one connection: another, later, would forget what came meanwhile
            with disk_faults(self.part.path):
                await in_thread(
                    lambda: self._record.restart(self.file.name, size_bytes=self.size_bytes, etag=self.etag)
                )

    async def write(self, chunks: list[bytes], span: Span) -> None:
        """Write what came, then note that it is there. Raises FetchError."""
        if self._must_restart:
            raise self._changed()
        with disk_faults(self.part.path):
            await in_thread(self._write, chunks, span)
        self._grown.set()

    def _write(self, chunks: list[bytes], span: Span) -> None:
        assert self.ranges is not None
        start = span.position
        end = start + sum(map(len, chunks))
        self.part.write(chunks, start)
        first, last = self.ranges.add(start, end)
        span.position = end
        low = max(first, start - start % BLOCK_BYTES)
        self._noting.add(low, min(last, end + BLOCK_BYTES), grown_bytes=end - start)

    def end_here(self, span: Span) -> None:
        """The body ended; a file of unknown length is as long as this."""
        if self.ranges is not None and self.ranges.size_bytes == _NO_END:
            self.ranges = Ranges(span.position, [(0, span.position)] if span.position else [])
            span.end = span.position
            self._grown.set()

    async def leave(self, span: Span) -> None:
        """A connection is done with `span`. Raises FetchError if the file changes all the time."""
        self._active -= 1
        if self.ranges is not None:
            is_cut = (
                self._is_sequential and 0 < span.position < span.end
            )  # one that was refused has cost nothing
            self.ranges.give_back(span)
            if is_cut:
                self._must_restart = True
                self._cuts += 1
                self._restarts -= 1  # a server without Range that breaks off has not changed the file
        if self._must_restart and not self._active:
            await self.restart()

    async def restart(self) -> None:
        """Forget all that is there."""
        self._must_restart = True  # nobody is given a range before the file is empty
        self._restarts += 1
        if self._cuts > MAX_CUTS:
            words = f"{self.file.name}: its server cannot resume, and broke off {self._cuts} times"
            raise FetchError(Code.WRONG_LENGTH, words)
        if self._restarts > MAX_RESTARTS:
            self.is_given_up = True
            words = f"{self.file.name} changes on its server again and again: try later"
            raise FetchError(Code.CHANGED, words)
        self.etag, self._is_known, self._is_noted, self._is_resumed = None, False, False, False
        self._noting.forget()
        size = self.file.size_bytes
        self.ranges = None if size is None else Ranges(size)
        name = self.file.name
        with disk_faults(self.part.path):
            await in_thread(self.part.empty)
            await in_thread(lambda: self._record.restart(name, size_bytes=size, etag=None))
        self._must_restart = False
        self._grown.set()
        self.restarted()

    async def verify_and_place(self) -> None:
        """Hash the file as it grows; once it is complete and right, give it its name. Raises FetchError."""
        ranges, digest, hashed = None, None, 0
        while ranges is None or hashed < ranges.size_bytes or ranges is not self.ranges:
            if ranges is not self.ranges or digest is None:
                ranges, hashed, digest = self.ranges, 0, self._new_digest()
            prefix = ranges.prefix if ranges is not None else 0
            if prefix - hashed >= HASH_STEP_BYTES or (ranges is not None and prefix == ranges.size_bytes):
                end = min(prefix, hashed + 8 * HASH_STEP_BYTES)
                await self._hash(digest, hashed, end, of=ranges)
                hashed = end
            else:
                self._grown.clear()
                await self._grown.wait()
        assert digest is not None
        if (wanted := expected(self.file)) is not None and digest.hexdigest() != wanted:
            await self._wrong()
            return await self.verify_and_place()
        self._is_settled = True
        with disk_faults(self.target):
            await in_thread(self._place, ranges.size_bytes)
        self.is_placed = True
        return None

    async def _hash(self, digest: Digest, start: int, end: int, *, of: Ranges | None) -> None:
        """Hash these bytes of the version `of`; no matter what is wrong with them once there is another."""
        if expected(self.file) is None:
            return
        try:
            with disk_faults(self.part.path):
                await in_thread(feed, digest, self.part.fd, start, end)
        except FetchError:
            if of is self.ranges:
                raise

    def _place(self, size_bytes: int) -> None:
        try:
            refuse_stand_in(self.file, self.part.path)
            self._noting.end()
            self.part.complete(size_bytes)
            self._record.remember(self.file.name, self.part.path)
            self.part.place(size_bytes)
        except FetchError as error:
            if error.code is Code.NOT_A_MODEL:
                self.part.remove()
            if error.code is not Code.IN_THE_WAY or is_needed(self.file):
                raise
            log.warning("%s", error.message)
            self.part.remove()
        else:
            self._record.placed(self.file.name)

    def _new_digest(self) -> Digest:
        return new_digest(self.file, self.size_bytes)

    async def _wrong(self) -> None:
        """What an earlier process left may be lost by a power failure: then it is worth a second try."""
        if self._is_resumed:
            return await self.restart()
        self._is_settled = True
        await in_thread(self.part.remove)
        words = f"{self.file.name} came with another hash than it should have: its server has a wrong copy"
        raise FetchError(Code.WRONG_HASH, words, is_permanent=True)


def _count(intervals: Sequence[Interval]) -> int:
    return sum(end - start for start, end in intervals)
