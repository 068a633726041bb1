"""Our ends of the pipes to a child that may do anything with the other ends.

Owns non-blocking reading and writing on the event loop, bounded in memory and in rate. Knows nothing of
processes or of what the bytes mean; `spawn` does. asyncio's own subprocess streams are not used: their
`wait()` (Python 3.11) returns only when every pipe is closed, and a grandchild may hold a pipe for ever.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_FINISH_LIMIT_BYTES = 1 << 20
"""What is still read from a pipe whose child is gone; no pipe of ours holds more."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its newline; `is_cut` when it was longer than the limit and the rest is dropped."""

    data: bytes
    is_cut: bool = False


class LineSplitter:
    """Makes lines of at most `limit_bytes` out of chunks; memory never exceeds one line."""

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._begun = bytearray()
        self._is_skipping = False

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that `data` ends; consume the iterator before the next call."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            yield from self._append(piece)
            if not self._is_skipping:
                yield Line(bytes(self._begun))
            self._begun.clear()
            self._is_skipping = False
        yield from self._append(rest)

    def rest(self) -> Iterator[Line]:
        """What was begun and never ended, once no more data can come."""
        if self._begun and not self._is_skipping:
            yield Line(bytes(self._begun))
        self._begun.clear()

    def _append(self, piece: bytes) -> Iterator[Line]:
        if self._is_skipping:
            return
        room = self._limit_bytes - len(self._begun)
        self._begun += piece[:room]
        if len(piece) > room:
            self._is_skipping = True
            yield Line(bytes(self._begun), is_cut=True)


class PipeReader:
    """Feeds what arrives on `fd`, which it owns, to `on_data`; `on_end` is called exactly once.

    No more than `bytes_per_window` are taken in each `window_s`: a child that floods a pipe is slowed
    down by its own full pipe and cannot keep the daemon busy.
    """

    def __init__(
        self,
        fd: int,
        *,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        bytes_per_window: int,
        window_s: float = 0.05,
    ) -> None:
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        self._bytes_per_window = bytes_per_window
        self._window_s = window_s
        self._taken_bytes = 0
        self._window: asyncio.TimerHandle | None = None
        self._is_held = False
        self._is_open = True
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to read."""
        os.set_blocking(self._fd, False)
        self._listen()

    def hold(self) -> None:
        """Take nothing more until `release`: the consumer is behind."""
        self._is_held = True
        self._listen()

    def release(self) -> None:
        """The consumer caught up."""
        if self._is_held:
            self._is_held = False
            self._listen()

    def finish(self) -> None:
        """The child is gone: take what the pipe still holds, then close, whoever else holds its other end."""
        taken = 0
        while self._is_open and taken < _FINISH_LIMIT_BYTES:
            data = self._read(1 << 16)
            if data is None:
                break
            taken += len(data)
        self._close()

    def _listen(self) -> None:
        if not self._is_open:
            return
        if self._is_held or self._taken_bytes >= self._bytes_per_window:
            self._loop.remove_reader(self._fd)
        else:
            self._loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        data = self._read(min(self._bytes_per_window, 1 << 16))
        if not data:
            return
        if self._window is None:
            self._window = self._loop.call_later(self._window_s, self._on_window_end)
        self._taken_bytes += len(data)
        if self._taken_bytes >= self._bytes_per_window:
            self._listen()

    def _on_window_end(self) -> None:
        was_full = self._taken_bytes >= self._bytes_per_window
        self._window, self._taken_bytes = None, 0
        if was_full:
            self._listen()

    def _read(self, limit: int) -> bytes | None:
        """Read once and pass it on. None: nothing there now; empty: ended, and closed."""
        try:
            data = os.read(self._fd, limit)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self._close()
        return data

    def _close(self) -> None:
        if self._is_open:
            self._loop.remove_reader(self._fd)
            self._is_open = False
            if self._window is not None:
                self._window.cancel()
            os.close(self._fd)
            self._on_end()


class PipeWriter:
    """Writes to `fd`, which it owns, without ever blocking the loop."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._is_open = True
        self._room: asyncio.Future[None] | None = None
        self._turn = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Return when all is in the pipe, or when nobody will read it any more, which is no error here."""
        async with self._turn:
            view = memoryview(data)
            while view and self._is_open:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    await self._wait_for_room()
                except BrokenPipeError:
                    return

    async def _wait_for_room(self) -> None:
        loop = asyncio.get_running_loop()
        self._room = loop.create_future()
        loop.add_writer(self._fd, self._wake)
        try:
            await self._room
        finally:
            if self._is_open:
                loop.remove_writer(self._fd)
            self._room = None

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def close(self) -> None:
        """Close our end, which is end-of-file for the child; a `write` that waits returns."""
        if self._is_open:
            self._is_open = False
            if self._room is not None:
                self._room.get_loop().remove_writer(self._fd)
            self._wake()
            os.close(self._fd)
