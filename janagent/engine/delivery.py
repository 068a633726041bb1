"""The loop's side of a running request: gathers the progress of its answers, whole or as a stream.

Neighbours: `scheduler` calls `receive` on the loop, `server` waits for the end. Must not know how tokens
are made.
"""

import asyncio
from collections.abc import Sequence

from janagent.body import BodyStream
from janagent.engine.answers import Choice, ChunkWriter
from janagent.engine.faults import RequestError, engine_lost
from janagent.engine.reader import AnswerReader
from janagent.engine.work import Finish, Progress, TokenReport


class Collected:
    """A request answered in one piece; `done` resolves when all answers have ended."""

    def __init__(self, n: int) -> None:
        self.choices = [Choice() for _ in range(n)]
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = n

    def receive(self, index: int, progress: Progress) -> None:
        """Take what a step brought for answer `index`."""
        if self.done.done():
            return
        if progress.error is not None:
            self.done.set_exception(engine_lost(progress.error))
            return
        choice = self.choices[index]
        choice.texts.append(progress.text)
        choice.reports.extend(progress.reports)
        if progress.finish is not None:
            choice.finish = progress.finish
            self._open -= 1
            if self._open == 0:
                self.done.set_result(None)


class Streamed:
    """A request answered as events, each written to `stream` as it comes.

    `changed` is set when the handler must look: something came for the first time, the reader fell behind, an
    error, or the end.
    """

    def __init__(
        self,
        stream: BodyStream,
        chunks: ChunkWriter,
        *,
        n: int,
        echoed: Sequence[str] = (),
        readers: Sequence[AnswerReader] = (),
    ) -> None:
        """`readers`, one an answer, tell thoughts, words and calls apart; without them all text is words."""
        self._readers = readers
        self._stream = stream
        self._chunks = chunks
        self._echoed = echoed
        self._is_begun = [False] * n
        self._unsent: list[list[TokenReport]] = [[] for _ in range(n)]
        self._open = n
        self.changed = asyncio.Event()
        self.error: RequestError | None = None

    @property
    def is_done(self) -> bool:
        """Whether every answer has ended."""
        return self._open == 0

    def receive(self, index: int, progress: Progress) -> None:
        """Take what a step brought for answer `index`."""
        if self.error is not None:
            return
        if progress.error is not None:
            self.error = engine_lost(progress.error)
            self.changed.set()
            return
        data = b""
        reports: Sequence[TokenReport] = progress.reports
        echo = self._echoed[index] if self._echoed else ""
        if not self._is_begun[index]:
            self._is_begun[index] = True
            data = self._chunks.role(index) + (self._chunks.text(index, echo) if echo else b"")
        finish = progress.finish
        if self._readers:
            read, reports = self._read(index, progress)
            data += read
            if finish is Finish.STOP and self._readers[index].has_called:
                finish = Finish.TOOL_CALLS
        elif progress.text or progress.reports:
            data += self._chunks.text(index, progress.text, progress.reports, offset=len(echo))
        if finish is not None:
            data += self._chunks.end(index, finish, reports if self._readers else ())
            self._open -= 1
        self._stream.write(data)
        if self._open == 0 or not self._stream.is_open or self._stream.is_congested:
            self.changed.set()

    def _read(self, index: int, progress: Progress) -> tuple[bytes, Sequence[TokenReport]]:
        """(the events of what is certain by now, the reports that no event has taken along)."""
        reader = self._readers[index]
        pieces = reader.feed(progress.text)
        if progress.finish is not None:
            pieces += reader.finish()
        reports = [*self._unsent[index], *progress.reports]
        data = b""
        for piece in pieces:
            data += self._chunks.piece(index, piece, reports)
            reports = []
        self._unsent[index] = reports
        return data, reports
