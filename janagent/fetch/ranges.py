"""Which bytes of a file are there, which are on their way, which are still to be asked for.

Pure bookkeeping, safe to use from several threads. Neighbours: `download` hands ranges to connections,
`record` remembers those that are there.
"""

import bisect
import threading
from collections.abc import Iterable
from dataclasses import dataclass

Interval = tuple[int, int]
"""First byte, and the byte after the last."""


@dataclass(slots=True)
class Span:
    """A range that one connection brings; `position` is the next byte to write."""

    position: int
    end: int


class Ranges:
    """The bytes of one file of `size_bytes`."""

    def __init__(self, size_bytes: int, done: Iterable[Interval] = ()) -> None:
        """`done` is sorted, apart, and within the size."""
        self.size_bytes = size_bytes
        self._lock = threading.Lock()
        self._done: list[Interval] = list(done)
        self._open: list[Interval] = []
        """Neither there nor on their way, sorted."""
        position = 0
        for start, end in [*self._done, (size_bytes, size_bytes)]:
            if position < start:
                self._open.append((position, start))
            position = end
        self._done_bytes = sum(end - start for start, end in self._done)

    @property
    def done_bytes(self) -> int:
        """How many bytes are there."""
        return self._done_bytes

    @property
    def prefix(self) -> int:
        """Up to where the file is there without a gap from its beginning."""
        with self._lock:
            return self._done[0][1] if self._done and self._done[0][0] == 0 else 0

    def take(self, wanted_bytes: int) -> Span | None:
        """The first range that nobody is bringing, at most `wanted_bytes` of it. None if there is none."""
        with self._lock:
            if not self._open:
                return None
            start, end = self._open[0]
            stop = min(end, start + wanted_bytes)
            self._open[:1] = [(stop, end)] if stop < end else []
            return Span(start, stop)

    def give_back(self, span: Span) -> None:
        """What is left of `span` will not be brought by who took it."""
        if span.position >= span.end:
            return
        with self._lock:
            _merge(self._open, span.position, span.end)
            span.end = span.position

    def add(self, start: int, end: int) -> Interval:
        """These bytes are there now. Returns the range without a gap around them."""
        with self._lock:
            self._done_bytes += end - start
            return _merge(self._done, start, end)


def _merge(intervals: list[Interval], start: int, end: int) -> Interval:
    """Insert a range that overlaps none of `intervals`; returns what it is part of now."""
    at = bisect.bisect_left(intervals, (start, end))
    first, last = at, at
    if at and intervals[at - 1][1] == start:
        first, start = at - 1, intervals[at - 1][0]
    if at < len(intervals) and intervals[at][0] == end:
        last, end = at + 1, intervals[at][1]
    intervals[first:last] = [(start, end)]
    return start, end
