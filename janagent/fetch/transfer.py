"""Brings the files of a plan: several connections, whatever file they work on, until all is in place.

Decides who asks for what and when to try again. Neighbours: `client` speaks HTTP, `download` knows one file,
`record` survives `kill -9`; `plan` says what is wanted.
"""

import asyncio
import contextlib
import hashlib
import random
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from janagent.aio import cancel_and_wait, create_task
from janagent.fetch.client import Answer, Auth, Client
from janagent.fetch.download import Download, in_thread
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.part import SUFFIX, disk_faults, is_in_place, is_own, locate
from janagent.fetch.plan import RemoteFile
from janagent.fetch.ranges import Span
from janagent.fetch.record import Entry, Record

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
    tell_every_s: float = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the fetch is. `eta_s` is None while nobody can tell."""

    done_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None
    files: int


async def transfer(
    files: Sequence[RemoteFile],
    *,
    folder: Path,
    record: Record,
    auth: Auth,
    told: Callable[[Progress], None],
    limits: Limits | None = None,
) -> None:
    """Bring `files` into `folder`; what is there and right stays. Raises FetchError."""
    downloads, placed_bytes = await in_thread(_prepare, files, folder, record)
    work = _Transfer(
        downloads, folder=folder, auth=auth, told=told, placed_bytes=placed_bytes, limits=limits or Limits()
    )
    await work.run(len(files))
    with disk_faults(folder):
        await in_thread(record.remove)


def _prepare(files: Sequence[RemoteFile], folder: Path, record: Record) -> tuple[list[Download], int]:
    """What is missing, and how many bytes are not; the record says so from here on."""
    earlier = record.read()
    entries: list[Entry] = []
    downloads: list[Download] = []
    placed_bytes = 0
    for file in files:
        target, old = locate(folder, file.name), _same(file, earlier)
        entry = Entry(file.name, file.size_bytes, file.sha256, file.git_sha1, _source(file))
        entries.append(entry)
        if is_in_place(file, target, is_trusted=old is not None and old.is_placed):
            entry.is_placed = True
            placed_bytes += target.stat().st_size
            _drop(target, earlier.get(file.name))
            continue
        if old is None:  # ours, but of another version
            _drop(target, earlier.get(file.name))
        downloads.append(Download(file, target, record=record, earlier=old))
        if old is not None:
            entry.size_bytes, entry.etag, entry.inode = old.size_bytes, old.etag, old.inode
    for name in earlier.keys() - {file.name for file in files}:
        with contextlib.suppress(OSError, FetchError):
            _drop(locate(folder, name), earlier[name])
    _check_space(downloads, folder)
    kept = {d.file.name: d.kept for d in downloads}
    with disk_faults(folder):
        record.begin(entries, kept)
    return downloads, placed_bytes


def _drop(target: Path, entry: Entry | None) -> None:
    """Remove the `.part` of an earlier fetch of ours, never anybody else's."""
    part = target.with_name(target.name + SUFFIX)
    if entry is not None and is_own(part, entry.inode):
        part.unlink()


def _same(file: RemoteFile, earlier: Mapping[str, Entry]) -> Entry | None:
    """What an earlier fetch left of this very file: the same content by hash, or the same URL."""
    entry = earlier.get(file.name)
    if entry is None or (entry.sha256, entry.git_sha1) != (file.sha256, file.git_sha1):
        return None
    if file.size_bytes is not None and entry.size_bytes != file.size_bytes:
        return None
    has_hash = file.sha256 is not None or file.git_sha1 is not None
    return entry if has_hash or (entry.source == _source(file) and entry.etag is not None) else None


def _source(file: RemoteFile) -> str:
    """Tells URLs apart without keeping the secrets that one may carry."""
    return hashlib.sha256(file.url.encode()).hexdigest()[:16]


def _check_space(downloads: Sequence[Download], folder: Path) -> None:
    missing = sum(d.size_bytes - d.done_bytes for d in downloads if d.file.cached is None)  # those are linked
    free = shutil.disk_usage(folder).free
    if missing > free:
        words = f"{missing:,} bytes are still to come, but the disk of {folder} has only {free:,} left"
        raise FetchError(Code.DISK_FULL, words)


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
        downloads: Sequence[Download],
        *,
        folder: Path,
        auth: Auth,
        told: Callable[[Progress], None],
        placed_bytes: int,
        limits: Limits,
    ) -> None:
        self._downloads = downloads
        for download in downloads:
            download.restarted = self._wake
        self._folder = folder
        self._told = told
        self._placed_bytes = placed_bytes
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
                download.part.close()
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
        if await download.open():
            self._start(download.verify_and_place(), name=f"hash of {download.file.name}")
        else:
            download.is_placed = True
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
        content = answer.response.content
        chunks: list[bytes] = []
        held = 0
        try:
            while span.position + held < span.end and (chunk := await content.readany()):
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
        longest = min(limits.longest_backoff_s, limits.backoff_s * 2 ** min(tries - 1, 16))
        wait_s = longest * random.uniform(0.5, 1.0)
        if error.retry_after_s is not None:
            wait_s = error.retry_after_s * random.uniform(1.0, 1.1)
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
                await in_thread(_check_space, self._downloads, self._folder)

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
