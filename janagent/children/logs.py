"""The last lines that a model's child processes wrote, kept in memory within fixed bounds.

Owns keeping, cleaning and following lines. Knows nothing of processes: `sinks` adds what comes out of
a child's pipe, `http` shows and follows it. Used on the event loop's thread only.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

MAX_LINES = 2_000
MAX_CHARS = 512 * 1024

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line without its newline. `at` is seconds since the epoch; `number` counts from 0 in its ring."""

    number: int
    at: float
    text: str


class LogRing:
    """The newest lines, at most `max_lines` of them and `max_chars` characters in all.

    `redact` sees every line before it is kept, so that no secret is ever stored.
    """

    def __init__(
        self,
        *,
        max_lines: int = MAX_LINES,
        max_chars: int = MAX_CHARS,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._lines: deque[LogLine] = deque()
        self._max_lines = max_lines
        self._max_chars = max_chars
        self._redact = redact
        self._chars = 0
        self._next_number = 0
        self._is_closed = False
        self._waiting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, text: str, *, at: float | None = None) -> None:
        """Keep a line, or several when `text` holds newlines.

        Terminal control is taken out: a model file must not steer the terminal of whoever reads the log.
        """
        if self._redact is not None:
            text = self._redact(text)
        now = time.time() if at is None else at
        for line in text.split("\n"):
            self._keep(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", _ESCAPE_SEQUENCE.sub("", line)), at=now)
        self._wake()

    def _keep(self, text: str, *, at: float) -> None:
        self._lines.append(LogLine(self._next_number, at, text))
        self._next_number += 1
        self._chars += len(text)
        while len(self._lines) > self._max_lines or (self._chars > self._max_chars and len(self._lines) > 1):
            self._chars -= len(self._lines.popleft().text)

    def take_over(self, other: "LogRing") -> None:
        """Move what `other` holds to the end of this ring, with the times it was written."""
        for line in other._lines:
            self.add(line.text, at=line.at)
        other._lines.clear()
        other._chars = 0

    def lines(self, last: int | None = None) -> list[LogLine]:
        """The kept lines, oldest first; only the `last` newest when given."""
        kept = list(self._lines)
        return kept if last is None else kept[max(len(kept) - last, 0) :]

    def text(self, last: int | None = None) -> str:
        """The kept lines as text, each ended by a newline."""
        return "".join(f"{line.text}\n" for line in self.lines(last))

    async def follow(self, *, last: int | None = None) -> AsyncGenerator[LogLine, None]:
        """The kept lines (only the `last` newest when given), then each new one until `close`.

        A reader slower than the writer misses lines that fell out of the ring; gaps in `number` show it.
        """
        kept = self.lines(last)
        next_number = kept[0].number if kept else self._next_number
        while True:
            for line in self._from(next_number):
                next_number = line.number + 1
                yield line
            if next_number < self._next_number:
                continue  # lines came while the reader was busy with the last one
            if self._is_closed:
                return
            await self._changed()

    def close(self) -> None:
        """Nothing more will come: every `follow` ends after the last line."""
        self._is_closed = True
        self._wake()

    def _from(self, number: int) -> list[LogLine]:
        """Kept lines numbered `number` and up; cost grows with their count, not with the ring."""
        wanted = min(self._next_number - number, len(self._lines))
        return [self._lines[at] for at in range(-wanted, 0)]

    async def _changed(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
