"""Brings the files of a plan: several connections, whatever file they work on, until all is in place.

Decides who asks for what and when to try again. Neighbours: `client` speaks HTTP, `download` knows one file,
`record` survives `kill -9`; `plan` says what is wanted.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

from janagent.aio import cancel_and_wait, create_task
from janagent.fetch.client import Answer, Auth, Client
from janagent.fetch.disk import disk_faults
from janagent.fetch.download import Download, in_thread
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.inventory import Inventory, check_space, take_stock
from janagent.fetch.plan import RemoteFile
from janagent.fetch.ranges import Span
from janagent.fetch.record import Record

BLOCK_BYTES = 512 << 10
RATE_OVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard to try."""

    connections: int = 6
    stall_s: float = 30.0
    give_up_s: float = 120.0
    """Without a single byte for so long, the fetch fails."""
    backoff_s: float = 0.5
    longest_backoff_s: float = 20.0
    tell_every_s: float = 0.15
    """With the first and the last word that makes no more than ten a second."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the fetch is. `eta_s` is None while nobody can tell."""

    done_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None
    files: int


def pause_s(limits: Limits, tries: int, *, asked_s: float | None) -> float:
    """How long to wait after `tries` failures in a row; `asked_s` is what the server named.

    Never the same twice: of many who were turned away together, not all come back together.
    """
    if asked_s is not None:
        return asked_s * random.uniform(1.0, 1.1)
    longest_s: float = min(limits.longest_backoff_s, limits.backoff_s * 2 ** min(tries - 1, 16))
    return longest_s * random.uniform(0.5, 1.0)


async def transfer(
    files: Sequence[RemoteFile],
    *,
    folder: Path,
    record: Record,
    auth: Auth,
    told: Callable[[Progress], None],
    limits: Limits | None = None,
    at_end: Callable[[], None] = lambda: None,
) -> None:
    """Bring `files` into `folder`; what is there and right stays. `at_end` is called in a thread when all is
    in place and the record still tells that the fetch has not ended. Raises FetchError."""
    stock = await in_thread(lambda: take_stock(files, folder=folder, record=record))
    work = _Transfer(stock, folder=folder, auth=auth, told=told, limits=limits or Limits())
    await work.run(len(files))
    await in_thread(at_end)
    with disk_faults(folder):
        await in_thread(record.conclude)


async def _outcome(work: Coroutine[None, None, None]) -> FetchError | None:
    """An expected failure is a result, not a crash for the log."""
    try:
        await work
    except FetchError as error:
        return error
    return None


class _Transfer:
    """One call of `transfer`."""

    def __init__(
        self,
        stock: Inventory,
        *,
        folder: Path,
        auth: Auth,
        told: Callable[[Progress], None],
        limits: Limits,
    ) -> None:
        self._downloads = stock.downloads
        for download in stock.downloads:
            download.restarted = self._wake
        self._folder = folder
        self._told = told
        self._placed_bytes = stock.placed_bytes
        self._limits = limits
        self._client = Client(auth=auth, connections=limits.connections, stall_s=limits.stall_s)
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: list[asyncio.Task[FetchError | None]] = []
        self._received = 0
        self._heard_at = asyncio.get_running_loop().time()
        self._not_before = 0.0
        self._samples: list[tuple[float, int]] = []

    async def run(self, files: int) -> None:
        """Until all is in place. Raises FetchError."""
        if not self._unplaced():
            return self._told(self._progress(files))
        try:
            async with self._client:
                self._start(self._tell(files), name="progress of the fetch")
                for number in range(self._limits.connections):
                    self._start(self._work(), name=f"connection {number}")
                await self._over.wait()
                await cancel_and_wait(*self._tasks)
        finally:
            await cancel_and_wait(*self._tasks)
            for download in self._downloads:
                download.close()
        if self._failure is not None:
            raise self._failure
        return self._told(self._progress(files))

    def _wake(self) -> None:
        self._news.set()

    def _unplaced(self) -> bool:
        return not all(download.is_placed for download in self._downloads)

    def _start(self, work: Coroutine[None, None, None], *, name: str) -> None:
        task = create_task(_outcome(work), name=name)
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[FetchError | None]) -> None:
        """The first failure, expected or not, ends the whole transfer."""
        if not task.cancelled() and self._failure is None:
            self._failure = task.exception() or task.result()
        if self._failure is not None or not self._unplaced():
            self._over.set()
        self._news.set()

    async def _work(self) -> None:
        """One connection: the next range that somebody needs, until there is none."""
        tries = 0
        while True:
            download, span = await self._next()
            if download is None or span is None:
                return
            begun = self._received
            try:
                await self._bring(download, span)
                tries = 0
            except FetchError as error:
                if error.code is Code.CHANGED and not download.is_given_up:
                    continue  # the download restarts
                tries = 1 if self._received > begun else tries + 1
                await self._wait_after(error, tries)

    async def _next(self) -> tuple[Download | None, Span | None]:
        while self._unplaced():
            for download in self._downloads:
                if download.is_placed:
                    continue
                if not download.is_opened:
                    download.is_opened = True
                    await self._open(download)
                if (span := download.take()) is not None:
                    return download, span
            self._news.clear()
            await self._news.wait()
        return None, None

    async def _open(self, download: Download) -> None:
        await download.open()
        if not download.is_placed:
            self._start(download.verify_and_place(), name=f"hash of {download.file.name}")
        self._heard_at = asyncio.get_running_loop().time()  # waiting for another fetcher is no silence
        self._news.set()

    async def _bring(self, download: Download, span: Span) -> None:
        """Ask for one range and write what comes."""
        try:
            if (pause_s := self._not_before - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(pause_s)
            asked = self._client.get(download.source, start=span.position, end=span.end, etag=download.etag)
            async with asked as answer:
                download.accept(answer, span)
                await download.note_version()
                self._news.set()
                await self._receive(download, answer, span)
        except FetchError as error:
            if error.code is Code.CHANGED:
                download.note_change()
            raise
        finally:
            await download.leave(span)
            self._news.set()

    async def _receive(self, download: Download, answer: Answer, span: Span) -> None:
        chunks: list[bytes] = []
        held = 0
        try:
            while span.position + held < span.end and (chunk := await answer.read()):
                chunk = chunk[: span.end - span.position - held]
                chunks.append(chunk)
                held += len(chunk)
                self._received += len(chunk)
                self._heard_at = asyncio.get_running_loop().time()
                if held >= BLOCK_BYTES:
                    written, chunks, held = chunks, [], 0
                    await download.write(written, span)
        finally:
            if chunks:
                await download.write(chunks, span)
        download.end_here(span)
        if span.position < span.end:
            words = f"the server of {download.file.name} sends less than it announced"
            raise FetchError(Code.NETWORK, words)

    async def _wait_after(self, error: FetchError, tries: int) -> None:
        """Until it makes sense to try again; raises `error` when it makes none."""
        limits, now = self._limits, asyncio.get_running_loop().time()
        wait_s = pause_s(limits, tries, asked_s=error.retry_after_s)
        if error.retry_after_s is not None:
            self._not_before = max(self._not_before, now + error.retry_after_s)
        if not error.is_passing or now + wait_s - self._heard_at > limits.give_up_s:
            raise error
        await asyncio.sleep(wait_s)

    async def _tell(self, files: int) -> None:
        ticks = 0
        while True:
            self._told(self._progress(files))
            await asyncio.sleep(self._limits.tell_every_s)
            ticks += 1
            if ticks % 10 == 0:
                await in_thread(check_space, self._downloads, self._folder)
                for download in self._downloads:
                    await download.check()

    def _progress(self, files: int) -> Progress:
        now = asyncio.get_running_loop().time()
        self._samples.append((now, self._received))
        while len(self._samples) > 2 and now - self._samples[0][0] > RATE_OVER_S:
            del self._samples[0]
        began, before = self._samples[0]
        rate = (self._received - before) / (now - began) if now > began else 0.0
        done = self._placed_bytes + sum(d.done_bytes for d in self._downloads)
        total = self._placed_bytes + sum(d.size_bytes for d in self._downloads)
        eta_s = (total - done) / rate if rate > 0 and total else None
        return Progress(done, total, rate, eta_s, files)
