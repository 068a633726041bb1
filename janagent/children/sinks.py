"""What becomes of the bytes that come out of a child: log lines, and status lines waiting to be taken.

Owns limits on lines and the patience with rubbish. Knows nothing of processes. Below: `pipes` brings the
bytes; above: `spawn` puts both sinks behind a child's pipes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from janagent.children import wire
from janagent.children.logs import LogRing
from janagent.children.pipes import Line, LineSplitter, PipeReader

LOG_LINE_LIMIT_BYTES = 8 * 1024
STATUS_LINE_LIMIT_BYTES = 64 * 1024
STATUS_QUEUE_LIMIT = 256
COMPLAINT_LIMIT = 20
"""Malformed status lines of one child that are shown; the rest are only skipped."""
_LOG_LINES_PER_CHUNK = 1_000
_LOG_BYTES_PER_WINDOW = 64 * 1024
_STATUS_BYTES_PER_WINDOW = 8 * 1024


class LogSink:
    """Puts what a child writes to stdout and stderr into the log ring that `ring` names at that moment."""

    def __init__(self, ring: Callable[[], LogRing]) -> None:
        self._ring = ring
        self._splitter = LineSplitter(limit_bytes=LOG_LINE_LIMIT_BYTES)

    def read_from(self, fd: int) -> PipeReader:
        """The reader, not yet started, that feeds this sink."""
        return PipeReader(fd, on_data=self._feed, on_end=self._end, bytes_per_window=_LOG_BYTES_PER_WINDOW)

    def _feed(self, data: bytes) -> None:
        data = data.replace(b"\r", b"\n")  # progress bars
        excess = data.count(b"\n") - _LOG_LINES_PER_CHUNK
        if excess > 0:  # the ring would soon forget them, and each one costs the loop some microseconds
            self._add(self._splitter.feed(b"\n"))
            self._ring().add(f"janagent: {excess} lines skipped, too many at once")
            data = data.split(b"\n", excess)[-1]
        self._add(self._splitter.feed(data))

    def _end(self) -> None:
        self._add(self._splitter.rest())

    def _add(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if line.data:
                text = line.data.decode("utf-8", "replace")
                self._ring().add(f"{text} ... (line cut)" if line.is_cut else text)


class StatusQueue:
    """The status lines of a child that nobody has taken yet; when it is full, the pipe is not read further.

    A line that is no status is skipped and `complain` is told, at most `COMPLAINT_LIMIT` times.
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._complaints = 0
        self._splitter = LineSplitter(limit_bytes=STATUS_LINE_LIMIT_BYTES)
        self._lines: deque[wire.StatusLine] = deque()
        self._reader: PipeReader | None = None
        self._changed = asyncio.Event()
        self._is_ended = False

    def read_from(self, fd: int) -> PipeReader:
        """The reader, not yet started, that feeds this queue."""
        self._reader = PipeReader(
            fd, on_data=self._feed, on_end=self._end, bytes_per_window=_STATUS_BYTES_PER_WINDOW
        )
        return self._reader

    async def next(self) -> wire.StatusLine | None:
        """The oldest line; None once the pipe is closed and nothing is left. One caller at a time."""
        while not self._lines:
            if self._is_ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        line = self._lines.popleft()
        if self._reader is not None and len(self._lines) < STATUS_QUEUE_LIMIT:
            self._reader.release()
        return line

    def _feed(self, data: bytes) -> None:
        for line in self._splitter.feed(data):
            self._take(line)
        if self._reader is not None and len(self._lines) >= STATUS_QUEUE_LIMIT:
            self._reader.hold()

    def _end(self) -> None:
        self._is_ended = True
        self._changed.set()

    def _take(self, line: Line) -> None:
        if line.is_cut:
            self._skip(line.data, f"longer than {STATUS_LINE_LIMIT_BYTES} bytes")
            return
        try:
            self._lines.append(wire.parse_status(line.data))
        except ValueError:  # pydantic's message would quote the line once more, at length
            self._skip(line.data, "not a status")
        self._changed.set()

    def _skip(self, data: bytes, reason: str) -> None:
        self._complaints += 1
        if self._complaints <= COMPLAINT_LIMIT:
            shown = data[:120].decode("utf-8", "replace")
            self._complain(f"skipped a line on the status pipe, {reason}: {shown!r}")
